//! `gelu backends`: the cryptosystems, what each can do, and which of them this program has.

use anyhow::Result;
use serde::Serialize;

use crate::output::{Output, table};

/// List the cryptosystems: what each can do, how safe it is, and which are in this build
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu backends                                    as a table
  gelu backends --json                             for programs
  gelu infer --backend elgamal --model iris.safetensors --dataset iris
  cargo build --release --features elgamal,bgn     a program that has two more

A backend runs the protocol of this program: chosen with --backend, the same on both sides. How
many bits a plaintext has decides what it can do: queries to the networks of `gelu models` need 27 to 34,
training needs more than 100 because of its masks. What does not fit is refused before anything is sent, by the name of the
layer. The systems that GELU-Net is compared with belong to the laboratory, gelu-bench.")]
pub(crate) struct Args {}

/// What a system is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Use {
    TrainingAndInference,
    InferenceOnly,
}

impl Use {
    fn words(self) -> &'static str {
        match self {
            Self::TrainingAndInference => "training and inference",
            Self::InferenceOnly => "inference only",
        }
    }
}

/// One system. Numbers are those of its first size of key.
#[derive(Debug, Serialize)]
struct System {
    /// For --backend.
    name: &'static str,
    cryptosystem: &'static str,
    key_bits: &'static [u32],
    plaintext_bits: u32,
    slots_of_32_bits: u32,
    /// None for what does not encrypt.
    security_bits: Option<u32>,
    security: &'static str,
    #[serde(rename = "use")]
    for_what: Use,
    licence: &'static str,
    /// The cargo feature that it comes with; none for what is always there.
    feature: Option<&'static str>,
    compiled_in: bool,
}

const OURS: &str = "MIT OR Apache-2.0";

/// All systems, whether this build has them or not.
static SYSTEMS: [System; 5] = [
    System {
        name: "paillier",
        cryptosystem: "Paillier (EUROCRYPT 1999), values packed in slots",
        key_bits: &[2048, 3072, 4096],
        plaintext_bits: 2046,
        slots_of_32_bits: 63,
        security_bits: Some(112),
        security: "factoring, DCR; 128 bits with keys of 3072; none against a quantum computer",
        for_what: Use::TrainingAndInference,
        licence: OURS,
        feature: Some("paillier"),
        compiled_in: cfg!(feature = "paillier"),
    },
    System {
        name: "lattice",
        cryptosystem: "BFV, additions only, values in coefficients",
        key_bits: &[4096, 8192],
        plaintext_bits: 44 * 4096,
        slots_of_32_bits: 4096,
        security_bits: Some(128),
        security: "ring-LWE, believed to hold against quantum computers; 20 years younger than factoring",
        for_what: Use::TrainingAndInference,
        licence: OURS,
        feature: Some("lattice"),
        compiled_in: cfg!(feature = "lattice"),
    },
    System {
        name: "elgamal",
        cryptosystem: "exponential ElGamal on Ristretto",
        key_bits: &[256],
        plaintext_bits: 40,
        slots_of_32_bits: 1,
        security_bits: Some(126),
        security: "discrete logarithms, DDH; none against a quantum computer",
        for_what: Use::InferenceOnly,
        licence: "MIT OR Apache-2.0; curve25519-dalek: BSD-3-Clause",
        feature: Some("elgamal"),
        compiled_in: cfg!(feature = "elgamal"),
    },
    System {
        name: "bgn",
        cryptosystem: "BGN in prime-order form on BLS12-381, level 1",
        key_bits: &[381],
        plaintext_bits: 40,
        slots_of_32_bits: 1,
        security_bits: Some(117),
        security: "discrete logarithms, SXDH; none against a quantum computer",
        for_what: Use::InferenceOnly,
        licence: "MIT OR Apache-2.0; blst: Apache-2.0",
        feature: Some("bgn"),
        compiled_in: cfg!(feature = "bgn"),
    },
    System {
        name: "insecure-clear",
        cryptosystem: "no encryption: integers in the open, of the size of Paillier's",
        key_bits: &[2048, 3072, 4096],
        plaintext_bits: 2046,
        slots_of_32_bits: 63,
        security_bits: None,
        security: "none: for tests and measurements",
        for_what: Use::TrainingAndInference,
        licence: OURS,
        feature: None,
        compiled_in: true,
    },
];

/// Prints the table.
pub(crate) fn run(_: &Args, output: Output) -> Result<()> {
    output.show(&SYSTEMS, text())
}

fn text() -> String {
    let mut rows = table(&[
        "--backend",
        "cryptosystem, and what its security rests on",
        "#key\nbits",
        "#plaintext\nbits",
        "#slots of\n32 bits",
        "#security\nbits",
        "use",
    ]);
    let (here, left_out): (Vec<_>, Vec<_>) = SYSTEMS.iter().partition(|s| s.compiled_in);
    for system in &here {
        let sizes: Vec<_> = system.key_bits.iter().map(ToString::to_string).collect();
        rows.add_row([
            system.name.to_owned(),
            format!("{}\n{}", system.cryptosystem, system.security),
            sizes.join("\n"),
            system.plaintext_bits.to_string(),
            system.slots_of_32_bits.to_string(),
            system.security_bits.map_or("–".into(), |bits| bits.to_string()),
            system.for_what.words().to_owned(),
        ]);
    }
    let licences: Vec<_> =
        here.iter().map(|system| format!("  {:<16} {}", system.name, system.licence)).collect();
    let rest: Vec<_> = left_out.iter().map(|system| system.line()).collect();
    let rest = match rest.is_empty() {
        true => "This build has all of them.".to_owned(),
        false => format!(
            "Not in this build; a cargo feature adds each, as in `cargo build --release --features \
             elgamal,bgn`:\n{}",
            rest.join("\n")
        ),
    };
    format!(
        "{rows}\nPlaintext, slots and security are those of the smallest key.\n\n\
         Licences:\n{}\n\n{rest}",
        licences.join("\n")
    )
}

impl System {
    /// For the list of what was left out.
    fn line(&self) -> String {
        let feature = self.feature.unwrap_or_default();
        format!(
            "  --features {feature:<9} {:<16} {}, {}",
            self.name,
            self.for_what.words(),
            self.cryptosystem
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    use super::*;
    use gelu_core::backend::{Direction, Layout, Task};
    use gelu_core::slots::MAX_SLOT_BITS;
    use gelu_nn::layers::{Dense, Shape};

    use crate::backend::{self, Backend, Scheme};

    /// What a scheme says of itself must be what the table says of it.
    struct Compare<'a>(&'a System);

    impl backend::Task for Compare<'_> {
        type Output = ();

        fn run<S: Scheme>(self) {
            let system = self.0;
            assert_eq!(S::KEY_BITS, system.key_bits, "{}", S::ID);
            let secret = S::keygen(S::KEY_BITS[0], &mut ChaCha20Rng::seed_from_u64(1)).unwrap();
            // The fewest ciphertexts that bring so many values of so many bits down.
            let fewest = |outputs, value_bits| {
                let linear = &Dense::new(Shape::Vector(1), outputs).unwrap().linear_map();
                let (layer, direction) = ("dense", Direction::Forward);
                let task = Task { layer, linear, direction, batch: 1, value_bits, weight_bits: 1 };
                let layouts = S::layouts(S::public_key(&secret), &task).ok()?;
                layouts.iter().map(|layout| layout.cost().ciphertexts_down).min()
            };
            let (plaintext, slots) = (system.plaintext_bits, system.slots_of_32_bits as usize);
            let (here, more) = (fewest(slots, 32), fewest(slots + 1, 32));
            assert_eq!((here, more), (Some(1), Some(2)), "{}", S::ID);
            assert!(system.compiled_in, "{}", S::ID);
            if S::WRAPS {
                // A value in each coefficient, as wide as noise leaves room for.
                assert_eq!(system.for_what, Use::TrainingAndInference);
                let widest = plaintext / system.slots_of_32_bits;
                assert_eq!((fewest(slots, widest), fewest(slots, widest + 1)), (Some(1), None));
                return;
            }
            // Values of the most bits that fill a plaintext to its last one.
            let fills = |bits: &u32| plaintext.is_multiple_of(*bits);
            let bits = (1..=plaintext.min(MAX_SLOT_BITS)).rev().find(fills).unwrap();
            let count = (plaintext / bits) as usize;
            let ciphertexts = (fewest(count, bits), fewest(count + 1, bits));
            assert_eq!(ciphertexts, (Some(1), Some(2)), "{}", S::ID);
            assert_eq!(fewest(1, plaintext + 1), None, "{}", S::ID);
            // The masks of a training alone have more than 80 bits.
            let trains = system.for_what == Use::TrainingAndInference;
            assert_eq!(trains, plaintext > 100);
        }
    }

    #[test]
    fn the_table_tells_the_truth_about_this_build() {
        for &backend in Backend::value_variants() {
            let system = SYSTEMS.iter().find(|system| system.name == backend.id());
            backend.run(Compare(system.expect("every backend is in the table")));
        }
        let backends = SYSTEMS.iter().filter(|s| s.compiled_in);
        assert_eq!(backends.count(), Backend::value_variants().len());
    }

    #[test]
    fn what_is_left_out_comes_with_the_feature_that_adds_it() {
        let text = text();
        for system in &SYSTEMS {
            assert!(text.contains(system.name), "{text}");
            let offered = text.contains(&system.line());
            assert_eq!(offered, !system.compiled_in, "{}", system.name);
            assert!(system.compiled_in || system.feature.is_some());
        }
    }
}
