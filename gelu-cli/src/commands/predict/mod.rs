//! `gelu predict`: one answer a row for new rows.
//!
//! | file | idea |
//! |---|---|
//! | `rows` | new rows in pieces: a table or images, read as the model's schema says |
//! | `layout` | how an answer looks |
//! | `kept` | answers in a file, and the record from which an unfinished run goes on |
//! | `ask` | rows in, lines out |

mod ask;
mod kept;
mod layout;
mod rows;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ArgGroup;
use gelu_core::Network;
use gelu_files as files;
use gelu_nn::schema::{Hash, Labels, ReadOptions};
use gelu_nn::{Model, Schema};
use gelu_service::ModelCard;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;

use self::ask::{Answering, Counts, Oracle, Sink, counted};
use self::kept::{Asked, Place};
use self::layout::{Format, Layout};
use self::rows::{Input, PIECE};
use crate::args;
use crate::backend::{Scheme, Task};
use crate::client;
use crate::cut_off;
use crate::ending::{Ended, Results};
use crate::machine;
use crate::output::Output;
use crate::phases::{Phases, bytes, say, seconds};
use crate::problem::{self, problem};
use crate::queries::{QueryArgs, Spent};
use crate::table::{TableArgs, read_schema};

/// Answer new rows or images, one line each, under encryption
///
/// Rows need no label. Columns are found by name and scaled as the model's schema says. Each answer has the row's
/// number or id, the word of the class, and the probability of every class.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Queries",
    group(ArgGroup::new("rows").required(true)),
    after_help = "\
Examples:
  gelu predict --server gelu.example.org:7878 --account alice --csv new.csv --out new-classes.csv
  gelu predict --model iris.safetensors --csv flowers.csv --id flower
  gelu predict --model iris.safetensors --csv flowers.csv --ignore flower --format jsonl --clear
  gelu predict --model digits.safetensors --images scans --out scans.jsonl
  gelu predict --model iris.safetensors --csv flowers.csv --id flower --mode blind --answer class

Answers come in the order of the rows and are written as they come: of a table of any length, only some thousand rows
are in memory. A table in a file is read once before anything is asked, so a row that does not fit is found before
it costs anything.

A run that ends early (a lost server, a spent budget, Ctrl-C) exits with 3. With --out its answers are kept, and the
same command goes on behind the last one: OUT.unfinished remembers the rows and the model, and another table, another
version of the model or a changed OUT is refused. A row whose value is missing, where the schema leaves such rows out,
has a line without an answer."
)]
pub(crate) struct Args {
    #[command(flatten)]
    who: QueryArgs,
    /// Without encryption or a server: the model answers in the clear, in the same integers
    #[arg(long, requires = "model", conflicts_with = "key")]
    clear: bool,
    /// A table with new rows; `-` for the standard input
    #[arg(long, value_name = "FILE", group = "rows")]
    csv: Option<PathBuf>,
    /// Column of --csv that names the rows; it goes into the answers and nowhere else
    #[arg(long, value_name = "COLUMN", requires = "csv")]
    id: Option<String>,
    /// Images: a PNG file, a folder of PNG files, an IDX file, or CIFAR-10, its folder or a file of it
    #[arg(long, value_name = "PATH", group = "rows", conflicts_with_all = ["label", "ignore"])]
    images: Option<PathBuf>,
    /// What columns, images and classes are, for a model that does not say it [default: the model's schema]
    #[arg(long, value_name = "FILE")]
    schema: Option<PathBuf>,
    /// Samples of one query [default: what the cryptosystem is fastest at]
    #[arg(long, value_name = "N", value_parser = args::batch())]
    batch: Option<usize>,
    /// Where the answers go [default: the standard output]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: Option<PathBuf>,
    /// What they are written as [default: jsonl for an --out *.jsonl or *.ndjson, otherwise csv]
    #[arg(long, value_enum, help_heading = "Output")]
    format: Option<Format>,
    /// Begin anew, and replace what stands at --out
    #[arg(long, help_heading = "Output", requires = "out")]
    force: bool,
    #[command(flatten)]
    table: TableArgs,
}

/// Asks, writes, and says what was done.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    args.who.threads.start()?;
    let place = args.place(output)?;
    let model = args.who.model()?;
    let done = args.who.cryptosystem.backend.run(Predict { args, place, model: model.as_ref() })?;
    let ended = done.ended.clone().map(|ended| (ended, done.how_many()));
    match args.keeps() {
        true => Results { report: None, saved: Ok(()), ended }.deliver(
            output,
            |_| done.json(),
            |_| done.text(),
        ),
        // There the answers are.
        false => {
            say(&done.text());
            ended.map_or(Ok(()), |(ended, done)| Err(ended.into_error(done)))
        }
    }
}

impl Args {
    /// Whether answers go to a file of a disk, and not to the standard output, a pipe or a device.
    fn keeps(&self) -> bool {
        let is_device =
            |path: &PathBuf| fs::metadata(path).is_ok_and(|at| !at.is_file() && !at.is_dir());
        self.out.as_ref().is_some_and(|path| !is_device(path))
    }

    /// Checks where answers go: `None` for the standard output, a pipe or a device.
    fn place(&self, output: Output) -> Result<Option<Place>> {
        if !self.keeps() && output.json {
            return Err(problem(
                "--json prints a summary where the answers go",
                "add --out FILE for the answers, or take --format jsonl instead of --json",
            ));
        }
        let (csv, schema) = (self.csv.as_deref(), self.schema.as_deref());
        let inputs = [
            csv,
            self.images.as_deref(),
            schema,
            self.who.model.as_deref(),
            self.who.server.key.as_deref(),
        ];
        let inputs: Vec<_> =
            inputs.into_iter().flatten().filter(|path| *path != Path::new("-")).collect();
        let out = self.out.as_deref().filter(|_| self.keeps());
        // There they would be taken for an image when the run is gone on with.
        if let (Some(images), Some(out)) = (&self.images, out)
            && images.is_dir()
            && out.parent().is_some_and(|folder| files::same(images, &Path::new(".").join(folder)))
        {
            return Err(problem(
                format!("{} is in the folder of the images", out.display()),
                "choose another --out",
            ));
        }
        out.map(|path| Place::check(path, &inputs, self.force)).transpose()
    }

    fn input(&self) -> Result<Input> {
        if let Some(path) = &self.images {
            return Ok(Input::Images(path.clone()));
        }
        let path = self.csv.clone().context("neither --csv nor --images")?;
        let extra = self.id.iter().cloned().collect();
        Ok(Input::Table(path, ReadOptions { extra, ..self.table.options(Labels::Ignored) }))
    }

    /// The schema of the model, or the one that was named for a model that has none.
    fn schema(&self, of_model: Option<Arc<Schema>>, network: &Network) -> Result<Arc<Schema>> {
        let named = self.schema.as_deref().map(read_schema).transpose()?;
        let schema = match (of_model, named) {
            (Some(schema), None) => schema,
            (None, Some(named)) => Arc::new(named),
            (Some(schema), Some(named)) if schema.hash() == named.hash() => schema,
            (Some(_), Some(_)) => {
                return Err(problem(
                    "the schema that was named is not the model's",
                    "leave --schema out: the model's own is used",
                ));
            }
            (None, None) => {
                return Err(problem(
                    "the model does not say what its inputs and classes are",
                    "name a schema with --schema (`gelu schema infer` makes one of a table), or train or import the \
                     model again with this version",
                ));
            }
        };
        let (takes, tells) = (network.inputs(), network.classes());
        let (gives, names) = (schema.inputs(), schema.classes().len());
        match (gives, names) == (takes, tells) {
            true => Ok(schema),
            false => Err(problem(
                format!(
                    "the schema has {gives} features and {names} classes, but the network takes {takes} and tells \
                     {tells} apart"
                ),
                "name the schema that the model was trained with",
            )),
        }
    }
}

struct Predict<'a> {
    args: &'a Args,
    place: Option<Place>,
    model: Option<&'a Model>,
}

/// What was done, and what it has cost.
struct Done {
    layout: Layout,
    counts: Counts,
    /// Rows that earlier runs have answered.
    earlier: u64,
    /// All rows, where they are known.
    of: Option<u64>,
    /// Of the model, at the beginning and at the end.
    versions: [u64; 2],
    ended: Option<Ended>,
    /// Values that were cut off at a bound.
    cut_off: u64,
    spent: Spent,
    phases: Phases,
    out: Option<PathBuf>,
}

impl Task for Predict<'_> {
    type Output = Result<Done>;

    fn run<S: Scheme>(self) -> Result<Done> {
        let Self { args, place, model } = self;
        // Whatever can be refused is refused first: no key is made or used before `open`.
        let queries = args.who.queries(model);
        let reached = (!args.clear).then(|| queries.reach::<S>(args.batch)).transpose()?;
        let (asked, schema) = match (model, &reached) {
            (Some(model), _) => {
                (asked_of_model(model)?, args.schema(model.schema().cloned(), model.network())?)
            }
            (None, Some(reached)) => {
                let card = reached.card();
                (
                    asked_of_card(card)?,
                    args.schema(reached.schema().cloned().map(Arc::new), reached.network())?,
                )
            }
            (None, None) => {
                return Err(problem("neither --model nor --server", "give one of them"));
            }
        };
        let input = args.input()?;
        let of = input.check(&schema)?;
        let layout = Layout {
            format: args.format.unwrap_or(Format::of(args.out.as_deref())),
            ids: input.has_ids(),
            classes: schema.classes().to_vec(),
            probabilities: reached
                .as_ref()
                .is_none_or(|reached| reached.agreed.tells_probabilities()),
        };
        let pieces = input.pieces(&schema)?;
        let sink = match place {
            Some(place) => Sink::Kept(Box::new(place.open(asked.clone(), layout.clone())?)),
            None => Sink::Stream(stream(args.out.as_deref())?),
        };
        let earlier = sink.earlier();
        let mut answering = Answering::new(pieces, &layout, sink);
        let first = answering.first()?;

        let mut phases = Phases::start();
        let (mut oracle, runtime, batch) = match (reached, model) {
            (Some(reached), _) if !first.is_empty() => {
                let (batch, screen) = (reached.batch, reached.screen.clone());
                let open = reached.open(&mut phases)?;
                let batch = open.session.query_of(batch);
                let runtime = Arc::clone(&open.runtime);
                (Oracle::<S>::Server(Box::new(open), screen), runtime, batch)
            }
            (_, model) => {
                let runtime = Runtime::new().context("cannot start the runtime")?;
                let batch = args.batch.unwrap_or(PIECE);
                (Oracle::InTheClear(model, 0), Arc::new(runtime), batch)
            }
        };
        let running = phases.begin("answering", of.map_or(0, |of| of.saturating_sub(earlier)));
        if let (Oracle::Server(_, screen), Some(_)) = (&oracle, of) {
            screen.show(&running);
        }
        let again = match args.keeps() {
            true => "the same command goes on behind the last answer",
            false => "with --out FILE the same command could go on behind the last answer",
        };
        let all = answering.all(&mut oracle, first, batch, &running);
        let answered = client::wait_or(&runtime, all, again);
        let counts = answering.counts.clone();
        drop(answering);
        let (cut_off, spent) = oracle.close();
        phases.end(running, "answering", &format!("answered {} rows", counts.rows));
        let any = earlier + counts.rows > 0;
        let answered = answered.map_err(|error| match problem::advice(&error) {
            Some(next) if !any || next == again => error,
            Some(next) => problem(problem::sentence(&error), format!("{next}; {again}")),
            None => problem(problem::sentence(&error), again),
        });
        let ended = Ended::of(answered, any)?;
        // A server may have become another version meanwhile, and does not say with which it answered.
        let now = model.is_none().then(|| queries.version_now::<S>(&runtime)).flatten();
        let versions = [asked.version, now.unwrap_or(asked.version)];
        let out = args.out.clone();
        Ok(Done { layout, counts, earlier, of, versions, ended, cut_off, spent, phases, out })
    }
}

impl Done {
    fn how_many(&self) -> String {
        let of = match self.of {
            Some(of) => format!("{} of {of}", self.earlier + self.counts.rows),
            None => (self.earlier + self.counts.rows).to_string(),
        };
        format!("{of} rows are answered")
    }

    fn json(&self) -> Value {
        let total = self.spent.statistics.total();
        let classes = self.layout.classes.iter().zip(&self.counts.classes);
        let classes = classes.map(|(class, &count)| (class.clone(), Value::from(count)));
        json!({
            "out": self.out,
            "rows": self.of,
            "answered": self.earlier + self.counts.rows,
            "answered_before": self.earlier,
            "without_answer": self.counts.without,
            "versions": self.versions,
            "classes": classes.collect::<Value>(),
            "ended": self.ended.as_ref().map(Ended::reason),
            "saturations": self.cut_off,
            "seconds": self.phases.elapsed().as_secs_f64(),
            "bytes": total.up + total.down,
            "rounds": total.rounds,
            "peak_memory_bytes": machine::peak_memory("self"),
        })
    }

    fn text(&self) -> String {
        let (counts, total) = (&self.counts, self.spent.statistics.total());
        let mut text = self.how_many();
        if self.earlier > 0 {
            text += &format!(", {} of them by an earlier run", self.earlier);
        }
        if counts.without > 0 {
            text += &format!("; {} have no class, since a value is missing", counts.without);
        }
        text += &format!(
            "\n{}\n{}\n{}, {} in {} rounds",
            counted(&self.layout.classes, &counts.classes),
            cut_off::counted(self.cut_off),
            seconds(self.phases.elapsed().as_secs_f64()),
            bytes(total.up + total.down),
            total.rounds,
        );
        if let [first, last] = self.versions
            && first != last
        {
            text += &format!(
                "\n✗ the model became version {last} meanwhile: answers are of versions {first} to {last}"
            );
        }
        match &self.out {
            Some(out) => text + &format!("\nanswers: {}", out.display()),
            None => text,
        }
    }
}

/// What an unfinished run remembers of a model that is here: everything.
fn asked_of_model(model: &Model) -> Result<Asked> {
    let sha256 = Hash(Sha256::digest(model.to_bytes()?).into());
    Ok(Asked { name: model.name().into(), version: model.version(), sha256 })
}

/// What it remembers of a model elsewhere: what its server says of it.
fn asked_of_card(card: &ModelCard) -> Result<Asked> {
    let said = serde_json::to_vec(&(&card.architecture, &card.precision, &card.schema))?;
    let sha256 = Hash(Sha256::digest(said).into());
    Ok(Asked { name: card.name.clone(), version: card.version, sha256 })
}

/// The standard output, or what is no file of a disk.
fn stream(out: Option<&Path>) -> Result<Box<dyn Write>> {
    let Some(path) = out else { return Ok(Box::new(io::stdout())) };
    let opened = File::options().write(true).open(path);
    Ok(Box::new(opened.with_context(|| format!("cannot write {}", path.display()))?))
}
