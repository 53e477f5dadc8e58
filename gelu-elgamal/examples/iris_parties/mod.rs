//! Fisher's flowers, divided: A measured the sepals, B the petals.

use gelu_elgamal::net::{Sample, Shape};
use gelu_nn::{Dataset, Standardiser};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

/// Two features each, the hidden nodes of GELU-Net's section 5.1, three classes.
pub(crate) const IRIS: Shape = Shape { features: [2, 2], hidden: 5, outputs: 3 };

/// 120 samples to train with and 30 to test with.
///
/// Each party could standardise its own columns, so this needs no protocol.
pub(crate) fn samples(seed: u64) -> gelu_nn::Result<(Vec<Sample>, Vec<Sample>)> {
    let mut split = Dataset::iris().stratified_split(0.2, &mut ChaCha20Rng::seed_from_u64(seed))?;
    let standardiser = Standardiser::fit(&split.train);
    standardiser.apply(&mut split.train)?;
    standardiser.apply(&mut split.test)?;
    let divided = |dataset: &Dataset| -> Vec<Sample> {
        let columns = dataset.features().columns().into_iter().zip(dataset.labels());
        columns.map(|(x, &class)| Sample::new(&[x[0], x[1]], &[x[2], x[3]], class)).collect()
    };
    Ok((divided(&split.train), divided(&split.test)))
}
