//! Encrypted matrix products, the plain way.

use crypto_bigint::{BoxedUint, Resize};
use gelu_core::linear::Taps;

use crate::kernel::Line;
use crate::power::power as long_power;
use crate::power_table::Lookup;
use crate::ring::{Digits, Elements, Ring};

pub(crate) fn power(ring: &Ring, base: &[Line], exponent: i128) -> Elements {
    let e = BoxedUint::from(exponent.unsigned_abs());
    let power = long_power(ring, &[base], &[&e], 128, Lookup::Direct);
    if exponent < 0 { invert(ring, &power.refs()) } else { power }
}

pub(crate) fn invert(ring: &Ring, elements: &[&[Line]]) -> Elements {
    let n = ring.modulus(0);
    let bits = n.bits_precision();
    let mut out = ring.empty();
    for d in ring.export(elements) {
        let wide = |x: &BoxedUint| x.resize_unchecked(2 * bits);
        let c = wide(&d.low).wrapping_add(wide(&n).wrapping_mul(wide(&d.high)));
        let n2 = wide(&n).wrapping_square();
        let inverse = c.invert_odd_mod(&n2.to_odd().unwrap()).unwrap();
        let (high, low) = inverse.div_rem_vartime(&n.to_nz().unwrap());
        out.append(ring.import(&[Digits {
            low: low.resize_unchecked(bits),
            high: high.resize_unchecked(bits),
        }]));
    }
    out
}

pub(crate) fn linear_combination(ring: &Ring, terms: &[(i128, &[Line])]) -> Elements {
    let mut acc = ring.empty();
    acc.push(ring.one(0));
    for (k, base) in terms {
        let factor = power(ring, base, *k);
        ring.update(&mut acc, 0, [(0, factor.get(0))]);
    }
    acc
}

pub(crate) fn matvec(ring: &Ring, taps: &Taps, weights: &[i128], inputs: &[&[Line]]) -> Elements {
    let mut all = ring.empty();
    for o in 0..taps.outputs() {
        let terms: Vec<_> = taps
            .of(o)
            .iter()
            .map(|t| (weights[t.weight as usize], inputs[t.source as usize]))
            .collect();
        all.append(linear_combination(ring, &terms));
    }
    all
}
