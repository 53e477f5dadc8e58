//! `gelu-bench latency` and `train-step`: what `gelu bench` measures, over a simulated link.

use anyhow::Result;
use gelu_cli::commands::bench::{latency, train_step};
use gelu_cli::output::Output;

use crate::link::Profile;

/// Time encrypted queries over a simulated link
#[derive(Debug, clap::Args)]
#[command(
    about = "Time encrypted queries over a simulated link",
    after_help = "\
Examples:
  gelu-bench latency --network conv1 --link wan
  gelu-bench latency --network conv1 --link delay=20ms,rate=100mbit,loss=0.1%

As `gelu bench latency`, with a relay between the parties that holds back their bytes as such a link
would."
)]
pub(crate) struct LatencyArgs {
    #[command(flatten)]
    latency: latency::Args,
    #[command(flatten)]
    link: LinkArgs,
}

/// Time encrypted training steps over a simulated link
#[derive(Debug, clap::Args)]
#[command(
    about = "Time encrypted training steps over a simulated link",
    after_help = "\
Examples:
  gelu-bench train-step --network iris --batch 16 --link wan

As `gelu bench train-step`, with a relay between the parties that holds back their bytes as such a link
would."
)]
pub(crate) struct TrainStepArgs {
    #[command(flatten)]
    step: train_step::Args,
    #[command(flatten)]
    link: LinkArgs,
}

/// The link.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Link")]
struct LinkArgs {
    /// The link between the parties, simulated: loopback, lan, cloud, wan, or written out
    #[arg(long, value_name = "PROFILE", default_value = "loopback")]
    link: Profile,
}

/// Measures queries.
pub(crate) fn latency(args: &LatencyArgs, output: Output) -> Result<()> {
    latency::run(&args.latency, &args.link.link, output)
}

/// Measures training steps.
pub(crate) fn train_step(args: &TrainStepArgs, output: Output) -> Result<()> {
    train_step::run(&args.step, &args.link.link, output)
}
