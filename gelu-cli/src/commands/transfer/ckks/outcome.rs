//! What came of a training under CKKS, as text, JSON and a page.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use gelu_nn::{FloatLayer, FloatParameters, FloatTrainer, Recipe};
use gelu_transfer::{BasePlan, Plan};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::judged::Judged;
use super::super::source::Source;
use crate::claim::Claim;
use crate::destination::Destination;
use crate::ending::Results;
use crate::machine::{self, Machine};
use crate::output::Output;
use crate::phases::{Phases, bytes, seconds};
use crate::report::{self, Facts, Report};

/// Heads of both trainings, and what they took.
pub(super) struct Outcome<'a> {
    pub(super) source: &'a Source,
    pub(super) plan: &'a Plan,
    /// Setup 1.
    pub(super) base: Option<OfBase<'a>>,
    /// The first one and the one after the last.
    pub(super) iterations: (usize, usize),
    /// Weights of each head, that of the constant last.
    pub(super) encrypted: Vec<Vec<f64>>,
    /// After the same steps in the clear on the same features.
    pub(super) same: Vec<Vec<f64>>,
    /// After the same steps in the clear on features in the clear: in setup 2 the same ones.
    pub(super) clear: Vec<Vec<f64>>,
    /// The largest |z| of the training in the clear.
    pub(super) largest: f64,
    pub(super) bytes: Bytes,
    pub(super) phases: Phases,
    /// The most bytes that the data party took, and the compute party where it is here.
    pub(super) memory: (Option<u64>, Option<u64>),
    pub(super) out: Option<&'a Path>,
}

/// What came of the base.
pub(super) struct OfBase<'a> {
    pub(super) plan: &'a BasePlan,
    pub(super) sent: BaseBytes,
    /// The largest difference of a feature from that in the clear.
    pub(super) off: f64,
    /// Features in the clear, prepared by themselves.
    pub(super) clear: Source,
}

/// Of a base on the wire.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct BaseBytes {
    pub(super) keys: u64,
    pub(super) up: u64,
    pub(super) down: u64,
}

/// On the wire.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Bytes {
    pub(super) keys: u64,
    pub(super) data: u64,
    /// Of all refreshes.
    pub(super) up: u64,
    pub(super) down: u64,
    pub(super) refreshes: usize,
}

impl Outcome<'_> {
    /// Judges, writes the head and the page, and shows it all.
    pub(super) fn deliver(
        &self,
        out: Option<&Destination>,
        page: Option<&Destination>,
        output: Output,
    ) -> Result<()> {
        let architecture = self.source.head()?;
        let of = |heads: &[Vec<f64>]| {
            FloatTrainer::<f64>::starting_from(&architecture, Recipe::default(), &parameters(heads))
        };
        let (encrypted, clear) = (of(&self.encrypted)?, of(&self.clear)?);
        let split = &self.source.split;
        let clear_split = self.base.as_ref().map_or(split, |base| &base.clear.split);
        let judged = Judged::of(
            (split, &|inputs| Ok(encrypted.probabilities(inputs)?)),
            (clear_split, &|inputs| Ok(clear.probabilities(inputs)?)),
        )?;
        let export = || -> Result<Vec<u8>> {
            let weights = parameters(&self.encrypted);
            Ok(self.source.export_weights(weights, judged.threshold)?.to_bytes()?)
        };
        let saved = out.map_or(Ok(()), |out| out.write(&export()?));
        let results =
            Results { report: page.map(|to| (self.report(&judged), to)), saved, ended: None };
        results.deliver(output, |page| self.json(&judged, page), |page| self.text(&judged, page))
    }

    /// The largest difference of weights, as a part of the largest weight of its head.
    fn off(&self) -> f64 {
        let heads = self.encrypted.iter().zip(&self.same).map(|(a, b)| {
            let largest = b.iter().fold(0.0f64, |most, w| most.max(w.abs()));
            let off = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            off / largest
        });
        heads.fold(0.0, f64::max)
    }

    fn equals_the_clear(&self) -> bool {
        self.off() < CLOSE
    }

    fn json(&self, judged: &Judged, page: Option<&Path>) -> Value {
        let (plan, settings) = (self.plan, self.plan.settings());
        json!({
            "engine": "ckks",
            "dataset": self.source.name,
            "layers": self.source.start.architecture().to_string(),
            "samples": {
                "train": settings.rows,
                "test": self.source.split.test.len(),
            },
            "settings": {
                "heads": settings.heads,
                "batch": settings.batch,
                "degree": settings.sigmoid.degree(),
                "range": settings.sigmoid.range(),
                "rate": settings.rate,
                "unattended": settings.unattended,
            },
            "ring": {
                "degree": plan.parameters().degree(),
                "levels": plan.parameters().top_level(),
                "keys": plan.keys().len(),
            },
            "iterations": { "first": self.iterations.0, "last": self.iterations.1 },
            "weights_off": self.off(),
            "weights_equal_clear": self.equals_the_clear(),
            "largest_weighted_sum": self.largest,
            "scores": judged,
            "bytes": self.bytes,
            "base": self.base.as_ref().map(OfBase::json),
            "phases": self.phases.done(),
            "seconds": self.phases.elapsed().as_secs_f64(),
            "peak_memory": { "data_party": self.memory.0, "compute_party": self.memory.1 },
            "machine": Machine::here(),
            "model": self.out.map(|path| path.display().to_string()),
            "report": page.map(|path| path.display().to_string()),
        })
    }

    fn text(&self, judged: &Judged, page: Option<&Path>) -> String {
        let mut text = judged.text();
        if let Some(out) = self.out {
            let _ = write!(text, "\nhead: {}", out.display());
        }
        let mark = if self.equals_the_clear() { "✓" } else { "✗" };
        let _ = write!(
            text,
            "\n\n{mark} final weights   {}\n\x20 cost            {}",
            self.weights(),
            self.cost(),
        );
        if let Some(base) = &self.base {
            let _ = write!(text, "\n\x20 base            {}", base.text());
        }
        let memory = self.memory();
        if !memory.is_empty() {
            let _ = write!(text, "\n\x20 peak memory     {memory}");
        }
        text + "\n" + &report::line(page)
    }

    fn report(&self, judged: &Judged) -> Report {
        let (plan, settings, machine) = (self.plan, self.plan.settings(), Machine::here());
        let item = |name: &str, value: &dyn std::fmt::Display| (name.into(), value.to_string());
        let Bytes { keys, data, up, down, refreshes } = self.bytes;
        let training = vec![
            item("data", &self.source.name),
            item("head", self.source.start.architecture()),
            item("rows of a batch", &settings.batch),
            item("iterations", &format!("{} to {}", self.iterations.0, self.iterations.1)),
            item("iterations between refreshes", &settings.unattended),
            item(
                "in place of the sigmoid",
                &format!("degree {} on ±{}", settings.sigmoid.degree(), settings.sigmoid.range()),
            ),
            item("largest weighted sum, in the clear", &format!("{:.1}", self.largest)),
            item("learning rate", &settings.rate),
        ];
        let cryptography = vec![
            item("cryptosystem", &"leveled CKKS, 128 bits (ring-LWE)"),
            item("ring", &format!("degree {}", plan.parameters().degree())),
            item("levels", &plan.parameters().top_level()),
            item("evaluation keys", &plan.keys().len()),
            item("channel", &"TLS 1.3, certificates on both sides"),
            item("randomness of keys", &"the operating system"),
        ];
        let leaks = vec![
            item(
                "the compute party learns",
                &"settings, sizes, times, when the training goes on or stops",
            ),
            item("the data party learns", &"its own head"),
            item(
                "nobody checks",
                &"that the compute party computed what was asked; scores on held-out rows are the check",
            ),
        ];
        let mut measured = vec![
            item("time", &seconds(self.phases.elapsed().as_secs_f64())),
            item("refreshes", &refreshes),
            item("processor", &machine.processor),
            item("threads", &machine.threads),
            item("system", &format!("{}, {} build", machine.system, machine.build)),
        ];
        if !self.memory().is_empty() {
            measured.push(item("peak memory", &self.memory()));
        }
        let mut page = Report {
            title: format!("A head on {}, trained under CKKS", self.source.name),
            headline: format!(
                "A compute party trained {} on {} rows that it never saw, and never saw the head.",
                self.source.start.architecture(),
                settings.rows,
            ),
            claims: vec![Claim::new(
                format!("weights {}", self.weights()),
                self.equals_the_clear(),
            )],
            warning: None,
            curves: Vec::new(),
            time: self.phases.done().iter().map(|p| (p.name.clone(), p.seconds)).collect(),
            traffic: vec![
                ("keys".into(), keys),
                ("features and labels".into(), data),
                ("heads, up".into(), up),
                ("gradients, down".into(), down),
            ],
            leakage: None,
            facts: vec![
                Facts { title: "Training", items: training },
                Facts { title: "Cryptography", items: cryptography },
                Facts { title: "What leaks", items: leaks },
                Facts { title: "Measured", items: measured },
            ],
            command_line: machine::command_line(),
        };
        judged.add_to(&mut page);
        if let Some(base) = &self.base {
            base.add_to(&mut page, judged);
        }
        page
    }

    fn weights(&self) -> String {
        let (off, are) =
            (self.off(), if self.equals_the_clear() { "equal" } else { "DIFFER FROM" });
        format!(
            "{are} those of the same training in the clear: off by {off:.1e} of the largest, {CLOSE:e} is allowed"
        )
    }

    fn cost(&self) -> String {
        let Bytes { keys, data, up, down, refreshes } = self.bytes;
        format!(
            "{}; keys {}, features {}, {} up and {} down in {refreshes} refreshes",
            seconds(self.phases.elapsed().as_secs_f64()),
            bytes(keys),
            bytes(data),
            bytes(up),
            bytes(down),
        )
    }

    fn memory(&self) -> String {
        let said = [("data party", self.memory.0), ("compute party", self.memory.1)];
        let said = said.iter().filter_map(|(who, most)| Some(format!("{who} {}", bytes((*most)?))));
        said.collect::<Vec<_>>().join(", ")
    }
}

impl OfBase<'_> {
    fn json(&self) -> Value {
        let (settings, parameters) = (self.plan.settings(), self.plan.parameters());
        json!({
            "rows": settings.rows,
            "inputs": settings.inputs,
            "features": settings.features,
            "ring": { "degree": parameters.degree(), "levels": parameters.top_level() },
            "bytes": self.sent,
            "features_off": self.off,
        })
    }

    fn text(&self) -> String {
        let BaseBytes { keys, up, down } = self.sent;
        format!(
            "keys {}, {} up, {} down; {} features of {} rows, off by {:.1e} at most",
            bytes(keys),
            bytes(up),
            bytes(down),
            self.plan.settings().features,
            self.plan.settings().rows,
            self.off,
        )
    }

    fn add_to(&self, page: &mut Report, judged: &Judged) {
        let apart = judged.accuracy_apart();
        let said = format!(
            "accuracy {:.2} points from that of the whole pipeline in the clear, 0.5 are allowed",
            100.0 * apart
        );
        page.claims.push(Claim::new(said, apart <= NEAR));
        let BaseBytes { keys, up, down } = self.sent;
        page.traffic.extend([
            ("keys of the base".into(), keys),
            ("rows, up".into(), up),
            ("features, down".into(), down),
        ]);
        let items = vec![
            ("the base".into(), self.text()),
            ("the compute party learns".into(), "sizes and bounds of rows, nothing in them".into()),
            (
                "the data party learns".into(),
                "the features of its rows: equations about the base, as many as there are features"
                    .into(),
            ),
        ];
        page.facts.push(Facts { title: "The base", items });
    }
}

/// Heads as one dense layer: softmax of (0, z) is the sigmoid of z.
fn parameters(heads: &[Vec<f64>]) -> FloatParameters {
    let zeros = vec![0.0; heads.first().map_or(0, Vec::len)];
    let none = (heads.len() == 1).then_some(&zeros);
    let rows = || none.into_iter().chain(heads).filter_map(|head| head.split_last());
    let weights = rows().flat_map(|(_, weights)| weights.iter().copied()).collect();
    let biases = rows().map(|(bias, _)| *bias).collect();
    FloatParameters { layers: vec![FloatLayer { weights, biases }] }
}

/// In accuracy.
const NEAR: f64 = 0.005;
/// What weights may be off by.
const CLOSE: f64 = 1e-3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_head_is_the_difference_of_two_classes_and_more_are_a_class_each() {
        let one = &parameters(&[vec![1.0, 2.0, 3.0]]).layers[0];
        assert_eq!(one.weights, [0.0, 0.0, 1.0, 2.0]);
        assert_eq!(one.biases, [0.0, 3.0]);
        let two = &parameters(&[vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0]]).layers[0];
        assert_eq!(two.weights, [1.0, 2.0, 4.0, 5.0]);
        assert_eq!(two.biases, [3.0, 6.0]);
    }
}
