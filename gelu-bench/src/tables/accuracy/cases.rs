//! The data sets of Table 3 and Figure 3: networks, recipes, the paper's accuracies.

use gelu_nn::{Recipe, Sequential, zoo};

/// One data set of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Its name.
    pub(crate) name: &'static str,
    /// The name of its network in the zoo.
    pub(super) network: &'static str,
    /// What it is called in tables, with the sizes of the layers.
    pub(crate) title: &'static str,
    /// Samples of a mini-batch.
    pub(super) batch: usize,
    /// The learning rate, always the same.
    pub(super) rate: f64,
    /// How many epochs; if there are several, an inner cross-validation chooses.
    pub(super) epochs: &'static [usize],
    /// What is repeated.
    pub(super) trials: Trials,
    /// The paper's accuracies: GELU-Net, CryptoNets (square), BGN-Net (fifth order).
    pub(super) paper: Option<[(f64, f64); 3]>,
    /// Mean and deviation of a reference implementation in NumPy: the same network, activation and
    /// kind of descent, in single precision and in the clear.
    pub(super) reference: Option<(f64, f64)>,
}

/// What is repeated.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trials {
    /// Cross-validation: so many folds, so many times.
    Folds { folds: usize, repeats: u64 },
    /// The standard split, with so many seeds; only the first of them in integers.
    Seeds(u64),
}

/// Flowers by four measurements.
pub(crate) const IRIS: Case = Case {
    name: "iris",
    network: "iris",
    title: "Iris, 4-5-3",
    batch: 10,
    rate: 0.1,
    epochs: &[100, 200, 400, 800],
    trials: Trials::Folds { folds: 10, repeats: 10 },
    paper: Some([(0.986, 0.004), (0.966, 0.012), (0.96, 0.007)]),
    reference: Some((0.971, 0.040)),
};

/// Pima Indians by eight measurements.
pub(crate) const DIABETES: Case = Case {
    name: "diabetes",
    network: "diabetes",
    title: "Diabetes, 8-12-2",
    batch: 32,
    rate: 0.1,
    epochs: &[100],
    trials: Trials::Folds { folds: 10, repeats: 5 },
    paper: Some([(0.760, 0.011), (0.741, 0.023), (0.723, 0.028)]),
    reference: Some((0.765, 0.043)),
};

/// Chess end games by 36 facts.
pub(crate) const KR_VS_KP: Case = Case {
    name: "kr-vs-kp",
    network: "kr-vs-kp",
    title: "kr-vs-kp, 38-15-2",
    batch: 32,
    rate: 0.1,
    epochs: &[60],
    trials: Trials::Folds { folds: 10, repeats: 2 },
    paper: Some([(0.967, 0.008), (0.948, 0.015), (0.944, 0.014)]),
    reference: Some((0.985, 0.006)),
};

/// Handwritten digits of 28x28 pixels, by their standard split.
pub(crate) const MNIST: Case = Case {
    name: "mnist",
    network: "mnist-dense",
    title: "MNIST, 784-300-10",
    batch: 64,
    rate: 0.5,
    epochs: &[10],
    trials: Trials::Seeds(3),
    paper: Some([(0.969, 0.004), (0.919, 0.0009), (0.901, 0.006)]),
    reference: Some((0.9726, 0.0008)),
};

/// Handwritten digits of 8x8 pixels, which the paper does not have: they need no folder.
pub(crate) const DIGITS: Case = Case {
    name: "digits",
    network: "digits",
    title: "digits 8x8, 64-32-10",
    batch: 32,
    rate: 0.5,
    epochs: &[40],
    trials: Trials::Folds { folds: 4, repeats: 1 },
    paper: None,
    reference: None,
};

impl Case {
    /// The network with its exact activation.
    pub(crate) fn architecture(&self) -> Sequential {
        (zoo::by_name(self.network).expect("a network of the zoo").architecture)()
    }

    /// The same with other numbers of epochs to choose from.
    #[cfg(test)]
    pub(crate) fn with_epochs(self, epochs: &'static [usize]) -> Self {
        Self { epochs, ..self }
    }

    /// Plain SGD, with the most epochs of those to choose from.
    pub(crate) fn recipe(&self) -> Recipe {
        let epochs = self.epochs.iter().copied().max().unwrap_or(0);
        Recipe { epochs, batch: self.batch, rate: self.rate, ..Recipe::default() }
    }
}
