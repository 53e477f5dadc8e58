//! Well-known data sets by name, in a folder with one sub-folder each.
//!
//! Nothing is downloaded: the files are those of the UCI Machine Learning Repository, of MNIST and of
//! CIFAR-10, under their original names. `gelu datasets` prints [`sources`].

use std::path::{Path, PathBuf};

use ::csv::StringRecord;

use super::csv::{Column, Decimal, Format, Header, Records, Table};
use super::{Dataset, Split, cifar, idx, labelled};
use crate::error::{DataError, Error, Result};
use crate::schema::{
    Description, Fill, Image, Label, Options, ReadOptions, Schema, VERSION, pixel_names,
};

/// A data set that [`Dataset::load`] knows.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    /// Its name.
    pub name: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// Inputs once it is loaded.
    pub inputs: usize,
    /// Classes.
    pub classes: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A table without header; the transformation is part of the data set's definition.
    Table {
        file: &'static str,
        label: usize,
        ignore: Option<usize>,
        twist: Twist,
        /// Of all its columns, where they have known ones.
        names: &'static [&'static str],
    },
    /// The 8x8 digits that are part of this program.
    Digits,
    /// The embeddings that are part of this program: those to train on, or those to test.
    Abstracts { test: Option<&'static str> },
    /// 64 counts from 0 to 16, then the digit.
    Counts { file: &'static str, test: Option<&'static str> },
    /// Two IDX files.
    Idx { images: &'static str, labels: &'static str, test: Option<&'static str> },
    /// CIFAR-10's folder: the batches to train on, or the one to test.
    Cifar { test: Option<&'static str> },
}

/// What a table needs before it can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twist {
    None,
    /// x ↦ ln(1 + x): frequencies with a long tail.
    Logarithm,
    /// Class 0 against all others.
    ZeroOrNot,
}

impl Source {
    /// Name of the standard test part, if there is one.
    pub fn test(&self) -> Option<&'static str> {
        match self.kind {
            Kind::Table { .. } | Kind::Digits => None,
            Kind::Counts { test, .. }
            | Kind::Idx { test, .. }
            | Kind::Abstracts { test }
            | Kind::Cifar { test } => test,
        }
    }

    /// Whether its features are measurements of different scales, which want standardising.
    pub fn is_table(&self) -> bool {
        matches!(self.kind, Kind::Table { .. })
    }
}

/// All data sets that [`Dataset::load`] knows.
///
/// In `diabetes` a 0 in columns 2 to 6 stands for a missing measurement. It is read as the number
/// 0, because the accuracies in the literature, the paper's included, are measured like that.
pub fn sources() -> &'static [Source] {
    &SOURCES
}

pub(super) fn find(name: &str) -> Result<&'static Source> {
    SOURCES.iter().find(|source| source.name == name).ok_or_else(|| {
        let known: Vec<_> = SOURCES.iter().map(|source| source.name).collect();
        Error::data(name)(DataError::Unknown(known.join(", ")))
    })
}

pub(super) fn load(name: &str, dir: &Path) -> Result<(Dataset, Schema)> {
    let source = find(name)?;
    let label =
        |name: &str, classes: &[String]| Label { name: name.into(), classes: classes.to_vec() };
    match source.kind {
        Kind::Table { file, label, ignore, twist, names } => {
            let path = dir.join(file);
            // Iris is part of the program; its file is read only where somebody put one.
            if name == "iris" && !path.exists() {
                return iris();
            }
            let read = || Records::open(&path, &WITHOUT_HEADER);
            let (dataset, schema) =
                table_of(&path.display().to_string(), read, label, ignore, names, twist)?;
            match twist {
                Twist::ZeroOrNot => zero_or_not(&dataset, &schema),
                _ => Ok((dataset, schema)),
            }
        }
        Kind::Digits => {
            let digits = Dataset::digits();
            let schema = image([1, 8, 8], 16, label("digit", digits.class_names()))?;
            Ok((digits, schema))
        }
        Kind::Abstracts { test } => {
            let Split { train, test: held_out } = Split::abstracts();
            let rows = if test.is_some() { train } else { held_out };
            let label = label("topic", rows.class_names());
            let schema = Schema::of_numbers(rows.feature_names(), Some(label))?;
            Ok((rows, schema))
        }
        Kind::Counts { file, .. } => {
            let path = dir.join(file);
            let read = || Records::open(&path, &WITHOUT_HEADER);
            let at = path.display().to_string();
            let (counts, _) = table_of(&at, read, 65, None, &[], Twist::None)?;
            let (pixels, names) = (counts.features() / 16.0, pixel_names([1, 8, 8]));
            let classes = counts.class_names().to_vec();
            let schema = image([1, 8, 8], 16, label("digit", &classes))?;
            let dataset = Dataset::new(pixels, counts.labels().to_vec(), names, classes);
            Ok((dataset.map_err(Error::data(name))?, schema))
        }
        Kind::Idx { images, labels, .. } => {
            let images = idx::Images::open(&plain_or_gzipped(dir, images))?;
            let labels = idx::open_labels(&plain_or_gzipped(dir, labels))?;
            let shape = [1, images.rows, images.columns];
            let digits: Vec<_> = (0..10).map(|digit| digit.to_string()).collect();
            let schema = image(shape, 255, label("digit", &digits))?;
            let labels = labels.into_iter().map(usize::from).collect();
            let dataset = Dataset::new(images.features(), labels, pixel_names(shape), digits);
            Ok((dataset.map_err(Error::data(name))?, schema))
        }
        Kind::Cifar { test } => {
            let folder = dir.join(cifar::FOLDER);
            let files = match test {
                Some(_) => (1..=5).map(|number| format!("data_batch_{number}.bin")).collect(),
                None => vec!["test_batch.bin".into()],
            };
            let files: Vec<_> = files.into_iter().map(|file| folder.join(file)).collect();
            labelled::of_cifar(&folder, cifar::Batch::open_all(&files)?)
        }
    }
}

/// Fisher's flowers, as they are part of this program.
pub(super) fn iris() -> Result<(Dataset, Schema)> {
    let read = || {
        let text = include_bytes!("iris.csv").as_slice();
        let format = Format { header: Header::Present, ..WITHOUT_HEADER };
        let mut records = Records::new(text, &format).map_err(Error::data("iris"))?;
        // Its names are those of `IRIS`.
        records.next_into(&mut StringRecord::new()).map_err(Error::data("iris"))?;
        Ok(records)
    };
    table_of("iris", read, 5, None, &IRIS, Twist::None)
}

/// Rows and schema of a table without header, whose columns are called `names` where those are known.
fn table_of(
    at: &str,
    read: impl Fn() -> Result<Records>,
    label: usize,
    ignore: Option<usize>,
    names: &[&str],
    twist: Twist,
) -> Result<(Dataset, Schema)> {
    let mut table = Table::collect(read()?, Header::Absent).map_err(Error::data(at))?;
    if names.len() == table.names.len() {
        table.names = names.iter().map(|&name| name.to_owned()).collect();
    }
    let options = Options {
        label: Some(Column::Number(label)),
        ignore: ignore.map(Column::Number).into_iter().collect(),
        missing: Fill::Drop,
    };
    let mut schema = Schema::infer(&table, &options).map_err(Error::data(at))?.schema;
    if twist == Twist::Logarithm {
        schema = schema.with_logarithms()?;
    }
    let options = ReadOptions { format: WITHOUT_HEADER, ..ReadOptions::default() };
    let dataset = schema.raw_dataset(read()?, at, &options)?;
    Ok((dataset, schema))
}

/// Class 0 against all others.
fn zero_or_not(dataset: &Dataset, schema: &Schema) -> Result<(Dataset, Schema)> {
    let zero = dataset.class_names().iter().position(|name| name == "0");
    let labels = dataset.labels().iter().map(|&label| usize::from(Some(label) != zero)).collect();
    let classes = vec!["0".into(), "1-4".into()];
    let schema = schema.with_classes(&classes)?;
    let (features, names) = (dataset.features().clone(), dataset.feature_names().to_vec());
    let dataset = Dataset::new(features, labels, names, classes);
    Ok((dataset.map_err(Error::data("heart-disease"))?, schema))
}

fn image(shape: [usize; 3], max: u16, label: Label) -> Result<Schema> {
    Schema::new(Description {
        version: VERSION,
        image: Some(Image { shape, max, scale: Vec::new() }),
        label: Some(label),
        ..Description::default()
    })
}

const WITHOUT_HEADER: Format =
    Format { delimiter: Some(b','), header: Header::Absent, decimal: Decimal::Point };

/// `file.gz` if it is there, otherwise `file`.
fn plain_or_gzipped(dir: &Path, file: &str) -> PathBuf {
    let gzipped = dir.join(format!("{file}.gz"));
    if gzipped.exists() { gzipped } else { dir.join(file) }
}

const fn table(file: &'static str, label: usize, names: &'static [&'static str]) -> Kind {
    Kind::Table { file, label, ignore: None, twist: Twist::None, names }
}

const IRIS: [&str; 5] =
    ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)", "species"];

const DIABETES: [&str; 9] = [
    "pregnancies",
    "glucose",
    "blood pressure",
    "skin thickness",
    "insulin",
    "bmi",
    "pedigree",
    "age",
    "outcome",
];

/// As UCI's `heart-disease.names` has them.
const HEART: [&str; 14] = [
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak",
    "slope", "ca", "thal", "num",
];

static SOURCES: [Source; 15] = [
    Source {
        name: "iris",
        description: "Iris flowers by four measurements (Fisher 1936); part of this program",
        inputs: 4,
        classes: 3,
        kind: table("iris/bezdekIris.data", 5, &IRIS),
    },
    Source {
        name: "diabetes",
        description: "Pima Indians diabetes by eight measurements (Smith et al. 1988)",
        inputs: 8,
        classes: 2,
        kind: table("diabetes/pima-indians-diabetes.csv", 9, &DIABETES),
    },
    Source {
        name: "kr-vs-kp",
        description: "Chess, king and rook against king and pawn on a7 (Shapiro 1987)",
        inputs: 38,
        classes: 2,
        kind: table("kr-vs-kp/kr-vs-kp.data", 37, &[]),
    },
    Source {
        name: "digits",
        description: "Handwritten digits, 8x8, 1,797 (Alpaydin, Kaynak 1998); part of this program",
        inputs: 64,
        classes: 10,
        kind: Kind::Digits,
    },
    Source {
        name: "abstracts",
        description: "Medical abstracts as embeddings, about cancer or not, 2,048 for training (Schopf et al. 2022); \
                      part of this program",
        inputs: 384,
        classes: 2,
        kind: Kind::Abstracts { test: Some("abstracts-test") },
    },
    Source {
        name: "abstracts-test",
        description: "Medical abstracts as embeddings, the 722 for testing; part of this program",
        inputs: 384,
        classes: 2,
        kind: Kind::Abstracts { test: None },
    },
    Source {
        name: "mnist",
        description: "Handwritten digits, 28x28, the 60,000 for training (LeCun et al. 1998)",
        inputs: 784,
        classes: 10,
        kind: Kind::Idx {
            images: "mnist/train-images-idx3-ubyte",
            labels: "mnist/train-labels-idx1-ubyte",
            test: Some("mnist-test"),
        },
    },
    Source {
        name: "mnist-test",
        description: "Handwritten digits, 28x28, the 10,000 for testing",
        inputs: 784,
        classes: 10,
        kind: Kind::Idx {
            images: "mnist/t10k-images-idx3-ubyte",
            labels: "mnist/t10k-labels-idx1-ubyte",
            test: None,
        },
    },
    Source {
        name: "cifar10",
        description: "Photographs, 32x32 in colour, the 50,000 for training (Krizhevsky 2009); 1.2 GB in memory",
        inputs: 3072,
        classes: 10,
        kind: Kind::Cifar { test: Some("cifar10-test") },
    },
    Source {
        name: "cifar10-test",
        description: "Photographs, 32x32 in colour, the 10,000 for testing",
        inputs: 3072,
        classes: 10,
        kind: Kind::Cifar { test: None },
    },
    Source {
        name: "wdbc",
        description: "Breast cancer, Wisconsin, diagnostic (Wolberg et al. 1993)",
        inputs: 30,
        classes: 2,
        kind: Kind::Table {
            file: "wdbc/wdbc.data",
            label: 2,
            ignore: Some(1),
            twist: Twist::None,
            names: &[],
        },
    },
    Source {
        name: "heart-disease",
        description: "Heart disease, Cleveland, none or some; complete rows (Detrano 1988)",
        inputs: 13,
        classes: 2,
        kind: Kind::Table {
            file: "heart-disease/processed.cleveland.data",
            label: 14,
            ignore: None,
            twist: Twist::ZeroOrNot,
            names: &HEART,
        },
    },
    Source {
        name: "optdigits",
        description: "Handwritten digits, 8x8, the 3,823 for training (Alpaydin, Kaynak 1998)",
        inputs: 64,
        classes: 10,
        kind: Kind::Counts { file: "optdigits/optdigits.tra", test: Some("optdigits-test") },
    },
    Source {
        name: "optdigits-test",
        description: "Handwritten digits, 8x8, the 1,797 for testing",
        inputs: 64,
        classes: 10,
        kind: Kind::Counts { file: "optdigits/optdigits.tes", test: None },
    },
    Source {
        name: "spambase",
        description: "Mail by frequencies of words, as ln(1 + x) (Hopkins et al. 1999)",
        inputs: 57,
        classes: 2,
        kind: Kind::Table {
            file: "spambase/spambase.data",
            label: 58,
            ignore: None,
            twist: Twist::Logarithm,
            names: &[],
        },
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_list_the_known_ones() {
        let error = Dataset::load("cifar", Path::new(".")).unwrap_err().to_string();
        assert!(error.contains("kr-vs-kp") && error.contains("cifar"), "{error}");
    }

    #[test]
    fn two_need_no_file_and_others_say_which_they_need() {
        let nowhere = Path::new("/nonexistent");
        assert_eq!(Dataset::load("iris", nowhere).unwrap(), Dataset::iris());
        assert_eq!(Dataset::load("digits", nowhere).unwrap(), Dataset::digits());
        let error = Dataset::load("mnist", nowhere).unwrap_err().to_string();
        assert!(error.contains("train-images-idx3-ubyte"), "{error}");
    }

    #[test]
    fn cifar_is_read_from_the_folder_of_its_archive() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("cifar-10-batches-bin");
        std::fs::create_dir(&folder).unwrap();
        for class in 1..=5 {
            let file = cifar::tests::file(&[class]);
            std::fs::write(folder.join(format!("data_batch_{class}.bin")), file).unwrap();
        }
        let error = Split::unscaled("cifar10", dir.path(), 1).unwrap_err().to_string();
        assert!(error.contains("test_batch.bin"), "{error}");
        std::fs::write(folder.join("test_batch.bin"), cifar::tests::file(&[7, 8])).unwrap();
        let Split { train, test } = Split::unscaled("cifar10", dir.path(), 1).unwrap();
        assert_eq!((train.labels(), test.labels()), (&[1, 2, 3, 4, 5][..], &[7, 8][..]));
        assert_eq!(train.class_names()[7], "horse");
    }

    #[test]
    fn tables_are_read_from_their_folder() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("heart-disease")).unwrap();
        let row =
            |last: &str| format!("63.0,1.0,1.0,145.0,233.0,1.0,2.0,150,0,2.3,3,0,6.0,{last}\n");
        let rows = [row("0"), row("2"), row("4"), row("1").replace("6.0", "?")].concat();
        std::fs::write(dir.path().join("heart-disease/processed.cleveland.data"), rows).unwrap();
        let heart = Dataset::load("heart-disease", dir.path()).unwrap();
        assert_eq!((heart.len(), heart.inputs()), (3, 13));
        assert_eq!(heart.labels(), [0, 1, 1]);
    }
}
