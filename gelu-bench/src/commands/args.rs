//! What every exhibit can be told.

use std::path::PathBuf;
use std::sync::Mutex;

use anyhow::Result;
use clap::{Args, ValueEnum};
use gelu_cli::machine;
use gelu_cli::output::Output;
use gelu_cli::phases;
use indicatif::{MultiProgress, ProgressBar};

use super::show;
use crate::evidence::Made;
use crate::exhibits::Entry;
use crate::files;
use crate::setting::{Extent, Progress, Setting};

/// How much, on what, and where it goes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExhibitArgs {
    #[command(flatten)]
    setting: SettingArgs,
    /// Also write JSON, CSV, Markdown and pictures into this folder
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
}

/// How much, and on what.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Exhibit")]
pub(crate) struct SettingArgs {
    /// How much to run
    #[arg(long, value_enum, default_value_t = Set::Quick)]
    pub(crate) set: Set,
    /// Folder of the well-known data sets; without it Iris and the 8x8 digits serve
    #[arg(long, value_name = "DIR", env = "GELU_DATA", help_heading = "Data")]
    data: Option<PathBuf>,
    /// Folder of trained models; those that are missing are trained and kept there
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    models: Option<PathBuf>,
    /// Fixes everything random, keys included: never use these keys for anything else
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Bits of Paillier keys
    #[arg(long, value_name = "BITS", default_value_t = 2048)]
    key_bits: u32,
}

/// How much to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Set {
    /// Seconds each; all together less than five minutes
    Quick,
    /// What the paper ran, or more: half an hour, and more without trained models
    Paper,
}

impl ExhibitArgs {
    /// Makes one and shows it.
    pub(crate) fn run(&self, entry: &Entry, output: Output) -> Result<()> {
        let made = self.make(entry)?;
        output.show(&made, show::text(&made))
    }

    /// Makes several, one after the other; as JSON they are one array.
    pub(crate) fn run_all<'a>(
        &self,
        mut entries: impl Iterator<Item = &'a Entry>,
        output: Output,
    ) -> Result<()> {
        if output.json {
            let made = entries.map(|entry| self.make(entry)).collect::<Result<Vec<_>>>()?;
            return output.show(&made, "");
        }
        entries.try_for_each(|entry| {
            let made = self.make(entry)?;
            output.show(&made, show::text(&made) + "\n")
        })
    }

    /// Makes one, and its files if they are wanted.
    fn make(&self, entry: &Entry) -> Result<Made> {
        let bars = ProgressBars::default();
        let made = entry.make(&self.setting.setting(), &bars, machine::command_line())?;
        bars.clear();
        if let Some(folder) = &self.out {
            files::write(&made, folder)?;
        }
        Ok(made)
    }
}

impl SettingArgs {
    /// As experiments want it.
    pub(crate) fn setting(&self) -> Setting {
        Setting {
            extent: match self.set {
                Set::Quick => Extent::Quick,
                Set::Paper => Extent::Paper,
            },
            data: self.data.clone(),
            models: self.models.clone(),
            seed: self.seed,
            key_bits: self.key_bits,
        }
    }

    /// As one would type it.
    pub(crate) fn typed(&self) -> Vec<String> {
        let mut words = vec!["--set".into(), self.set.name()];
        for (option, folder) in [("--data", &self.data), ("--models", &self.models)] {
            if let Some(folder) = folder {
                words.extend([option.into(), folder.display().to_string()]);
            }
        }
        words.extend(["--seed".into(), self.seed.to_string()]);
        words.extend(["--key-bits".into(), self.key_bits.to_string()]);
        words
    }
}

impl Set {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().expect("no set is hidden").get_name().to_owned()
    }
}

/// Progress as a bar on the terminal, one piece of work after the other.
#[derive(Debug, Default)]
pub(crate) struct ProgressBars {
    current: Mutex<Option<ProgressBar>>,
    /// What the bar stands below, where there is more than one.
    above: Option<MultiProgress>,
}

impl ProgressBars {
    /// Below others.
    pub(crate) fn below(others: &MultiProgress) -> Self {
        Self { current: Mutex::default(), above: Some(others.clone()) }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = self.current.lock().expect("no panic while held").take() {
            bar.finish_and_clear();
        }
    }
}

impl Progress for ProgressBars {
    fn begin(&self, what: &str, steps: usize) {
        self.clear();
        let mut bar = phases::bar(what, steps as u64);
        if let Some(others) = &self.above {
            bar = others.add(bar);
        }
        *self.current.lock().expect("no panic while held") = Some(bar);
    }

    fn step(&self) {
        if let Some(bar) = &*self.current.lock().expect("no panic while held") {
            bar.inc(1);
        }
    }
}
