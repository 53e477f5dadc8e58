//! The tensors of a file, sorted into modules.

use std::collections::BTreeMap;

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::by_number;
use crate::MAX_FILE_BYTES;
use crate::error::{Error, Result, Unsupported};

/// One tensor, its values in the order of its axes, the last one fastest.
pub(super) struct Tensor {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f64>,
}

/// The tensors of one module by their last names.
pub(super) type Module = BTreeMap<String, Tensor>;

/// Modules by name, in the order of the numbers in it.
pub(super) struct Modules(pub(super) Vec<(String, Module)>);

impl Modules {
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let (got, limit) = (bytes.len() as u64, MAX_FILE_BYTES);
            return Err(Error::TooLarge { what: "bytes", got, limit });
        }
        let file = SafeTensors::deserialize(bytes).map_err(|error| Error::NotA {
            expected: "a safetensors file",
            why: what_else(bytes).map_or_else(|| error.to_string(), Into::into),
        })?;
        let mut modules = BTreeMap::<String, Module>::new();
        let mut refused = Vec::new();
        let mut refuse = |name: &str, why: String| {
            refused.push(Unsupported { node: name.into(), operator: "tensor".into(), why });
        };
        for (name, view) in file.iter() {
            let (module, last) = name.rsplit_once('.').unwrap_or(("", name));
            match last {
                "num_batches_tracked" => continue,
                "weight" | "bias" | "running_mean" | "running_var" => {}
                _ => {
                    refuse(name, "not one of weight, bias, running_mean, running_var".into());
                    continue;
                }
            }
            match reals(view.dtype(), view.data()) {
                Ok(values) => {
                    let tensor = Tensor { shape: view.shape().to_vec(), values };
                    modules.entry(module.into()).or_default().insert(last.into(), tensor);
                }
                Err(why) => refuse(name, why),
            }
        }
        for (name, module) in &modules {
            if !is_linear(module) && !is_normalisation(module) {
                let shapes: Vec<_> = module
                    .iter()
                    .map(|(last, tensor)| format!("{last} {:?}", tensor.shape))
                    .collect();
                refuse(
                    name,
                    format!(
                        "neither a dense layer, a convolution nor a batch normalisation: {}",
                        shapes.join(", ")
                    ),
                );
            }
        }
        if !refused.is_empty() {
            return Err(Error::Unsupported(refused));
        }
        let mut modules: Vec<_> = modules.into_iter().collect();
        modules.sort_by(|(a, _), (b, _)| by_number(a, b));
        match modules.iter().any(|(_, module)| is_linear(module)) {
            true => Ok(Self(modules)),
            false => Err(Error::NotA {
                expected: "a file with weights of layers",
                why: "there is no dense layer and no convolution in it".into(),
            }),
        }
    }
}

pub(super) fn is_linear(module: &Module) -> bool {
    let weight = module.get("weight");
    let is_weight = weight.is_some_and(|weight| [2, 4].contains(&weight.shape.len()));
    let fits = |bias: &Tensor| weight.is_some_and(|weight| bias.shape[..] == weight.shape[..1]);
    is_weight && !module.contains_key("running_mean") && module.get("bias").is_none_or(fits)
}

pub(super) fn is_normalisation(module: &Module) -> bool {
    let mean = module.get("running_mean");
    mean.is_some_and(|mean| {
        module.values().all(|tensor| tensor.shape == mean.shape && mean.shape.len() == 1)
    }) && module.contains_key("running_var")
}

/// Values of one of PyTorch's types of real numbers.
fn reals(dtype: Dtype, data: &[u8]) -> Result<Vec<f64>, String> {
    let values: Vec<f64> = match dtype {
        Dtype::F64 => numbers(data, f64::from_le_bytes),
        Dtype::F32 => numbers(data, |b| f32::from_le_bytes(b).into()),
        Dtype::F16 => numbers(data, |b| f16::from_le_bytes(b).into()),
        Dtype::BF16 => numbers(data, |b| bf16::from_le_bytes(b).into()),
        other => return Err(format!("its type {other:?} is not one of F64, F32, F16, BF16")),
    };
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(values),
        Some(value) => Err(format!("a value is {value}")),
    }
}

fn numbers<const N: usize>(data: &[u8], read: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    data.as_chunks().0.iter().map(|&bytes| read(bytes)).collect()
}

/// What a file is that is no safetensors file, where that can be seen.
fn what_else(bytes: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 6] = [
        (
            b"PK",
            "it is a pickle of PyTorch; in Python: safetensors.torch.save_file(model.state_dict(), path)",
        ),
        (
            b"\x80\x02",
            "it is a pickle; in Python: safetensors.torch.save_file(model.state_dict(), path)",
        ),
        (b"version https://git-lfs", "it is a pointer of Git LFS; run `git lfs pull`"),
        (b"<", "it is a web page; download the file itself"),
        (b"\x89HDF", "it is an HDF5 file of Keras; export ONNX"),
        (b"\x93NUMPY", "it is an array of NumPy"),
    ];
    KNOWN.into_iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, what)| what)
}
