//! What an experiment tells: the JSON object, the lines on the terminal, the report.

use std::path::Path;

use anyhow::Result;
use gelu_nn::Rate;
use gelu_service::client::{Phase, Statistics};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Outcome, Step};
use crate::claim::Claim;
use crate::destination::Destination;
use crate::ending::{Ended, Results};
use crate::machine::{self, Machine};
use crate::output::Output;
use crate::phases::{bytes, seconds};
use crate::report::{self, Curves, Facts, Leakage, Report};

/// Of the new rows, in accuracy.
const ONE_IN_A_THOUSAND: f64 = 0.001;

/// One lease, for the JSON object.
#[derive(Serialize)]
struct LeaseLine {
    client: usize,
    version: u64,
    steps: usize,
    samples: usize,
}

impl Outcome {
    /// For programs. Every name here is part of the program's interface.
    pub(crate) fn json(&self, report: Option<&Path>) -> Value {
        let (experiment, terms) = (&self.experiment, &self.experiment.terms);
        let total = self.statistics.total();
        let (safe, narrowest) = self.exposure.safe_samples();
        json!({
            "network": experiment.name,
            "layers": experiment.architecture.to_string(),
            "dataset": experiment.dataset,
            "accuracy_encrypted": self.accuracy_encrypted,
            "accuracy_plaintext": self.accuracy_plaintext,
            "predictions_equal_plaintext": self.predictions_equal_plaintext,
            "weights_equal_oracle": self.weights_equal_oracle,
            "saturations": self.cut_off.total(),
            "saturations_by_layer": self.cut_off.by_layer(),
            "steps_done": self.steps_done(),
            "steps_asked": self.steps_asked(),
            "answered": self.answered,
            "asked": experiment.split.test.len(),
            "ended": self.ended.as_ref().map(Ended::reason),
            "seconds": self.phases.elapsed().as_secs_f64(),
            "bytes": total.up + total.down,
            "rounds": total.rounds,
            "backend": terms.cryptosystem.backend,
            "key_bits": terms.cryptosystem.key_bits,
            "clients": experiment.clients,
            "batch": experiment.batch,
            "rate": terms.rate.eta(),
            "rate_is_secret": matches!(terms.rate.rate(), Rate::Secret { .. }),
            "samples": {
                "train": experiment.split.train.len(),
                "test": experiment.split.test.len(),
                "seen_encrypted": self.samples_seen(),
            },
            "seeds": { "experiment": experiment.seed, "keys": "operating system" },
            "leases": self.leases.iter().map(|lease| LeaseLine {
                client: lease.client + 1,
                version: lease.version,
                steps: lease.steps.len(),
                samples: lease.steps.iter().map(|step| step.samples).sum(),
            }).collect::<Vec<_>>(),
            "phases": self.phases.done(),
            "protocol": protocol(&self.statistics),
            "ledger": {
                "verdict": self.exposure.verdict(),
                "safe_samples": safe,
                "narrowest_layer": narrowest.layer,
                "least_samples": self.exposure.least_samples().map(|(least, _)| least),
                "overridden_by": self.crosses_the_bound().then_some("--allow-model-extraction"),
            },
            "peak_memory_bytes": self.peak_memory.map(|[ours, servers]| {
                json!({ "clients": ours, "server": servers })
            }),
            "machine": Machine::here(),
            "report": report,
        })
    }

    /// For a person.
    pub(crate) fn text(&self, report: Option<&Path>) -> String {
        let mark = |holds| match holds {
            Some(true) => "✓",
            Some(false) => "✗",
            None => " ",
        };
        let total = self.statistics.total();
        format!(
            "\n{}\n\n\
             {} accuracy on new rows    encrypted {}, in the clear {:.1}%\n\
             {} final weights           {}\n\
             \x20 cost                    {}, {} in {} rounds\n\
             \x20 bounds                  {}\n\n\
             The ledger's verdict: {}.\n{}\n{}",
            self.headline(),
            mark(self.accuracy_is_reached()),
            self.accuracy_encrypted.map_or("unknown".into(), |x| format!("{:.1}%", 100.0 * x)),
            100.0 * self.accuracy_plaintext,
            mark(self.weights_equal_oracle),
            match self.weights_equal_oracle {
                Some(true) => "equal the plaintext oracle's, bit for bit",
                Some(false) => "DIFFER FROM the plaintext oracle's, bit for bit",
                None => UNHEARD,
            },
            seconds(self.phases.elapsed().as_secs_f64()),
            bytes(total.up + total.down),
            total.rounds,
            self.cut_off,
            self.exposure.verdict(),
            self.meaning(),
            report::line(report),
        )
    }

    /// Writes the report, shows the result, and fails if the run ended early or anything could not
    /// be written: `saved` is what came of writing the model.
    pub(crate) fn deliver(
        &self,
        saved: Result<()>,
        report: Option<&Destination>,
        output: Output,
    ) -> Result<()> {
        let report = report.map(|path| (self.report(), path));
        self.deliver_as(saved, report, output, |path| self.json(path), |path| self.text(path))
    }

    /// The same, told in other words.
    pub(crate) fn deliver_as(
        &self,
        saved: Result<()>,
        report: Option<(Report, &Destination)>,
        output: Output,
        json: impl FnOnce(Option<&Path>) -> Value,
        text: impl FnOnce(Option<&Path>) -> String,
    ) -> Result<()> {
        let ended = self.ended.clone().map(|ended| (ended, self.how_much()));
        Results { report, saved, ended }.deliver(output, json, text)
    }

    /// The HTML page.
    pub(crate) fn report(&self) -> Report {
        let secure = self.experiment.terms.cryptosystem.backend.is_secure();
        Report {
            title: match secure {
                true => format!("Encrypted training of {}", self.experiment.name),
                false => format!("Training of {}, without encryption", self.experiment.name),
            },
            headline: self.headline(),
            claims: self.claims(),
            warning: self.experiment.terms.cryptosystem.backend.warning(),
            curves: self.curves(),
            time: self.time(),
            traffic: self.traffic(),
            leakage: Some(Leakage { exposure: self.exposure.clone(), meaning: self.meaning() }),
            facts: self.facts(),
            command_line: machine::command_line(),
        }
    }

    /// Whether the encrypted training was as good as the one in the clear, by floating point, if all new rows say
    /// so. Roundings differ, so a row in a thousand may.
    fn accuracy_is_reached(&self) -> Option<bool> {
        let all = self.answered == self.experiment.split.test.len();
        self.accuracy_encrypted
            .filter(|_| all)
            .map(|x| x + ONE_IN_A_THOUSAND >= self.accuracy_plaintext)
    }

    fn samples_seen(&self) -> usize {
        self.leases.iter().flat_map(|lease| &lease.steps).map(|step| step.samples).sum()
    }

    fn steps_done(&self) -> usize {
        self.leases.iter().map(|lease| lease.steps.len()).sum()
    }

    fn steps_asked(&self) -> usize {
        self.experiment.steps * self.experiment.clients
    }

    /// What the end of the run must say where it came early.
    fn how_much(&self) -> String {
        format!(
            "{} of {} mini-batches are committed, {} of {} new rows classified",
            self.steps_done(),
            self.steps_asked(),
            self.answered,
            self.experiment.split.test.len()
        )
    }

    fn headline(&self) -> String {
        let experiment = &self.experiment;
        let (rows, test) = (experiment.split.train.len(), experiment.split.test.len());
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to rows")]
        let right = |accuracy: f64, of: usize| (accuracy * of as f64).round() as usize;
        let who = match experiment.clients {
            1 => "A client".into(),
            2 => "Two clients in turn".into(),
            n => format!("{n} clients in turn"),
        };
        let (how, then) = match experiment.terms.cryptosystem.backend.is_secure() {
            true => ("rows that the server never saw", "Under encryption"),
            false => ("rows, WITHOUT ENCRYPTION", "Through the protocol"),
        };
        let early = match self.ended {
            Some(_) => format!("The run ended early: {}. ", self.how_much()),
            None => String::new(),
        };
        let classified = self.accuracy_encrypted.map(|accuracy| {
            let (right, of) = (right(accuracy, self.answered), self.answered);
            format!("{then} {right} of {of} new rows were classified correctly; ")
        });
        format!(
            "{early}{who} trained {} on {rows} {how}. {}the same training in the clear gets {} of \
             {test}.",
            experiment.name,
            classified.unwrap_or_default(),
            right(self.accuracy_plaintext, test),
        )
    }

    /// What is known to hold or not to hold.
    fn claims(&self) -> Vec<Claim> {
        let claim = |holds: Option<bool>, yes: &str, no: &str| {
            holds.map(|holds| Claim::new(if holds { yes } else { no }, holds))
        };
        let claims = [
            claim(self.ended.as_ref().map(|_| false), "", "the run ended early"),
            claim(
                self.accuracy_is_reached(),
                "encrypted accuracy equals plaintext accuracy",
                "encrypted and plaintext accuracy differ",
            ),
            claim(
                self.weights_equal_oracle,
                "weights equal the plaintext oracle's, bit for bit",
                "weights differ from the plaintext oracle's",
            ),
            claim(
                self.predictions_equal_plaintext,
                "every encrypted prediction equals its plaintext prediction",
                "some encrypted predictions differ from their plaintext predictions",
            ),
        ];
        claims.into_iter().flatten().collect()
    }

    /// Samples that one client saw, about.
    fn samples_per_client(&self) -> u64 {
        (self.samples_seen() / self.experiment.clients.max(1)) as u64
    }

    /// Whether a server that enforces its ledger would have refused some of this.
    fn crosses_the_bound(&self) -> bool {
        self.samples_per_client() > self.exposure.safe_samples().0
    }

    /// What the verdict means for this run.
    fn meaning(&self) -> String {
        let (seen, narrowest) = (self.samples_per_client(), self.exposure.safe_samples().1);
        match self.crosses_the_bound() {
            true => format!(
                "A server that guards its model would have refused; this one was started with \
                 --allow-model-extraction, so each client saw about {seen} samples and could solve \
                 for weights of {} ({}). Keep that flag for models that the clients may know.",
                narrowest.layer, narrowest.direction
            ),
            false => format!("Each client saw about {seen} samples, which is within the bound."),
        }
    }

    fn curves(&self) -> Vec<Curves> {
        let encrypted = self.leases.iter().flat_map(|lease| &lease.steps).map(|report| Step {
            loss: report.loss,
            accuracy: report.correct as f64 / report.samples.max(1) as f64,
        });
        let encrypted: Vec<_> = encrypted.collect();
        let curves = |measure: &str, caption: &str, value: fn(&Step) -> f64| {
            let epoch = self.experiment.steps_per_epoch();
            let mean = |steps: &[Step]| steps.iter().map(value).sum::<f64>() / steps.len() as f64;
            let means = |steps: &[Step]| steps.chunks(epoch).map(mean).collect();
            let plaintext = ("in the clear, floating point", means(&self.float_steps));
            Curves {
                caption: caption.into(),
                measure: measure.into(),
                curves: vec![("encrypted", means(&encrypted)), plaintext],
            }
        };
        vec![
            curves("loss", "Loss on the training rows", |step| step.loss),
            curves("accuracy", "Accuracy on the training rows", |step| step.accuracy),
        ]
    }

    fn time(&self) -> Vec<(String, f64)> {
        let own = |wanted: &str| {
            let phase = self.phases.done().iter().find(|phase| phase.name == wanted);
            phase.map(|phase| (phase.name.clone(), phase.seconds))
        };
        let rounds = WORK.iter().flat_map(|&phase| {
            let cost = self.statistics.phase(phase);
            let sides = [("client", cost.client), ("server + network", cost.server)];
            sides.map(|(side, time)| (format!("{phase}, {side}"), time.as_secs_f64()))
        });
        let rounds = rounds.filter(|(_, seconds)| *seconds >= 0.0005);
        own("keys").into_iter().chain(rounds).chain(own("plaintext runs")).collect()
    }

    fn traffic(&self) -> Vec<(String, u64)> {
        let phases = Phase::ALL.iter().map(|&phase| {
            let cost = self.statistics.phase(phase);
            (format!("{phase}, {} rounds", cost.rounds), cost.up + cost.down)
        });
        phases.filter(|(_, bytes)| *bytes > 0).collect()
    }

    fn facts(&self) -> Vec<Facts> {
        let (experiment, terms) = (&self.experiment, &self.experiment.terms);
        let precision = self.model.precision();
        let item = |name: &str, value: &dyn std::fmt::Display| (name.into(), value.to_string());
        let total = self.statistics.total();
        let machine = Machine::here();
        let mut measured = vec![
            item("time", &seconds(self.phases.elapsed().as_secs_f64())),
            item("bytes to the server", &bytes(total.up)),
            item("bytes to the clients", &bytes(total.down)),
            item("rounds", &total.rounds),
            item("processor", &machine.processor),
            item("threads", &machine.threads),
            item("system", &format!("{}, {} build", machine.system, machine.build)),
        ];
        if let Some([ours, servers]) = self.peak_memory {
            let memory = format!("{} clients, {} server", bytes(ours), bytes(servers));
            measured.insert(4, item("peak memory", &memory));
        }
        vec![
            Facts {
                title: "Training",
                items: vec![
                    item("data", &experiment.dataset),
                    item("network", &experiment.architecture),
                    item("parameters", &experiment.architecture.parameters()),
                    item("clients", &experiment.clients),
                    item("mini-batch", &format!("{} samples", experiment.batch)),
                    item("mini-batches", &self.float_steps.len()),
                    item("learning rate", &terms.rate),
                    item("leases", &self.leases.len()),
                    item("values cut off at a bound", &self.cut_off),
                ],
            },
            Facts {
                title: "Cryptography and numbers",
                items: vec![
                    item("cryptosystem", &terms.cryptosystem.backend.id()),
                    item("keys", &format!("{} bits, fresh", terms.cryptosystem.key_bits)),
                    item("channel", &"TLS 1.3, certificates on both sides"),
                    item("weights", &format!("{} fractional bits", precision.weights.fraction)),
                    item("activations", &format!("{} bits", precision.activations.fraction)),
                    item("errors", &format!("{} bits", precision.errors.fraction)),
                    item("masks", &format!("{} bits longer than an update", precision.mask_bits)),
                    item("seed of the experiment", &experiment.seed),
                    item("randomness of keys", &"the operating system"),
                ],
            },
            Facts { title: "Measured", items: measured },
        ]
    }
}

/// What is said of weights that cannot be compared.
const UNHEARD: &str =
    "not compared: the server has stored a lease of which its client has not heard";

/// The rounds that do the work; waiting in the queue is other clients' work.
const WORK: [Phase; 5] =
    [Phase::Forward, Phase::Backward, Phase::Update, Phase::Commit, Phase::Inference];

/// Costs by phase of the protocol.
pub(crate) fn protocol(statistics: &Statistics) -> Value {
    let line = |phase: &Phase| {
        let cost = statistics.phase(*phase);
        json!({
            "phase": phase.name(),
            "rounds": cost.rounds,
            "bytes_up": cost.up,
            "bytes_down": cost.down,
            "client_seconds": cost.client.as_secs_f64(),
            "server_and_network_seconds": cost.server.as_secs_f64(),
        })
    };
    Phase::ALL.iter().filter(|p| statistics.phase(**p).rounds > 0).map(line).collect()
}
