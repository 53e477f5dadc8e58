//! Keys made to read weights: what they would read, and that they are refused.
//!
//! ```text
//! b = −a·s + e + Δ·M      M = t/8, so an answer decrypts to W·x + 2·M·u = W·x + t/4·u: all of u
//! c₁ − 2·a·u              is Σ wᵢ·c₁ᵢ + 2·e₁: small weights by trying all
//! ```

use gelu_core::backend::{Backend, Direction, Layout, Task};
use gelu_core::error::PeerMisbehaved;
use gelu_core::linear::{Dense, LinearMap};
use gelu_ring::sample::{self, Small};
use gelu_ring::{Coefficients, Evaluations, Poly};
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::keys::tests::key;
use crate::keys::{PublicKey, SecretKey};
use crate::packing::Packing;
use crate::plain::{Fraction, Scale};
use crate::proof::Statement;
use crate::upload::Ciphertext;
use crate::{Lattice, bits, upload, zero};

const N: usize = 4096;
const VALUE_BITS: u32 = 30;
/// Of w: answers are modulo 2^w.
const WIRE_BITS: u32 = VALUE_BITS + 13;
const INPUTS: usize = 2;
const OUTPUTS: usize = 3;

/// An honest key and its s; and the b of a bad key with the same s.
fn bad_key() -> (SecretKey, Small, Poly<Evaluations>) {
    let (secret, s) = key(4096, 5);
    let public = secret.public_key();
    let mut message = vec![0; N];
    message[0] = 1 << (VALUE_BITS - 3);
    let basis = public.parameters().basis();
    let mut b = public.b();
    b += &Scale::new(basis, VALUE_BITS).up(basis, &message).into_evaluations();
    (secret, s, b)
}

/// Where no proof is asked for, one session with inputs 0 gives all weights of a layer away.
#[test]
fn a_key_with_a_large_error_would_read_the_weights() {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let (secret, _, b) = bad_key();
    let public = secret.public_key().unproven(&b);
    let linear = LinearMap::from(Dense::new(INPUTS, OUTPUTS).unwrap());
    let task = Task {
        layer: "attacked",
        linear: &linear,
        direction: Direction::Forward,
        batch: N,
        value_bits: VALUE_BITS,
        weight_bits: 8,
    };
    // Each coefficient of an answer is an output of its own.
    let layouts = Lattice::layouts(&public, &task).unwrap();
    let layout = layouts.iter().find(|layout| layout.to_string() == "dense/4096x1x1").unwrap();

    let weights = [-128, 127, 0, 5, 77, -1];
    let uploads = layout.encrypt(&secret, &linear, &Array2::zeros((INPUTS, N)), rng).unwrap();
    let prepared = layout.prepare(&linear, &weights, None).unwrap();
    let inputs = layout.read(&public, &uploads).unwrap();
    let answer = layout.evaluate(&public, &prepared, &inputs).unwrap();
    let answer = layout.seal(&public, answer, rng);

    let outputs = layout.decrypt(&secret, &answer).unwrap();
    let block = answer.len() / OUTPUTS;
    for (o, answer) in answer.chunks(block).enumerate() {
        let u: Vec<_> = outputs.row(o).iter().map(|x| x >> (VALUE_BITS - 2)).collect();
        let words = bits::read(answer, 2 * N, WIRE_BITS).unwrap();
        assert_eq!(read_weights(&public, &uploads, &words[..N], &u), weights[2 * o..2 * o + 2]);
    }
}

/// The weights of an answer, from its c₁ and its u.
fn read_weights(public: &PublicKey, uploads: &[u8], c1: &[u128], u: &[i128]) -> [i128; INPUTS] {
    let basis = public.parameters().basis();
    let fraction = Fraction::new(basis);
    let wire = |x: Poly<Evaluations>| -> Vec<i128> {
        let words = fraction.switch(x.into_coefficients(), WIRE_BITS);
        words.into_iter().map(u128::cast_signed).collect()
    };
    let mut double = &public.a() * &Poly::from_signed(basis, u).into_evaluations();
    double.scale(&basis.residues(2));
    let uploads = upload::read(basis, INPUTS, uploads).unwrap();
    let [first, second] = uploads.c1.try_into().map(|c1: [_; INPUTS]| c1.map(wire)).ok().unwrap();
    let hidden = wire(double);
    let fits = |w: [i128; INPUTS], j: usize| {
        let rest = c1[j].cast_signed() - hidden[j] - w[0] * first[j] - w[1] * second[j];
        // Rounding, weighed.
        gelu_core::fixed::centred(rest, WIRE_BITS).abs() < 200
    };
    let all = (-128..128).flat_map(|first| (-128..128).map(move |second| [first, second]));
    let mut fitting = all.filter(|&w| (0..N).all(|j| fits(w, j)));
    let weights = fitting.next().expect("the weights fit");
    assert_eq!(fitting.next(), None);
    weights
}

/// Whatever is said to be its proof.
#[test]
fn a_key_with_a_large_error_is_refused() {
    let (secret, s, b) = bad_key();
    refused(&secret, &b, &s);
}

/// With 2^60·s for s, an answer would show 2^60·e₁·s.
#[test]
fn a_key_with_a_large_secret_is_refused() {
    let (secret, s) = key(4096, 6);
    let public = secret.public_key();
    let mut b = public.b();
    // (1 − 2^60)·a·s is added to −a·s + e.
    let mut more = &public.a() * secret.secret();
    more.scale(&public.parameters().basis().residues(1 - (1 << 60)));
    b += &more;
    refused(&secret, &b, &s);
}

/// Tries all proofs of a bad b that its owner could make: of the secret s, by which the b of `secret` was made.
fn refused(secret: &SecretKey, b: &Poly<Evaluations>, s: &Small) {
    let rng = &mut ChaCha20Rng::seed_from_u64(2);
    let honest = secret.public_key();
    let bad = honest.unproven(b);
    let of = |statement: Statement, rng: &mut ChaCha20Rng| statement.prove(s, rng);
    let good = of(honest.statement(), rng);
    let mut mixed = good.clone();
    let made = of(bad.statement(), rng);
    mixed[32..].copy_from_slice(&made[32..]);
    let forged = [
        ("that of the honest key", good),
        ("one made as written", made),
        ("its answers to other challenges", mixed),
        ("answers chosen before the challenges", bad.statement().forge(rng)),
        ("none", Vec::new()),
    ];
    for (what, proof) in forged {
        let bytes = [bad.to_bytes(), proof].concat();
        let error = PublicKey::from_bytes(&bytes).unwrap_err();
        assert_eq!(error, PeerMisbehaved::InvalidKey("its proof"), "{what}");
    }
    assert!(PublicKey::from_bytes(&secret.public_key_to_bytes()).is_ok());
}

/// A bad key of packing shows c₁ of what is packed: the weights, if it were not hidden; and nothing, as it is.
#[test]
fn a_bad_packing_key_reads_what_says_nothing() {
    let rng = &mut ChaCha20Rng::seed_from_u64(3);
    let (secret, _) = key(8192, 7);
    let (public, basis) = (secret.public_key(), secret.parameters().basis());
    let (weight, upload) = (-77, sample::uniform(basis, &[8; 32], 0));
    let times = |w: i128| {
        let mut product = upload.clone();
        product.scale(&basis.residues(w));
        product
    };
    // The answer to an encryption of 0 without noise, as if no output but multiples of X^2 existed.
    let bare = || Ciphertext { c0: -(&times(weight) * secret.secret()), c1: times(weight) };
    let [hidden, shown] = [
        zero::take(public, 1, rng).remove(0).make(public).hide(bare()),
        (bare().c0.into_coefficients(), bare().c1.into_coefficients()),
    ];

    // k₀ says P more than it should, so c₁ is added to what the client decrypts.
    let mut packing = Packing::generate(secret.parameters(), &[5; 32], secret.secret(), rng);
    let primes: Vec<_> = basis.moduli().map(|q| i128::from(q.value())).collect();
    let (special, lower) = (primes[2] * primes[3], primes[0] * primes[1]);
    let more = Poly::from_residues(basis, |i, row| {
        row.fill(u64::try_from(special % primes[i]).unwrap());
    });
    packing.spoil(0, &more);

    // round(x/P), by its residues.
    let divided = |x: Poly<Coefficients>| {
        x.divide_by_last().and_then(|x| x.divide_by_last()).expect("four primes")
    };
    // The first 64 that are packed.
    let even = |x: Poly<Coefficients>| -> Vec<i128> {
        x.integers().expect("Q has 92 bits").into_iter().step_by(2).take(64).collect()
    };
    let read = |(c0, c1): (Poly<Coefficients>, Poly<Coefficients>)| -> Vec<i128> {
        let outputs = Poly::from_residues(basis, |i, row| {
            row.iter_mut().zip(c0.residues(i)).step_by(2).for_each(|(to, &from)| *to = from);
        });
        let [c0, c1] = packing.pack(vec![[outputs, c1]], 2, 1, |answer| answer);
        let s = secret.secret().part(0..2);
        let mut phase = (&c1.into_evaluations() * &s).into_coefficients();
        phase += &c0;
        // Twice: answers are halved before.
        phase.scale(&phase.basis().residues(2));
        even(phase)
    };
    let fitting = |read: &[i128]| -> Vec<i128> {
        let fits = |&w: &i128| {
            let c1 = even(divided(times(w).into_coefficients()));
            read.iter().zip(c1).all(|(read, c1)| {
                let apart = (read - c1).rem_euclid(lower);
                apart.min(lower - apart) < 1 << 30
            })
        };
        (-128..128).filter(fits).collect()
    };
    assert_eq!(fitting(&read(shown)), [weight]);
    assert_eq!(fitting(&read(hidden)), []);
}
