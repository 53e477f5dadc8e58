//! A schema for a table that has none yet.

use std::collections::{BTreeMap, BTreeSet};

use super::column::{Category, Column, Missing, Number};
use super::date::{Date, DateFeature, days};
use super::{Description, Label, MAX_WORDS, Schema, VERSION};
use crate::data::csv::{self, Decimal, Table, is_missing};
use crate::error::DataError;

/// What is to be done with the columns of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which column is the label; `None` when there is none.
    pub label: Option<csv::Column>,
    /// Columns to leave out, such as an identifier.
    pub ignore: Vec<csv::Column>,
    /// What to do where there is no value.
    pub missing: Fill,
}

impl Default for Options {
    /// The label last, missing values refused.
    fn default() -> Self {
        Self { label: Some(csv::Column::Last), ignore: Vec::new(), missing: Fill::Refuse }
    }
}

/// The rule for missing values that a schema gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fill {
    /// Refuse the table, saying where.
    #[default]
    Refuse,
    /// Leave those rows out.
    Drop,
    /// Numbers and dates take the mean of the training rows, words a word of their own. A label is never filled:
    /// rows without one are left out.
    Fill,
}

/// A schema, and what its user should know about the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Inferred {
    /// Without scales: [`Schema::fit`] finds them in training rows.
    pub schema: Schema,
    /// Sentences.
    pub notes: Vec<String>,
}

impl Schema {
    /// The schema that a table suggests.
    ///
    /// | cells of a column | become |
    /// | --- | --- |
    /// | numbers | a number |
    /// | ISO dates | days since 1970 |
    /// | two words | one feature, 0 or 1: `bkblk=t` |
    /// | one word, three or more | a feature each: `katri=b`, `katri=n`, `katri=w` |
    /// | the label's | the classes, in the order of their words (as numbers where all are numbers) |
    ///
    /// What is more likely a mistake than meant is refused: a column of numbers with stray words, a column in which
    /// nearly every row has a word of its own, a label with many different fractions.
    ///
    /// # Errors
    /// [`DataError`] naming column, row and value: missing values (if refused), a stray word among numbers, an
    /// identifier, a label that is no class, a column that is not there.
    pub fn infer(table: &Table, options: &Options) -> Result<Inferred, DataError> {
        if let [only] = &table.names[..] {
            return Err(DataError::Csv(format!(
                "the table has one column, {only:?}; what separates its cells? See --delimiter"
            )));
        }
        let label =
            options.label.as_ref().map(|column| csv::find(column, &table.names)).transpose()?;
        let find = |column| csv::find(column, &table.names);
        let ignored: BTreeSet<_> = options.ignore.iter().map(find).collect::<Result<_, _>>()?;
        if let Some(label) = label.filter(|label| ignored.contains(label)) {
            let name = &table.names[label];
            return Err(DataError::Csv(format!(
                "column {name} is the label and is to be left out"
            )));
        }
        let used = (0..table.names.len()).filter(|column| !ignored.contains(column));
        let used: Vec<_> = used.collect();
        let rows = kept_rows(table, &used, label, options.missing)?;
        let mut notes = Vec::new();
        let mut columns = Vec::new();
        for &column in used.iter().filter(|&&column| Some(column) != label) {
            columns.push(Cells { table, rows: &rows, column }.infer(options.missing, &mut notes)?);
        }
        let label = label.map(|column| Cells { table, rows: &rows, column }.classes(&mut notes));
        let schema = Schema::new(Description {
            version: VERSION,
            columns,
            image: None,
            label: label.transpose()?,
            ignore: ignored.iter().map(|&column| table.names[column].clone()).collect(),
            order: (!table.has_header).then(|| table.names.clone()),
        });
        let schema = schema.map_err(|error| DataError::Csv(error.to_string()))?;
        Ok(Inferred { schema, notes })
    }
}

/// The rows that are not left out.
fn kept_rows(
    table: &Table,
    used: &[usize],
    label: Option<usize>,
    missing: Fill,
) -> Result<Vec<usize>, DataError> {
    let lacks = |row: usize, column: usize| is_missing(&table.rows[row][column]);
    let all = 0..table.rows.len();
    let kept: Vec<_> = match missing {
        Fill::Refuse => {
            let cells = all.clone().flat_map(|row| used.iter().map(move |&column| (row, column)));
            let mut missing = cells.filter(|&(row, column)| lacks(row, column));
            if let Some((row, column)) = missing.next() {
                let (count, column) = (1 + missing.count(), table.names[column].clone());
                return Err(DataError::Missing { count, row: row + 1, column });
            }
            all.collect()
        }
        Fill::Drop => all.filter(|&row| !used.iter().any(|&column| lacks(row, column))).collect(),
        Fill::Fill => all.filter(|&row| !label.is_some_and(|label| lacks(row, label))).collect(),
    };
    match kept.is_empty() {
        true => Err(DataError::Empty),
        false => Ok(kept),
    }
}

/// The cells of one column in the rows that are kept.
struct Cells<'a> {
    table: &'a Table,
    rows: &'a [usize],
    column: usize,
}

impl<'a> Cells<'a> {
    fn name(&self) -> String {
        self.table.names[self.column].clone()
    }

    /// Row, from 1, and value, where there is one.
    fn values(&self) -> impl Iterator<Item = (usize, &'a str)> {
        let (rows, column) = (&self.table.rows, self.column);
        let cell = move |&row: &usize| (row + 1, &rows[row][column]);
        self.rows.iter().map(cell).filter(|(_, value)| !is_missing(value))
    }

    fn number(&self, value: &str) -> Option<f64> {
        self.table.decimal.number(value)
    }

    /// The distinct words, in order, and how often each occurs.
    fn words(&self) -> Result<BTreeMap<&'a str, usize>, DataError> {
        let mut words = BTreeMap::new();
        for (_, value) in self.values() {
            *words.entry(value).or_insert(0) += 1;
            if words.len() > MAX_WORDS {
                let (column, limit) = (self.name(), MAX_WORDS);
                return Err(DataError::TooManyCategories { column, limit });
            }
        }
        Ok(words)
    }

    fn infer(&self, missing: Fill, notes: &mut Vec<String>) -> Result<Column, DataError> {
        let name = self.name();
        let (mut numbers, mut dates, mut all) = (0, 0, 0);
        for (_, value) in self.values() {
            all += 1;
            numbers += usize::from(self.number(value).is_some());
            dates += usize::from(days(value).is_some());
        }
        if all == 0 {
            return Err(DataError::Csv(format!(
                "column {name} has no value at all; leave it out with --ignore {name}"
            )));
        }
        let rule = |filled: Missing| match missing {
            Fill::Refuse => Missing::Refuse,
            Fill::Drop => Missing::Drop,
            Fill::Fill => filled,
        };
        let mean = rule(Missing::Mean);
        if numbers == all {
            let mut values = self.values().filter_map(|(_, value)| self.number(value));
            let first = values.next().unwrap_or_default();
            if all > 1 && values.all(|value| value == first) {
                notes.push(format!("column {name} is {first} in every row and tells nothing"));
            }
            return Ok(Column::Number(Number { name, missing: mean, ..Number::default() }));
        }
        if dates == all {
            let features = vec![DateFeature::Days];
            return Ok(Column::Date(Date { name, features, missing: mean, scales: vec![] }));
        }
        if 2 * numbers >= all {
            return Err(self.stray("is not a number", all - numbers, |v| self.number(v).is_some()));
        }
        if 2 * dates >= all {
            return Err(self.stray("is not a date", all - dates, |v| days(v).is_some()));
        }
        let words = self.words()?;
        if words.len() > FEW_WORDS && 2 * words.len() > all {
            return Err(DataError::Csv(format!(
                "column {name} has {} different words in {all} rows: an identifier? Leave it out with \
                 --ignore {name}",
                words.len()
            )));
        }
        let words: Vec<_> = words.into_keys().map(str::to_owned).collect();
        // Of two categories the second says it all.
        let reference = (words.len() == 2).then(|| words[0].clone());
        let missing = rule(Missing::Word);
        Ok(Column::Category(Category { name, words, reference, missing, ..Category::default() }))
    }

    /// The first cell that is not like the others.
    fn stray(&self, what: &str, count: usize, fits: impl Fn(&str) -> bool) -> DataError {
        let (row, value) = self.values().find(|(_, value)| !fits(value)).unwrap_or((0, ""));
        let others = match count {
            1 => "all other cells of the column are".to_owned(),
            _ => format!("{} cells of the column are not, most are", count),
        };
        let more = match value.contains(',') && self.table.decimal == Decimal::Point {
            true => ", or say --decimal comma",
            false => "",
        };
        let why =
            format!("{what}; {others}. Correct it, or leave it empty and choose --missing{more}");
        DataError::Cell { row, column: self.name(), value: value.into(), why }
    }

    fn classes(&self, notes: &mut Vec<String>) -> Result<Label, DataError> {
        let name = self.name();
        let regression = |count: usize| {
            DataError::Csv(format!(
                "the label {name} has {count} different numbers: gelu tells classes apart and does not predict \
                 numbers; name another column with --label, or replace the numbers by classes"
            ))
        };
        let words = self.words().map_err(|_| regression(MAX_WORDS + 1))?;
        let numbers: Option<Vec<f64>> = words.keys().map(|word| self.number(word)).collect();
        let mut classes: Vec<String> = match numbers {
            Some(mut numbers) => {
                numbers.sort_by(f64::total_cmp);
                numbers.dedup();
                let fractions = numbers.iter().any(|number| number.fract() != 0.0);
                if numbers.len() > FEW_WORDS && (fractions || 2 * numbers.len() > self.rows.len()) {
                    return Err(regression(numbers.len()));
                }
                // 0 and 0.0 are one class; so are 0 and -0.
                numbers.iter().map(|number| (number + 0.0).to_string()).collect()
            }
            None => {
                // Of spellings that differ only in capitals the most frequent one names the class.
                let mut spelled: BTreeMap<String, Vec<(&str, usize)>> = BTreeMap::new();
                for (&word, &count) in &words {
                    spelled.entry(word.to_lowercase()).or_default().push((word, count));
                }
                let of_spellings = |spellings: &Vec<(&str, usize)>| {
                    let most = spellings.iter().rev().max_by_key(|(_, count)| *count);
                    most.map_or(String::new(), |(word, _)| (*word).to_owned())
                };
                spelled.values().map(of_spellings).collect()
            }
        };
        if classes.len() < words.len() {
            let all: Vec<_> = words.keys().copied().collect();
            notes.push(format!(
                "the label {name} spells {} classes in {} ways, taken as {}: {}",
                classes.len(),
                words.len(),
                classes.join(", "),
                all.join(", ")
            ));
        }
        if numbers_first(&classes) {
            classes.sort_by(|a, b| {
                let number = |text: &str| text.parse::<f64>().unwrap_or(0.0);
                number(a).total_cmp(&number(b))
            });
        } else {
            classes.sort();
        }
        if let [only] = &classes[..] {
            return Err(DataError::Csv(format!(
                "the label {name} is {only} in every row: there is nothing to tell apart; name another column \
                 with --label, or take the schema of a table with all classes (--schema)"
            )));
        }
        if classes.len() > FEW_WORDS && 2 * classes.len() > self.rows.len() {
            return Err(DataError::Csv(format!(
                "the label {name} has {} different words in {} rows; name another column with --label",
                classes.len(),
                self.rows.len()
            )));
        }
        Ok(Label { name, classes })
    }
}

fn numbers_first(classes: &[String]) -> bool {
    classes.iter().all(|class| class.parse::<f64>().is_ok())
}

/// So many different words are never suspicious.
const FEW_WORDS: usize = 20;
