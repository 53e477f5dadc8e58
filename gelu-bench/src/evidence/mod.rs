//! A run of many exhibits: the report, and the record that later runs are compared with.
//!
//! [`Evidence`] is what came out and under which circumstances; [`page`] sets it as one HTML file,
//! [`markdown`] as one Markdown file; [`record`] keeps it, [`compare`] finds what has changed since.

pub mod compare;
pub mod markdown;
pub mod page;
pub mod record;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::exhibit::{Claim, Exhibit};

/// A run of many exhibits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it must be read with.
    pub circumstances: Circumstances,
    /// One for each exhibit that was asked for, in that order.
    pub outcomes: Vec<Outcome>,
}

/// What a run must be read with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Circumstances {
    /// When it began, in UTC: `2026-11-21T05:40:00Z`.
    pub date: String,
    /// Processor, threads, system, kind of build. Figures of different machines are not compared.
    pub machine: String,
    /// Processes that wanted a processor in the minute before: other people's work.
    pub load: Option<f64>,
    /// Of the program's source, if that is known.
    pub commit: Option<String>,
    /// `quick` or `paper`.
    pub set: String,
    /// Where the data sets are; without it, what the program carries with it.
    pub data: Option<PathBuf>,
    /// Of everything random.
    pub seed: u64,
    /// Of Paillier keys.
    pub key_bits: u32,
    /// How to do it again.
    pub command: String,
}

/// What came of one exhibit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    /// It was made.
    Made(Made),
    /// It was not.
    Failed(Failed),
}

/// An exhibit with the circumstances under which it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Made {
    /// What there is to show.
    #[serde(flatten)]
    pub exhibit: Exhibit,
    /// Seed of everything random in it.
    pub seed: u64,
    /// What it took.
    pub seconds: f64,
    /// How to make it again.
    pub command: String,
}

/// An exhibit that could not be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// What its command calls it.
    pub id: String,
    /// What it would have shown.
    pub about: String,
    /// Why it could not be made, with what to do about it.
    pub reason: String,
    /// How to try again.
    pub command: String,
}

impl Circumstances {
    /// Why its times must not be taken seriously, if there is a reason.
    pub fn warning(&self) -> Option<String> {
        let load = self.load.filter(|load| *load > 0.5);
        let busy = load.map(|load| {
            format!("Load in the minute before: {load:.1}. Beside other work, times are too long.")
        });
        let slow = self.machine.contains("debug build").then(|| {
            "This is a debug build: its times are worth nothing. Use `cargo run --release`."
                .to_owned()
        });
        let warnings: Vec<_> = busy.into_iter().chain(slow).collect();
        (!warnings.is_empty()).then(|| warnings.join(" "))
    }

    /// By name, for a list.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let unknown = || "unknown".to_owned();
        let data = self.data.as_ref().map(|folder| folder.display().to_string());
        vec![
            ("date", self.date.clone()),
            ("machine", self.machine.clone()),
            ("load before", self.load.map_or_else(unknown, |load| format!("{load:.1}"))),
            ("commit", self.commit.clone().unwrap_or_else(unknown)),
            ("set", self.set.clone()),
            ("data", data.unwrap_or_else(|| "what the program carries with it".into())),
            ("seed", self.seed.to_string()),
            ("Paillier keys", format!("{} bits", self.key_bits)),
            ("command", self.command.clone()),
        ]
    }
}

impl Outcome {
    /// What its command calls it.
    pub fn id(&self) -> &str {
        match self {
            Self::Made(made) => &made.exhibit.id,
            Self::Failed(failed) => &failed.id,
        }
    }
}

impl Evidence {
    /// What was made.
    pub fn made(&self) -> impl Iterator<Item = &Made> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Made(made) => Some(made),
            Outcome::Failed(_) => None,
        })
    }

    /// What was not.
    pub fn failed(&self) -> impl Iterator<Item = &Failed> {
        self.outcomes.iter().filter_map(|outcome| match outcome {
            Outcome::Made(_) => None,
            Outcome::Failed(failed) => Some(failed),
        })
    }

    /// How it went, in a sentence.
    pub fn headline(&self) -> String {
        let time = self.made().map(|made| made.seconds).sum();
        format!(
            "Tables and figures of the paper, and attacks on ourselves; made in {}. What the paper \
             printed is marked as the paper's, all other figures come from this run.",
            gelu_cli::amounts::seconds(time)
        )
    }

    /// How it went, as claims.
    pub fn claims(&self) -> Vec<Claim> {
        let (all, failed) = (self.outcomes.len(), self.failed().count());
        let claims = || self.made().flat_map(|made| &made.exhibit.claims);
        let (checked, hold) = (claims().count(), claims().filter(|claim| claim.holds).count());
        vec![
            Claim::new(format!("{} of {all} exhibits were made", all - failed), failed == 0),
            Claim::new(format!("{hold} of {checked} claims hold"), hold == checked),
        ]
    }
}

/// A small run, for tests of what shows it. `word` stands in every text.
#[cfg(test)]
pub(crate) fn example(word: &str) -> Evidence {
    let say = |text: &str| format!("{text} {word}");
    Evidence {
        circumstances: Circumstances {
            date: "2026-11-21T05:40:00Z".into(),
            machine: say("A processor, 2 threads, release build"),
            load: Some(3.0),
            commit: Some(say("abc")),
            set: "quick".into(),
            data: Some(say("/data").into()),
            seed: 1,
            key_bits: 2048,
            command: say("gelu-bench report"),
        },
        outcomes: vec![
            Outcome::Made(Made {
                exhibit: crate::exhibit::example(word),
                seed: 1,
                seconds: 8.24,
                command: say("gelu-bench figure example"),
            }),
            Outcome::Failed(Failed {
                id: "table-9".into(),
                about: say("What is not there"),
                reason: say("no data"),
                command: say("gelu-bench table 9"),
            }),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_broken_claims_are_counted() {
        let claims = example("").claims();
        assert_eq!(claims[0], Claim::new("1 of 2 exhibits were made", false));
        assert_eq!(claims[1], Claim::new("1 of 2 claims hold", false));
        let mut good = example("");
        good.outcomes.truncate(0);
        assert!(good.claims().iter().all(|claim| claim.holds));
    }

    #[test]
    fn what_times_are_worth() {
        let mut now = example("").circumstances;
        assert!(now.warning().unwrap().contains("3.0"));
        now.load = Some(0.1);
        assert_eq!(now.warning(), None);
        now.machine = "x, debug build".into();
        assert!(now.warning().unwrap().contains("--release"));
    }
}
