//! Errors, sorted by who must act: the author of an architecture, of a data file, of a model file.

use std::io;
use std::path::{Path, PathBuf};

use crate::layers::LayerError;

/// Shorthand for this crate's results.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Everything that can go wrong between a file and a trained model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A rule of the protocol's core.
    #[error(transparent)]
    Core(#[from] gelu_core::Error),
    /// A layer that does not fit where it stands.
    #[error("layer {layer}: {problem}")]
    Layer {
        /// The layer, by kind and count from the input: `conv2`.
        layer: String,
        /// What is wrong with it.
        problem: LayerError,
    },
    /// An architecture that is wrong as a whole.
    #[error("architecture: {0}")]
    Architecture(String),
    /// A value of a training recipe outside its domain.
    #[error("recipe: {what} is {got}, must be {expected}")]
    Recipe {
        /// Which value.
        what: &'static str,
        /// What it is.
        got: String,
        /// Its domain.
        expected: &'static str,
    },
    /// A data set that cannot be read or used.
    #[error("data set {name}: {problem}")]
    Data {
        /// The data set or its file.
        name: String,
        /// What is wrong with it.
        problem: DataError,
    },
    /// A schema that is none, or that is asked for what it cannot give.
    #[error("schema: {0}")]
    Schema(String),
    /// A model file that is not one of ours, or a damaged one.
    #[error("model file: {0}")]
    ModelFile(#[from] ModelFileError),
    /// The operating system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    pub(crate) fn data(name: impl Into<String>) -> impl FnOnce(DataError) -> Self {
        let name = name.into();
        move |problem| Self::Data { name, problem }
    }
}

/// What is wrong with a data set.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A table that cannot be read, or that makes no sense as data: rows of different length, names that occur
    /// twice, an identifier among the features, a label that is no class.
    #[error("{0}")]
    Csv(String),
    /// No rows, or none left after dropping.
    #[error("there are no samples")]
    Empty,
    /// Missing values, where the policy is to refuse them.
    #[error(
        "{count} missing values, the first in row {row}, column {column}; complete the table, or choose a rule \
         with --missing"
    )]
    Missing {
        /// How many in all.
        count: usize,
        /// Line of the first one, from 1, a header not counted.
        row: usize,
        /// Name of its column.
        column: String,
    },
    /// A number that is not finite.
    #[error("row {row}, column {column}: {value:?} is not a finite number")]
    NotFinite {
        /// Row, from 1, a header not counted.
        row: usize,
        /// Name of the column.
        column: String,
        /// The text.
        value: String,
    },
    /// A cell that its column cannot take.
    #[error("row {row}, column {column}: {value:?} {why}")]
    Cell {
        /// Row, from 1, a header not counted.
        row: usize,
        /// Name of the column.
        column: String,
        /// The text of the cell.
        value: String,
        /// What is wrong with it, after its text in a sentence.
        why: String,
    },
    /// Other columns than those of the schema.
    #[error("{}", columns_that_differ(missing, unknown))]
    Columns {
        /// Columns of the schema that the table lacks.
        missing: Vec<String>,
        /// Columns of the table that the schema does not know.
        unknown: Vec<String>,
    },
    /// A column of so many different words that it must be an identifier.
    #[error("column {column} has more than {limit} categories: an identifier?")]
    TooManyCategories {
        /// Name of the column.
        column: String,
        /// The limit.
        limit: usize,
    },
    /// A column that is not there.
    #[error("there is no column {wanted:?}; the columns are {columns}")]
    NoColumn {
        /// What was asked for.
        wanted: String,
        /// What there is.
        columns: String,
    },
    /// A class that is not there.
    #[error("there is no class {wanted:?}; the classes are {classes}")]
    NoClass {
        /// What was asked for.
        wanted: String,
        /// What there is.
        classes: String,
    },
    /// Features and labels of different length, or a label without a class.
    #[error("{what}: {got}, but expected {expected}")]
    Mismatch {
        /// What was compared.
        what: &'static str,
        /// What came.
        got: usize,
        /// What fits.
        expected: usize,
    },
    /// An IDX header that is none.
    #[error("not an IDX file of {expected}: {why}")]
    Idx {
        /// What was expected: images or labels.
        expected: &'static str,
        /// Why it is not.
        why: String,
    },
    /// A PNG file that is none, or that cannot be taken as it is.
    #[error("image: {0}")]
    Image(String),
    /// An image of another size than the model takes.
    #[error(
        "the image is {}x{} (width x height), the model takes {}x{}",
        got.0, got.1, expected.0, expected.1
    )]
    ImageSize {
        /// Width and height of the image.
        got: (usize, usize),
        /// Width and height that the model takes.
        expected: (usize, usize),
    },
    /// More than this program reads at once.
    #[error("{what} of {got}, the limit is {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// A file of features that is not in the safetensors format, or cut off.
    #[error("not a complete safetensors file: {0}")]
    Safetensors(String),
    /// A tensor of features or labels that is missing or does not fit.
    #[error("tensor {name}: {why}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Principal components that cannot be found.
    #[error("{wanted} principal components of {rows} rows with {features} features: {why}")]
    Components {
        /// How many were asked for.
        wanted: usize,
        /// Rows to find them in.
        rows: usize,
        /// Features of a row.
        features: usize,
        /// The rule.
        why: &'static str,
    },
    /// A split that cannot be made.
    #[error("cannot split: {0}")]
    Split(String),
    /// No data set of that name.
    #[error("unknown; known are {0}")]
    Unknown(String),
}

fn columns_that_differ(missing: &[String], unknown: &[String]) -> String {
    let missing = match missing {
        [] => String::new(),
        _ => format!("columns of the model that are missing: {}", missing.join(", ")),
    };
    let unknown = match unknown {
        [] => String::new(),
        _ => format!(
            "columns that the model does not know: {}; leave them out with --ignore, or rename them",
            unknown.join(", ")
        ),
    };
    let both = if missing.is_empty() || unknown.is_empty() { "" } else { "; " };
    format!("{missing}{both}{unknown}")
}

/// What is wrong with a model file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelFileError {
    /// Not in the safetensors format, or cut off.
    #[error("not a complete safetensors file: {0}")]
    Safetensors(String),
    /// Larger than any model this crate can describe.
    #[error("{what} of {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// The file, or its header.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A safetensors file of somebody else's.
    #[error("there is no {0:?} in the metadata: not written by gelu")]
    NoMetadata(&'static str),
    /// Metadata that does not parse.
    #[error("the metadata {0:?} cannot be read: {1}")]
    Metadata(&'static str, String),
    /// A version of the file format that this program does not know.
    #[error("the file has format {got}, this program reads {known}")]
    Format {
        /// Format of the file.
        got: u32,
        /// The format this program reads.
        known: u32,
    },
    /// A tensor of the architecture that the file lacks.
    #[error("the tensor {0:?} is missing")]
    MissingTensor(String),
    /// A tensor that the architecture lacks.
    #[error("the tensor {0:?} belongs to no layer")]
    ExtraTensor(String),
    /// A tensor of another type or shape than the architecture says.
    #[error("the tensor {name:?} is {got}, expected {expected}")]
    WrongTensor {
        /// Its name.
        name: String,
        /// Type and shape in the file.
        got: String,
        /// Type and shape of the architecture.
        expected: String,
    },
    /// A weight that no longer fits the file's integers.
    #[error("the tensor {0:?} has a value beyond 64 bits")]
    Beyond64Bits(String),
}
