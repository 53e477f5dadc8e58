//! The healthcare case from its files.

use std::path::{Path, PathBuf};

use gelu_transfer::{Preparation, Rows};
use safetensors::{Dtype, SafeTensors};

/// The folder of the data sets of transfer learning, if it is there.
pub(crate) fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("GELU_DATA").map(PathBuf::from);
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let found = named.unwrap_or(beside).join("transfer");
    let found = found.is_dir().then_some(found);
    if found.is_none() {
        println!("SKIP: no data; set GELU_DATA to the folder that holds transfer/");
    }
    found
}

/// Prepared rows and labels.
pub(crate) struct Split {
    pub(crate) x: Rows,
    pub(crate) y: Vec<bool>,
}

/// Training and test rows of a safetensors file.
pub(crate) fn load(path: &Path) -> (Split, Split) {
    let bytes = std::fs::read(path).expect("the file of features");
    let file = SafeTensors::deserialize(&bytes).expect("safetensors");
    let raw = |name: &str| {
        let tensor = file.tensor(&format!("{name}.x")).expect("features");
        assert_eq!(tensor.dtype(), Dtype::F32);
        let values = tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into());
        Rows::new(values.collect(), tensor.shape()[1]).expect("rows")
    };
    let labels = |name: &str| {
        let tensor = file.tensor(&format!("{name}.y")).expect("labels");
        assert_eq!(tensor.dtype(), Dtype::I64);
        tensor.data().as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) == 1).collect()
    };
    let train = raw("train");
    let preparation = Preparation::fit(&train).expect("rows that differ");
    let split =
        |name, rows| Split { x: preparation.apply(rows).expect("features"), y: labels(name) };
    (split("train", &train), split("test", &raw("test")))
}

/// The class of each row: 1 where the label is.
pub(crate) fn classes(labels: &[bool]) -> Vec<usize> {
    labels.iter().map(|&label| usize::from(label)).collect()
}
