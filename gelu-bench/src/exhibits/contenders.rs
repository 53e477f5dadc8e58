//! The systems of table 4, each run on one network: from pixels in the clear to scores in the clear.

use anyhow::Result;
use gelu_cli::args::Cryptosystem;
use gelu_core::stats::median;
use gelu_nn::{Dataset, Model};

use super::orion;
use super::parties::{Queries, cryptosystems};
use crate::link::Profile;
use crate::setting::{Progress, Setting};
use crate::{Error, networks};

/// How a network is evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    /// GELU-Net under Paillier, both parties as processes over TLS.
    Paillier,
    /// The same protocol on a lattice.
    Lattice,
    /// CryptoNets on TFHE, a bootstrap for each activation.
    Bootstrapped,
    /// CryptoNets on BFV, an image in each slot.
    Batched,
    /// One image in the slots of CKKS, by Orion.
    Packed,
    /// The same by packings and a scheme of this project.
    PackedHere,
    /// The same, with the noise of the answer hidden from the client.
    PackedHidden,
}

/// What one system took for one network.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    pub(super) system: System,
    /// The paper's name of the network, and its activations where they are others.
    pub(super) network: String,
    /// Seconds of one image by itself, run by run.
    pub(super) seconds: Vec<f64>,
    /// Images of the largest batch, and the seconds that it took.
    pub(super) batch: (usize, f64),
    /// Share of the test images that are told right, in the integers of this system and in the clear.
    pub(super) accuracy: f64,
    /// How many test images.
    pub(super) images: usize,
    /// How many of them were under encryption, and how many of those had the answer of the clear.
    pub(super) encrypted: (usize, usize),
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) rounds: u64,
    /// What only a reader of the notes needs.
    pub(super) remark: Option<String>,
}

impl System {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Paillier => "GELU-Net, Paillier",
            Self::Lattice => "GELU-Net, lattice",
            Self::Bootstrapped => "CryptoNets, TFHE",
            Self::Batched => "CryptoNets, batched BFV",
            Self::Packed => "packed CKKS (Orion)",
            Self::PackedHere => "packed CKKS (gelu)",
            Self::PackedHidden => "packed CKKS (gelu), hidden",
        }
    }

    /// Whether it is the split protocol.
    pub(super) fn is_split(self) -> bool {
        matches!(self, Self::Paillier | Self::Lattice)
    }

    /// Whether it is written here, to be used, and not to be compared with.
    pub(super) fn is_ours(self) -> bool {
        self.is_split() || matches!(self, Self::PackedHere | Self::PackedHidden)
    }

    pub(super) fn client_learns(self) -> &'static str {
        match self {
            Self::Paillier | Self::Lattice => {
                "the weighted sums of every layer: equations about weights, counted"
            }
            Self::Bootstrapped => "noise that depends on weights and keys",
            Self::Batched | Self::Packed | Self::PackedHere => "noise that depends on the weights",
            Self::PackedHidden => {
                "nothing, up to 2^-30 a coefficient, while values are as calibrated"
            }
        }
    }

    pub(super) fn server_learns(self) -> &'static str {
        "sizes and times, nothing of the data"
    }

    /// How many times as fast the split protocol must be for the paper's claim to hold.
    pub(super) fn claimed(self) -> f64 {
        match self {
            Self::Bootstrapped => 100.0,
            _ => 10.0,
        }
    }
}

impl Measured {
    /// The network, whatever its activations.
    pub(super) fn base(&self) -> &str {
        self.network.trim_end_matches(", squares")
    }

    /// The median time of one image.
    pub(super) fn median(&self) -> f64 {
        median(self.seconds.iter().copied()).expect("one run at least")
    }

    /// Seconds an image in the largest batch.
    pub(super) fn amortised(&self) -> f64 {
        self.batch.1 / self.batch.0 as f64
    }
}

/// The split protocol under each of its cryptosystems: `runs` images by themselves, then `batch` at once.
pub(super) fn split(
    network: &str,
    model: &Model,
    test: &Dataset,
    [runs, batch]: [usize; 2],
    setting: &Setting,
    progress: &dyn Progress,
) -> Result<Vec<Measured>> {
    let inputs = model.architecture().input().features();
    let accuracy = model.evaluate(test)?.accuracy;
    let links = [Profile::loopback()];
    let measure = |(cryptosystem, system): (Cryptosystem, System)| {
        let ask = |shape| {
            let queries = &networks::queries(Some(test), inputs, shape, setting.seed);
            let queries =
                Queries { cryptosystem, model, queries, links: &links, setting, progress };
            Ok::<_, anyhow::Error>(queries.ask()?.remove(0))
        };
        progress.begin(&format!("{network} by {}", system.name()), runs + 3);
        let (one, many) = (ask([runs + 1, 1])?, ask([2, batch])?);
        // The queries' answers were compared bit for bit, classes included.
        let encrypted = one.predictions.len() + many.predictions.len();
        Ok(Measured {
            system,
            network: network.into(),
            batch: (batch, many.seconds[0]),
            accuracy,
            images: test.len(),
            encrypted: (encrypted, encrypted),
            up: one.up,
            down: one.down,
            rounds: one.rounds,
            remark: None,
            seconds: one.seconds,
        })
    };
    cryptosystems(setting)?
        .into_iter()
        .zip([System::Paillier, System::Lattice])
        .map(measure)
        .collect()
}

/// TFHE: `count` images, one after the other; there are no batches.
#[cfg(feature = "tfhe")]
pub(super) fn bootstrapped(
    network: &str,
    model: &Model,
    training: &Dataset,
    test: &Dataset,
    count: usize,
    setting: &Setting,
    progress: &dyn Progress,
) -> Result<Measured> {
    use crate::baselines::bootstrapped::{Query, in_the_clear, plan, sample};
    use gelu_fhe_baseline::torus::{ClientKey, Parameters};
    use rand::SeedableRng;

    progress.begin(&format!("{network} under TFHE"), count + 1);
    let plan = plan(model, training, Parameters::fast())?;
    let (expected, outside) = in_the_clear(&plan, test);
    let rng = &mut rand::rngs::ChaCha20Rng::seed_from_u64(setting.seed);
    let client = ClientKey::generate(*plan.parameters(), rng);
    let server = client.evaluation_key(rng);
    progress.step();
    let mut queries = Vec::new();
    for image in 0..count {
        queries.push(Query::run(&client, &server, &plan, &sample(test, image), rng)?);
        progress.step();
    }
    let equal = queries.iter().zip(&expected).filter(|(q, e)| q.prediction == **e).count();
    let right = expected.iter().zip(test.labels()).filter(|(a, b)| a == b).count();
    let seconds: Vec<_> = queries.iter().map(|query| query.total().as_secs_f64()).collect();
    Ok(Measured {
        system: System::Bootstrapped,
        network: network.into(),
        batch: (count, seconds.iter().sum()),
        seconds,
        accuracy: right as f64 / test.len() as f64,
        images: test.len(),
        encrypted: (count, equal),
        up: queries[0].up as u64,
        down: queries[0].down as u64,
        rounds: 1,
        remark: Some(format!(
            "{network} under TFHE: {} bootstraps, {} bits of security, {outside} of {} images leave a range",
            plan.bootstraps(),
            Parameters::SECURITY_BITS,
            test.len()
        )),
    })
}

/// Left out of this build.
#[cfg(not(feature = "tfhe"))]
pub(super) fn bootstrapped(
    _: &str,
    _: &Model,
    _: &Dataset,
    _: &Dataset,
    _: usize,
    _: &Setting,
    _: &dyn Progress,
) -> Result<Measured> {
    Err(left_out(System::Bootstrapped, "tfhe"))
}

/// BFV: as many images at once as there are slots; one alone takes as long.
pub(super) fn batched(
    network: &str,
    model: &Model,
    validation: &Dataset,
    test: &Dataset,
    setting: &Setting,
    progress: &dyn Progress,
) -> Result<Measured> {
    use crate::baselines::batched::{Batch, accuracy, narrowest, pixels};
    use gelu_fhe_baseline::leveled::Parameters;
    use rand::SeedableRng;

    progress.begin(&format!("{network} under batched BFV"), 0);
    let (widths, circuit) = narrowest(&model.weights(), validation)?;
    let parameters = Parameters::for_circuit(&circuit, PLAINTEXT_MODULI)?;
    let in_the_clear = circuit.evaluate(&pixels(test, widths.pixels))?;
    let images = test.head(parameters.slots());
    let inputs = pixels(&images, widths.pixels);
    let rng = &mut rand::rngs::ChaCha20Rng::seed_from_u64(setting.seed);
    let batch = Batch::run(&circuit, &parameters, &inputs, rng, |_| progress.step())?;
    if batch.scores != circuit.evaluate(&inputs)? {
        return Err(Error::WrongAnswer(format!("a score of {network} under BFV")).into());
    }
    let seconds = batch.total().as_secs_f64();
    Ok(Measured {
        system: System::Batched,
        network: network.into(),
        seconds: vec![seconds],
        batch: (images.len(), seconds),
        accuracy: accuracy(&in_the_clear, test.labels()),
        images: test.len(),
        encrypted: (images.len(), images.len()),
        up: batch.up as u64,
        down: batch.down as u64,
        rounds: 1,
        remark: Some(format!(
            "{network} under BFV: {} slots, {PLAINTEXT_MODULI} plaintext moduli, {} bits of security, a key of \
             {:.1} MB once",
            parameters.slots(),
            parameters.security_bits(),
            batch.key as f64 / 1e6
        )),
    })
}

/// As CryptoNets takes them.
const PLAINTEXT_MODULI: usize = 2;

#[cfg(not(feature = "tfhe"))]
fn left_out(system: System, feature: &str) -> anyhow::Error {
    let what = system.name().to_owned();
    Error::Missing { what, advice: format!("build with --features {feature}") }.into()
}

/// CKKS, all of one image in the slots.
pub(super) fn packed(
    network: &str,
    short: &str,
    model: &Model,
    test: &Dataset,
    count: usize,
    progress: &dyn Progress,
) -> Result<Measured> {
    let environment = orion::environment().ok_or_else(|| Error::Missing {
        what: System::Packed.name().into(),
        advice: "name a Python environment with Orion in GELU_PEERS".into(),
    })?;
    progress.begin(&format!("{network} under packed CKKS"), 0);
    let images = test.head(count);
    let answered = orion::run(&environment, short, model, &images, count)?;
    let (expected, seconds) = (model.evaluate(&images)?.predictions, answered.runs_s);
    let equal = answered.predictions.iter().zip(&expected).filter(|(a, b)| a == b).count();
    Ok(Measured {
        system: System::Packed,
        network: network.into(),
        batch: (seconds.len(), seconds.iter().sum()),
        seconds,
        accuracy: model.evaluate(test)?.accuracy,
        images: test.len(),
        encrypted: (images.len(), equal),
        up: answered.bytes_up,
        down: answered.bytes_down,
        rounds: 1,
        remark: Some(format!(
            "{network} under packed CKKS: {}; scores within {:.2e} of the clear, keys of {:.0} MB once",
            answered.security,
            answered.max_error,
            answered.key_bytes as f64 / 1e6
        )),
    })
}

/// The same by this project's packings and scheme: as computed, or hidden.
pub(super) fn packed_here(
    system: System,
    [network, short]: [&str; 2],
    model: &Model,
    training: &Dataset,
    test: &Dataset,
    count: usize,
    progress: &dyn Progress,
) -> Result<Measured> {
    use crate::baselines::packed::{Queries, in_the_clear, network_named};
    use gelu_fhe_baseline::packed::Privacy;

    let privacy = match system {
        System::PackedHidden => Privacy::Hidden,
        _ => Privacy::Plain,
    };
    progress.begin(&format!("{network} by {}", system.name()), 0);
    let (weights, which) = (model.weights(), network_named(short)?);
    let expected = in_the_clear(which, &weights, test)?;
    let right = expected.iter().zip(test.labels()).filter(|(a, b)| a == b).count();
    let queries = Queries::run(which, &weights, privacy, training, &test.head(count))?;
    let equal = queries.predictions.iter().zip(&expected).filter(|(a, b)| a == b).count();
    Ok(Measured {
        system,
        network: network.into(),
        batch: (queries.seconds.len(), queries.seconds.iter().sum()),
        seconds: queries.seconds,
        accuracy: right as f64 / test.len() as f64,
        images: test.len(),
        encrypted: (queries.predictions.len(), equal),
        up: queries.up as u64,
        down: queries.down as u64,
        rounds: 1,
        remark: Some(format!(
            "{network} by {}: one thread, N = {}, 128 bits of security, estimated deviation of a score {:.1e}, keys \
             of {:.0} MB once",
            system.name(),
            queries.degree,
            queries.deviation,
            queries.keys as f64 / 1e6
        )),
    })
}
