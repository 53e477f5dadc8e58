//! Packed networks against the same networks in the clear, and lying peers.

use gelu_ckks::KeyKind;
use gelu_fhe_baseline::packed::{Client, Error, Keys, Layer, Network, Privacy, Server};
use rand::rngs::ChaCha20Rng;
use rand::{RngExt, SeedableRng};

const NETWORKS: [Network; 3] = [Network::Conv1, Network::LeNet5, Network::Dense300];

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// Weights as large as trained ones, and biases.
struct Weights(Vec<[Vec<f64>; 2]>);

impl Weights {
    fn random(network: Network, seed: u64) -> Self {
        let rng = &mut rng(seed);
        let layer = |&(_, [weights, biases]): &(_, [usize; 2])| {
            let bound = (3.0 * biases as f64 / weights as f64).sqrt().min(0.5);
            [weights, biases].map(|n| (0..n).map(|_| rng.random_range(-bound..bound)).collect())
        };
        Self(network.shapes().iter().map(layer).collect())
    }

    fn layers(&self) -> Vec<Layer<'_>> {
        self.0.iter().map(|[weights, biases]| Layer { weights, biases }).collect()
    }
}

fn images(count: usize, seed: u64) -> Vec<Vec<f64>> {
    let rng = &mut rng(seed);
    let mut pixel = |_| f64::from(rng.random_range(0..=255)) / 255.0;
    (0..count).map(|_| (0..Network::PIXELS).map(&mut pixel).collect()).collect()
}

fn server(network: Network, weights: &Weights, privacy: Privacy) -> Server {
    let images = images(2, 1);
    Server::new(network, &weights.layers(), privacy, images.iter().map(Vec::as_slice)).unwrap()
}

fn largest(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!((a.len(), b.len()), (10, 10));
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// Packing moves numbers and rounds nothing: every pixel, weight and bias has its effect.
#[test]
fn packings_compute_the_networks() {
    for network in NETWORKS {
        let weights = Weights::random(network, 7);
        for privacy in [Privacy::Plain, Privacy::Hidden] {
            let server = server(network, &weights, privacy);
            for image in images(2, 3) {
                let expected = network.evaluate(&weights.layers(), &image).unwrap();
                let packed = server.in_the_clear(&image).unwrap();
                assert!(largest(&packed, &expected) < 1e-9, "{packed:?} {expected:?}");
            }
        }
    }
}

#[test]
fn encrypted_scores_are_within_six_deviations_of_the_clear() {
    for (network, privacy) in
        NETWORKS.into_iter().flat_map(|n| [(n, Privacy::Plain), (n, Privacy::Hidden)])
    {
        let (weights, rng) = (Weights::random(network, 9), &mut rng(11));
        let server = server(network, &weights, privacy);
        let client = Client::generate(server.exchange(), rng);
        let keys = server.read_keys(&client.keys(rng).unwrap()).unwrap();
        let image = &images(1, 5)[0];
        let expected = network.evaluate(&weights.layers(), image).unwrap();
        let query = client.encrypt(image, rng).unwrap();
        let scores = client.decrypt(&server.answer(&keys, &query, rng).unwrap()).unwrap();
        let (off, deviation) = (largest(&scores, &expected), server.deviation());
        let size = expected.iter().map(|x| x.abs()).fold(0.0, f64::max);
        println!(
            "{network:?}, {privacy:?}: off by {off:.1e}, deviation {deviation:.1e}, scores up to {size:.2}"
        );
        assert!(off < 6.0 * deviation && off > deviation / 1e3, "{off:e} {deviation:e}");
        assert!(
            6.0 * deviation < size / 4.0,
            "{deviation:e} says nothing about scores up to {size}"
        );
        // The same query again: only what hides the computation is random.
        let again = [0, 1].map(|_| server.answer(&keys, &query, rng).unwrap());
        assert_eq!(again[0] == again[1], privacy == Privacy::Plain);
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let (network, rng) = (Network::Conv1, &mut rng(1));
    let weights = Weights::random(network, 1);
    let layers = weights.layers();
    let new = |network, layers: &[_], images: &[Vec<f64>]| {
        Server::new(network, layers, Privacy::Plain, images.iter().map(Vec::as_slice)).unwrap_err()
    };
    let calibration = images(1, 1);
    assert_eq!(new(network, &layers, &[]), Error::NoCalibration);
    let refused = new(Network::LeNet5, &layers, &calibration);
    assert_eq!(refused, Error::Shape { what: "the list of layers", expected: 5, got: 2 });
    let swapped = [layers[1], layers[0]];
    let refused = new(network, &swapped, &calibration);
    assert_eq!(refused, Error::Shape { what: "the convolution", expected: 125, got: 1800 });
    let refused = new(network, &layers, &[vec![0.0; 783]]);
    assert_eq!(refused, Error::Shape { what: "an image", expected: 784, got: 783 });

    let server = server(network, &weights, Privacy::Plain);
    assert!(!format!("{server:?}").contains("0."), "{server:?}");
    let client = Client::generate(server.exchange(), rng);
    let query = client.encrypt(&calibration[0], rng).unwrap();
    let none = Keys { evaluation: vec![0; 4], public: None };
    let none = server.read_keys(&none).unwrap();
    let refused = server.answer(&none, &query, rng).unwrap_err();
    assert!(matches!(refused, Error::Scheme(gelu_ckks::Error::MissingKey { .. })), "{refused}");
    assert!(server.answer(&none, &query[1..], rng).is_err());
    assert!(client.decrypt(&query).is_err());
    assert!(matches!(client.encrypt(&[0.0], rng), Err(Error::Shape { .. })));
    // A whole key of the first level would be there for every rotation; levels below take less.
    let levels = server.exchange().keys();
    assert!(levels.iter().any(|(kind, level)| matches!(kind, KeyKind::Rotation(_)) && *level == 0));
}
