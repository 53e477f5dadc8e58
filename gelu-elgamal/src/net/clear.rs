//! The same network without a second party: the oracle of the encrypted run.

use gelu_core::Result;

use super::sigmoid::ACTIVATION_BITS;
use super::weights::{Config, Gradients, Sample, Weights};

/// Training in plain integers, by somebody who has all features.
#[derive(Debug, Clone)]
pub struct Clear {
    config: Config,
    weights: Weights,
}

impl Clear {
    /// Starts from these weights.
    pub fn new(config: Config, weights: Weights) -> Self {
        Self { config, weights }
    }

    /// The weights now.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// One iteration; the gradients are exact.
    ///
    /// # Errors
    /// [`ApiMisuse::Configuration`](gelu_core::error::ApiMisuse) for a batch of another shape.
    pub fn step(&mut self, batch: &[Sample]) -> Result<Gradients> {
        self.config.check(batch)?;
        let mut total = vec![0; self.config.shape().parameters()];
        for sample in batch {
            for (sum, gradient) in total.iter_mut().zip(self.gradients(sample)) {
                *sum += gradient;
            }
        }
        let gradients = Gradients(total);
        self.weights.update(&self.config, &gradients);
        Ok(gradients)
    }

    fn gradients(&self, sample: &Sample) -> Vec<i64> {
        let (shape, weights) = (self.config.shape(), &self.weights);
        let h = weights.activations(sample);
        let outputs = weights.outputs(&h);
        let e: Vec<_> = (0..).zip(outputs).map(|(i, o)| o - sample.target(i)).collect();
        let x = [sample.features(0), sample.features(1), &[1]].concat();
        let one = 1 << ACTIVATION_BITS;
        let mut gradients = Vec::with_capacity(shape.parameters());
        for (j, h) in h.iter().enumerate() {
            let delta: i64 = e.iter().enumerate().map(|(i, e)| weights.output(i, j) * e).sum();
            gradients.extend(x.iter().map(|x| delta * h * (one - h) * x));
        }
        for e in &e {
            gradients.extend(h.iter().chain([&1]).map(|h| e * h));
        }
        gradients
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Shape;
    use crate::oracle::rng;

    /// The gradient is that of the squared error: moving against it makes the error smaller.
    #[test]
    fn training_learns_a_rule() {
        let shape = Shape { features: [1, 1], hidden: 4, outputs: 2 };
        let sample = |a: f64, b: f64| Sample::new(&[a], &[b], usize::from(a + b > 0.0));
        let grid = [-1.5, -0.7, 0.4, 1.1];
        let samples: Vec<_> = grid.iter().flat_map(|a| grid.map(|b| sample(*a, b))).collect();
        let config = Config::new(shape, 1, 4).unwrap();
        let mut net = Clear::new(config, Weights::random(shape, &mut rng(2)));
        for _ in 0..60 {
            samples.iter().for_each(|s| drop(net.step(core::slice::from_ref(s)).unwrap()));
        }
        assert_eq!(net.weights().accuracy(&samples), 1.0);
    }
}
