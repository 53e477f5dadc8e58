//! The noise that is there, measured against the noise that `parameters` declares.
//!
//! Bounds hold for every sample. Variances and distributions are tests of statistics: thresholds are
//! such that a right implementation fails one of them with probability below 2^-40, were the seeds
//! not fixed.

use gelu_core::{Plaintext, SlotShape};
use rand::RngExt;
use rayon::prelude::*;

use super::ciphertext::{Ciphertext, encode};
use super::keys::tests::{KEY, rng};
use super::linear::combine;
use super::noise::NoiseBound;
use super::parameters::{
    DELTA_BITS, DIMENSION, FLOOD, FLOODED_NOISE, HALF_CELL, NOISE_BITS, OWNER_NOISE, PUBLIC_NOISE,
    SEAL_NOISE, SEAL_NOISE_BITS,
};
use super::ring::{Side, constant_coefficient};
use super::sample::{Sampler, seeds};

/// Samples of each distribution.
const SAMPLES: usize = 1600;

/// The noise of an encryption of `value`.
fn noise_of(ciphertext: &Ciphertext, value: i128) -> i128 {
    KEY.phase(ciphertext).wrapping_sub(encode(value)).cast_signed()
}

/// The variance of TUniform(b): (2^(2b + 1) + 1)/6.
fn t_uniform_variance(b: u32) -> f64 {
    (f64::from(2 * b + 1).exp2() + 1.0) / 6.0
}

/// Mean and variance of samples.
fn moments(samples: &[i128]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().map(|&e| e as f64).sum::<f64>() / count;
    (mean, samples.iter().map(|&e| (e as f64 - mean).powi(2)).sum::<f64>() / (count - 1.0))
}

/// The variance of a sample of m has standard deviation √(2/m) of itself at most, for noise no
/// longer in the tails than the normal distribution's: 3.5 % here. Eight of those, on either side,
/// have a probability of 2^-49; the mean likewise.
fn assert_moments(samples: &[i128], expected_mean: f64, expected_variance: f64) {
    let (mean, variance) = moments(samples);
    let (m, tolerance) = (samples.len() as f64, 8.0);
    let relative = variance / expected_variance - 1.0;
    assert!(relative.abs() < tolerance * (2.0 / m).sqrt(), "{variance} for {expected_variance}");
    let off = (mean - expected_mean) / (expected_variance / m).sqrt();
    assert!(off.abs() < tolerance, "a mean {off} standard deviations off");
}

/// χ² of 16 equally likely classes. With 15 degrees of freedom it exceeds 95 with probability 2^-43.
fn assert_uniform(classes: impl Iterator<Item = u128>) {
    let mut counts = [0u32; 16];
    classes.for_each(|class| counts[usize::try_from(class).expect("below 16")] += 1);
    let expected = f64::from(counts.iter().sum::<u32>()) / 16.0;
    assert!(expected > 50.0, "too few samples for χ²");
    let chi: f64 = counts.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
    assert!(chi < 95.0, "{chi}: {counts:?}");
}

#[test]
fn the_owners_noise() {
    let plaintexts = vec![Plaintext::new(30, vec![-12345]).unwrap(); SAMPLES];
    let fresh = KEY.encrypt_all(&plaintexts, &mut rng(1)).unwrap();
    let samples: Vec<_> = fresh.iter().map(|c| noise_of(c, -12345)).collect();
    assert!(samples.iter().all(|e| e.unsigned_abs() <= OWNER_NOISE));
    assert_moments(&samples, 0.0, t_uniform_variance(NOISE_BITS));
    assert!(fresh.iter().all(|c| c.noise == NoiseBound(OWNER_NOISE)));
}

/// e as the words c with ⟨c, r⟩ = (e·r)₀, and the number of ones in s.
fn key_noise() -> (Vec<f64>, f64) {
    let (public, secret) = (KEY.public_key(), KEY.lwe());
    let product = public.matrix().times(Side::Rows, secret.as_ref());
    let e: Vec<_> = public.b().iter().zip(&product).map(|(b, p)| b.wrapping_sub(*p)).collect();
    let e = constant_coefficient(&e).iter().map(|c| c.cast_signed() as f64).collect();
    (e, secret.as_ref().iter().filter(|&&bit| bit == 1).count() as f64)
}

/// ⟨e, r⟩ has mean Σe/2 and variance Σe²/4; ⟨e₁, s⟩ has as many terms as s has ones.
#[test]
fn noise_of_others() {
    let (public, (e, ones)) = (KEY.public_key(), key_noise());
    let mean = e.iter().sum::<f64>() / 2.0;
    let from_r = e.iter().map(|e| e * e).sum::<f64>() / 4.0;

    let rng = &mut rng(2);
    let samples: Vec<_> =
        (0..SAMPLES).map(|_| noise_of(&public.encrypt_value(77, rng), 77)).collect();
    assert!(samples.iter().all(|e| e.unsigned_abs() <= PUBLIC_NOISE));
    assert_moments(&samples, mean, from_r + (ones + 1.0) * t_uniform_variance(NOISE_BITS));

    // What a seal adds below the flood.
    let below = |seed: &[u8; 32]| {
        let zero = public.zero(SEAL_NOISE_BITS, &mut Sampler::new(*seed));
        noise_of(&Ciphertext::new(public, zero, NoiseBound::NONE), 0)
    };
    let samples: Vec<_> = seeds(SAMPLES, rng).par_iter().map(below).collect();
    assert!(samples.iter().all(|e| e.unsigned_abs() <= SEAL_NOISE));
    assert_moments(&samples, mean, from_r + ones * t_uniform_variance(SEAL_NOISE_BITS));
}

/// Exactly: the noise of a sum is the sum of the noises, and below its bound.
#[test]
fn noise_of_sums() {
    let (rng, public) = (&mut rng(3), KEY.public_key());
    let values: Vec<i128> = (0..40).map(|_| rng.random_range(-500..500)).collect();
    let plaintexts: Vec<_> = values.iter().map(|&v| Plaintext::new(10, vec![v]).unwrap()).collect();
    let inputs = KEY.encrypt_all(&plaintexts, rng).unwrap();
    for _ in 0..20 {
        let weights: Vec<i128> = values.iter().map(|_| rng.random_range(-1000..1000)).collect();
        let row: Vec<_> = weights.iter().copied().zip(&inputs).collect();
        let sum = combine(public, &[row]).unwrap().remove(0);
        let dot = |x: &dyn Fn(usize) -> i128| (0..40).map(|i| weights[i] * x(i)).sum::<i128>();
        let noise = noise_of(&sum, dot(&|i| values[i]));
        assert_eq!(noise, dot(&|i| noise_of(&inputs[i], values[i])));
        assert!(noise.unsigned_abs() <= sum.noise.0);
        assert_eq!(
            sum.noise.0,
            OWNER_NOISE * weights.iter().map(|k| k.unsigned_abs()).sum::<u128>()
        );
    }
}

/// An answer's phase shows the value, and otherwise what it would show for any weights: the noise
/// is uniform over the cell, the bits above the slot are uniform, and so is the mask.
#[test]
fn seals_look_the_same_whatever_is_under_them() {
    let public = KEY.public_key();
    let shape = SlotShape { bits: 20, count: 1 };
    // A value without noise or mask, and one with all the noise that a seal covers.
    let most = FLOODED_NOISE - SEAL_NOISE;
    let quiet = Ciphertext::trivial(public, 4321);
    let mut words = vec![0; DIMENSION + 1];
    words[DIMENSION] = encode(4321).wrapping_add(most);
    let loud = Ciphertext::new(public, words, NoiseBound(most));
    for (seed, ciphertext) in [(4, quiet), (5, loud)] {
        let sealed = public.seal_all(&vec![(ciphertext, shape); SAMPLES], &mut rng(seed));
        for c in &sealed {
            assert_eq!(KEY.decrypt(c, shape).unwrap().values(), [4321]);
        }
        let phases: Vec<_> =
            sealed.iter().map(|c| KEY.phase(c).wrapping_sub(encode(4321))).collect();
        // With half a cell added, the noise is in 0 … 2^87 − 1: its top and its bottom bits.
        let noise = |phase: &u128| phase.wrapping_add(HALF_CELL) & (2 * HALF_CELL - 1);
        assert_uniform(phases.iter().map(|phase| noise(phase) >> (DELTA_BITS - 4)));
        assert_uniform(phases.iter().map(|phase| phase & 15));
        let centred: Vec<_> = phases
            .iter()
            .map(|phase| noise(phase).cast_signed() - HALF_CELL.cast_signed())
            .collect();
        assert_moments(&centred, 0.0, (2.0 * FLOOD as f64).powi(2) / 12.0);
        // Bits above the slot, once the noise has been rounded away.
        assert_uniform(phases.iter().map(|phase| phase.wrapping_add(HALF_CELL) >> 124));
        let above = DELTA_BITS + shape.bits;
        assert_uniform(phases.iter().map(|phase| phase.wrapping_add(HALF_CELL) >> above & 15));
        let masks = sealed[0].lwe.as_ref().iter();
        assert_uniform(masks.clone().map(|word| word >> 124));
        assert_uniform(masks.map(|word| word & 15));
        assert!(sealed.windows(2).all(|pair| pair[0].lwe.as_ref()[7] != pair[1].lwe.as_ref()[7]));
    }
}
