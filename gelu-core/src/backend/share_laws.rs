//! The laws of shares as code: they add up to plain products, and each one alone is noise.

use ndarray::Array2;
use rand_core::CryptoRng;

use super::laws::{BATCHES, Broken, Values, WEIGHT_BITS, dense, window};
use super::{Backend, Cryptosystem, Direction, Layout, Sealed, Share, Shares, Task};
use crate::error::Result;
use crate::fixed::centred;
use crate::linear::LinearMap;

/// The law of shares, as it is printed.
pub(crate) const SHARES: &str = "s + decrypt(bytes) = W·R mod 2^l, \
    for (bytes, s) = share(evaluate(prepare(W), read(encrypt(R))))";
/// Rings of shares: the smallest, two of inference, and the largest.
const RINGS: [u32; 4] = [1, 30, 41, 64];

/// Shares in every layout of a dense and a windowed map, in several batches and rings; gives a line about each task.
/// None where a backend has none.
pub(crate) fn shares<B: Backend>(
    secret: &B::SecretKey,
    rng: &mut dyn CryptoRng,
) -> Result<Vec<String>, Broken> {
    let mut lines = Vec::new();
    let mut planned = false;
    let direction = Direction::Forward;
    for (layer, linear) in [("dense", &dense()), ("window", &window())] {
        for (ring_bits, batch) in RINGS.into_iter().flat_map(|l| BATCHES.map(|batch| (l, batch))) {
            // At most 9 terms of 7 · 2^(l−1): less than 2^(l+5).
            let Some(plan) = B::Shares::plan(ring_bits, ring_bits + 6) else { continue };
            planned = true;
            let (value_bits, weight_bits) = (plan.value_bits(), WEIGHT_BITS);
            let task = Task { layer, linear, direction, batch, value_bits, weight_bits };
            let Ok(all) = plan.layouts(B::public_key(secret), &task) else { continue };
            for layout in &all {
                for values in [Values::Zeros, Values::Edges, Values::Random] {
                    shared::<B>(secret, (&plan, ring_bits, layout), &task, values, rng)?;
                }
            }
            let names: Vec<_> = all.iter().map(ToString::to_string).collect();
            let names = names.join(", ");
            lines.push(format!("{layer}, {batch} samples, modulo 2^{ring_bits}: {names}"));
        }
    }
    if planned {
        assert!(!lines.is_empty(), "shares are planned, but no layout carries them");
        hidden::<B>(secret, rng)?;
    }
    Ok(lines)
}

/// Shares of one layout for one choice of values.
fn shared<B: Backend>(
    secret: &B::SecretKey,
    (plan, ring_bits, layout): (&B::Shares, u32, &B::Layout),
    &Task { layer, linear, batch, .. }: &Task<'_>,
    values: Values,
    rng: &mut dyn CryptoRng,
) -> Result<(), Broken> {
    let half = 1i128 << (ring_bits - 1);
    let weights = values.draw(linear.weights(), -7..=7, rng);
    let r = values.draw(linear.inputs() * batch, -half..=half - 1, rng);
    let r = Array2::from_shape_vec((linear.inputs(), batch), r).expect("as many as places");
    let expected = linear.forward(&weights, &vec![0; linear.biases()], r.view(), 0);
    let expected: Vec<_> = expected.iter().map(|&z| centred(z, ring_bits)).collect();
    let law = format!("shares modulo 2^{ring_bits}, layout {layout} ({layer}, {batch} samples)");
    let got = run::<B>(secret, (plan, layout), (linear, &weights), &r, rng);
    let got = got.map(|[c, s]| {
        assert_eq!((c.dim(), s.dim()), ((linear.outputs(), batch), c.dim()), "{law}: shape");
        let sums = c.values().iter().zip(s.values()).map(|(c, s)| i128::from(*c) + i128::from(*s));
        sums.map(|sum| centred(sum, ring_bits)).collect()
    });
    Broken::unless(&law, expected, got)
}

/// The steps of an exchange for shares: the client's, and the server's.
pub(crate) fn run<B: Backend>(
    secret: &B::SecretKey,
    (plan, layout): (&B::Shares, &B::Layout),
    (linear, weights): (&LinearMap, &[i128]),
    r: &Array2<i128>,
    rng: &mut dyn CryptoRng,
) -> Result<[Share; 2]> {
    let public = B::public_key(secret);
    let up = layout.encrypt(secret, linear, r, rng)?;
    let weights = layout.prepare(linear, weights, None)?;
    let answer = layout.evaluate(public, &weights, &layout.read(public, &up)?)?;
    let (sealed, s) = Sealed::share::<B>(plan, layout, public, answer, rng)?;
    let down = sealed.into_bytes();
    assert_eq!(up.len() + down.len(), plan.bytes(layout), "{layout}: bytes");
    assert!(plan.decrypt(layout, secret, &down[1..]).is_err(), "bytes that are too few are read");
    Ok([plan.decrypt(layout, secret, &down)?, s])
}

/// Each share alone, in the first layout, for values that a share without a mask would show: R of zeros under the largest
/// weights, and R of edges under weights of zeros. Each bit is 1 half of the time, within six standard deviations.
fn hidden<B: Backend>(secret: &B::SecretKey, rng: &mut dyn CryptoRng) -> Result<(), Broken> {
    let (linear, batch, ring_bits) = (&dense(), 400, 20);
    let plan = B::Shares::plan(ring_bits, ring_bits + 6).expect("shares, as of other rings");
    let (direction, value_bits, weight_bits) = (Direction::Forward, 0, WEIGHT_BITS);
    let task = Task { layer: "dense", linear, direction, batch, value_bits, weight_bits };
    let all = plan.layouts(<B as Cryptosystem>::public_key(secret), &task);
    let layout = &all.expect("a layout, as of other rings")[0];
    let half = 1i128 << (ring_bits - 1);
    for (of_r, of_weights) in [(Values::Zeros, Values::Edges), (Values::Edges, Values::Zeros)] {
        let weights = of_weights.draw(linear.weights(), -7..=7, rng);
        let r = of_r.draw(linear.inputs() * batch, -half..=half - 1, rng);
        let r = Array2::from_shape_vec((linear.inputs(), batch), r).expect("as many as places");
        let shares = run::<B>(secret, (&plan, layout), (linear, &weights), &r, rng);
        let shares = shares.expect("shares, as of other batches");
        for (share, whose) in shares.iter().zip(["client", "server"]) {
            let count = share.values().len();
            let ones = |bit: u32| share.values().iter().filter(|&x| x >> bit & 1 == 1).count();
            let ones: Vec<_> = (0..ring_bits).map(ones).collect();
            let bound = 6.0 * (count as f64 / 4.0).sqrt();
            if ones.iter().any(|&ones| (ones as f64 - count as f64 / 2.0).abs() > bound) {
                let law = format!("uniform bits of the {whose}'s share, layout {layout}");
                let expected = vec![count as i128 / 2; ones.len()];
                let got = Ok(ones.iter().map(|&ones| ones as i128).collect());
                return Err(Broken { law, expected, got });
            }
        }
    }
    Ok(())
}
