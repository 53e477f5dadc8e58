//! How the cells of one column become features.

use serde::{Deserialize, Serialize};

use super::date::{Date, days};
use super::{unique, words};
use crate::data::csv::{Decimal, is_missing};

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Column {
    /// Numbers: one feature.
    Number(Number),
    /// Words: a feature for each word, 1 where the cell holds it and 0 elsewhere.
    Category(Category),
    /// Dates: features derived from them.
    Date(Date),
}

/// x ↦ (x − mean) / deviation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// What is subtracted.
    pub mean: f64,
    /// What is divided by; above 0.
    pub deviation: f64,
}

/// A column of numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Number {
    /// Its name.
    pub name: String,
    /// Bounds of what is accepted, both included, before anything is done to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<[f64; 2]>,
    /// Whether the feature is ln(1 + x): for counts with a long tail.
    #[serde(default, skip_serializing_if = "is_false")]
    pub log1p: bool,
    /// What to do where there is no value.
    #[serde(default, skip_serializing_if = "Missing::is_default")]
    pub missing: Missing,
    /// The scale of the training rows, or of the range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
}

/// A column of words.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Category {
    /// Its name.
    pub name: String,
    /// The words, in the order of the features.
    pub words: Vec<String>,
    /// The word that has no feature: all others are 0 where it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// What to do with another word.
    #[serde(default, skip_serializing_if = "Unknown::is_default")]
    pub unknown: Unknown,
    /// What to do where there is no value.
    #[serde(default, skip_serializing_if = "Missing::is_default")]
    pub missing: Missing,
    /// Nothing, or a scale for each feature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scales: Vec<Scale>,
}

/// What to do where there is no value: an empty cell, `?`, `NA` and the like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// Refuse the table.
    #[default]
    Refuse,
    /// Leave the row out.
    Drop,
    /// Take the mean of the scale (numbers and dates).
    Mean,
    /// A word of its own, with a feature of its own (categories).
    Word,
    /// Take this value (numbers).
    Value(f64),
}

/// What to do with a word that is not in the list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// Refuse the table.
    #[default]
    Refuse,
    /// All features of the column are 0.
    Zeros,
    /// One more feature stands for all other words.
    Other,
}

/// What has become of a cell.
pub(super) enum Cell {
    /// Its features are there; those without a known mean are not numbers.
    Read,
    /// The row is to be left out.
    Dropped,
}

impl Scale {
    /// Changes nothing.
    pub const IDENTITY: Self = Self { mean: 0.0, deviation: 1.0 };

    /// (x − mean) / deviation.
    pub fn apply(self, x: f64) -> f64 {
        (x - self.mean) / self.deviation
    }

    /// Puts a range onto −1 to 1.
    pub fn of_range([low, high]: [f64; 2]) -> Self {
        Self { mean: f64::midpoint(low, high), deviation: (high - low) / 2.0 }
    }

    pub(super) fn round(&mut self) {
        (self.mean, self.deviation) = (rounded(self.mean), rounded(self.deviation));
    }

    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        match self.mean.is_finite() && self.deviation.is_finite() && self.deviation > 0.0 {
            true => Ok(()),
            false => Err(format!("the scale of {name}: {self:?}, a deviation must be above 0")),
        }
    }
}

impl Column {
    /// Its name.
    pub fn name(&self) -> &String {
        match self {
            Self::Number(Number { name, .. })
            | Self::Category(Category { name, .. })
            | Self::Date(Date { name, .. }) => name,
        }
    }

    /// What to do where there is no value.
    pub fn missing(&self) -> Missing {
        match self {
            Self::Number(Number { missing, .. })
            | Self::Category(Category { missing, .. })
            | Self::Date(Date { missing, .. }) => *missing,
        }
    }

    /// Number of its features.
    pub fn width(&self) -> usize {
        match self {
            Self::Number(_) => 1,
            Self::Category(category) => category.width(),
            Self::Date(date) => date.features.len(),
        }
    }

    /// Names of its features.
    pub fn features(&self) -> Vec<String> {
        match self {
            Self::Number(number) => vec![number.name.clone()],
            Self::Category(category) => category.features(),
            Self::Date(date) => {
                date.features.iter().map(|feature| format!("{} {feature}", date.name)).collect()
            }
        }
    }

    /// The scale of each feature, where they have been fitted.
    pub fn scales(&self) -> &[Scale] {
        match self {
            Self::Number(number) => number.scale.as_slice(),
            Self::Category(Category { scales, .. }) | Self::Date(Date { scales, .. }) => scales,
        }
    }

    /// The scale that does not depend on rows: that of a range.
    pub(super) fn scale_of_range(&self) -> Option<Scale> {
        match self {
            Self::Number(Number { range, log1p: false, .. }) => range.map(Scale::of_range),
            _ => None,
        }
    }

    /// Sets them.
    pub(super) fn set_scales(&mut self, new: &[Scale]) {
        match self {
            Self::Number(number) => number.scale = new.first().copied(),
            Self::Category(Category { scales, .. }) | Self::Date(Date { scales, .. }) => {
                *scales = new.to_vec();
            }
        }
    }

    /// Appends the features of a cell, not scaled.
    ///
    /// # Errors
    /// What is wrong with the cell.
    pub(super) fn encode(
        &self,
        cell: &str,
        decimal: Decimal,
        features: &mut Vec<f64>,
    ) -> Result<Cell, String> {
        if is_missing(cell) && !self.has_word(cell) {
            return self.encode_missing(features);
        }
        match self {
            Self::Number(number) => features.push(number.value(cell, decimal)?),
            Self::Category(category) => category.encode(cell, features)?,
            Self::Date(date) => {
                let days = days(cell).ok_or("is not a date such as 2024-02-29")?;
                features.extend(date.features.iter().map(|feature| feature.of(days)));
            }
        }
        Ok(Cell::Read)
    }

    fn has_word(&self, cell: &str) -> bool {
        matches!(self, Self::Category(category) if category.words.iter().any(|word| word == cell))
    }

    fn encode_missing(&self, features: &mut Vec<f64>) -> Result<Cell, String> {
        match self.missing() {
            Missing::Refuse => {
                return Err(
                    "is missing; complete the table, or choose a rule with --missing drop \
                            or fill, or in the schema"
                        .into(),
                );
            }
            Missing::Drop => return Ok(Cell::Dropped),
            Missing::Mean => {
                let mean = |n: usize| self.scales().get(n).map_or(f64::NAN, |scale| scale.mean);
                features.extend((0..self.width()).map(mean));
            }
            Missing::Value(value) => features.push(value),
            Missing::Word => {
                features.extend((1..self.width()).map(|_| 0.0));
                features.push(1.0);
            }
        }
        Ok(Cell::Read)
    }

    pub(super) fn round(&mut self) {
        match self {
            Self::Number(number) => {
                number.scale.iter_mut().for_each(Scale::round);
                number.range = number.range.map(|range| range.map(rounded));
                if let Missing::Value(value) = &mut number.missing {
                    *value = rounded(*value);
                }
            }
            Self::Category(Category { scales, .. }) | Self::Date(Date { scales, .. }) => {
                scales.iter_mut().for_each(Scale::round);
            }
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let name = self.name();
        if name.is_empty() || name.trim() != name {
            return Err(format!("a column has the name {name:?}"));
        }
        if name.len() > MAX_NAME {
            return Err(format!(
                "a column has a name of {} bytes, the limit is {MAX_NAME}",
                name.len()
            ));
        }
        let scales = self.scales();
        if !scales.is_empty() && scales.len() != self.width() {
            let (got, expected) = (scales.len(), self.width());
            return Err(format!("column {name} has {got} scales for {expected} features"));
        }
        scales.iter().try_for_each(|scale| scale.check(&format!("column {name}")))?;
        let rule_fits = match self.missing() {
            Missing::Refuse | Missing::Drop => true,
            Missing::Mean => !matches!(self, Self::Category(_)),
            Missing::Word => matches!(self, Self::Category(_)),
            Missing::Value(value) => matches!(self, Self::Number(_)) && value.is_finite(),
        };
        if !rule_fits {
            let rule = self.missing();
            return Err(format!("column {name} cannot have the rule {rule:?} for missing values"));
        }
        match self {
            Self::Number(Number { range: Some([low, high]), .. })
                if !(low.is_finite() && high.is_finite() && low < high) =>
            {
                Err(format!("the range of column {name} is {low} to {high}"))
            }
            Self::Number(_) => Ok(()),
            Self::Category(category) => category.check(),
            Self::Date(date) if date.features.is_empty() => {
                Err(format!("the date {name} becomes no feature; say `as` which"))
            }
            Self::Date(date) => unique(date.features.iter(), "the feature of a date"),
        }
    }
}

impl Number {
    fn value(&self, cell: &str, decimal: Decimal) -> Result<f64, String> {
        let value = decimal.number(cell).ok_or_else(|| match cell.contains(',') {
            true => "is not a number; if commas are decimal here, say --decimal comma".to_owned(),
            false => "is not a number".to_owned(),
        })?;
        if let Some([low, high]) = self.range.filter(|[low, high]| value < *low || value > *high) {
            return Err(format!("is outside the schema's range of {low} to {high}"));
        }
        match self.log1p {
            true if value > -1.0 => Ok(libm::log1p(value)),
            true => Err("has no logarithm: the feature is ln(1 + x)".into()),
            false => Ok(value),
        }
    }
}

impl Category {
    /// The words that have a feature.
    fn featured(&self) -> impl Iterator<Item = &String> {
        self.words.iter().filter(|word| Some(*word) != self.reference.as_ref())
    }

    fn width(&self) -> usize {
        self.featured().count()
            + usize::from(self.unknown == Unknown::Other)
            + usize::from(self.missing == Missing::Word)
    }

    fn features(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.featured().map(|word| format!("{}={word}", self.name)).collect();
        if self.unknown == Unknown::Other {
            names.push(format!("{}=(other)", self.name));
        }
        if self.missing == Missing::Word {
            names.push(format!("{}=(missing)", self.name));
        }
        names
    }

    fn encode(&self, cell: &str, features: &mut Vec<f64>) -> Result<(), String> {
        let known = self.words.iter().any(|word| word == cell);
        if !known && self.unknown == Unknown::Refuse {
            let shown: Vec<_> = self.words.iter().take(SHOWN).map(String::as_str).collect();
            let more = if self.words.len() > SHOWN { ", …" } else { "" };
            return Err(format!("is none of the model's words: {}{more}", shown.join(", ")));
        }
        let flag = |is: bool| f64::from(u8::from(is));
        features.extend(self.featured().map(|word| flag(word == cell)));
        if self.unknown == Unknown::Other {
            features.push(flag(!known));
        }
        if self.missing == Missing::Word {
            features.push(0.0);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        words(&self.words, &format!("words of column {name}"))?;
        if let Some(reference) = &self.reference {
            if !self.words.contains(reference) {
                return Err(format!(
                    "the reference {reference:?} of column {name} is not a word of it"
                ));
            }
            if self.unknown == Unknown::Zeros {
                return Err(format!(
                    "in column {name} unknown words would look like the reference {reference:?}"
                ));
            }
        }
        match self.width() {
            0 => Err(format!("column {name} has no feature: its one word is the reference")),
            _ => Ok(()),
        }
    }
}

impl Missing {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::Refuse
    }
}

impl Unknown {
    fn is_default(&self) -> bool {
        *self == Self::Refuse
    }
}

/// To 12 significant digits: what is left is the same number after it was written and read.
pub(crate) fn rounded(x: f64) -> f64 {
    format!("{x:.11e}").parse().unwrap_or(x)
}

/// The longest name of a column, in bytes: each feature of the column repeats it.
const MAX_NAME: usize = 256;

/// Words of a category that an error shows.
const SHOWN: usize = 8;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(flag: &bool) -> bool {
    !flag
}
