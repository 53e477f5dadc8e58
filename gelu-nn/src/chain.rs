//! A network as systems see it that have no client in between: linear maps and functions of single
//! numbers, all to be computed under encryption.
//!
//! ```text
//! a₀ = x        z = E·a + b        a = f(z)        …        the last z are the scores
//! ```
//!
//! [`Sequential`] leaves a mean pooling between two activations to the client. Here it is a linear
//! map like any other: one matrix entry 1/q², shared by all windows. Linear maps with nothing between
//! them are multiplied out: nobody would compute them one by one under encryption.

use std::collections::BTreeMap;

use gelu_core::error::ApiMisuse;
use gelu_core::linear::{Tap, Taps};
use ndarray::{Array2, ArrayView2, Axis};

use crate::error::{Error, Result};
use crate::layers::Activation;
use crate::parameters::{FloatLayer, FloatParameters};
use crate::sequential::{Block, Local, Sequential, Step};

/// One linear map with real entries, and the function that follows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Name of the layer: `dense1`, `conv1+pool1`, `pool1`.
    pub name: String,
    /// Number of inputs.
    pub inputs: usize,
    /// For each output its inputs and their entries.
    pub taps: Taps,
    /// The distinct entries of the matrix, a pooling's division included.
    pub entries: Vec<f64>,
    /// What is added to each output.
    pub offsets: Vec<f64>,
    /// The function of each output, if any.
    pub activation: Option<Activation>,
}

impl Link {
    fn affine(block: &Block, layer: &FloatLayer) -> Self {
        let map = block.affine().linear_map();
        let divisor = f64::from(map.divisor());
        Self {
            name: block.name().into(),
            inputs: map.inputs(),
            taps: map.forward_taps(),
            entries: map.entries(&layer.weights).iter().map(|e| e / divisor).collect(),
            offsets: (0..map.outputs()).map(|o| layer.biases[map.bias_of(o)]).collect(),
            activation: None,
        }
    }

    /// `share` of each of `inputs` pixels goes to one of `outputs`.
    fn moved(
        name: String,
        (inputs, outputs): (usize, usize),
        target: impl Fn(usize) -> usize,
        share: f64,
    ) -> Self {
        let mut rows = vec![Vec::new(); outputs];
        for pixel in 0..inputs {
            let source = u32::try_from(pixel).expect("features are bounded");
            rows[target(pixel)].push(Tap { source, weight: 0 });
        }
        let (entries, offsets) = (vec![share], vec![0.0; rows.len()]);
        let taps = Taps::from_rows(rows);
        Self { name, inputs, taps, entries, offsets, activation: None }
    }

    /// z = E·a + b for `a` of shape `[inputs, batch]`.
    ///
    /// # Panics
    /// When `a` has another number of rows.
    pub fn linear(&self, a: ArrayView2<'_, f64>) -> Array2<f64> {
        assert_eq!(a.nrows(), self.inputs, "{} has other inputs", self.name);
        let mut z = Array2::zeros((self.taps.outputs(), a.ncols()));
        for (output, mut row) in z.axis_iter_mut(Axis(0)).enumerate() {
            row.fill(self.offsets[output]);
            for tap in self.taps.of(output) {
                let entry = self.entries[tap.weight as usize];
                row.scaled_add(entry, &a.row(tap.source as usize));
            }
        }
        z
    }

    /// F·(E·a + b) + c as one map: this one, which has no function, and the next.
    fn then(self, next: Self) -> Self {
        debug_assert!(self.activation.is_none());
        let (mut entries, mut rows) = (Vec::new(), Vec::<Vec<Tap>>::new());
        let mut offsets = next.offsets;
        for (output, offset) in offsets.iter_mut().enumerate() {
            let mut row = BTreeMap::<u32, f64>::new();
            for outer in next.taps.of(output) {
                let factor = next.entries[outer.weight as usize];
                *offset += factor * self.offsets[outer.source as usize];
                for inner in self.taps.of(outer.source as usize) {
                    *row.entry(inner.source).or_default() +=
                        factor * self.entries[inner.weight as usize];
                }
            }
            let first = u32::try_from(entries.len()).expect("entries are bounded");
            entries.extend(row.values());
            rows.push(
                (first..).zip(row.keys()).map(|(weight, &source)| Tap { source, weight }).collect(),
            );
        }
        Self {
            name: format!("{}·{}", self.name, next.name),
            inputs: self.inputs,
            taps: Taps::from_rows(rows),
            entries,
            offsets,
            activation: next.activation,
        }
    }

    /// a = f(z), or z where no function follows.
    pub fn activate(&self, z: &Array2<f64>) -> Array2<f64> {
        self.activation.map_or_else(|| z.clone(), |f| z.mapv(|z| f.value(z)))
    }
}

impl Sequential {
    /// The network with these weights as a chain: every link but the last has a function.
    ///
    /// # Errors
    /// [`Error::Core`] for weights of other shapes, for an activation that does not follow a linear map, and for
    /// what is no chain and is named: a max pooling, a shortcut.
    pub fn chain(&self, parameters: &FloatParameters) -> Result<Vec<Link>> {
        parameters.check_shapes(self)?;
        let mut chain = Vec::new();
        let mut pools = 0;
        for (before, step) in self.steps().iter().enumerate() {
            if step.sources() != [before] {
                return Err(not_a_chain("a shortcut takes what an earlier layer gives"));
            }
            match step {
                Step::Block { block, .. } => {
                    chain.push(Link::affine(&self.blocks()[*block], &parameters.layers[*block]));
                }
                Step::Local { local, .. } => add_local(&mut chain, &mut pools, local)?,
                Step::Add { .. } => unreachable!("takes two values"),
            }
        }
        Ok(chain.into_iter().fold(Vec::new(), |mut merged: Vec<Link>, link| {
            match merged.pop_if(|before| before.activation.is_none()) {
                Some(before) => merged.push(before.then(link)),
                None => merged.push(link),
            }
            merged
        }))
    }
}

fn add_local(chain: &mut Vec<Link>, pools: &mut usize, local: &Local) -> Result<()> {
    match (local, chain.last_mut()) {
        (Local::MeanPool2d(pool), _) => {
            *pools += 1;
            let sizes = (pool.input().features(), pool.output().features());
            let name = format!("mean{pools}");
            chain.push(Link::moved(name, sizes, |pixel| pool.target(pixel), pool.share()));
        }
        (Local::ZeroPad2d(pad), _) => {
            let sizes = (pad.input().features(), pad.output().features());
            chain.push(Link::moved("pad".into(), sizes, |pixel| pad.target(pixel), 1.0));
        }
        (Local::Activation(f), Some(link @ Link { activation: None, .. })) => {
            link.activation = Some(*f);
        }
        (Local::Activation(f), _) => {
            return Err(not_a_chain(&format!("{f:?} does not follow a linear layer")));
        }
        (Local::MaxPool2d(_), _) => {
            let why = "compares pixels: it is neither linear nor a function of single numbers";
            return Err(not_a_chain(&format!("{} {why}", local.name())));
        }
    }
    Ok(())
}

fn not_a_chain(why: &str) -> Error {
    gelu_core::Error::from(ApiMisuse::configuration("chain", why)).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::layers::Shape;
    use crate::sequential::LayerSpec;
    use crate::zoo;
    use gelu_core::tape::Tape;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    /// The chain computes what the network computes, poolings of both kinds included.
    #[test]
    fn a_chain_is_the_network() {
        let padded = LayerSpec::ZeroPad2d { top: 1, bottom: 2, left: 3, right: 0 };
        let layers = [&[padded], zoo::conv1().layers()].concat();
        let padded = Sequential::new(Shape::image(1, 28, 28), layers);
        let [conv1, lenet5, square, iris] =
            [zoo::conv1(), zoo::lenet5(), zoo::lenet5_square(), zoo::iris()];
        for architecture in [conv1, lenet5, square, iris, padded.unwrap()] {
            let parameters =
                FloatParameters::initialise(&architecture, &mut ChaCha20Rng::seed_from_u64(3));
            let features = architecture.input().features();
            let x = Array2::from_shape_fn((features, 5), |(i, j)| ((i * 7 + j) % 11) as f64 / 11.0);

            let chain = architecture.chain(&parameters).unwrap();
            let scores =
                chain.iter().fold(x.clone(), |a, link| link.activate(&link.linear(a.view())));

            let network = Arc::new(architecture.network());
            let mut tape = Tape::new(Arc::clone(&network), x);
            while let Some((stage, a)) = tape.stage() {
                let (linear, layer) = (&network.stages()[stage].linear, &parameters.layers[stage]);
                let divisor = f64::from(linear.divisor());
                let z = linear.forward(&layer.weights, &layer.biases, a.view(), divisor);
                tape.advance(z / divisor);
            }
            let expected = tape.scores().unwrap();
            let worst = (scores - expected).iter().fold(0.0, |worst: f64, e| worst.max(e.abs()));
            assert!(worst < 1e-12, "{architecture}: {worst}");
        }
    }

    #[test]
    fn names_and_sizes() {
        let parameters =
            |s: &Sequential| FloatParameters::initialise(s, &mut ChaCha20Rng::seed_from_u64(1));
        let chain = zoo::conv1().chain(&parameters(&zoo::conv1())).unwrap();
        let shape: Vec<_> =
            chain.iter().map(|l| (l.name.as_str(), l.taps.outputs(), l.activation)).collect();
        let relu = Some(Activation::Relu);
        assert_eq!(shape, [("conv1", 720, relu), ("mean1", 180, relu), ("dense1", 10, None)]);
        assert_eq!(chain[1].entries, [0.25]);

        // Its three dense layers have nothing between them.
        let square = zoo::lenet5_square();
        let chain = square.chain(&parameters(&square)).unwrap();
        let names: Vec<_> = chain.iter().map(|l| (l.name.as_str(), l.taps.len())).collect();
        assert_eq!(names[2..], [("dense1·dense2·dense3", 2_560)]);
    }

    /// Nothing stands for an identity, and a mean over whole channels is a pooling like any other.
    #[test]
    fn what_is_no_chain_is_refused_by_name() {
        let f = |function| LayerSpec::Activation { function };
        let chain = |layers: &[LayerSpec]| {
            let layers = [layers, &[LayerSpec::Dense { outputs: 2 }]].concat();
            let network = Sequential::new(Shape::image(1, 4, 4), layers).unwrap();
            let rng = &mut ChaCha20Rng::seed_from_u64(1);
            network.chain(&FloatParameters::initialise(&network, rng))
        };
        let dense = LayerSpec::Dense { outputs: 2 };
        let twice = chain(&[dense, f(Activation::Tanh), f(Activation::Gelu)]).unwrap_err();
        assert!(twice.to_string().contains("Gelu does not follow"), "{twice}");
        let pool = LayerSpec::MaxPool2d { window: 2.into(), stride: None, padding: 0.into() };
        let refused = chain(&[pool]).unwrap_err().to_string();
        assert!(refused.contains("max 2x2 compares pixels"), "{refused}");
        let refused = chain(&[dense, LayerSpec::Add { from: 1 }]).unwrap_err().to_string();
        assert!(refused.contains("a shortcut"), "{refused}");
        let identity = f(Activation::Identity);
        let links = chain(&[identity, LayerSpec::GlobalAveragePool, identity]).unwrap();
        assert_eq!((links.len(), links[0].taps.len()), (1, 32));
    }
}
