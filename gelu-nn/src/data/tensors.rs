//! Features in safetensors files: what an embedding network gives, ready to train a head on.
//!
//! | tensor | content |
//! | --- | --- |
//! | `train.x`, `test.x` | `[rows, features]`; F32, F16, or I8 times `x.scale` |
//! | `x.scale` | `[features]`, F32: one for each column, beside I8 alone |
//! | `train.y`, `test.y` | `[rows]`, classes from 0; U8, I32 or I64 |
//!
//! The metadata may name the classes: `classes`, a JSON list. Other tensors, such as identifiers of rows, are left alone. A file may come from anywhere: sizes are checked
//! before values are read, and every value must be finite.

use std::collections::HashMap;
use std::path::Path;

use ndarray::{Array2, ShapeBuilder};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::csv::{MAX_CATEGORIES, MAX_CELLS};
use super::{Dataset, Split};
use crate::error::{DataError, Error, Result};

/// The largest file: as many cells as a table may have, in 4 bytes each, and room for labels.
const MAX_BYTES: u64 = 4 * MAX_CELLS as u64 + (1 << 24);

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `train.x` and `train.y`.
    Train,
    /// `test.x` and `test.y`.
    Test,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

impl Split {
    /// Reads both parts of a file of features.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Data`] naming the file, and the tensor that is missing or does not fit.
    pub fn from_safetensors(path: &Path) -> Result<Self> {
        let bytes = read(path)?;
        Self::from_tensors(&bytes).map_err(Error::data(path.display().to_string()))
    }

    /// Both parts, from the content of such a file.
    ///
    /// # Errors
    /// [`DataError`] naming the tensor that is missing or does not fit.
    pub fn from_tensors(bytes: &[u8]) -> Result<Self, DataError> {
        let file = SafeTensors::deserialize(bytes).map_err(broken)?;
        let [train, test] = [Part::Train, Part::Test].map(|part| {
            let x = features(&file, part)?;
            Ok::<_, DataError>((labels(&file, part, x.ncols())?, x))
        });
        let ((train_y, train_x), (test_y, test_x)) = (train?, test?);
        if train_x.nrows() != test_x.nrows() {
            let why = format!("has {} columns, train.x has {}", test_x.nrows(), train_x.nrows());
            return Err(tensor("test.x", why));
        }
        // Both parts know all classes, though one of them may not show each.
        let largest = |labels: &[usize]| labels.iter().max().copied().unwrap_or(0);
        let names = match class_names(bytes)? {
            Some(names) => names,
            None => numbers((largest(&train_y).max(largest(&test_y)) + 1).max(2)),
        };
        for (name, labels) in [("train.y", &train_y), ("test.y", &test_y)] {
            let (largest, count) = (largest(labels), names.len());
            if largest >= count {
                let why = format!("holds {largest}; the file names {count} classes");
                return Err(tensor(name, why));
            }
        }
        let named = |x, y| dataset(x, y, names.clone());
        Ok(Self { train: named(train_x, train_y)?, test: named(test_x, test_y)? })
    }

    /// The content of such a file, with features in F32 and the names of classes.
    ///
    /// # Errors
    /// None for rows that fit a file.
    pub fn to_tensors(&self) -> Result<Vec<u8>, DataError> {
        let parts = [(Part::Train, &self.train), (Part::Test, &self.test)];
        let mut tensors = Vec::new();
        for (part, rows) in parts {
            tensors.push(x_of(part, rows));
            let labels = rows.labels().iter().map(|&label| label as i64);
            let bytes = labels.flat_map(i64::to_le_bytes).collect();
            tensors.push((format!("{}.y", part.name()), Dtype::I64, vec![rows.len()], bytes));
        }
        written(&tensors, self.train.class_names())
    }
}

impl Dataset {
    /// Reads the features of one part alone, whose labels need not be there: every label is 0 then, of
    /// `classes` classes.
    ///
    /// # Errors
    /// As [`Split::from_safetensors`].
    pub fn unlabelled_from_safetensors(path: &Path, part: Part, classes: usize) -> Result<Self> {
        let bytes = read(path)?;
        let read = || {
            let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
            let x = features(&file, part)?;
            let y = vec![0; x.ncols()];
            dataset(x, y, numbers(classes.max(1)))
        };
        read().map_err(Error::data(path.display().to_string()))
    }

    /// The content of a file of these features alone, as `test.x`.
    ///
    /// # Errors
    /// As [`Split::to_tensors`].
    pub fn to_unlabelled_tensors(&self) -> Result<Vec<u8>, DataError> {
        written(&[x_of(Part::Test, self)], self.class_names())
    }
}

/// A tensor to write.
type Tensor = (String, Dtype, Vec<usize>, Vec<u8>);

fn x_of(part: Part, rows: &Dataset) -> Tensor {
    #[expect(clippy::cast_possible_truncation, reason = "features are written in 24 bits")]
    let values = rows.features().t().iter().map(|&x| x as f32).collect::<Vec<_>>();
    let bytes = values.into_iter().flat_map(f32::to_le_bytes).collect();
    (format!("{}.x", part.name()), Dtype::F32, vec![rows.len(), rows.inputs()], bytes)
}

fn written(tensors: &[Tensor], classes: &[String]) -> Result<Vec<u8>, DataError> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        Ok((name, TensorView::new(*dtype, shape.clone(), bytes).map_err(broken)?))
    });
    let names = serde_json::to_string(classes).expect("words only");
    let metadata = [("format", "gelu-features".to_owned()), (CLASSES, names)];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
    let views = views.collect::<Result<Vec<_>, DataError>>()?;
    safetensors::serialize(views, Some(HashMap::from(metadata))).map_err(broken)
}

/// The names of the classes, where the file has any.
fn class_names(bytes: &[u8]) -> Result<Option<Vec<String>>, DataError> {
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let found = header.metadata().as_ref().and_then(|metadata| metadata.get(CLASSES));
    let Some(json) = found else { return Ok(None) };
    match serde_json::from_str::<Vec<String>>(json) {
        Ok(names) if names.len() <= MAX_CATEGORIES => Ok(Some(names)),
        Ok(names) => Err(DataError::TooLarge {
            what: "a list of classes",
            got: names.len() as u64,
            limit: MAX_CATEGORIES as u64,
        }),
        Err(error) => Err(DataError::Safetensors(format!("its classes are no list: {error}"))),
    }
}

fn numbers(classes: usize) -> Vec<String> {
    (0..classes).map(|class| class.to_string()).collect()
}

fn dataset(x: Array2<f64>, y: Vec<usize>, classes: Vec<String>) -> Result<Dataset, DataError> {
    let names = (1..=x.nrows()).map(|column| format!("x{column}")).collect();
    Dataset::new(x, y, names, classes)
}

/// In the metadata.
const CLASSES: &str = "classes";

fn read(path: &Path) -> Result<Vec<u8>> {
    let length = std::fs::metadata(path).map_err(Error::io(path))?.len();
    if length > MAX_BYTES {
        let limit = MAX_BYTES;
        let problem = DataError::TooLarge { what: "a file in bytes", got: length, limit };
        return Err(Error::data(path.display().to_string())(problem));
    }
    std::fs::read(path).map_err(Error::io(path))
}

fn find<'a>(file: &SafeTensors<'a>, name: &str) -> Result<TensorView<'a>, DataError> {
    file.tensor(name).map_err(|_| {
        let mut names = file.names();
        names.sort_unstable();
        tensor(name, format!("is missing; there are {}", names.join(", ")))
    })
}

/// `[features, samples]`, sample by sample in memory, as the file has them.
fn features(file: &SafeTensors<'_>, part: Part) -> Result<Array2<f64>, DataError> {
    let name = format!("{}.x", part.name());
    let view = find(file, &name)?;
    let &[rows, columns] = view.shape() else {
        return Err(tensor(
            &name,
            format!("has the shape {:?}, not [rows, features]", view.shape()),
        ));
    };
    let cells = rows.saturating_mul(columns);
    if cells > MAX_CELLS {
        let (got, limit) = (cells as u64, MAX_CELLS as u64);
        return Err(DataError::TooLarge { what: "a table", got, limit });
    }
    let values = match view.dtype() {
        Dtype::I8 => {
            let scale = find(file, "x.scale")?;
            if scale.dtype() != Dtype::F32 || scale.shape() != [columns] {
                let got = format!("is {} {:?}", scale.dtype(), scale.shape());
                return Err(tensor("x.scale", format!("{got}, not F32 [{columns}]")));
            }
            let scale = reals(&scale, "x.scale")?;
            let cells = view.data().iter().enumerate();
            cells.map(|(i, &x)| f64::from(x.cast_signed()) * scale[i % columns]).collect()
        }
        _ => reals(&view, &name)?,
    };
    let x = Array2::from_shape_vec((columns, rows).f(), values);
    x.map_err(|_| tensor(&name, "has another length than its shape says".into()))
}

fn reals(view: &TensorView<'_>, name: &str) -> Result<Vec<f64>, DataError> {
    match view.dtype() {
        Dtype::F32 => {
            let (values, _) = view.data().as_chunks();
            Ok(values.iter().map(|&bytes| f32::from_le_bytes(bytes).into()).collect())
        }
        Dtype::F16 => {
            let (values, _) = view.data().as_chunks();
            Ok(values.iter().map(|&bytes| half(u16::from_le_bytes(bytes))).collect())
        }
        other => Err(tensor(name, format!("is {other}; this program reads F32, F16 and I8"))),
    }
}

/// The number that 16 bits stand for (IEEE 754, binary16).
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    let magnitude = match exponent {
        0 => libm::ldexp(fraction, -24),
        0x1f if fraction == 0.0 => f64::INFINITY,
        0x1f => f64::NAN,
        _ => libm::ldexp(1024.0 + fraction, exponent - 25),
    };
    if bits >> 15 == 1 { -magnitude } else { magnitude }
}

fn labels(file: &SafeTensors<'_>, part: Part, rows: usize) -> Result<Vec<usize>, DataError> {
    let name = format!("{}.y", part.name());
    let view = find(file, &name)?;
    if view.shape() != [rows] {
        return Err(tensor(&name, format!("has the shape {:?}, not [{rows}]", view.shape())));
    }
    let data = view.data();
    let values: Vec<i64> = match view.dtype() {
        Dtype::U8 => data.iter().map(|&label| label.into()).collect(),
        Dtype::I32 => data.as_chunks().0.iter().map(|&b| i32::from_le_bytes(b).into()).collect(),
        Dtype::I64 => data.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect(),
        other => {
            return Err(tensor(&name, format!("is {other}; this program reads U8, I32 and I64")));
        }
    };
    let label = |&value: &i64| match usize::try_from(value) {
        Ok(label) if label < MAX_CATEGORIES => Ok(label),
        _ => Err(tensor(&name, format!("holds {value}; classes are 0 to {}", MAX_CATEGORIES - 1))),
    };
    values.iter().map(label).collect()
}

fn tensor(name: &str, why: String) -> DataError {
    DataError::Tensor { name: name.into(), why }
}

fn broken(error: safetensors::SafeTensorError) -> DataError {
    DataError::Safetensors(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Tensor = (&'static str, Dtype, Vec<usize>, Vec<u8>);

    fn file(tensors: &[Tensor]) -> Vec<u8> {
        file_with(tensors, None)
    }

    fn file_with(tensors: &[Tensor], classes: Option<&str>) -> Vec<u8> {
        let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
            (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let metadata = classes.map(|json| HashMap::from([("classes".into(), json.into())]));
        safetensors::serialize(views, metadata).unwrap()
    }

    fn f32s(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// Two features; three rows to train on, one to test.
    fn tensors() -> Vec<Tensor> {
        vec![
            ("train.x", Dtype::F32, vec![3, 2], f32s(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])),
            ("train.y", Dtype::U8, vec![3], vec![0, 1, 1]),
            ("test.x", Dtype::F16, vec![1, 2], [0xc000u16, 0x3555].map(u16::to_le_bytes).concat()),
            ("test.y", Dtype::I64, vec![1], 2i64.to_le_bytes().to_vec()),
            ("train.id", Dtype::I32, vec![3], vec![9; 12]),
        ]
    }

    #[test]
    fn rows_become_samples_and_both_parts_know_all_classes() {
        let split = Split::from_tensors(&file(&tensors())).unwrap();
        assert_eq!(split.train.batch(&[1]).0.column(0).to_vec(), [3.0, 4.0]);
        assert_eq!(split.train.labels(), [0, 1, 1]);
        assert_eq!(split.test.features().column(0).to_vec(), [-2.0, f64::from(0x555u16) / 4096.0]);
        assert_eq!((split.train.classes(), split.test.labels()), (3, &[2][..]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let unlabelled: Vec<_> =
            tensors().into_iter().filter(|(name, ..)| name.ends_with(".x")).collect();
        std::fs::write(&path, file(&unlabelled)).unwrap();
        let test = Dataset::unlabelled_from_safetensors(&path, Part::Test, 3).unwrap();
        assert_eq!((test.features(), test.labels()), (split.test.features(), &[0][..]));
        let error = Split::from_safetensors(&path).unwrap_err().to_string();
        assert!(error.contains("x.safetensors: tensor train.y: is missing"), "{error}");
    }

    #[test]
    fn what_is_written_is_read_again_with_the_names_of_classes() {
        let mut split = Split::from_tensors(&file(&tensors())).unwrap();
        let names = ["no", "maybe", "yes"].map(String::from).to_vec();
        for part in [&mut split.train, &mut split.test] {
            let (x, y) = (part.features().clone(), part.labels().to_vec());
            *part = dataset(x, y, names.clone()).unwrap();
        }
        let bytes = split.to_tensors().unwrap();
        let again = Split::from_tensors(&bytes).unwrap();
        assert_eq!((&again.train, &again.test), (&split.train, &split.test));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        std::fs::write(&path, split.test.to_unlabelled_tensors().unwrap()).unwrap();
        let test = Dataset::unlabelled_from_safetensors(&path, Part::Test, 3).unwrap();
        assert_eq!(test.features(), split.test.features());

        let refused = |classes| {
            Split::from_tensors(&file_with(&tensors(), Some(classes))).unwrap_err().to_string()
        };
        let few = refused(r#"["no","maybe"]"#);
        assert!(few.contains("test.y: holds 2; the file names 2 classes"), "{few}");
        assert!(refused("{}").contains("no list"));
    }

    #[test]
    fn eight_bits_are_scaled_by_column() {
        let mut tensors = tensors();
        tensors[0] = ("train.x", Dtype::I8, vec![3, 2], vec![1, 2, 0x80, 0x7f, 0, 0xff]);
        tensors.push(("x.scale", Dtype::F32, vec![2], f32s(&[0.5, 0.25])));
        let split = Split::from_tensors(&file(&tensors)).unwrap();
        let columns = split.train.features().columns().into_iter();
        let rows: Vec<_> = columns.map(|column| column.to_vec()).collect();
        assert_eq!(rows, [[0.5, 0.5], [-64.0, 31.75], [0.0, -0.25]]);
    }

    #[test]
    fn every_half_is_the_number_of_the_standard() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x0001, 2f64.powi(-24)),
            (0x03ff, 1023.0 * 2f64.powi(-24)),
            (0x0400, 2f64.powi(-14)),
            (0x3c00, 1.0),
            (0x3c01, 1.0 + 2f64.powi(-10)),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x7c00, f64::INFINITY),
            (0xfc00, f64::NEG_INFINITY),
        ] {
            assert_eq!(half(bits), value, "{bits:#06x}");
        }
        assert!(half(0x7e00).is_nan());
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        let refused = |n: usize, tensor: Tensor| {
            let mut tensors = tensors();
            tensors[n] = tensor;
            Split::from_tensors(&file(&tensors)).unwrap_err().to_string()
        };
        let four = f32s(&[0.0; 4]);
        for (n, tensor, expected) in [
            (0, ("train.x", Dtype::F32, vec![4], four.clone()), "train.x: has the shape [4]"),
            (0, ("train.x", Dtype::I32, vec![3, 2], vec![0; 24]), "train.x: is I32"),
            (0, ("train.x", Dtype::I8, vec![3, 2], vec![0; 6]), "x.scale: is missing"),
            (1, ("train.y", Dtype::U8, vec![2], vec![0; 2]), "train.y: has the shape [2], not [3]"),
            (1, ("train.y", Dtype::F32, vec![3], vec![0; 12]), "train.y: is F32"),
            (1, ("other", Dtype::U8, vec![3], vec![0; 3]), "train.y: is missing; there are other"),
            (2, ("test.x", Dtype::F32, vec![1, 4], four), "test.x: has 4 columns, train.x has 2"),
            (3, ("test.y", Dtype::I64, vec![1], vec![0xff; 8]), "test.y: holds -1"),
            (2, ("test.x", Dtype::F32, vec![1, 2], f32s(&[f32::NAN, 0.0])), "not a finite number"),
        ] {
            let said = refused(n, tensor);
            assert!(said.contains(expected), "{said}");
        }
        let whole = file(&tensors());
        for length in 0..whole.len() {
            assert!(Split::from_tensors(&whole[..length]).is_err(), "{length}");
        }
    }
}
