//! `gelu datasets`: the data sets that gelu knows by name.

use anyhow::Result;
use gelu_nn::data::{Source, sources};
use serde::Serialize;

use crate::output::{Output, table};

/// List the data sets that gelu knows by name
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu datasets
  gelu train --data DIR --dataset diabetes

Nothing is downloaded. DIR holds one folder for each data set with its files under their original
names, as `gelu train --help` lists them; iris, digits and abstracts are part of this program.")]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    description: &'static str,
    inputs: usize,
    classes: usize,
    /// The standard test part, where there is one; 20% of the rows are held out elsewhere.
    test: Option<&'static str>,
    /// Whether features are standardised on the training part.
    standardised: bool,
}

impl From<&Source> for Row {
    fn from(source: &Source) -> Self {
        Self {
            name: source.name,
            description: source.description,
            inputs: source.inputs,
            classes: source.classes,
            test: source.test(),
            standardised: source.is_table(),
        }
    }
}

/// Prints the table.
pub(crate) fn run(_: &Args, output: Output) -> Result<()> {
    let rows: Vec<_> = sources().iter().map(Row::from).collect();
    let mut text = table(&["data set", "description", "#inputs", "#classes", "held out"]);
    for row in &rows {
        let (inputs, classes) = (row.inputs.to_string(), row.classes.to_string());
        let test = row.test.unwrap_or("20% of the rows");
        text.add_row([row.name, row.description, &inputs, &classes, test]);
    }
    output.show(&rows, text)
}
