//! `gelu-bench simulate`: server, store and clients under faults, a run for each seed.

use std::time::Instant;

use anyhow::{Result, anyhow};
use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use gelu_cli::output::Output;
use gelu_cli::phases;
use gelu_simulation::{Counts, Plant, search};
use serde::Serialize;

/// Run server, store and clients under crashes, bad links, full disks and clock jumps, simulated
///
/// A seed is a run: the clients and what they ask, every delay, the write at which a server dies, what its disk keeps
/// of the unsynced bytes, the byte after which a link breaks. Meanwhile and at the end the laws are checked: what was
/// answered was booked, a version is whole or absent, a lease commits once, a ticket is used once. The first seed
/// that breaks one ends the search, and repeats it whenever it is run.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "Simulation",
    after_help = "\
Examples:
  gelu-bench simulate                             a thousand seeds, from 0 on
  gelu-bench simulate --from 4711 --seeds 1       one of them once more
  gelu-bench simulate --plant charge-after-answer  a server with a fault, which must be found"
)]
pub(crate) struct Args {
    /// How many seeds
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = RangedU64ValueParser::<u64>::new().range(1..))]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    from: u64,
    /// Puts a fault into the server, to see whether it is found
    #[arg(long, value_enum, value_name = "FAULT")]
    plant: Option<Planted>,
}

/// The name of a [`Plant`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Planted {
    /// Answers are booked when they have been sent, and not before
    ChargeAfterAnswer,
}

impl From<Planted> for Plant {
    fn from(planted: Planted) -> Self {
        match planted {
            Planted::ChargeAfterAnswer => Self::ChargeAfterAnswer,
        }
    }
}

/// A search that has found nothing.
#[derive(Debug, Serialize)]
struct Searched {
    from: u64,
    seeds: u64,
    seconds: f64,
    counts: Counts,
}

/// Simulates.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let Args { seeds, from, plant } = *args;
    let end = from.checked_add(seeds).ok_or_else(|| anyhow!("--from {from} is too large"))?;
    let (began, bar) = (Instant::now(), phases::bar("simulating", seeds));
    let searched = search(from..end, plant.map(Plant::from), &|| bar.inc(1));
    bar.finish_and_clear();
    let counts = searched.map_err(|found| {
        let plant = plant.and_then(|plant| plant.to_possible_value());
        let plant = plant.map(|plant| format!(" --plant {}", plant.get_name()));
        let again = format!("gelu-bench simulate --from {} --seeds 1", found.seed);
        anyhow!("{found}\nRun it once more: {again}{}", plant.unwrap_or_default())
    })?;
    let searched = Searched { from, seeds, seconds: began.elapsed().as_secs_f64(), counts };
    let took = phases::seconds(searched.seconds);
    output.show(
        &searched,
        format!("Every law held in {seeds} seeds from {from} on ({took}): {counts}."),
    )
}
