//! The healthcare case from its files.

use std::path::{Path, PathBuf};

use gelu_transfer::{Preparation, Rows};

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
    let file = gelu_nn::Split::from_safetensors(path).expect("features and labels");
    let raw = |part: &gelu_nn::Dataset| {
        Rows::new(part.features().t().iter().copied().collect(), part.inputs()).expect("rows")
    };
    let preparation = Preparation::fit(&raw(&file.train)).expect("rows that differ");
    let split = |part: &gelu_nn::Dataset| Split {
        x: preparation.apply(&raw(part)).expect("features"),
        y: part.labels().iter().map(|&label| label == 1).collect(),
    };
    (split(&file.train), split(&file.test))
}

/// The class of each row: 1 where the label is.
pub(crate) fn classes(labels: &[bool]) -> Vec<usize> {
    labels.iter().map(|&label| usize::from(label)).collect()
}
