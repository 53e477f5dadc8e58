//! Values that were cut off at the bound of their format, by layer: what every result counts, since
//! it is the one way in which the protocol's integers differ from real numbers by more than rounding.

use std::fmt;

use gelu_core::Network;
use serde_json::Value;

/// How many values of which layer were cut off.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct CutOff(Vec<(String, u64)>);

impl CutOff {
    /// Gives counts by layer the names of the layers.
    pub(crate) fn new(network: &Network, counts: &[u64]) -> Self {
        let layers = network.stages().iter().map(|stage| stage.name.clone());
        Self(layers.zip(counts.iter().copied()).filter(|(_, count)| *count > 0).collect())
    }

    /// Of all layers.
    pub(crate) fn total(&self) -> u64 {
        self.0.iter().map(|(_, count)| count).sum()
    }

    /// An object with a number for each layer that has any.
    pub(crate) fn by_layer(&self) -> Value {
        self.0.iter().map(|(layer, count)| (layer.clone(), Value::from(*count))).collect()
    }
}

impl fmt::Display for CutOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers: Vec<_> =
            self.0.iter().map(|(name, count)| format!("{name}: {count}")).collect();
        f.write_str(&counted(self.total()))?;
        if layers.is_empty() { Ok(()) } else { write!(f, " ({})", layers.join(", ")) }
    }
}

/// How many values were cut off, in words.
pub(crate) fn counted(total: u64) -> String {
    match total {
        0 => "no values cut off".into(),
        1 => "1 value cut off".into(),
        n => format!("{n} values cut off"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_nn::zoo;

    #[test]
    fn layers_with_any_are_named() {
        let network = zoo::iris().network();
        let of = |counts: &[u64]| CutOff::new(&network, counts);
        for none in [&[][..], &[0, 0]] {
            assert_eq!((of(none).to_string(), of(none).total()), ("no values cut off".into(), 0));
        }
        assert_eq!(of(&[0, 1]).to_string(), "1 value cut off (dense2: 1)");
        let both = of(&[30, 4]);
        assert_eq!(both.to_string(), "34 values cut off (dense1: 30, dense2: 4)");
        assert_eq!(both.by_layer(), serde_json::json!({ "dense1": 30, "dense2": 4 }));
    }
}
