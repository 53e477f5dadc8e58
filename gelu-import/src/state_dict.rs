//! PyTorch's `state_dict` as a safetensors file, with an architecture of ours.
//!
//! A state dict is a list of named tensors: `fc1.weight`, `features.0.bias`, `bn1.running_mean`. It does not say how
//! they are connected, so the architecture comes as a file of its own ([`Sequential::to_json`]). Tensors of one module
//! share a prefix. A module with a weight of two or four axes is a dense layer or a convolution; one with a running
//! mean is a batch normalisation.
//!
//! Layers are matched by *shape*, then by *number*: modules of equal shapes must have names that differ in numbers only,
//! whose order then decides. A batch normalisation belongs to the layer with the same number in its name (`bn2`,
//! `conv2`), or to the one before it in a `Sequential` (`3` after `2`). Whatever is open after that is refused.

mod read;

use std::cmp::Ordering;

use gelu_nn::{FloatLayer, FloatParameters, LayerSpec, Sequential};

use crate::Imported;
use crate::error::{Error, Result};
use crate::lower::Outputs;
use crate::sample::Sample;
use read::{Module, Modules, is_linear, is_normalisation};

/// What PyTorch adds to the variance of a batch normalisation, unless it is told otherwise; not in the file.
const EPSILON: f64 = 1e-5;

/// Reads a state dict; without an architecture only if there is one dense layer in it.
///
/// # Errors
/// [`Error::NotA`], [`Error::TooLarge`]; [`Error::Unsupported`] with all tensors that belong to no layer;
/// [`Error::Architecture`] when there is none or it does not fit, with one to start from.
pub fn state_dict(bytes: &[u8], architecture: Option<&Sequential>) -> Result<Imported> {
    let modules = Modules::read(bytes)?;
    let architecture = match architecture {
        Some(architecture) => architecture.clone(),
        None => modules.alone()?,
    };
    let (weights, notes) = modules.fill(&architecture)?;
    Ok(Imported {
        sample: Sample::of_numbers(&match architecture.input() {
            gelu_nn::Shape::Vector(features) => vec![features],
            gelu_nn::Shape::Image { channels, height, width } => vec![channels, height, width],
        }),
        architecture,
        weights,
        classes: None,
        outputs: Outputs::Scores,
        opset: None,
        source: "weights of PyTorch".into(),
        notes,
    })
}

/// Whether bytes begin like a safetensors file: the length of a header that is JSON.
pub fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.get(8) == Some(&b'{')
}

impl Modules {
    fn linear(&self) -> impl Iterator<Item = &(String, Module)> {
        self.0.iter().filter(|(_, module)| is_linear(module))
    }

    /// The architecture of a file with one dense layer and nothing else, such as a logistic regression.
    fn alone(&self) -> Result<Sequential> {
        if let [(_, module)] = &self.0[..]
            && let [outputs, inputs] = module["weight"].shape[..]
            && outputs > 1
        {
            return Ok(Sequential::new(
                gelu_nn::Shape::Vector(inputs),
                vec![LayerSpec::Dense { outputs }],
            )?);
        }
        Err(Error::Architecture(format!(
            "a state dict does not say how its layers are connected; describe that in a file for --architecture. To \
             start from (check the order, the activations and the sizes):\n{}",
            self.sketch()
        )))
    }

    /// An architecture with these layers in the order of their names, as text to be completed.
    fn sketch(&self) -> String {
        let first = self.linear().next().map(|(_, module)| module["weight"].shape.as_slice());
        let input = match first.unwrap_or_default() {
            [_, channels, ..] if first.is_some_and(|shape| shape.len() == 4) => {
                format!("[{channels}, HEIGHT, WIDTH]")
            }
            [_, inputs] => format!("[{inputs}]"),
            _ => "[]".into(),
        };
        let layers = self.linear().map(|(_, module)| match module["weight"].shape[..] {
            [filters, _, height, width] => {
                let kernel = match height == width {
                    true => height.to_string(),
                    false => format!("[{height}, {width}]"),
                };
                format!(r#"{{"layer": "conv2d", "filters": {filters}, "kernel": {kernel}}}"#)
            }
            _ => format!(r#"{{"layer": "dense", "outputs": {}}}"#, module["weight"].shape[0]),
        });
        let between = ",\n    {\"layer\": \"activation\", \"function\": \"relu\"},\n    ";
        let layers = layers.collect::<Vec<_>>().join(between);
        format!("{{\"input\": {input},\n  \"layers\": [\n    {layers}]}}")
    }

    /// The weights for each block of an architecture, and what was assumed.
    fn fill(&self, architecture: &Sequential) -> Result<(FloatParameters, Vec<String>)> {
        let places = self.places(architecture)?;
        let mut parameters = FloatParameters::default();
        for &place in &places {
            let module = &self.0[place].1;
            let weights = module["weight"].values.clone();
            let outputs = module["weight"].shape[0];
            let biases =
                module.get("bias").map_or_else(|| vec![0.0; outputs], |bias| bias.values.clone());
            parameters.layers.push(FloatLayer { weights, biases });
        }
        let mut notes = Vec::new();
        for (index, (name, module)) in
            self.0.iter().enumerate().filter(|(_, (_, m))| is_normalisation(m))
        {
            let place = self.normalised_by(index)?;
            let block = places.iter().position(|p| *p == place);
            let of = &self.0[place].0;
            let block = block.ok_or_else(|| {
                Error::Architecture(format!("{name} normalises {of}, which is no layer"))
            })?;
            let list = |last: &str| module.get(last).map(|tensor| tensor.values.as_slice());
            let (Some(mean), Some(variance)) = (list("running_mean"), list("running_var")) else {
                return Err(Error::Architecture(format!(
                    "{name} has no running mean and variance"
                )));
            };
            if variance.len() != mean.len() || variance.iter().any(|v| *v < 0.0) {
                return Err(Error::Architecture(format!("the variances of {name} are none")));
            }
            let factor = |c: usize| list("weight").and_then(|w| w.get(c)).copied().unwrap_or(1.0);
            let scale: Vec<_> = variance
                .iter()
                .enumerate()
                .map(|(c, v)| factor(c) / (v + EPSILON).sqrt())
                .collect();
            let bias = |c: usize| list("bias").and_then(|b| b.get(c)).copied().unwrap_or_default();
            let shift: Vec<_> =
                mean.iter().enumerate().map(|(c, m)| bias(c) - m * scale[c]).collect();
            parameters.fold(block, &scale, &shift)?;
            notes.push(format!("{name} is folded into {of}, which it is taken to follow at once, with epsilon {EPSILON:e}"));
        }
        parameters.check_shapes(architecture)?;
        Ok((parameters, notes))
    }

    /// For each block the module that has its weights.
    fn places(&self, architecture: &Sequential) -> Result<Vec<usize>> {
        let shape_of = |index: usize| self.0[index].1["weight"].shape.as_slice();
        let linear: Vec<_> = (0..self.0.len()).filter(|&i| is_linear(&self.0[i].1)).collect();
        let wanted: Vec<_> =
            architecture.blocks().iter().map(|block| block.affine().weight_shape()).collect();
        let mut places = vec![None; wanted.len()];
        let mut left = linear.clone();
        for (block, shape) in wanted.iter().enumerate() {
            if places[block].is_some() {
                continue;
            }
            let blocks: Vec<_> = (0..wanted.len()).filter(|&b| wanted[b] == *shape).collect();
            let modules: Vec<_> =
                linear.iter().copied().filter(|&m| shape_of(m) == shape).collect();
            if blocks.len() != modules.len() {
                return Err(self.does_not_fit(architecture, shape, blocks.len(), modules.len()));
            }
            let stems: Vec<_> = modules.iter().map(|&m| without_numbers(&self.0[m].0)).collect();
            if stems.iter().any(|stem| *stem != stems[0]) {
                let names: Vec<_> = modules.iter().map(|&m| self.0[m].0.as_str()).collect();
                return Err(Error::Architecture(format!(
                    "{} have weights of the same shape {shape:?}, and their names do not say which comes first; name \
                     them by number (fc1, fc2), or export ONNX",
                    names.join(", ")
                )));
            }
            for (block, module) in blocks.into_iter().zip(modules) {
                places[block] = Some(module);
                left.retain(|other| *other != module);
            }
        }
        match left.first() {
            None => Ok(places.into_iter().flatten().collect()),
            Some(&module) => Err(self.does_not_fit(architecture, shape_of(module), 0, 1)),
        }
    }

    fn does_not_fit(
        &self,
        architecture: &Sequential,
        shape: &[usize],
        blocks: usize,
        modules: usize,
    ) -> Error {
        let blocks_listed = architecture.blocks().iter();
        let ours: Vec<_> = blocks_listed
            .map(|block| format!("{} {:?}", block.name(), block.affine().weight_shape()))
            .collect();
        let theirs: Vec<_> = self
            .linear()
            .map(|(name, module)| format!("{name} {:?}", module["weight"].shape))
            .collect();
        Error::Architecture(format!(
            "the architecture has {blocks} layers with weights of shape {shape:?}, the file {modules}. The \
             architecture: {}. The file: {}",
            ours.join(", "),
            theirs.join(", ")
        ))
    }

    /// The layer that a batch normalisation follows: the one with its number, or the one before it in a `Sequential`.
    fn normalised_by(&self, index: usize) -> Result<usize> {
        let (name, module) = &self.0[index];
        let (parent, last) = name.rsplit_once('.').unwrap_or(("", name));
        let beside = |(_, (other, module)): &(usize, &(String, Module))| {
            is_linear(module) && other.rsplit_once('.').map_or("", |(parent, _)| parent) == parent
        };
        let beside: Vec<_> = self.0.iter().enumerate().filter(beside).collect();
        let number = |name: &str| {
            let last = name.rsplit('.').next().unwrap_or_default();
            last.trim_start_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().ok()
        };
        let own = number(last);
        let found: Vec<_> = match (own, last.parse::<u64>()) {
            (Some(own), Ok(_)) => beside
                .iter()
                .filter(|(_, (other, _))| number(other) == own.checked_sub(1))
                .collect(),
            (Some(_), Err(_)) => {
                beside.iter().filter(|(_, (other, _))| number(other) == own).collect()
            }
            (None, _) => beside.iter().collect(),
        };
        let channels = module.get("running_mean").map_or(0, |mean| mean.values.len());
        match found[..] {
            [&(place, (_, layer))] if layer["weight"].shape[0] == channels => Ok(place),
            _ => Err(Error::Architecture(format!(
                "{name} is a batch normalisation, and its name does not say which layer it follows; name them alike \
                 (conv1, bn1), put them in one nn.Sequential, or export ONNX"
            ))),
        }
    }
}

/// The order of names in which 2 comes before 10.
fn by_number(a: &str, b: &str) -> Ordering {
    let parts = |name: &str| {
        let mut parts = Vec::<(u64, String)>::new();
        for part in name.split('.') {
            let digits = part.trim_start_matches(|c: char| !c.is_ascii_digit());
            let word = &part[..part.len() - digits.len()];
            parts.push((0, word.to_owned()));
            parts.push((digits.parse().unwrap_or_default(), digits.to_owned()));
        }
        parts
    };
    parts(a).cmp(&parts(b))
}

fn without_numbers(name: &str) -> String {
    name.chars().filter(|c| !c.is_ascii_digit()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use gelu_nn::Shape;
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    /// A file of F32 tensors whose values are 1, 2, 3, … / 8.
    fn file(tensors: &[(&str, &[usize])]) -> Vec<u8> {
        let data: Vec<_> = tensors
            .iter()
            .map(|(_, shape)| {
                let count = u16::try_from(shape.iter().product::<usize>()).unwrap();
                (1..=count).flat_map(|i| (f32::from(i) / 8.0).to_le_bytes()).collect::<Vec<_>>()
            })
            .collect();
        let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
            (*name, TensorView::new(Dtype::F32, shape.to_vec(), data).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn dense(inputs: usize, hidden: &[usize], classes: usize) -> Sequential {
        Sequential::dense(inputs, hidden, classes, gelu_nn::Activation::Relu).unwrap()
    }

    #[test]
    fn layers_of_equal_shapes_follow_their_numbers_not_their_letters() {
        let names = |i: usize| (format!("net.{i}.weight"), format!("net.{i}.bias"));
        let all: Vec<_> = [2, 10, 4].map(names).into();
        let tensors: Vec<(&str, &[usize])> = all
            .iter()
            .flat_map(|(w, b)| [(w.as_str(), &[3, 3][..]), (b.as_str(), &[3][..])])
            .collect();
        let modules = Modules::read(&file(&tensors)).unwrap();
        let places = modules.places(&dense(3, &[3, 3], 3)).unwrap();
        let order: Vec<_> = places.iter().map(|&place| modules.0[place].0.as_str()).collect();
        assert_eq!(order, ["net.2", "net.4", "net.10"]);
    }

    #[test]
    fn what_names_and_shapes_leave_open_is_refused() {
        let open = file(&[("head.weight", &[3, 3]), ("body.weight", &[3, 3])]);
        let refused = state_dict(&open, Some(&dense(3, &[3], 3))).unwrap_err().to_string();
        assert!(refused.contains("body, head have weights of the same shape"), "{refused}");
        let other = file(&[("fc1.weight", &[4, 3]), ("fc2.weight", &[2, 4])]);
        let refused = state_dict(&other, Some(&dense(3, &[5], 2))).unwrap_err().to_string();
        assert!(refused.contains("dense1 [5, 3]") && refused.contains("fc1 [4, 3]"), "{refused}");
        // One layer more than the architecture has.
        let more =
            file(&[("fc1.weight", &[4, 3]), ("fc2.weight", &[2, 4]), ("extra.weight", &[7, 4])]);
        assert!(state_dict(&more, Some(&dense(3, &[4], 2))).is_err());
        // A matrix the other way round, as scikit-learn keeps them.
        let transposed = file(&[("fc1.weight", &[3, 4]), ("fc2.weight", &[4, 2])]);
        assert!(state_dict(&transposed, Some(&dense(3, &[4], 2))).is_err());
    }

    #[test]
    fn without_an_architecture_one_is_proposed_or_the_only_one_taken() {
        let one = file(&[("weight", &[3, 4]), ("bias", &[3])]);
        assert_eq!(state_dict(&one, None).unwrap().architecture, dense(4, &[], 3));
        let two = file(&[("fc1.weight", &[4, 3]), ("fc2.weight", &[2, 4])]);
        let refused = state_dict(&two, None).unwrap_err().to_string();
        let sketch = &refused[refused.find('{').unwrap()..];
        assert_eq!(Sequential::from_json(sketch).unwrap(), dense(3, &[4], 2));
        let images = file(&[("conv.weight", &[4, 3, 5, 5])]);
        assert!(state_dict(&images, None).unwrap_err().to_string().contains("[3, HEIGHT, WIDTH]"));
    }

    #[test]
    fn normalisations_follow_their_layer() {
        let spec = |filters| LayerSpec::Conv2d {
            filters,
            kernel: 1.into(),
            stride: 1.into(),
            padding: 0.into(),
            groups: 1,
        };
        let layers = vec![spec(2), spec(2), LayerSpec::Dense { outputs: 2 }];
        let architecture = Sequential::new(Shape::image(2, 1, 1), layers).unwrap();
        let norm = |name: &str| {
            ["weight", "bias", "running_mean", "running_var"].map(|last| format!("{name}.{last}"))
        };
        let (bn, zero) = (norm("bn2"), norm("1"));
        let with = |more: &[String; 4], names: [&str; 3]| {
            let mut tensors: Vec<(&str, &[usize])> =
                vec![(names[0], &[2, 2, 1, 1]), (names[1], &[2, 2, 1, 1]), (names[2], &[2, 2])];
            tensors.extend(more.iter().map(|name| (name.as_str(), &[2][..])));
            state_dict(&file(&tensors), Some(&architecture))
        };
        let named = with(&bn, ["conv1.weight", "conv2.weight", "fc.weight"]).unwrap();
        let plain = [0.125, 0.25, 0.375, 0.5];
        assert_eq!(named.weights.layers[0].weights, plain);
        // weight / √(variance + epsilon), mean: 1/8 and 1/4 throughout.
        let scale = |v: f64| v / (v + EPSILON).sqrt();
        let expected =
            [scale(0.125) * 0.125, scale(0.125) * 0.25, scale(0.25) * 0.375, scale(0.25) * 0.5];
        assert_eq!(named.weights.layers[1].weights, expected);
        assert_eq!(named.weights.layers[1].biases[0], 0.125 - 0.125 * scale(0.125));
        let listed = with(&zero, ["0.weight", "3.weight", "6.weight"]).unwrap();
        assert_eq!(listed.weights.layers[1].weights, plain);
        assert_eq!(listed.weights.layers[0].weights, expected);
        assert!(with(&norm("norm"), ["conv1.weight", "conv2.weight", "fc.weight"]).is_err());
    }

    #[test]
    fn what_is_no_state_dict_is_named() {
        for (bytes, what) in [
            (&b"PK\x03\x04archive/data.pkl"[..], "pickle"),
            (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
            (b"<!DOCTYPE html>", "web page"),
            (b"{}", "not a safetensors file"),
        ] {
            let refused = state_dict(bytes, None).unwrap_err().to_string();
            assert!(refused.contains(what), "{refused}");
        }
        let lstm = file(&[("lstm.weight_ih_l0", &[4, 3]), ("embed.other", &[1])]);
        let Err(Error::Unsupported(all)) = state_dict(&lstm, None) else {
            panic!("refused by name")
        };
        assert_eq!(all.len(), 2);
    }
}
