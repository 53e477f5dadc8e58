//! Weights from the coefficients of c₀ that are no outputs.
//!
//! All N coefficients decrypt to those of Σ wᵢ(X)·mᵢ(X). A few are outputs; the others are sums of other weights. A
//! client that sends m = 1, one input of 1 at coefficient 0, reads
//!
//! ```text
//! w(X)·1 = w(X)
//! ```
//!
//! so every weight of a tile from one question. The real server sends the outputs alone.

use gelu_algebra::nearest;
use gelu_core::Result;
use gelu_core::backend::Layout;
use rand::CryptoRng;

use super::{Place, Scene};

impl Scene {
    /// The question m = 1.
    ///
    /// # Errors
    /// Never.
    pub fn ask_one(&self, rng: &mut dyn CryptoRng) -> Result<Vec<u8>> {
        let mut values = vec![0; self.linear.inputs()];
        values[0] = 1;
        self.ask(&values, rng)
    }

    /// What a client reads at these places if it receives all of c₀, sealed but for the cut.
    ///
    /// # Errors
    /// When the question is not one.
    pub fn read_uncut(
        &self,
        question: &[u8],
        places: &[Place],
        rng: &mut dyn CryptoRng,
    ) -> Result<Vec<i128>> {
        let phase = self.phase(self.hide(question, self.layout.budget().flood_bits, rng)?);
        // round(t·x/q): a quotient of a few bits.
        let modulus: f64 = self.basis().moduli().map(|q| q.value() as f64).product();
        let scale = modulus / (self.value_bits as f64).exp2();
        Ok(places.iter().map(|place| nearest(phase[place.coefficient] as f64 / scale)).collect())
    }

    /// What it receives from the real server.
    ///
    /// # Errors
    /// When the question is not one.
    pub fn read_outputs(&self, question: &[u8], rng: &mut dyn CryptoRng) -> Result<Vec<i128>> {
        let bytes = self.layout.seal(self.public(), self.evaluate(question)?, rng);
        Ok(self.layout.decrypt(&self.secret, &bytes)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_nn::zoo;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    #[test]
    fn one_question_gives_a_tile_if_nothing_is_cut_and_else_what_is_booked() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let scene = Scene::new(zoo::digits(), "dense/1x64x32", rng).unwrap();
        let (question, places) = (scene.ask_one(rng).unwrap(), scene.places(0));
        assert_eq!(scene.read_uncut(&question, &places, rng).unwrap(), scene.truth(&places));
        // The first weight of each row: one equation about it.
        let outputs = scene.read_outputs(&question, rng).unwrap();
        assert_eq!(outputs, scene.weights.iter().step_by(64).copied().collect::<Vec<_>>());
        assert_eq!(scene.exposure.equations_per_sample, 1);
        let words = scene.seal(scene.evaluate(&question).unwrap(), rng).swap_remove(0);
        assert_eq!(words.len(), 4096 + 32);
    }
}
