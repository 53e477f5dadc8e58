//! Packed CKKS: one image of a trained Conv-1, LeNet-5 or Dense(300) with squares in the slots of a ciphertext.

use std::time::Instant;

use gelu_core::pass::argmax;
use gelu_core::stats::largest;
use gelu_fhe_baseline::packed::{Client, Layer, Network, Privacy, Server};
use gelu_nn::{Dataset, FloatParameters};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::Error;

/// Training images that say how large values become.
const CALIBRATION: usize = 100;

/// Images one after the other, from pixels to scores; every message crosses as bytes.
#[derive(Debug, Clone)]
pub struct Queries {
    /// Of each image, both parties together.
    pub seconds: Vec<f64>,
    /// The class with the largest score, of each image.
    pub predictions: Vec<usize>,
    /// How far a score was off that of the same network in the clear, at most.
    pub off: f64,
    /// Bytes of an image.
    pub up: usize,
    /// Bytes of its scores.
    pub down: usize,
    /// Bytes of all keys, sent once.
    pub keys: usize,
    /// N.
    pub degree: usize,
    /// How far a score is off, as estimated.
    pub deviation: f64,
}

impl Queries {
    /// Makes the keys and asks for each of `images`.
    ///
    /// # Errors
    /// For weights or images of another network.
    pub fn run(
        network: Network,
        weights: &FloatParameters,
        privacy: Privacy,
        training: &Dataset,
        images: &Dataset,
    ) -> anyhow::Result<Self> {
        let calibration = columns(&training.head(CALIBRATION));
        let calibration = calibration.iter().map(Vec::as_slice);
        let layers = layers(weights);
        let server = Server::new(network, &layers, privacy, calibration)?;
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let client = Client::generate(server.exchange(), rng);
        let keys = client.keys(rng)?;
        let read = server.read_keys(&keys)?;
        let (mut seconds, mut predictions) = (Vec::new(), Vec::new());
        let (mut up, mut down, mut off) = (0, 0, 0.0);
        for image in columns(images) {
            let start = Instant::now();
            let query = client.encrypt(&image, rng)?;
            let answer = server.answer(&read, &query, rng)?;
            let scores = client.decrypt(&answer)?;
            seconds.push(start.elapsed().as_secs_f64());
            let expected = network.evaluate(&layers, &image)?;
            off = largest(scores.iter().zip(expected).map(|(a, b)| (a - b).abs()).chain([off]));
            predictions.push(argmax(scores.into_iter()));
            (up, down) = (query.len(), answer.len());
        }
        let degree = server.exchange().parameters().degree();
        let (keys, deviation) = (keys.bytes(), server.deviation());
        Ok(Self { seconds, predictions, off, up, down, keys, degree, deviation })
    }
}

/// The network that the zoo calls `conv1`, `lenet5` or `mnist-dense`, with squares.
///
/// # Errors
/// For another name.
pub fn network_named(name: &str) -> Result<Network, Error> {
    match name {
        "conv1" => Ok(Network::Conv1),
        "lenet5" => Ok(Network::LeNet5),
        "mnist-dense" => Ok(Network::Dense300),
        other => Err(Error::Missing {
            what: format!("a packing of {other}"),
            advice: "take conv1, lenet5 or mnist-dense".into(),
        }),
    }
}

/// The class of each image by the same network without encryption.
///
/// # Errors
/// For weights or images of another network.
pub fn in_the_clear(
    network: Network,
    weights: &FloatParameters,
    data: &Dataset,
) -> anyhow::Result<Vec<usize>> {
    let layers = layers(weights);
    let class = |image: Vec<f64>| Ok(argmax(network.evaluate(&layers, &image)?.into_iter()));
    columns(data).into_iter().map(class).collect()
}

fn layers(weights: &FloatParameters) -> Vec<Layer<'_>> {
    let layers = weights.layers.iter();
    layers.map(|layer| Layer { weights: &layer.weights, biases: &layer.biases }).collect()
}

fn columns(data: &Dataset) -> Vec<Vec<f64>> {
    data.features().columns().into_iter().map(|column| column.to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_nn::zoo;
    use ndarray::Array2;
    use rand::RngExt;

    /// Weights of the zoo have the order that packings expect: encrypted answers are those of the clear.
    #[test]
    fn networks_of_the_zoo_are_packed() {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let images =
            Array2::from_shape_fn((784, 4), |_| f64::from(rng.random_range(0..=255)) / 255.0);
        let names = (0..784).map(|i| i.to_string()).collect();
        let classes = (0..10).map(|i| i.to_string()).collect();
        let images = Dataset::new(images, vec![0; 4], names, classes).unwrap();
        for (name, architecture) in [
            ("conv1", zoo::conv1_square()),
            ("lenet5", zoo::lenet5_square()),
            ("mnist-dense", zoo::mnist_dense_square()),
        ] {
            let network = network_named(name).unwrap();
            let weights = FloatParameters::initialise(&architecture, rng);
            let queries =
                Queries::run(network, &weights, Privacy::Plain, &images, &images).unwrap();
            assert_eq!(queries.predictions, in_the_clear(network, &weights, &images).unwrap());
            assert!(queries.off > 0.0 && queries.off < 8.0 * queries.deviation, "{}", queries.off);
            assert!(queries.keys > 100 * queries.down && queries.up > queries.down);
        }
        assert!(network_named("iris").is_err());
        let iris = FloatParameters::initialise(&zoo::iris(), rng);
        assert!(in_the_clear(Network::Conv1, &iris, &images).is_err());
    }
}
