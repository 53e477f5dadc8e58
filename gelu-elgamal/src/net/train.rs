//! Algorithm 1: one iteration of backpropagation, in shares.
//!
//! Both parties live in one process here, but each computes from its own state, its own features
//! and the bytes it was sent. Index 0 is A, who offers tables; index 1 is B, who looks up.

use gelu_core::Result;
use gelu_core::error::{ApiMisuse, PeerMisbehaved};
use gelu_core::rand_core::CryptoRng;
use rand::{SeedableRng, rngs::ChaCha20Rng};

use super::SUM_BOUND;
use super::lookup::{Party, Table, exchange};
use super::product::{DIGITS, FEATURE_DIGITS, FEATURE_OFFSET, choices, share, tables};
use super::shares::{RING_BITS, Share};
use super::sigmoid::{ACTIVATION_BITS, sigmoid};
use super::tally::Tally;
use super::weights::{Config, Gradients, Sample, Weights};
use crate::keys::SecretKey;

/// A's and B's halves of a row of numbers.
type Halves = [Vec<Share>; 2];

/// Two parties who train together.
pub struct Trainer {
    config: Config,
    parties: [Party; 2],
    /// What each believes the weights to be: always the same.
    weights: [Weights; 2],
}

impl core::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Trainer").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Trainer {
    /// Fresh keys for both, from weights that both know.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] for weights of another shape.
    pub fn new(config: Config, weights: Weights, rng: &mut dyn CryptoRng) -> Result<Self> {
        if weights.shape() != config.shape() {
            return Err(ApiMisuse::configuration("weights", "of another shape").into());
        }
        let [a, b] = [0; 2].map(|_| SecretKey::generate(rng));
        let (of_a, of_b) = (a.public_key().clone(), b.public_key().clone());
        let mut meet = |secret, peer| {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            let party = Party::new(secret, peer, ChaCha20Rng::from_seed(seed));
            party.ok_or(PeerMisbehaved::InvalidKey("the negative of ours"))
        };
        let parties = [meet(a, &of_b)?, meet(b, &of_a)?];
        Ok(Self { config, parties, weights: [weights.clone(), weights] })
    }

    /// The weights now, as A (0) or B (1) has them.
    pub fn weights(&self, party: usize) -> &Weights {
        &self.weights[party]
    }

    /// What A (0) and B (1) have computed and sent so far.
    pub fn tallies(&self) -> [Tally; 2] {
        [self.parties[0].tally, self.parties[1].tally]
    }

    /// One iteration on a batch: all gradients in shares, summed in shares, opened once.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`] for a batch of another shape; nothing else between parties who
    /// follow the protocol.
    pub fn step(&mut self, batch: &[Sample]) -> Result<Gradients> {
        self.config.check(batch)?;
        let zero = || vec![Share::default(); self.config.shape().parameters()];
        let mut sums = [zero(), zero()];
        for sample in batch {
            let gradients = self.gradients(sample)?;
            for (sums, gradients) in sums.iter_mut().zip(gradients) {
                sums.iter_mut().zip(gradients).for_each(|(sum, g)| *sum = *sum + g);
            }
        }
        let sent: [Vec<u8>; 2] = [0, 1].map(|p| {
            let bytes: Vec<_> = sums[p].iter().flat_map(|s| s.bits().to_le_bytes()).collect();
            self.parties[p].send(0, &bytes)
        });
        let [opened, of_bob] = [0, 1].map(|p| {
            let theirs = sent[1 - p].chunks_exact(8).map(|bytes| {
                Share::of_bits(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
            });
            Gradients(sums[p].iter().zip(theirs).map(|(ours, s)| (*ours + s).signed()).collect())
        });
        for (weights, gradients) in self.weights.iter_mut().zip([&opened, &of_bob]) {
            weights.update(&self.config, gradients);
        }
        Ok(opened)
    }

    /// Shares of one sample's gradients, in the order of the weights.
    fn gradients(&mut self, sample: &Sample) -> Result<Halves> {
        let shape = self.config.shape();
        let (hidden, outputs) = (shape.hidden, shape.outputs);
        let h = self.activations(sample)?;

        // e_i: A knows the thresholds' part and the target.
        let e: Halves = [0, 1].map(|p| {
            let weights = &self.weights[p];
            let known = |i| (weights.output(i, hidden) << ACTIVATION_BITS) - sample.target(i);
            let error = |i| {
                let sum: Share =
                    h[p].iter().enumerate().map(|(j, h)| h.times(weights.output(i, j))).sum();
                if p == 0 { sum + Share::of(known(i)) } else { sum }
            };
            (0..outputs).map(error).collect()
        });
        // δ_j = Σ v_ij·e_i
        let delta: Halves = [0, 1].map(|p| {
            let sum = |j| (0..outputs).map(|i| e[p][i].times(self.weights[p].output(i, j))).sum();
            (0..hidden).map(sum).collect()
        });

        // e_i·h_j for all i and j, h_j·(1 − h_j), and p_j = δ_j·g_j.
        let pairs: Vec<_> = (0..outputs).flat_map(|i| (0..hidden).map(move |j| (i, j))).collect();
        let e_of = |p: usize| -> Vec<Share> { pairs.iter().map(|&(i, _)| e[p][i]).collect() };
        let h_of = |p: usize| -> Vec<Share> { pairs.iter().map(|&(_, j)| h[p][j]).collect() };
        let twice: Vec<_> = h[0].iter().map(|h| h.shifted(1)).collect();
        let m = [e_of(0), h_of(0), twice].concat();
        let n = [h_of(1), e_of(1), h[1].clone()].concat();
        let crossed = self.multiply(&m, &n, |_| DIGITS)?;
        let count = pairs.len();
        let by_h: Halves = [0, 1].map(|p| {
            let own = pairs.iter().map(|&(i, j)| e[p][i] * h[p][j]);
            let crossed = crossed[p][..count].iter().zip(&crossed[p][count..2 * count]);
            own.zip(crossed).map(|(own, (first, second))| own + *first + *second).collect()
        });
        let slope: Halves = [0, 1].map(|p| {
            let squares = h[p].iter().zip(&crossed[p][2 * count..]);
            squares.map(|(h, crossed)| h.shifted(ACTIVATION_BITS) - *h * *h - *crossed).collect()
        });
        let m = [&delta[0][..], &slope[0]].concat();
        let n = [&slope[1][..], &delta[1]].concat();
        let crossed = self.multiply(&m, &n, |_| DIGITS)?;
        let product: Halves = [0, 1].map(|p| {
            let own = delta[p].iter().zip(&slope[p]).map(|(delta, slope)| *delta * *slope);
            let crossed = crossed[p][..hidden].iter().zip(&crossed[p][hidden..]);
            own.zip(crossed).map(|(own, (first, second))| own + *first + *second).collect()
        });
        let by_x = self.times_features(&product, sample)?;

        Ok([0, 1].map(|p| {
            let rows = by_x[p].chunks(shape.inputs()).zip(&product[p]);
            let rows = rows.chain(by_h[p].chunks(hidden).zip(&e[p]));
            rows.flat_map(|(row, threshold)| row.iter().chain([threshold])).copied().collect()
        }))
    }

    /// Algorithm 2 for each hidden node: shares of y(z_A + z_B).
    fn activations(&mut self, sample: &Sample) -> Result<Halves> {
        let [a, b] = [0, 1].map(|p| self.weights[p].partial_sums(p, sample.features(p)));
        let [alice, bob] = &mut self.parties;
        let mut ours = Vec::new();
        let tables = a.iter().map(|z_a| {
            let mask = Share::uniform(&mut alice.rng);
            ours.push(mask);
            let entry = |z_b| (Share::of(sigmoid(z_a + z_b)) - mask).bits();
            Table { bits: RING_BITS, entries: (-SUM_BOUND..=SUM_BOUND).map(entry).collect() }
        });
        let tables: Vec<_> = tables.collect();
        let index = |z_b: &i64| usize::try_from(z_b + SUM_BOUND).expect("a sum within its bound");
        let choices: Vec<_> = b.iter().map(index).collect();
        let theirs = exchange(alice, bob, &tables, &choices)?;
        Ok([ours, theirs.into_iter().map(Share::of_bits).collect()])
    }

    /// Shares of p_j·x_k for each j and k, from shares of p: x_k is known to one of them.
    fn times_features(&mut self, product: &Halves, sample: &Sample) -> Result<Halves> {
        let [x_a, x_b] =
            [0, 1].map(|p| sample.features(p).iter().map(|x| Share::of(*x)).collect::<Vec<_>>());
        let (mut m, mut n) = (Vec::new(), Vec::new());
        for (of_alice, of_bob) in product[0].iter().zip(&product[1]) {
            m.extend(x_a.iter().chain(x_b.iter().map(|_| of_alice)));
            n.extend(x_a.iter().map(|_| *of_bob));
            n.extend(x_b.iter().map(|x| *x + Share::of(FEATURE_OFFSET)));
        }
        let (inputs, of_a) = (x_a.len() + x_b.len(), x_a.len());
        let digits = |at| if at % inputs < of_a { DIGITS } else { FEATURE_DIGITS };
        let mut halves = self.multiply(&m, &n, digits)?;
        for (at, half) in halves[0].iter_mut().enumerate() {
            let (j, k) = (at / inputs, at % inputs);
            let own = |x: &Share| *x * product[0][j];
            *half = *half + x_a.get(k).map_or(product[0][j].times(-FEATURE_OFFSET), own);
        }
        for (at, half) in halves[1].iter_mut().enumerate() {
            let (j, k) = (at / inputs, at % inputs);
            let own = k.checked_sub(of_a).map(|k| x_b[k] * product[1][j]);
            *half = *half + own.unwrap_or_default();
        }
        Ok(halves)
    }

    /// Algorithm 3 for each of A's M and B's N, which has so many digits: shares of M·N.
    fn multiply(
        &mut self,
        m: &[Share],
        n: &[Share],
        digits: impl Fn(usize) -> u32,
    ) -> Result<Halves> {
        let [alice, bob] = &mut self.parties;
        let (mut offered, mut ours) = (Vec::new(), Vec::new());
        for (at, m) in m.iter().enumerate() {
            let (tables, share) = tables(*m, digits(at), &mut alice.rng);
            offered.extend(tables);
            ours.push(share);
        }
        let chosen: Vec<_> =
            n.iter().enumerate().flat_map(|(at, n)| choices(*n, digits(at))).collect();
        let messages = exchange(alice, bob, &offered, &chosen)?;
        let mut rest = &messages[..];
        let theirs = (0..n.len()).map(|at| {
            let (these, after) = rest.split_at(digits(at) as usize);
            rest = after;
            share(these)
        });
        let theirs = theirs.collect();
        Ok([ours, theirs])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Clear, Shape, formula};
    use crate::oracle::rng;

    const SHAPE: Shape = Shape { features: [1, 2], hidden: 2, outputs: 2 };

    fn samples() -> [Sample; 2] {
        [Sample::new(&[1.3], &[-2.0, 0.25], 0), Sample::new(&[-0.5], &[3.9, -4.0], 1)]
    }

    /// Shares add up to the plain network, bit for bit; costs are the formula's.
    #[test]
    fn the_encrypted_run_is_the_clear_run() {
        let config = Config::new(SHAPE, 2, 3).unwrap();
        let weights = Weights::random(SHAPE, &mut rng(20));
        let mut clear = Clear::new(config, weights.clone());
        let mut trainer = Trainer::new(config, weights.clone(), &mut rng(21)).unwrap();
        let samples = samples();
        let mut expected = Tally::default();
        for batch in [&samples[..], &samples[..1]] {
            assert_eq!(trainer.step(batch).unwrap(), clear.step(batch).unwrap());
            assert_eq!(trainer.weights(0), clear.weights());
            assert_eq!(trainer.weights(1), clear.weights());
            expected = expected + formula(SHAPE, batch.len() as u64);
        }
        assert_ne!(&weights, clear.weights(), "something was learnt");
        let [a, b] = trainer.tallies();
        assert_eq!(a + b, expected);
        assert!(trainer.step(&[]).is_err());
    }

    /// The docs' warning, carried out: after one opened sample, A knows B's features exactly.
    #[test]
    fn what_one_opened_sample_tells() {
        let config = Config::new(SHAPE, 1, 3).unwrap();
        let weights = Weights::random(SHAPE, &mut rng(22));
        let sample = &samples()[..1];
        let opened = Clear::new(config, weights).step(sample).unwrap();
        let threshold = opened.hidden(SHAPE, 0, SHAPE.inputs());
        assert_ne!(threshold, 0);
        let stolen = [1, 2].map(|k| opened.hidden(SHAPE, 0, k) / threshold);
        assert_eq!(stolen, sample[0].features(1));
    }

    /// Halves are as good as random: the same sample, the same weights, other keys and masks.
    #[test]
    fn halves_change_with_the_randomness_and_their_sum_does_not() {
        let config = Config::new(SHAPE, 1, 3).unwrap();
        let weights = Weights::random(SHAPE, &mut rng(23));
        let [first, second] = [24, 25].map(|seed| {
            let mut trainer = Trainer::new(config, weights.clone(), &mut rng(seed)).unwrap();
            trainer.activations(&samples()[0]).unwrap()
        });
        let expected = weights.activations(&samples()[0]);
        for j in 0..SHAPE.hidden {
            for halves in [&first, &second] {
                assert_eq!((halves[0][j] + halves[1][j]).signed(), expected[j]);
            }
            assert_ne!(first[0][j], second[0][j]);
            assert_ne!(first[1][j], second[1][j]);
        }
    }
}
