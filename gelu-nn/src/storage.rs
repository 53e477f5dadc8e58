//! Models in files: safetensors, the format of PyTorch's and Hugging Face's tools.
//!
//! | in the file | content |
//! | --- | --- |
//! | tensor `dense1.weight` | I64, `[outputs, inputs]` or `[filters, channels, kernel, kernel]` |
//! | tensor `dense1.bias` | I64, `[outputs]` or `[filters]` |
//! | metadata `gelu` | JSON: file format, name, version, architecture, precision, metadata, and optionally schema, calibration and provenance |
//!
//! Weights are the protocol's integers, so a model comes back bit for bit; in Python
//! `tensor.double() / 2**precision["weights"]["fraction"]` are the real numbers. Everything about the
//! model is one entry of the metadata because safetensors writes several in no fixed order, and
//! equal models should be equal files.
//!
//! A file may come from anywhere. Its size and its header are limited before they are read, every
//! tensor is compared with the architecture, and the result is checked like any other [`Model`].

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::path::Path;

use gelu_core::linear::MAX_PARAMETERS;
use gelu_core::network::Layer;
use gelu_core::{Parameters, Precision};
use gelu_files::Access;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::bundle::{Calibration, Provenance};
use crate::error::{Error, ModelFileError, Result};
use crate::model::Model;
use crate::schema::Schema;
use crate::sequential::{Block, Sequential};

/// The format of model files that this program writes. It also reads format 1, which has no schema, calibration or
/// provenance.
pub const FILE_FORMAT: u32 = 2;

/// The largest file: as many parameters as an architecture may have.
const MAX_FILE_BYTES: u64 = 8 * MAX_PARAMETERS + MAX_HEADER_BYTES;

/// The largest header, metadata included: 1 MiB.
const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Key of the metadata.
const KEY: &str = "gelu";

/// Everything about a model but its weights.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    format: u32,
    name: String,
    version: u64,
    architecture: Sequential,
    precision: Precision,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schema: Option<Schema>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calibration: Option<Calibration>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provenance: Option<Provenance>,
}

impl Description {
    fn has_parts_of_format_2(&self) -> bool {
        self.schema.is_some() || self.calibration.is_some() || self.provenance.is_some()
    }
}

/// What every format, also a later one, has.
#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Model {
    /// Writes a file, all or nothing: readers see the old one or the new one, also after a crash.
    ///
    /// A new file is readable by its owner only; an old one keeps its permissions, and a link stays a
    /// link.
    ///
    /// # Errors
    /// [`Error::Io`], or as [`to_bytes`](Self::to_bytes).
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = self.to_bytes()?;
        gelu_files::replace(path, &bytes, Access::Private).map_err(Error::io(path))
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`Error::Io`], or as [`from_bytes`](Self::from_bytes).
    pub fn load(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let mut bytes = Vec::new();
        file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(Error::io(path))?;
        Self::from_bytes(&bytes)
    }

    /// The content of a file. Equal models give equal bytes.
    ///
    /// # Errors
    /// [`ModelFileError::Beyond64Bits`] when a weight does not fit (its precision has more than 62
    /// bits), [`ModelFileError::TooLarge`] when names and metadata exceed the header.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tensors = Vec::new();
        for (block, layer) in self.architecture().blocks().iter().zip(&self.parameters().layers) {
            for ((name, shape), values) in
                tensors_of(block).into_iter().zip([&layer.weights, &layer.biases])
            {
                let mut bytes = Vec::with_capacity(8 * values.len());
                for &value in values {
                    let value = i64::try_from(value)
                        .map_err(|_| ModelFileError::Beyond64Bits(name.clone()))?;
                    bytes.extend(value.to_le_bytes());
                }
                tensors.push((name, shape, bytes));
            }
        }
        let description = Description {
            format: FILE_FORMAT,
            name: self.name().into(),
            version: self.version(),
            architecture: self.architecture().clone(),
            precision: *self.precision(),
            metadata: self.metadata().clone(),
            schema: self.schema().map(|schema| (**schema).clone()),
            calibration: self.calibration().copied(),
            provenance: self.provenance().cloned(),
        };
        let description = serde_json::to_string(&description).expect("text and numbers only");
        check_limit("a header", description.len() as u64, MAX_HEADER_BYTES / 2)?;
        let views = tensors
            .iter()
            .map(|(name, shape, bytes)| {
                Ok((name, TensorView::new(Dtype::I64, shape.clone(), bytes)?))
            })
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(broken)?;
        let metadata = HashMap::from([(KEY.to_owned(), description)]);
        Ok(safetensors::serialize(views, Some(metadata)).map_err(broken)?)
    }

    /// Reads and checks the content of a file.
    ///
    /// # Errors
    /// [`ModelFileError`] for what is no complete model file of ours, and as [`Model::new`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        check_limit("a file", bytes.len() as u64, MAX_FILE_BYTES)?;
        if let Some(header) = bytes.first_chunk() {
            check_limit("a header", u64::from_le_bytes(*header), MAX_HEADER_BYTES)?;
        }
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let metadata = header.metadata().as_ref().and_then(|m| m.get(KEY));
        let description = parse(metadata.ok_or(ModelFileError::NoMetadata(KEY))?)?;
        let file = SafeTensors::deserialize(bytes).map_err(broken)?;

        let blocks = description.architecture.blocks();
        let known: Vec<_> = blocks.iter().flat_map(tensors_of).map(|(name, _)| name).collect();
        let unknown = file.names().into_iter().filter(|name| !known.iter().any(|k| k == name));
        if let Some(name) = unknown.min() {
            return Err(ModelFileError::ExtraTensor(name.to_owned()).into());
        }
        let layers = blocks.iter().map(|block| {
            let [weights, biases] = tensors_of(block);
            Ok(Layer { weights: integers(&file, weights)?, biases: integers(&file, biases)? })
        });
        let parameters = Parameters { layers: layers.collect::<Result<_, ModelFileError>>()? };
        let Description { name, version, architecture, precision, metadata, .. } = description;
        let mut model = Self::new(name, architecture, precision, parameters)?.with_version(version);
        if let Some(schema) = description.schema {
            model = model.with_schema(schema)?;
        }
        if let Some(calibration) = description.calibration {
            model = model.with_calibration(calibration)?;
        }
        if let Some(provenance) = description.provenance {
            model = model.with_provenance(provenance)?;
        }
        Ok(metadata.into_iter().fold(model, |model, (key, value)| model.with_metadata(key, value)))
    }
}

fn parse(json: &str) -> Result<Description, ModelFileError> {
    let wrong = |e: serde_json::Error| ModelFileError::Metadata(KEY, e.to_string());
    let FormatOnly { format: got } = serde_json::from_str(json).map_err(wrong)?;
    match got {
        1 | FILE_FORMAT => {
            let description: Description = serde_json::from_str(json).map_err(wrong)?;
            match got == 1 && description.has_parts_of_format_2() {
                true => Err(ModelFileError::Metadata(KEY, "format 1 has no such parts".into())),
                false => Ok(description),
            }
        }
        _ => Err(ModelFileError::Format { got, known: FILE_FORMAT }),
    }
}

/// Name and shape of a block's two tensors.
fn tensors_of(block: &Block) -> [(String, Vec<usize>); 2] {
    let tensor = |kind: &str| format!("{}.{kind}", block.name());
    [
        (tensor("weight"), block.affine().weight_shape()),
        (tensor("bias"), vec![block.affine().biases()]),
    ]
}

fn integers(
    file: &SafeTensors<'_>,
    (name, shape): (String, Vec<usize>),
) -> Result<Vec<i128>, ModelFileError> {
    let Ok(tensor) = file.tensor(&name) else { return Err(ModelFileError::MissingTensor(name)) };
    if tensor.dtype() != Dtype::I64 || tensor.shape() != shape {
        let got = format!("{} {:?}", tensor.dtype(), tensor.shape());
        let expected = format!("{} {shape:?}", Dtype::I64);
        return Err(ModelFileError::WrongTensor { name, got, expected });
    }
    let (values, _) = tensor.data().as_chunks();
    Ok(values.iter().map(|&bytes| i64::from_le_bytes(bytes).into()).collect())
}

fn check_limit(what: &'static str, bytes: u64, limit: u64) -> Result<(), ModelFileError> {
    match bytes <= limit {
        true => Ok(()),
        false => Err(ModelFileError::TooLarge { what, bytes, limit }),
    }
}

fn broken(error: safetensors::SafeTensorError) -> ModelFileError {
    ModelFileError::Safetensors(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::zoo;
    use rand::SeedableRng;
    use rand::rngs::ChaCha20Rng;

    fn model(architecture: Sequential) -> Model {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        Model::initialise("tiny", architecture, Precision::TRAINING, &mut rng)
            .unwrap()
            .with_version(12)
            .with_metadata("accuracy", "0.97")
            .with_metadata("dataset", "iris")
    }

    /// The file of `model(zoo::iris())` with its tensors and description changed.
    fn tampered(
        change: impl FnOnce(
            &mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>,
            &mut HashMap<String, String>,
        ),
    ) -> Result<Model> {
        let bytes = model(zoo::iris()).to_bytes().unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let mut metadata = header.metadata().clone().unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut tensors: Vec<_> = file
            .tensors()
            .into_iter()
            .map(|(n, t)| (n, t.dtype(), t.shape().to_vec(), t.data().to_vec()))
            .collect();
        tensors.sort();
        change(&mut tensors, &mut metadata);
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
        });
        Model::from_bytes(&safetensors::serialize(views, Some(metadata)).unwrap())
    }

    fn reason(result: Result<Model>) -> ModelFileError {
        match result {
            Err(Error::ModelFile(reason)) => reason,
            other => panic!("expected a model file error, got {other:?}"),
        }
    }

    #[test]
    fn models_come_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        for entry in zoo::entries() {
            let model = model((entry.architecture)());
            let path = folder.path().join(entry.name);
            model.save(&path).unwrap();
            let back = Model::load(&path).unwrap();
            assert_eq!(back.parameters(), model.parameters());
            assert_eq!(back.architecture(), model.architecture());
            assert_eq!(back.precision(), model.precision());
            assert_eq!((back.name(), back.version()), (model.name(), model.version()));
            assert_eq!(back.metadata(), model.metadata());
            assert_eq!(back.to_bytes().unwrap(), std::fs::read(&path).unwrap());
        }
        let left_over = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left_over, zoo::entries().len(), "no temporary file stays");
    }

    #[test]
    fn tensors_have_the_names_and_shapes_of_pytorch() {
        let bytes = model(zoo::lenet5()).to_bytes().unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("conv2+pool2.weight").unwrap().shape(), [16, 6, 5, 5]);
        assert_eq!(file.tensor("conv2+pool2.bias").unwrap().shape(), [16]);
        assert_eq!(file.tensor("dense1.weight").unwrap().shape(), [120, 256]);
    }

    #[test]
    fn a_file_cut_off_anywhere_is_refused() {
        let bytes = model(zoo::iris()).to_bytes().unwrap();
        for length in 0..bytes.len() {
            assert!(Model::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Model::from_bytes(&longer).is_err());
    }

    #[test]
    fn no_single_changed_byte_makes_it_panic() {
        let bytes = model(zoo::iris()).to_bytes().unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 0x81;
            drop(Model::from_bytes(&changed));
        }
    }

    #[test]
    fn headers_without_end_are_refused_unread() {
        let mut bytes = u64::MAX.to_le_bytes().to_vec();
        bytes.extend([b' '; 100]);
        assert!(matches!(
            reason(Model::from_bytes(&bytes)),
            ModelFileError::TooLarge { what: "a header", .. }
        ));
        let chatty = model(zoo::iris()).with_metadata("notes", "x".repeat(1 << 20));
        assert!(chatty.to_bytes().is_err(), "what cannot be read must not be written");
    }

    #[test]
    fn wrong_tensors_are_refused_by_name() {
        let missing = tampered(|tensors, _| drop(tensors.remove(0)));
        assert_eq!(reason(missing), ModelFileError::MissingTensor("dense1.bias".into()));
        let extra = tampered(|tensors, _| tensors.push(("x".into(), Dtype::U8, vec![0], vec![])));
        assert_eq!(reason(extra), ModelFileError::ExtraTensor("x".into()));
        let dtype = tampered(|tensors, _| tensors[0].1 = Dtype::F64);
        let got = "F64 [5]".to_owned();
        let (name, expected) = ("dense1.bias".to_owned(), "I64 [5]".to_owned());
        assert_eq!(reason(dtype), ModelFileError::WrongTensor { name, got, expected });
        let shape = tampered(|tensors, _| tensors[1].2.reverse());
        assert!(matches!(reason(shape), ModelFileError::WrongTensor { .. }));
    }

    /// A model of iris with everything that format 2 can say.
    fn described() -> Model {
        let (iris, schema) = Dataset::load_with_schema("iris", Path::new("")).unwrap();
        let calibration = Calibration {
            rows: 500,
            accuracy_float: Some(1.0 / 3.0),
            accuracy_fixed: None,
            saturated: 7,
        };
        let provenance =
            Provenance { source: "a.onnx".into(), sha256: "0f".repeat(32), opset: Some(21) };
        model(zoo::iris())
            .with_schema(schema.fit(&iris).unwrap())
            .and_then(|model| model.with_calibration(calibration))
            .and_then(|model| model.with_provenance(provenance))
            .unwrap()
    }

    #[test]
    fn schema_calibration_and_provenance_come_back() {
        let model = described();
        let bytes = model.to_bytes().unwrap();
        let back = Model::from_bytes(&bytes).unwrap();
        assert_eq!(back.schema().unwrap().hash(), model.schema().unwrap().hash());
        assert_eq!(
            (back.calibration(), back.provenance()),
            (model.calibration(), model.provenance())
        );
        assert_eq!(back.to_bytes().unwrap(), bytes);
        // What is true of weights and scales goes with them.
        let next = model.successor(model.network().zeros()).unwrap();
        assert!(next.calibration().is_none() && next.provenance().is_some());
        assert_eq!(next.schema(), model.schema());
        let round = model.requantised(Precision::INFERENCE).unwrap();
        assert!(round.calibration().is_none() && round.schema() == model.schema());
    }

    #[test]
    fn format_1_is_read_and_has_no_schema() {
        let older = |change: &dyn Fn(String) -> String| {
            tampered(|_, metadata| {
                let description = metadata.get_mut(KEY).unwrap();
                *description = change(description.replace(r#""format":2"#, r#""format":1"#));
            })
        };
        let read = older(&|description| description).unwrap();
        assert_eq!(read.to_bytes().unwrap(), model(zoo::iris()).to_bytes().unwrap());
        let provenance =
            format!(r#""provenance":{{"source":"a","sha256":"{}"}},"name""#, "0f".repeat(32));
        let newer = older(&|description| description.replacen(r#""name""#, &provenance, 1));
        assert!(matches!(reason(newer), ModelFileError::Metadata(..)));
    }

    #[test]
    fn parts_that_do_not_fit_the_model_are_refused() {
        let model = described();
        let (digits, of_digits) = Dataset::load_with_schema("digits", Path::new("")).unwrap();
        assert_eq!(of_digits.inputs(), digits.inputs());
        let error = model.clone().with_schema(of_digits).unwrap_err().to_string();
        assert!(error.contains("64 features") && error.contains("takes 4"), "{error}");
        let two = model.schema().unwrap().with_classes(&["a".into(), "b".into()]).unwrap();
        assert!(model.clone().with_schema(two).is_err());
        let calibration =
            Calibration { accuracy_fixed: Some(1.5), ..*model.calibration().unwrap() };
        assert!(model.clone().with_calibration(calibration).is_err());
        let provenance = Provenance { sha256: "0".into(), ..model.provenance().unwrap().clone() };
        assert!(model.with_provenance(provenance).is_err());
    }

    #[test]
    fn wrong_descriptions_are_refused() {
        let none = tampered(|_, metadata| metadata.clear());
        assert_eq!(reason(none), ModelFileError::NoMetadata(KEY));
        let replaced = |from: &'static str, to: &'static str| {
            tampered(move |_, metadata| {
                let description = metadata.get_mut(KEY).unwrap();
                assert!(description.contains(from), "{description}");
                *description = description.replace(from, to);
            })
        };
        let later = replaced(r#""format":2"#, r#""format":3,"novelty":true"#);
        assert_eq!(reason(later), ModelFileError::Format { got: 3, known: 2 });
        let torn = replaced(r#""version":12"#, r#""version":"#);
        assert!(matches!(reason(torn), ModelFileError::Metadata(..)));
        let unknown = replaced(r#""version":12"#, r#""version":12,"colour":"red""#);
        assert!(matches!(reason(unknown), ModelFileError::Metadata(..)));
        let empty_layer = replaced(r#""outputs":5"#, r#""outputs":0"#);
        assert!(matches!(reason(empty_layer), ModelFileError::Metadata(..)));
        let huge_layer = replaced(r#""outputs":5"#, r#""outputs":1000000"#);
        assert!(matches!(reason(huge_layer), ModelFileError::WrongTensor { .. }));
        let no_bits = replaced(r#""mask_bits":64"#, r#""mask_bits":6"#);
        assert!(matches!(no_bits, Err(Error::Core(_))));
    }

    #[test]
    fn weights_beyond_the_bound_are_refused() {
        let beyond =
            tampered(|tensors, _| tensors[1].3[..8].copy_from_slice(&i64::MIN.to_le_bytes()));
        let error = beyond.unwrap_err().to_string();
        assert!(error.contains("dense1") && error.contains("bound"), "{error}");
    }
}
