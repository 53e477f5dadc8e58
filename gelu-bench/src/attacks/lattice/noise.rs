//! Weights from the noise of answers.
//!
//! The phase of an answer to encryptions of 0 is its noise. The client chooses e, as large as errors may be, and has
//! one equation from each coefficient p that it receives:
//!
//! ```text
//! noise[p]  =  Σ w[j]·e[p − j]  +  (what an encryption of 0 and flooding add)
//! ```
//!
//! Least squares over many give w up to σ/(21·√equations), for a deviation σ of what is added. That is
//! 2^f/√3 for flooding of f bits, so every bit of it takes four times the questions. The bound that the backend
//! states needs no such picture: whatever the client does with one coefficient, it differs by 2^−h from one that is
//! independent of the weights, h = [`Budget::hiding_bits`](gelu_lattice::Budget::hiding_bits).

use gelu_algebra::LeastSquares;
use gelu_core::Result;
use gelu_ring::Poly;
use nalgebra::DMatrix;
use rand::CryptoRng;

use super::{Place, Scene, largest_errors};

/// Of which server the noise is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// It floods with so many bits, and sends its outputs modulo q.
    Floods(u32),
    /// The real one, through its wire.
    Real,
}

impl Scene {
    /// Estimates of the weights at `places`, from `questions` questions of errors alone.
    ///
    /// # Errors
    /// Never for a layout with one upload and one answer.
    pub fn read_noise(
        &self,
        server: Server,
        places: &[Place],
        questions: usize,
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<f64>> {
        let outputs = self.outputs();
        let mut weights = LeastSquares::new(places.len());
        for _ in 0..questions {
            let errors = largest_errors(self.degree(), rng);
            let question = self.ask_error(&errors, rng);
            let noise = match server {
                Server::Floods(bits) => {
                    let phase = self.phase(self.hide(&question, bits, rng)?);
                    outputs.iter().map(|&place| phase[place] as f64).collect()
                }
                Server::Real => self.noise_on_the_wire(&question, &outputs, rng)?,
            };
            let row = |p: usize, place: &Place| match p.checked_sub(place.coefficient) {
                Some(from) => errors[from] as f64,
                None => -errors[p + self.degree() - place.coefficient] as f64,
            };
            let equations =
                DMatrix::from_fn(outputs.len(), places.len(), |i, j| row(outputs[i], &places[j]));
            weights.add(&equations, noise);
        }
        Ok(weights.solve().unwrap_or_default())
    }

    /// (c₀ + c₁·s)·q/2^w of what the real server sends, centred: its noise, as the answer is 0.
    fn noise_on_the_wire(
        &self,
        question: &[u8],
        outputs: &[usize],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<f64>> {
        let sealed = self.seal(self.evaluate(question)?, rng).swap_remove(0);
        let (c1, c0) = sealed.split_at(self.degree());
        let width = self.layout.budget().wire_bits;
        let c1: Vec<i128> = c1.iter().map(|word| word.cast_signed()).collect();
        let zero = Poly::zero(self.basis());
        let product = self.phase([zero, Poly::from_signed(self.basis(), &c1)]);
        let unit = (self.public().parameters().modulus_bits() - f64::from(width)).exp2();
        let noise = |(&c0, &place): (&u128, &usize)| {
            let phase = c0.cast_signed() + product[place];
            (phase << (128 - width) >> (128 - width)) as f64 * unit
        };
        Ok(c0.iter().zip(outputs).map(noise).collect())
    }

    /// The coefficients of outputs, of an image in one upload and one answer.
    pub(super) fn outputs(&self) -> Vec<usize> {
        let gelu_core::linear::LinearMap::Window(window) = &self.linear else { return Vec::new() };
        let (area, taps) = self.kernel();
        let (rows, columns) = (window.rows(), window.columns());
        let width = columns.size() + 2 * columns.padding();
        let last = taps[0];
        let position = move |i: usize| {
            let (y, x) = (i / columns.outputs(), i % columns.outputs());
            last + rows.step() * y * width + columns.step() * x
        };
        let filters = 0..window.filters();
        filters.flat_map(|o| (0..window.positions()).map(move |i| o * area + position(i))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::laboratory::danger_bare;
    use super::*;
    use gelu_algebra::{correlation, nearest};
    use gelu_nn::zoo;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// Without anything added, the noise is Σ w·e exactly; and places of outputs are those of the layout.
    #[test]
    fn bare_noise_is_the_weighed_errors() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let scene = Scene::new(zoo::conv1(), "image/1x1x5", rng).unwrap();
        let mut errors = vec![0; 4096];
        errors[0] = 21;
        let question = scene.ask_error(&errors, rng);
        let sums = danger_bare(&scene.evaluate(&question).unwrap()).swap_remove(0);
        let noise = scene.phase(sums.map(Poly::into_coefficients));
        let places = scene.places(0);
        let read: Vec<_> = places.iter().map(|place| noise[place.coefficient] / 21).collect();
        assert_eq!(read, scene.truth(&places));
        let sealed = scene.seal(scene.evaluate(&question).unwrap(), rng).swap_remove(0);
        assert_eq!(sealed.len(), 4096 + scene.outputs().len());
    }

    #[test]
    fn short_floods_show_the_weights_and_the_real_one_does_not() {
        let rng = &mut ChaCha20Rng::seed_from_u64(2);
        let scene = Scene::new(zoo::conv1(), "image/1x1x5", rng).unwrap();
        let places = scene.places(0);
        let truth = scene.truth(&places);
        let real: Vec<_> = truth.iter().map(|&w| w as f64).collect();
        let short = scene.read_noise(Server::Floods(8), &places, 24, rng).unwrap();
        let right = short.iter().zip(&truth).filter(|(a, b)| nearest(**a) == **b).count();
        assert!(right > 112, "{right} of 125");
        let bits = scene.layout.budget().flood_bits;
        for server in [Server::Floods(bits), Server::Real] {
            let read = scene.read_noise(server, &places, 24, rng).unwrap();
            let alike = correlation(&read, &real).abs();
            assert!(alike < 0.4, "{server:?}: {alike}");
        }
    }
}
