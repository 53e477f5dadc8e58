//! What the inputs and classes of a network mean: which column of a table becomes which features, and which
//! word is which class.
//!
//! ```json
//! { "version": 1,
//!   "columns": [ {"type": "number", "name": "age", "range": [0.0, 120.0], "missing": "mean",
//!                 "scale": {"mean": 52.1, "deviation": 14.0}},
//!                {"type": "category", "name": "drug", "words": ["none", "statin"], "unknown": "other"},
//!                {"type": "date", "name": "admitted", "as": ["month_sin", "month_cos"]} ],
//!   "label": {"name": "outcome", "classes": ["ill", "well"]},
//!   "ignore": ["patient_id"] }
//! ```
//!
//! A schema travels with its model: in the model file, and in the card that a server sends. Whoever has a table
//! for that model reads it by the schema, so columns are matched by name, classes by word, and numbers are scaled
//! as they were when the model was trained, whatever the table at hand holds.
//!
//! | file | what |
//! | --- | --- |
//! | `column` | [`Column`]: how the cells of one column become features |
//! | `date` | days and seasons |
//! | `infer` | [`Schema::infer`]: a schema for a table that has none yet |
//! | `rows` | [`RowReader`]: a table, row by row, in constant memory |
//! | `fit` | [`Schema::fit`]: scales from training rows; data sets that are there already |
//! | `sums` | [`Schema::sums`]: scales of several owners' rows, who show nobody their own |
//! | `check` | [`Schema::check`]: all that does not fit, at once |
//!
//! A schema may come from a peer: its text is at most [`MAX_BYTES`] long, and it is checked when it is read.

mod check;
mod column;
mod date;
mod fit;
mod infer;
mod rows;
mod sums;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::layers::Shape;
use crate::sequential::Sequential;
pub use check::{Report, Trouble};
pub(crate) use column::rounded;
pub use column::{Category, Column, Missing, Number, Scale, Unknown};
pub use date::{Date, DateFeature};
pub use fit::Scaling;
pub use infer::{Fill, Inferred, Options};
pub use rows::{Labels, ReadOptions, Row, RowReader};
pub use sums::{MAX_ROWS, MaskedSums, PairSeed, Sums};

/// The form of schemas that this program writes and reads.
pub const VERSION: u32 = 1;

/// The longest schema, as JSON in bytes: 256 KiB, room for about 2,500 columns of numbers.
pub const MAX_BYTES: usize = 1 << 18;

/// The most classes of a label, and the most words of a category.
pub const MAX_WORDS: usize = crate::data::csv::MAX_CATEGORIES;

/// A checked schema: see the [module](self).
///
/// Real numbers in it are kept to 12 significant digits, so that a schema that was written and read is the same
/// one, with the same [`hash`](Self::hash).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Description", into = "Description")]
pub struct Schema(Description);

/// A schema as it is written down; [`Schema::new`] checks it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// [`VERSION`].
    pub version: u32,
    /// Columns of a table, in the order of the network's inputs; none for images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<Column>,
    /// An image instead of columns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// What is predicted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// Names of columns that a table may have and that are not read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Names of all columns in their order, the label and ignored ones included, where tables may come without a
    /// header. Without it a table must have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Vec<String>>,
}

/// What is predicted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// Name of its column.
    pub name: String,
    /// The word of each class, in the order of the network's outputs.
    pub classes: Vec<String>,
}

impl Label {
    /// The class of a cell: the same word; the same number, where all classes are numbers; or the one word that
    /// differs only in capital letters.
    pub fn class(&self, cell: &str) -> Option<usize> {
        let position = |same: &dyn Fn(&str) -> bool| self.classes.iter().position(|c| same(c));
        if let Some(class) = position(&|word| word == cell) {
            return Some(class);
        }
        let number = |text: &str| text.parse::<f64>().ok();
        if let Some(wanted) =
            number(cell).filter(|_| self.classes.iter().all(|c| number(c).is_some()))
        {
            return position(&|word| number(word) == Some(wanted));
        }
        let lower = cell.to_lowercase();
        let mut alike =
            (0..self.classes.len()).filter(|&c| self.classes[c].to_lowercase() == lower);
        alike.next().filter(|_| alike.next().is_none())
    }
}

/// An image: a pixel p is the feature p / max, from 0 to 1, then scaled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// `[channels, height, width]`; features are laid out channel by channel, row by row.
    pub shape: [usize; 3],
    /// The value of the brightest pixel in the training data: 255 for bytes.
    pub max: u16,
    /// Nothing, one scale for all channels, or one for each, on features from 0 to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scale: Vec<Scale>,
}

impl Image {
    /// Its shape.
    pub fn shape(&self) -> Shape {
        let [channels, height, width] = self.shape;
        Shape::image(channels, height, width)
    }

    /// The scale of each feature; the same for all pixels of a channel.
    fn scales(&self) -> impl Iterator<Item = Scale> + '_ {
        let [channels, height, width] = self.shape;
        (0..channels).flat_map(move |channel| {
            let scale = self.scale.get(channel).or(self.scale.first());
            std::iter::repeat_n(scale.copied().unwrap_or(Scale::IDENTITY), height * width)
        })
    }

    /// Features of an image whose pixels are from 0 to `brightest`, channel by channel and row by row; scaled.
    ///
    /// # Errors
    /// [`Error::Schema`] when there is another number of pixels.
    pub fn features(&self, pixels: &[u16], brightest: u16) -> Result<Vec<f64>> {
        let [channels, height, width] = self.shape;
        if pixels.len() != self.shape().features() {
            return Err(Error::Schema(format!(
                "an image of {} values, but the model takes {channels} x {height} x {width}; resize it",
                pixels.len()
            )));
        }
        let unit = |&pixel: &u16| f64::from(pixel) / f64::from(brightest.max(1));
        Ok(pixels.iter().map(unit).zip(self.scales()).map(|(x, scale)| scale.apply(x)).collect())
    }
}

/// SHA-256 of a schema's canonical form.
///
/// It is shown, and written down, in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl Schema {
    /// Checks a schema.
    ///
    /// # Errors
    /// [`Error::Schema`] saying what is wrong and where: another version, names that occur twice, an empty list
    /// of words, a scale that is none, more than [`MAX_BYTES`].
    pub fn new(mut description: Description) -> Result<Self> {
        description.columns.iter_mut().for_each(Column::round);
        if let Some(image) = &mut description.image {
            image.scale.iter_mut().for_each(Scale::round);
        }
        description.check().map_err(Error::Schema)?;
        let schema = Self(description);
        let length = schema.to_json().len();
        match length <= MAX_BYTES {
            true => Ok(schema),
            false => {
                Err(Error::Schema(format!("{length} bytes of text, the limit is {MAX_BYTES}")))
            }
        }
    }

    /// Reads and checks a schema.
    ///
    /// # Errors
    /// [`Error::Schema`] for text that is none, otherwise as [`new`](Self::new).
    pub fn from_json(json: &str) -> Result<Self> {
        // Twice the limit, since somebody may have laid it out.
        if json.len() > 2 * MAX_BYTES {
            let (got, limit) = (json.len(), 2 * MAX_BYTES);
            return Err(Error::Schema(format!("{got} bytes of text, the limit is {limit}")));
        }
        Self::new(serde_json::from_str(json).map_err(|e| Error::Schema(e.to_string()))?)
    }

    /// The canonical form: one line of JSON, the same for equal schemas.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.0).expect("words and finite numbers only")
    }

    /// SHA-256 of the [canonical form](Self::to_json): equal if and only if the schemas are.
    pub fn hash(&self) -> Hash {
        Hash(Sha256::digest(self.to_json()).into())
    }

    /// What it was made of.
    pub fn description(&self) -> &Description {
        &self.0
    }

    /// Columns of a table, in the order of the network's inputs; none for images.
    pub fn columns(&self) -> &[Column] {
        &self.0.columns
    }

    /// The image, if the inputs are one.
    pub fn image(&self) -> Option<&Image> {
        self.0.image.as_ref()
    }

    /// What is predicted, if it is known.
    pub fn label(&self) -> Option<&Label> {
        self.0.label.as_ref()
    }

    /// The word of each class, in the order of the network's outputs; none where no label is known.
    pub fn classes(&self) -> &[String] {
        self.0.label.as_ref().map_or(&[], |label| &label.classes)
    }

    /// Number of features.
    pub fn inputs(&self) -> usize {
        match &self.0.image {
            Some(image) => image.shape().features(),
            None => self.0.columns.iter().map(Column::width).sum(),
        }
    }

    /// The name of each feature: `age`, `drug=statin`, `admitted month_sin`, `pixel 3,4`.
    pub fn features(&self) -> Vec<String> {
        match &self.0.image {
            Some(image) => pixel_names(image.shape),
            None => self.0.columns.iter().flat_map(Column::features).collect(),
        }
    }

    /// Refuses a schema that an architecture cannot have.
    ///
    /// # Errors
    /// [`Error::Schema`] when it has other numbers of features or classes, or depends on training rows that were not
    /// seen yet.
    pub fn check_fit(&self, architecture: &Sequential) -> Result<()> {
        self.must_be_fitted()?;
        let (inputs, classes) = (architecture.input().features(), architecture.classes());
        let got = (self.inputs(), self.label().map_or(classes, |label| label.classes.len()));
        match got == (inputs, classes) {
            true => Ok(()),
            false => Err(Error::Schema(format!(
                "it has {} features and {} classes, but the network takes {inputs} and tells {classes} apart",
                got.0, got.1
            ))),
        }
    }

    /// The same schema for other classes.
    ///
    /// # Errors
    /// [`Error::Schema`] as [`new`](Self::new).
    pub fn with_classes(&self, classes: &[String]) -> Result<Self> {
        let name = self.0.label.as_ref().map_or("class", |label| &label.name).to_owned();
        self.with_label(Some(Label { name, classes: classes.to_vec() }))
    }

    /// The same schema for another label, or none.
    ///
    /// # Errors
    /// [`Error::Schema`] as [`new`](Self::new).
    pub fn with_label(&self, label: Option<Label>) -> Result<Self> {
        let mut description = self.0.clone();
        if let Some(order) = &mut description.order {
            let old = description.label.as_ref().map(|label| &label.name);
            let at = order.iter().position(|name| Some(name) == old).unwrap_or(order.len());
            order.retain(|name| Some(name) != old);
            order.splice(at..at, label.iter().map(|label| label.name.clone()));
        }
        Self::new(Description { label, ..description })
    }

    /// The features of one record, scaled: `cell` gives the text of a column, by name. `None` when a value is
    /// missing whose rule is to drop the row.
    ///
    /// # Errors
    /// [`Error::Data`] naming column and value; [`Error::Schema`] when the inputs are an image.
    pub fn read_features<'a>(
        &self,
        cell: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Option<Vec<f64>>> {
        rows::read_record(self, cell)
    }
}

impl Description {
    fn check(&self) -> Result<(), String> {
        if self.version != VERSION {
            return Err(format!("version {}, this program reads {VERSION}", self.version));
        }
        match (&self.image, &self.columns[..]) {
            (None, []) => return Err("neither columns nor an image".into()),
            (Some(_), [_, ..]) => return Err("columns and an image: choose one".into()),
            (None, columns) => columns.iter().try_for_each(Column::check)?,
            (Some(image), []) => image.check()?,
        }
        if let Some(label) = &self.label {
            words(&label.classes, "classes of the label")?;
        }
        let label = self.label.iter().map(|label| &label.name);
        let names = self.columns.iter().map(Column::name).chain(label).chain(&self.ignore);
        unique(names.map(String::as_str), "the column")?;
        unique(self.columns.iter().flat_map(Column::features), "the feature")?;
        if let Some(order) = &self.order {
            let names = self.columns.iter().map(Column::name);
            let label = self.label.iter().map(|label| &label.name);
            let known: BTreeSet<_> = names.chain(label).chain(&self.ignore).collect();
            let ordered: BTreeSet<_> = order.iter().collect();
            if known != ordered || ordered.len() != order.len() {
                return Err(
                    "the order must name each column, the label and the ignored ones once".into()
                );
            }
        }
        Ok(())
    }
}

impl Image {
    fn check(&self) -> Result<(), String> {
        self.shape().check().map_err(|e| format!("the image: {e}"))?;
        if self.max == 0 {
            return Err("the brightest pixel of the image is 0".into());
        }
        if self.scale.len() > 1 && self.scale.len() != self.shape[0] {
            let (scales, channels) = (self.scale.len(), self.shape[0]);
            return Err(format!("{scales} scales for an image of {channels} channels"));
        }
        self.scale.iter().try_for_each(|scale| scale.check("the image"))
    }
}

impl TryFrom<Description> for Schema {
    type Error = Error;

    fn try_from(description: Description) -> Result<Self> {
        Self::new(description)
    }
}

impl From<Schema> for Description {
    fn from(schema: Schema) -> Self {
        schema.0
    }
}

/// Names of the pixels of an image: `pixel row,column`, with the channel first where there are several.
pub(crate) fn pixel_names([channels, height, width]: [usize; 3]) -> Vec<String> {
    let places = (0..channels).flat_map(|c| (0..height).map(move |y| (c, y)));
    let places = places.flat_map(|(c, y)| (0..width).map(move |x| (c, y, x)));
    let name = |(c, y, x)| match channels {
        1 => format!("pixel {y},{x}"),
        _ => format!("pixel {c},{y},{x}"),
    };
    places.map(name).collect()
}

/// Refuses an empty or too long list, and words that occur twice or are empty.
fn words(words: &[String], what: &str) -> Result<(), String> {
    if words.is_empty() || words.len() > MAX_WORDS {
        return Err(format!("{} {what}, must be 1 to {MAX_WORDS}", words.len()));
    }
    if words.iter().any(String::is_empty) {
        return Err(format!("an empty word among the {what}"));
    }
    unique(words.iter().map(String::as_str), &format!("of the {what}, the word"))
}

fn unique<T: Ord + fmt::Display>(names: impl Iterator<Item = T>, what: &str) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for name in names {
        if seen.contains(&name) {
            return Err(format!("{what} {name} occurs twice"));
        }
        seen.insert(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
