//! How an answer looks: a line of a table, or an object.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use gelu_core::pass::argmax;
use serde::{Deserialize, Serialize, Serializer};

use super::rows::Row;
use crate::output::line_of;

/// What answers are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// A table with a header: row (or id), class, and a probability of each class
    Csv,
    /// An object a line
    Jsonl,
}

impl Format {
    /// As the ending of a file's name suggests.
    pub(super) fn of(path: Option<&Path>) -> Self {
        let ending = path.and_then(Path::extension).map(|ending| ending.to_ascii_lowercase());
        match ending.as_ref().and_then(|ending| ending.to_str()) {
            Some("jsonl" | "ndjson") => Self::Jsonl,
            _ => Self::Csv,
        }
    }
}

/// What every line of one file has in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layout {
    pub(super) format: Format,
    /// Whether rows are called by name; by number otherwise.
    pub(super) ids: bool,
    /// The word of each class, in the order of the network's outputs.
    pub(super) classes: Vec<String>,
    /// Whether answers have probabilities; the class alone otherwise. (Records of earlier versions do not say it.)
    #[serde(default = "told")]
    pub(super) probabilities: bool,
}

fn told() -> bool {
    true
}

/// The answer to one row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Answer {
    Class(usize),
    Probabilities(Vec<f64>),
}

impl Answer {
    /// The class: that of the highest probability, of equal ones the first.
    fn class(&self) -> usize {
        match self {
            Self::Class(class) => *class,
            Self::Probabilities(all) => argmax(all.iter().copied()),
        }
    }

    fn probabilities(&self) -> Option<&[f64]> {
        match self {
            Self::Class(_) => None,
            Self::Probabilities(all) => Some(all),
        }
    }
}

/// An object.
#[derive(Serialize)]
struct Object<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    row: Option<u64>,
    class: Option<&'a str>,
    /// Not there at all where no answer has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    probabilities: Option<Option<Probabilities<'a>>>,
}

struct Probabilities<'a>(&'a [String], &'a [f64]);

impl Serialize for Probabilities<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}

impl Layout {
    /// The first line, where there is one.
    ///
    /// # Errors
    /// None that is known.
    pub(super) fn header(&self) -> Result<String> {
        let id = if self.ids { "id" } else { "row" };
        let told = self.classes.iter().filter(|_| self.probabilities);
        let columns = told.map(|class| format!("p({class})"));
        match self.format {
            Format::Csv => line_of([id.into(), "class".into()].into_iter().chain(columns)),
            Format::Jsonl => Ok(String::new()),
        }
    }

    /// The line of a row, and its class. Without an answer the line says so by being empty.
    ///
    /// # Errors
    /// None that is known.
    pub(super) fn line(
        &self,
        row: &Row,
        answer: Option<&Answer>,
    ) -> Result<(String, Option<usize>)> {
        let class = answer.map(Answer::class);
        let probabilities = answer.and_then(Answer::probabilities);
        let word = class.map(|class| self.classes[class].as_str());
        let id = row.id.as_deref().filter(|_| self.ids);
        let line = match self.format {
            Format::Csv => {
                let name = id.map_or_else(|| row.number.to_string(), Into::into);
                let number = |class| match probabilities {
                    Some(all) => serde_json::to_string::<f64>(&all[class]),
                    None => Ok(String::new()),
                };
                let told = if self.probabilities { self.classes.len() } else { 0 };
                let numbers = (0..told).map(number);
                let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
                line_of([name, word.unwrap_or_default().into()].into_iter().chain(numbers))?
            }
            Format::Jsonl => {
                let all = || probabilities.map(|all| Probabilities(&self.classes, all));
                let object = Object {
                    id,
                    row: id.is_none().then_some(row.number),
                    class: word,
                    probabilities: self.probabilities.then(all),
                };
                serde_json::to_string(&object)? + "\n"
            }
        };
        Ok((line, class))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: Option<&str>) -> Row {
        Row { number: 7, id: id.map(Into::into), features: None }
    }

    #[test]
    fn a_line_says_who_and_what_and_how_sure() {
        let layout = |format, ids| {
            let classes = vec!["ill, or so".into(), "well".into()];
            Layout { format, ids, classes, probabilities: true }
        };
        let table = layout(Format::Csv, true);
        assert_eq!(table.header().unwrap(), "id,class,\"p(ill, or so)\",p(well)\n");
        let line = |layout: &Layout, id, p: Option<&[f64]>| {
            let answer = p.map(|p| Answer::Probabilities(p.to_vec()));
            layout.line(&row(id), answer.as_ref()).unwrap()
        };
        let (line_of_p, class) = line(&table, Some("a\"b"), Some(&[0.25, 0.75]));
        assert_eq!((line_of_p.as_str(), class), ("\"a\"\"b\",well,0.25,0.75\n", Some(1)));
        assert_eq!(line(&table, Some("x"), None), ("x,,,\n".into(), None));
        let by_number = layout(Format::Csv, false);
        assert_eq!(by_number.header().unwrap(), "row,class,\"p(ill, or so)\",p(well)\n");
        assert_eq!(line(&by_number, None, Some(&[0.5, 0.5])).0, "7,\"ill, or so\",0.5,0.5\n");
        let objects = layout(Format::Jsonl, false);
        assert_eq!(objects.header().unwrap(), "");
        assert_eq!(
            line(&objects, None, Some(&[1e-20, 1.0])).0,
            "{\"row\":7,\"class\":\"well\",\"probabilities\":{\"ill, or so\":1e-20,\"well\":1.0}}\n"
        );
        assert_eq!(
            line(&layout(Format::Jsonl, true), Some("x"), None).0,
            "{\"id\":\"x\",\"class\":null,\"probabilities\":null}\n"
        );
    }

    #[test]
    fn an_answer_can_be_the_class_alone() {
        let of = |format, answer: Option<usize>| {
            let classes = vec!["ill".into(), "well".into()];
            let layout = Layout { format, ids: false, classes, probabilities: false };
            let answer = answer.map(Answer::Class);
            let line = layout.line(&row(None), answer.as_ref()).unwrap();
            (layout.header().unwrap(), line.0, line.1)
        };
        let of_table = of(Format::Csv, Some(1));
        assert_eq!(of_table, ("row,class\n".into(), "7,well\n".into(), Some(1)));
        assert_eq!(of(Format::Csv, None).1, "7,\n");
        assert_eq!(of(Format::Jsonl, Some(0)).1, "{\"row\":7,\"class\":\"ill\"}\n");
        assert_eq!(of(Format::Jsonl, None).1, "{\"row\":7,\"class\":null}\n");
    }

    #[test]
    fn names_of_files_suggest_the_format() {
        for (name, format) in
            [("a.csv", Format::Csv), ("a", Format::Csv), ("a.JSONL", Format::Jsonl)]
        {
            assert_eq!(Format::of(Some(Path::new(name))), format, "{name}");
        }
        assert_eq!(Format::of(None), Format::Csv);
    }
}
