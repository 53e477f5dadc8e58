//! `gelu publish`: a model file becomes the current version in the books.

use std::path::PathBuf;

use anyhow::Result;
use gelu_service::server;
use gelu_store::{Error, Location, Published, Store};
use serde::Serialize;

use crate::model;
use crate::output::Output;
use crate::phases::say;
use crate::problem::{advised, problem};

/// Make a model file the current version of what servers serve
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu publish better.safetensors --store postgres://gelu@localhost/gelu   all its servers follow
  gelu publish better.safetensors --store mnist.safetensors.store     while no server runs
  gelu publish old.safetensors --store mnist.safetensors.store --again    what an older version held

A server that runs on a file of books has it to itself: replace the model's file there and send
the server a SIGHUP. What accounts have seen of other weights does not count on new ones; what
they have seen of the same weights, under whatever number, does.")]
pub(crate) struct Args {
    /// The model file
    #[arg(value_name = "FILE")]
    model: PathBuf,
    /// The books: a file, or postgres://…
    #[arg(long, value_name = "WHERE")]
    store: Location,
    /// What clients call the model [default: its own name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Also if an older version held the same
    #[arg(long)]
    again: bool,
}

#[derive(Serialize)]
struct Outcome<'a> {
    model: &'a str,
    version: u64,
    content: &'a str,
    published: bool,
}

/// Publishes.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let model = model::load(&args.model)?;
    let name = args.name.as_deref().unwrap_or(model.name());
    let store = Store::open(&args.store).map_err(|error| match error {
        Error::InUse(_) => advised(
            error,
            "a server has these books: replace its model's file and send it a SIGHUP instead",
        ),
        error => error.into(),
    })?;
    let became = server::publish(&store, name, &model, args.again)?;
    let (version, published) = match &became {
        Published::New(version) => (version, true),
        Published::Current(version) => (version, false),
        Published::Known(last) => {
            return Err(problem(
                format!(
                    "an older version of {name:?} held the same; the last one is {}",
                    last.version
                ),
                "--again makes it the current version once more",
            ));
        }
    };
    let outcome =
        Outcome { model: name, version: version.version, content: &version.content, published };
    if output.json {
        return output.line(&outcome);
    }
    say(&match published {
        true => format!("{name} is at version {} now", version.version),
        false => format!("{name} holds this already, as version {}", version.version),
    });
    Ok(())
}
