//! The networks of the paper, by name, and a larger one.
//!
//! [`resnet20`] is another paper's, and no weights come with it. Layers and sizes of the others are the paper's (section 5);
//! [`Recipe`]s are ours and train each network in the clear. On MNIST, with seed 1, all 60,000 images and the 10,000 of the test part:
//!
//! | network | test accuracy, f32 | in integers | seconds of one core |
//! | --- | --- | --- | --- |
//! | mnist-dense | 0.9790 | 0.9792 | 48 |
//! | dense12 | 0.9453 | 0.9453 | 10 ¹ |
//! | conv1 | 0.9796 | 0.9803 | 9 |
//! | lenet5 | 0.9935 | 0.9936 | 64 |
//!
//! Integers are those of [`Precision::INFERENCE`](gelu_core::Precision::INFERENCE),
//! [fitted](gelu_core::Precision::fitted), with no value cut off. Printed by `cargo run --release -p gelu-nn --example train_mnist -- NAME DATA 0 FILE`
//! (Xeon with AVX-512, baseline x86-64 code, November 2026; ¹ a build for development, with other
//! work on the machine).

use crate::layers::{Activation, Shape, Sides};
use crate::recipe::{Recipe, Schedule};
use crate::sequential::{LayerSpec, Sequential};

/// A network with a name, and how to train it.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// Name on the command line.
    pub name: &'static str,
    /// Other names by which it is found.
    pub also: &'static [&'static str],
    /// One sentence.
    pub description: &'static str,
    /// The data set it is made for, as [`Split::load`](crate::Split::load) names it.
    pub dataset: &'static str,
    /// Builds the architecture.
    pub architecture: fn() -> Sequential,
    /// Trains it in the clear.
    pub recipe: Recipe,
}

/// All networks.
pub fn entries() -> &'static [Entry] {
    &ENTRIES
}

/// The network of that name; [`also`](Entry::also) counts.
pub fn by_name(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name || entry.also.contains(&name))
}

/// Iris flowers: 4 measurements, 5 hidden neurons, 3 species.
pub fn iris() -> Sequential {
    dense(4, 5, 3)
}

/// Pima Indians diabetes: 8 measurements, 12 hidden neurons, 2 outcomes.
pub fn diabetes() -> Sequential {
    dense(8, 12, 2)
}

/// King and rook against king and pawn: 38 facts, 15 hidden neurons, won or not.
pub fn kr_vs_kp() -> Sequential {
    dense(38, 15, 2)
}

/// Small handwritten digits, which are part of this program: 64 pixels, 32 hidden neurons, 10
/// digits. Not a network of the paper: it stands for MNIST where there is no folder of data sets.
pub fn digits() -> Sequential {
    dense(64, 32, 10)
}

/// Handwritten digits by a dense network: 784 pixels, 300 hidden neurons, 10 digits.
pub fn mnist_dense() -> Sequential {
    dense(784, 300, 10)
}

/// Handwritten digits by a narrow dense network: 784 pixels, 12 hidden neurons, 10 digits.
pub fn dense12() -> Sequential {
    dense(784, 12, 10)
}

/// Handwritten digits by one convolution: 5 filters of 5x5 and stride 2, ReLU, 2x2 mean, ReLU, then
/// dense from 180 to 10. The pooling stands between two activations, so the client computes it.
pub fn conv1() -> Sequential {
    let layers = vec![
        LayerSpec::Conv2d {
            filters: 5,
            kernel: 5.into(),
            stride: 2.into(),
            padding: Sides::ZERO,
            groups: 1,
        },
        RELU,
        LayerSpec::MeanPool2d { window: 2.into() },
        RELU,
        LayerSpec::Dense { outputs: 10 },
    ];
    Sequential::new(Shape::image(1, 28, 28), layers).expect("sizes are in order")
}

/// Handwritten digits by LeNet-5: two convolutions of 5x5 with 6 and 16 filters, each fused with a
/// 2x2 mean, and three dense layers of 120, 84 and 10.
pub fn lenet5() -> Sequential {
    let conv = |filters| LayerSpec::Conv2d {
        filters,
        kernel: 5.into(),
        stride: 1.into(),
        padding: Sides::ZERO,
        groups: 1,
    };
    let pool = LayerSpec::MeanPool2d { window: 2.into() };
    let dense = |outputs| LayerSpec::Dense { outputs };
    let layers = vec![
        conv(6),
        pool,
        RELU,
        conv(16),
        pool,
        RELU,
        dense(120),
        RELU,
        dense(84),
        RELU,
        dense(10),
    ];
    Sequential::new(Shape::image(1, 28, 28), layers).expect("sizes are in order")
}

/// ResNet-20 for images of 32x32 pixels in three colours (He et al. 2016, section 4.2): a convolution, three times three
/// blocks of 16, 32 and 64 filters, the mean of each channel, and a dense layer.
///
/// Batch normalisations are folded into the convolutions, which therefore have biases. Where filters double, the shortcut is a
/// convolution of 1x1 and stride 2 (the paper's option B).
pub fn resnet20() -> Sequential {
    let conv = |filters, kernel: usize, stride| LayerSpec::Conv2d {
        filters,
        kernel: kernel.into(),
        stride: Sides::equal(stride),
        padding: (kernel / 2).into(),
        groups: 1,
    };
    let mut layers = vec![conv(16, 3, 1), RELU];
    for (filters, strides) in [(16, [1, 1, 1]), (32, [2, 1, 1]), (64, [2, 1, 1])] {
        for stride in strides {
            let (input, mut shortcut) = (layers.len(), layers.len());
            if stride > 1 {
                layers.push(conv(filters, 1, stride));
                shortcut = layers.len();
                layers.push(LayerSpec::Branch { from: input });
            }
            let add = LayerSpec::Add { from: shortcut };
            layers.extend([conv(filters, 3, stride), RELU, conv(filters, 3, 1), add, RELU]);
        }
    }
    layers.extend([LayerSpec::GlobalAveragePool, LayerSpec::Dense { outputs: 10 }]);
    Sequential::new(Shape::image(3, 32, 32), layers).expect("sizes are in order")
}

/// [`conv1`] with squares in place of ReLU: what CryptoNets evaluates.
pub fn conv1_square() -> Sequential {
    conv1().with_activation(Activation::Square)
}

/// [`lenet5`] with squares after the two poolings, as the paper lists them (section 5.2); the dense
/// layers follow each other without an activation.
pub fn lenet5_square() -> Sequential {
    let square = LayerSpec::Activation { function: Activation::Square };
    let mut squares = 0;
    let mut layers = lenet5().layers().to_vec();
    layers.retain_mut(|layer| match layer {
        LayerSpec::Activation { .. } => {
            squares += 1;
            *layer = square;
            squares <= 2
        }
        _ => true,
    });
    Sequential::new(Shape::image(1, 28, 28), layers).expect("sizes are in order")
}

/// [`mnist_dense`] with squares in place of the sigmoid.
pub fn mnist_dense_square() -> Sequential {
    mnist_dense().with_activation(Activation::Square)
}

/// [`digits`] with squares in place of the sigmoid: a base that CKKS can run, from data that are part of this program.
pub fn digits_square() -> Sequential {
    digits().with_activation(Activation::Square)
}

fn dense(inputs: usize, hidden: usize, classes: usize) -> Sequential {
    Sequential::dense(inputs, &[hidden], classes, Activation::Sigmoid).expect("sizes are in order")
}

const RELU: LayerSpec = LayerSpec::Activation { function: Activation::Relu };

/// Plain SGD, which the encrypted protocol runs as well.
const fn plain(epochs: usize, batch: usize, rate: f64) -> Recipe {
    Recipe { epochs, batch, rate, schedule: Schedule::Constant, momentum: 0.0, l2: 0.0, shift: 0 }
}

static ENTRIES: [Entry; 13] = [
    Entry {
        name: "iris",
        also: &[],
        description: "Iris flowers, dense 4-5-3, sigmoid",
        dataset: "iris",
        architecture: iris,
        recipe: plain(200, 10, 0.1),
    },
    Entry {
        name: "diabetes",
        also: &[],
        description: "Pima Indians diabetes, dense 8-12-2, sigmoid",
        dataset: "diabetes",
        architecture: diabetes,
        recipe: plain(100, 32, 0.1),
    },
    Entry {
        name: "kr-vs-kp",
        also: &[],
        description: "Chess end games, dense 38-15-2, sigmoid",
        dataset: "kr-vs-kp",
        architecture: kr_vs_kp,
        recipe: plain(60, 32, 0.1),
    },
    Entry {
        name: "mnist-dense",
        also: &["dense300"],
        description: "Handwritten digits, dense 784-300-10, sigmoid",
        dataset: "mnist",
        architecture: mnist_dense,
        recipe: Recipe { schedule: Schedule::Cosine, momentum: 0.9, ..plain(12, 64, 0.1) },
    },
    Entry {
        name: "dense12",
        also: &[],
        description: "Handwritten digits, dense 784-12-10, sigmoid",
        dataset: "mnist",
        architecture: dense12,
        recipe: Recipe { schedule: Schedule::Cosine, momentum: 0.9, ..plain(12, 64, 0.1) },
    },
    Entry {
        name: "conv1",
        also: &[],
        description: "Handwritten digits, the paper's one convolution, ReLU",
        dataset: "mnist",
        architecture: conv1,
        recipe: Recipe { schedule: Schedule::Cosine, momentum: 0.9, ..plain(12, 64, 0.05) },
    },
    Entry {
        name: "lenet5",
        also: &[],
        description: "Handwritten digits, LeNet-5 with ReLU and mean pooling",
        dataset: "mnist",
        architecture: lenet5,
        recipe: Recipe {
            schedule: Schedule::Cosine,
            momentum: 0.9,
            l2: 5e-4,
            shift: 1,
            ..plain(20, 64, 0.05)
        },
    },
    Entry {
        name: "conv1-square",
        also: &[],
        description: "Handwritten digits, Conv-1 with the squares of CryptoNets",
        dataset: "mnist",
        architecture: conv1_square,
        recipe: Recipe { schedule: Schedule::Cosine, momentum: 0.9, ..plain(15, 64, 0.02) },
    },
    Entry {
        name: "lenet5-square",
        also: &[],
        description: "Handwritten digits, LeNet-5 with the squares of CryptoNets",
        dataset: "mnist",
        architecture: lenet5_square,
        recipe: Recipe {
            schedule: Schedule::Cosine,
            momentum: 0.9,
            l2: 5e-4,
            shift: 1,
            ..plain(20, 64, 0.005)
        },
    },
    Entry {
        name: "resnet20",
        also: &[],
        description: "Photographs of 32x32 pixels, ResNet-20; no trained weights come with it",
        dataset: "cifar10",
        architecture: resnet20,
        // That of the paper but for the rate: without batch normalisation 0.1 is too much. Nobody has run it here.
        recipe: Recipe {
            schedule: Schedule::Step { every: 82, factor: 0.1 },
            momentum: 0.9,
            l2: 1e-4,
            shift: 4,
            ..plain(164, 128, 0.01)
        },
    },
    Entry {
        name: "digits",
        also: &[],
        description: "Handwritten digits of 8x8 pixels, dense 64-32-10, sigmoid",
        dataset: "digits",
        architecture: digits,
        recipe: plain(40, 32, 0.5),
    },
    Entry {
        name: "mnist-dense-square",
        also: &["dense300-square"],
        description: "Handwritten digits, dense 784-300-10, with the squares of CryptoNets",
        dataset: "mnist",
        architecture: mnist_dense_square,
        recipe: Recipe { schedule: Schedule::Cosine, momentum: 0.9, ..plain(12, 64, 0.005) },
    },
    Entry {
        name: "digits-square",
        also: &[],
        description: "Handwritten digits of 8x8 pixels, dense 64-32-10, squares",
        dataset: "digits",
        architecture: digits_square,
        recipe: plain(40, 32, 0.02),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn shapes_are_those_of_the_paper() {
        let shapes = |s: Sequential| {
            let sizes: Vec<_> = s.blocks().iter().map(|b| b.affine().output().features()).collect();
            (s.input().features(), sizes, s.parameters())
        };
        assert_eq!(shapes(iris()), (4, vec![5, 3], 4 * 5 + 5 + 5 * 3 + 3));
        assert_eq!(shapes(diabetes()), (8, vec![12, 2], 8 * 12 + 12 + 12 * 2 + 2));
        assert_eq!(shapes(kr_vs_kp()), (38, vec![15, 2], 38 * 15 + 15 + 15 * 2 + 2));
        assert_eq!(shapes(digits()), (64, vec![32, 10], 64 * 32 + 32 + 32 * 10 + 10));
        assert_eq!(shapes(mnist_dense()), (784, vec![300, 10], 784 * 300 + 300 + 3000 + 10));
        assert_eq!(shapes(dense12()), (784, vec![12, 10], 784 * 12 + 12 + 120 + 10));
        assert_eq!(shapes(conv1()), (784, vec![720, 10], 125 + 5 + 1800 + 10));
        assert_eq!(shapes(lenet5()), (784, vec![864, 256, 120, 84, 10], 44_426));
        assert_eq!(shapes(lenet5_square()), shapes(lenet5()));
        let (inputs, sizes, parameters) = shapes(resnet20());
        assert_eq!((inputs, sizes.len(), parameters), (3072, 22, 269_034 + 544 + 2112));
        assert_eq!(
            resnet20().layers().iter().filter(|l| matches!(l, LayerSpec::Add { .. })).count(),
            9
        );
        assert_eq!(lenet5_square().to_string().matches("square").count(), 2);
    }

    #[test]
    fn entries_are_found_by_name_and_have_sound_recipes() {
        for entry in entries() {
            assert_eq!(by_name(entry.name).unwrap().name, entry.name);
            entry.recipe.validate().unwrap();
        }
        assert!(by_name("resnet").is_none());
        assert_eq!(by_name("dense300").unwrap().name, "mnist-dense", "the paper's name for it");
        let names = entries().iter().flat_map(|entry| entry.also.iter().chain([&entry.name]));
        let (all, names) = (names.clone().count(), names.collect::<BTreeSet<_>>());
        assert_eq!(names.len(), all, "no name stands for two networks");
    }
}
