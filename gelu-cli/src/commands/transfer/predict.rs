//! `gelu transfer predict`: one answer a row for new features, asked under encryption.

use std::path::{Path, PathBuf};

use anyhow::Result;
use gelu_core::plan::Purpose;
use gelu_nn::{Dataset, Model, Schema};
use serde_json::{Value, json};

use super::source::{DEFAULT, class_names, unlabelled};
use crate::args::{self, Cryptosystem, Threads};
use crate::backend::{Scheme, Task};
use crate::client;
use crate::commands::infer::{Ask, Asked};
use crate::cost::Count;
use crate::data::{DataArgs, Meaning, stem};
use crate::destination::{Destination, Kind};
use crate::ending::{Ended, Results};
use crate::mode::ModeArgs;
use crate::model;
use crate::output::{Output, line_of};
use crate::phases::{bytes, seconds};
use crate::problem::problem;
use crate::queries::Queries;

/// Answer new rows with a head, under encryption
///
/// A server process with the head is started here for this run; every answer is compared with the head's own in the
/// clear. For a server elsewhere there is `gelu predict --server`.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Queries",
    mut_arg("backend", |arg| arg.default_value(super::default_backend())),
    after_help = "\
Examples:
  gelu transfer predict --model head.safetensors                            the held-out abstracts
  gelu transfer predict --model head.safetensors --features mine.safetensors --out answers.csv
  gelu transfer predict --model head.safetensors --count 3 --backend paillier

Features are raw ones, as they come from the embedding: --features names a safetensors file with test.x, of --csv every
column is a feature but those left out by --ignore. Of a named data set the held-out rows are taken."
)]
pub(super) struct Args {
    /// The head that `gelu transfer fit --out` wrote
    #[arg(long, value_name = "FILE")]
    model: PathBuf,
    /// New features in a safetensors file: test.x
    #[arg(long, value_name = "FILE", conflicts_with_all = ["csv", "dataset"])]
    features: Option<PathBuf>,
    /// The first N rows only
    #[arg(long, value_name = "N", value_parser = args::count(1..))]
    count: Option<usize>,
    /// Samples of one query [default: what the cryptosystem is fastest at]
    #[arg(long, value_name = "N", value_parser = args::batch())]
    batch: Option<usize>,
    /// Write the answers as a table, `row,answer`
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Overwrite what stands at --out
    #[arg(long, help_heading = "Output")]
    force: bool,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    cryptosystem: Cryptosystem,
    #[command(flatten)]
    threads: Threads,
}

/// Asks and shows.
pub(super) fn run(args: &Args, output: Output) -> Result<()> {
    args.threads.start()?;
    let inputs: Vec<_> = [Some(&args.model), args.features.as_ref(), args.data.csv.as_ref()]
        .into_iter()
        .flatten()
        .map(PathBuf::as_path)
        .collect();
    let out = |path| Destination::check(path, Kind::Beginning(HEADER), &inputs, args.force);
    let out = args.out.as_deref().map(out).transpose()?;
    let model = model::load_made_by("gelu transfer fit --out FILE", &args.model)?;
    let (name, rows) = args.rows(&model)?;
    let rows = rows.head(args.count.unwrap_or(usize::MAX));
    let (takes, got) = (model.architecture().input().features(), rows.inputs());
    if takes != got {
        return Err(problem(
            format!("the head takes {takes} features, but {name} has {got}"),
            "give the features that it was trained on, raw, or leave columns out with --ignore",
        ));
    }
    let cryptosystem = roomy(args.cryptosystem, &model);
    let queries = Queries {
        server: None,
        model: Some(&model),
        mode: ModeArgs::default(),
        cryptosystem,
        threads: args.threads,
    };
    let read = |_: Option<&Schema>| Ok((name.clone(), rows.clone()));
    let ask = Ask { queries, batch: args.batch, read: &read };
    let asked = args.cryptosystem.backend.run(ask)?;
    let in_clear = model.evaluate(&rows.head(asked.predictions.len()))?.predictions;
    let answers = Answers {
        name: name.clone(),
        asked: &asked,
        in_clear,
        names: class_names(&model),
        of: rows.len(),
    };
    let saved = out.map_or(Ok(()), |out| out.write(answers.table()?.as_bytes()));
    let ended = asked.ended.clone().map(|ended| (ended, answers.how_many()));
    Results { report: None, saved, ended }.deliver(
        output,
        |_| answers.json(),
        |_| answers.text(args.out.as_deref()),
    )
}

impl Args {
    fn rows(&self, model: &Model) -> Result<(String, Dataset)> {
        let classes = model.architecture().classes();
        if let Some(path) = &self.features {
            return Ok((stem(path), unlabelled(path, classes)?));
        }
        if let Some(path) = &self.data.csv {
            return Ok((stem(path), self.data.new_rows(path, Meaning::of(model))?));
        }
        // On a base the data is prepared as for the base; a head takes raw features.
        let metadata = model.metadata().get("dataset").cloned();
        let wanted = self.data.dataset.clone().or(metadata).unwrap_or(DEFAULT.into());
        let on_base = model.architecture().frozen() > 0;
        let data = DataArgs { dataset: Some(wanted.clone()), ..self.data.clone() };
        let rows = match on_base {
            true => data.load(None, Meaning::of(model))?.split.test,
            false => data.load_unscaled(&wanted)?.0.split.test,
        };
        Ok((wanted, rows))
    }
}

/// The cryptosystem with the keys of a training, where those of a query have no room for the model's numbers.
pub(super) fn roomy(cryptosystem: Cryptosystem, model: &Model) -> Cryptosystem {
    let (network, precision) = (model.network(), model.precision());
    let (purpose, measured) = (Purpose::Inference, false);
    let fits = Count { network, precision, batch: 1, purpose, measured }.under(cryptosystem);
    if fits.is_ok() { cryptosystem } else { cryptosystem.for_training() }
}

/// Rows of one query of a model.
pub(super) fn query(cryptosystem: Cryptosystem, model: &Model) -> usize {
    struct Query<'a>(&'a Model, u32);
    impl Task for Query<'_> {
        type Output = usize;
        fn run<S: Scheme>(self) -> usize {
            client::rows_of_query::<S>(self.0.network(), self.0.precision(), self.1)
        }
    }
    cryptosystem.backend.run(Query(model, cryptosystem.key_bits))
}

const HEADER: &str = "row,answer\n";

struct Answers<'a> {
    name: String,
    asked: &'a Asked,
    in_clear: Vec<usize>,
    names: Vec<String>,
    of: usize,
}

impl Answers<'_> {
    fn named(&self) -> impl Iterator<Item = &str> {
        self.asked.predictions.iter().map(|&class| self.names[class].as_str())
    }

    fn equal(&self) -> bool {
        self.asked.predictions == self.in_clear
    }

    fn how_many(&self) -> String {
        format!("{} of {} rows are answered", self.asked.predictions.len(), self.of)
    }

    fn table(&self) -> Result<String> {
        let rows = (1..).zip(self.named());
        let lines = rows.map(|(row, answer): (u64, _)| line_of([row.to_string().as_str(), answer]));
        [Ok(HEADER.to_owned())].into_iter().chain(lines).collect()
    }

    fn json(&self) -> Value {
        let total = self.asked.spent.statistics.total();
        json!({
            "data": self.name,
            "rows": self.of,
            "answered": self.asked.predictions.len(),
            "answers": self.named().collect::<Vec<_>>(),
            "predictions": self.asked.predictions,
            "predictions_equal_plaintext": self.equal(),
            "saturations": self.asked.spent.cut_off.total(),
            "ended": self.asked.ended.as_ref().map(Ended::reason),
            "seconds": self.asked.phases.elapsed().as_secs_f64(),
            "bytes": total.up + total.down,
            "rounds": total.rounds,
        })
    }

    fn text(&self, out: Option<&Path>) -> String {
        let (answers, total) =
            (self.named().collect::<Vec<_>>(), self.asked.spent.statistics.total());
        let shown = match out {
            Some(path) => format!("answers: {}", path.display()),
            None => answers.chunks(20).map(|line| line.join(" ")).collect::<Vec<_>>().join("\n"),
        };
        let compared = match self.equal() {
            true => "✓ every encrypted answer equals the head's answer in the clear",
            false => "✗ encrypted answers differ from the head's in the clear",
        };
        let counts = self.names.iter().enumerate().map(|(class, name)| {
            let count = self.asked.predictions.iter().filter(|&&p| p == class).count();
            format!("{count} {name}")
        });
        format!(
            "{shown}\n\n{}: {}\n{compared}\n{}\n{}, {} in {} rounds",
            self.how_many(),
            counts.collect::<Vec<_>>().join(", "),
            self.asked.spent.cut_off,
            seconds(self.asked.phases.elapsed().as_secs_f64()),
            bytes(total.up + total.down),
            total.rounds,
        )
    }
}
