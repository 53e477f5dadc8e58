//! The algorithms on eight lanes, over whichever engine: each of them is compiled once for each.

use gelu_core::circuit::Gate;
use zeroize::Zeroize;

use super::{Group, KEYS, Keys};

/// Neurons that are garbled together.
pub(crate) const LANES: usize = 8;

/// One label of each of eight neurons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Zeroize)]
#[repr(C, align(64))]
pub(crate) struct Lanes(pub(crate) [u128; LANES]);

/// Eight blocks in registers, and AES on them.
pub(super) trait Engine: Copy {
    type Vector: Copy;
    /// Round keys of [`KEYS`] keys.
    type Schedule;

    fn load(self, lanes: &Lanes) -> Self::Vector;
    fn store(self, x: Self::Vector, lanes: &mut Lanes);
    fn splat(self, x: u128) -> Self::Vector;
    fn xor(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// x where the lowest bit of `selector` is set, 0 elsewhere.
    fn where_odd(self, selector: Self::Vector, x: Self::Vector) -> Self::Vector;
    fn sigma(self, x: Self::Vector) -> Self::Vector;
    /// Round keys to be filled in: they are large, and filled in again and again.
    fn blank(self) -> Self::Schedule;
    fn schedule(self, keys: &[u128; KEYS], schedule: &mut Self::Schedule);
    /// AES of each vector under the key of its number.
    fn encrypt<const N: usize>(
        self,
        schedule: &Self::Schedule,
        keys: [usize; N],
        x: [Self::Vector; N],
    ) -> [Self::Vector; N];
}

/// Half gates (Zahur, Rosulek, Evans, EUROCRYPT 2015, figure 2). With zero labels A, B of an AND gate's inputs,
/// p the lowest bit of a label, and keys j, j':
///
/// ```text
/// T_G = H_j(A) ⊕ H_j(A ⊕ Δ) ⊕ p(B)·Δ         W_G = H_j(A) ⊕ p(A)·T_G
/// T_E = H_j'(B) ⊕ H_j'(B ⊕ Δ) ⊕ A            W_E = H_j'(B) ⊕ p(B)·(T_E ⊕ A)         out = W_G ⊕ W_E
/// ```
#[inline(always)]
pub(super) fn garble<E: Engine>(e: E, group: &mut Group<'_>, delta: u128) {
    let Group { gates, keys, wires, tables } = group;
    let delta = e.splat(delta);
    let sigma_delta = e.sigma(delta);
    let mut schedule = e.blank();
    for gate in gates.iter() {
        let out = match *gate {
            Gate::Xor(a, b) => e.xor(at(e, wires, a), at(e, wires, b)),
            Gate::Not(a) => e.xor(at(e, wires, a), delta),
            Gate::And(a, b) => {
                let half = tables.len();
                if half.is_multiple_of(KEYS) {
                    e.schedule(&keys.at(half), &mut schedule);
                }
                let (j, k) = (half % KEYS, half % KEYS + 1);
                let (a, b) = (at(e, wires, a), at(e, wires, b));
                let (a0, b0) = (e.sigma(a), e.sigma(b));
                let x = [a0, e.xor(a0, sigma_delta), b0, e.xor(b0, sigma_delta)];
                let y = e.encrypt(&schedule, [j, j, k, k], x);
                let (ha0, hb0) = (e.xor(x[0], y[0]), e.xor(x[2], y[2]));
                let (ha1, hb1) = (e.xor(x[1], y[1]), e.xor(x[3], y[3]));
                let t_g = e.xor(e.xor(ha0, ha1), e.where_odd(b, delta));
                let w_g = e.xor(ha0, e.where_odd(a, t_g));
                // T_E ⊕ A.
                let both = e.xor(hb0, hb1);
                let w_e = e.xor(hb0, e.where_odd(b, both));
                push(e, tables, t_g);
                push(e, tables, e.xor(both, a));
                e.xor(w_g, w_e)
            }
        };
        push(e, wires, out);
    }
}

/// ```text
/// out = H_j(A) ⊕ p(A)·T_G ⊕ H_j'(B) ⊕ p(B)·(T_E ⊕ A)
/// ```
#[inline(always)]
pub(super) fn evaluate<E: Engine>(e: E, group: &mut Group<'_>) {
    let Group { gates, keys, wires, tables } = group;
    let mut schedule = e.blank();
    let mut half = 0;
    for gate in gates.iter() {
        let out = match *gate {
            Gate::Xor(a, b) => e.xor(at(e, wires, a), at(e, wires, b)),
            Gate::Not(a) => at(e, wires, a),
            Gate::And(a, b) => {
                if half % KEYS == 0 {
                    e.schedule(&keys.at(half), &mut schedule);
                }
                let (j, k) = (half % KEYS, half % KEYS + 1);
                let (a, b) = (at(e, wires, a), at(e, wires, b));
                let (t_g, t_e) = (e.load(&tables[half]), e.load(&tables[half + 1]));
                let x = [e.sigma(a), e.sigma(b)];
                let y = e.encrypt(&schedule, [j, k], x);
                let hashes = e.xor(e.xor(x[0], y[0]), e.xor(x[1], y[1]));
                half += 2;
                let rows = e.xor(e.where_odd(a, t_g), e.where_odd(b, e.xor(t_e, a)));
                e.xor(hashes, rows)
            }
        };
        push(e, wires, out);
    }
}

#[inline(always)]
pub(super) fn hash<E: Engine>(e: E, keys: Keys, per_key: usize, x: &mut [Lanes]) {
    let mut schedule = e.blank();
    for (batch, x) in x.chunks_mut(KEYS * per_key).enumerate() {
        e.schedule(&keys.at(batch * KEYS), &mut schedule);
        for (n, x) in x.iter_mut().enumerate() {
            let sigma = e.sigma(e.load(x));
            let [y] = e.encrypt(&schedule, [n / per_key], [sigma]);
            e.store(e.xor(y, sigma), x);
        }
    }
}

#[inline(always)]
pub(super) fn streams<E: Engine>(e: E, seeds: &[u128], first: u64, out: &mut [Vec<u128>]) {
    let mut keys = [0; KEYS];
    keys[..seeds.len()].copy_from_slice(seeds);
    let mut schedule = e.blank();
    e.schedule(&keys, &mut schedule);
    for (k, out) in out.iter_mut().enumerate() {
        let mut counter = u128::from(first);
        for out in out.chunks_mut(4 * LANES) {
            let mut x = [e.splat(0); 4];
            for x in &mut x {
                let mut lanes = Lanes::default();
                for lane in &mut lanes.0 {
                    *lane = counter;
                    counter += 1;
                }
                *x = e.load(&lanes);
            }
            let y = e.encrypt(&schedule, [k; 4], x);
            for (y, out) in y.into_iter().zip(out.chunks_mut(LANES)) {
                let mut lanes = Lanes::default();
                e.store(y, &mut lanes);
                out.copy_from_slice(&lanes.0[..out.len()]);
            }
        }
    }
}

#[inline(always)]
fn at<E: Engine>(e: E, wires: &[Lanes], wire: u32) -> E::Vector {
    e.load(&wires[wire as usize])
}

#[inline(always)]
fn push<E: Engine>(e: E, lanes: &mut Vec<Lanes>, x: E::Vector) {
    let mut out = Lanes::default();
    e.store(x, &mut out);
    lanes.push(out);
}
