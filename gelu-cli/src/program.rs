//! What every program does around its commands: logs, signals, errors, exit codes.
//!
//! Exit codes: 0 done, 1 failed (one sentence and the next step on stderr), 2 wrong usage, 3 ended
//! early: what had been done by then is shown and written, and says how much of how much it is; 129, 130
//! and 143 ended by SIGHUP, SIGINT and SIGTERM with nothing to show.

use anyhow::Result;
use clap::{ArgAction, Args, ValueEnum};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::output::{self, LogOrNothing, Output};
use crate::{ending, phases, problem, signals};

/// Options that stand before or behind every command.
#[derive(Debug, Clone, Copy, Args)]
pub struct Common {
    /// Print one JSON object to stdout; progress and logs stay on stderr
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    /// Log more (-v: sessions and leases, -vv: everything); RUST_LOG overrides
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = "Output")]
    verbose: u8,
    /// How stderr is written: for people, or one JSON object a line for programs
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        env = "GELU_LOG_FORMAT",
        default_value_t = LogFormat::Text,
        help_heading = "Output"
    )]
    log_format: LogFormat,
}

/// How logs are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

/// Runs a command of a process that has done nothing else yet, and returns its exit code.
pub fn run(common: Common, command: impl FnOnce(Output) -> Result<()>) -> u8 {
    common.init_logs();
    signals::listen();
    match command(Output { json: common.json }) {
        Ok(()) => 0,
        Err(error) => {
            phases::say(&problem::explain(&error));
            match (ending::is_early(&error), signals::code()) {
                (true, _) => ending::EXIT_CODE,
                (false, Some(code)) => code,
                (false, None) => 1,
            }
        }
    }
}

impl Common {
    /// Sends logs to stderr.
    fn init_logs(self) {
        let levels = [LevelFilter::WARN, LevelFilter::INFO, LevelFilter::DEBUG];
        let level = levels[usize::from(self.verbose.min(2))];
        let asked = std::env::var("RUST_LOG").ok().and_then(|said| said.parse::<Targets>().ok());
        let filter = asked.unwrap_or_else(|| Targets::new().with_default(level));
        let logs = tracing_subscriber::fmt::layer().with_writer(|| LogOrNothing);
        match self.log_format {
            LogFormat::Text => {
                let logs = logs.with_ansi(output::colours(&std::io::stderr()));
                tracing_subscriber::registry().with(logs).with(filter).init();
            }
            LogFormat::Json => {
                phases::say_in_the_log();
                // What is said is no chatter: it comes whatever the level.
                let filter = filter.with_target(phases::SAID, LevelFilter::INFO);
                let logs = logs.with_ansi(false).json();
                tracing_subscriber::registry().with(logs).with(filter).init();
            }
        }
    }
}
