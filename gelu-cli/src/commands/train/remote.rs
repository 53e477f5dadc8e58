//! Training with a server elsewhere: one client among others.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use gelu_core::Network;
use gelu_core::client::StepReport;
use gelu_core::fixed::add_by_layer;
use gelu_core::ledger::{Exposure, SumLedger};
use gelu_core::plan::Purpose;
use gelu_nn::Dataset;
use gelu_service::client::{ClientEvent, Statistics, SumsFile};
use serde_json::{Value, json};

use super::{Args, BATCH};
use crate::backend::{Scheme, Task};
use crate::claim::Claim;
use crate::client::{self, Lease};
use crate::cut_off::CutOff;
use crate::data::Meaning;
use crate::ending::{Ended, Results};
use crate::experiment::protocol;
use crate::leases::Rules;
use crate::machine::{self, Machine};
use crate::output::Output;
use crate::phases::{Phases, Screen, bytes, say, seconds};
use crate::problem::problem;
use crate::report::{self, Curves, Facts, Leakage, Report};

/// Trains until the schedule is over, then classifies the held-out rows.
pub(super) fn run(args: &Args, server: &str, output: Output) -> Result<()> {
    let to = args.report()?;
    let done = args.cryptosystem.backend.run(Remote { args, server })?;
    let ended = done.ended.clone().map(|ended| (ended, done.how_much()));
    let report = to.as_ref().map(|to| (done.report(args, server), to));
    let results = Results { report, saved: Ok(()), ended };
    results.deliver(output, |path| done.json(args, server, path), |path| done.text(path))
}

struct Remote<'a> {
    args: &'a Args,
    server: &'a str,
}

/// What this client saw.
struct Done {
    model: String,
    leases: Vec<Lease>,
    /// Mini-batches that were asked for.
    asked: usize,
    predictions: Vec<usize>,
    /// Why there is no more of both.
    ended: Option<Ended>,
    /// Of the rows that were classified.
    accuracy: Option<f64>,
    samples: [usize; 2],
    steps_per_epoch: usize,
    key_bits: u32,
    cut_off: CutOff,
    exposure: Exposure,
    statistics: Statistics,
    phases: Phases,
}

impl Task for Remote<'_> {
    type Output = Result<Done>;

    fn run<S: Scheme>(self) -> Result<Done> {
        let Self { args, server } = self;
        // Whatever can be refused is refused here, before a key is made or the server is asked; what the
        // columns and classes mean is on the server's card.
        let batch = args.batch.unwrap_or(BATCH);
        let tls = args.server.tls()?;
        let sums = args.sums.clone().unwrap_or_else(|| args.server.sums());
        let sums: Arc<dyn SumLedger> = Arc::new(SumsFile::open(&sums)?);
        let named = args.server.named_key::<S>(args.cryptosystem)?;
        let of_new = args.cryptosystem.for_training().key_bits;
        let key_bits = named.as_ref().map_or(of_new, |key| client::key_bits::<S>(key));
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let screen = Screen::default();
        let connecting = client::connect::<S>(server, &tls, observer(screen.clone()));
        let connection = client::wait(&runtime, connecting)?;
        let (network, card) = (Arc::clone(connection.network()), connection.card().clone());
        let meaning = Meaning::Model(connection.schema());
        let samples = match args.data.load(args.network.as_deref(), meaning) {
            Ok(samples) => samples,
            Err(error) => {
                client::complete(&runtime, connection.close());
                return Err(error);
            }
        };
        let (train, test) = (&samples.split.train, &samples.split.test);
        let steps = args.steps(1, train.len(), batch)?;
        let schedule = client::schedule(train.len(), batch, steps, args.data.seed)?;
        check_fit(&network, train)?;
        check_frozen(args.freeze.stages(), network.frozen())?;
        client::check_key_bits(&card, key_bits)?;
        let exposure = |steps: usize| -> Result<Exposure> {
            let purpose = Purpose::Training { steps: u32::try_from(steps)? };
            let plan = S::plan(&network, &card.precision, batch, purpose, key_bits)?;
            Ok(Exposure::new(&network, &card.precision, &plan))
        };
        exposure(1)?;
        say(&format!("{server} serves {}; {}", card.name, card.training));
        let policy = args.data_policy();
        let rules =
            Rules::new(&network, S::sigma(&card.precision), batch, policy, card.lease_samples);
        let ledger = sums.ledger()?;
        let lengths = rules.lengths(&ledger, &ledger.ids(train.features()), &schedule);
        if let Err(error) = lengths {
            client::complete(&runtime, connection.close());
            return Err(error);
        }

        let mut phases = Phases::start();
        let secret = client::prepared_key::<S>(named, key_bits, &mut phases)?;
        let opening = async { Ok(connection.open_counted(secret, policy, sums).await?) };
        let mut session = client::wait(&runtime, opening)?;

        let running = phases.begin("training under encryption", steps as u64);
        screen.show(&running);
        let (mut leases, mut predictions) = (Vec::new(), Vec::new());
        let training = client::train(&mut session, 0, train, &schedule, &mut leases);
        let trained = client::wait(&runtime, training);
        let mini_batches: usize = leases.iter().map(|lease| lease.steps.len()).sum();
        let said = format!("trained on {mini_batches} encrypted mini-batches");
        phases.end(running, "training", &said);

        let ended = trained.and_then(|()| {
            let running = phases.begin("classifying", test.len() as u64);
            let answered = |answer: &[usize]| {
                running.steps(answer.len());
                predictions.extend(answer);
            };
            let rows = client::rows_of_query::<S>(&network, &card.precision, key_bits);
            let classifying = client::classify(&mut session, test, rows, answered);
            let classified = client::wait(&runtime, classifying);
            let said = format!("classified {} new rows", predictions.len());
            phases.end(running, "inference", &said);
            classified
        });
        let mut cut_off = session.saturations().to_vec();
        for step in leases.iter().flat_map(|lease| &lease.steps) {
            add_by_layer(&mut cut_off, &step.saturations);
        }
        let statistics = client::complete(&runtime, session.close());
        let any = !leases.is_empty() || !predictions.is_empty();
        let ended = Ended::of(ended, any)?;
        let longest = leases.iter().map(|lease| lease.steps.len()).max().unwrap_or(1);
        Ok(Done {
            model: card.name.clone(),
            accuracy: client::accuracy(&predictions, test.labels()),
            samples: [train.len(), test.len()],
            steps_per_epoch: (train.len() / batch).max(1),
            key_bits,
            cut_off: CutOff::new(&network, &cut_off),
            exposure: exposure(longest)?,
            statistics,
            asked: steps,
            leases,
            predictions,
            ended,
            phases,
        })
    }
}

const SECRET_RATE: &str = "the server keeps its learning rate secret: nothing proves the rate that it sends \
                           encrypted, and a dishonest server that sends 0 reads every update";

/// Refuses a server that trains other stages than we were told: its card decides.
fn check_frozen(wanted: Option<usize>, frozen: usize) -> Result<()> {
    match wanted {
        Some(wanted) if wanted != frozen => Err(problem(
            format!("the server freezes the first {frozen} stages of its model, not {wanted}"),
            format!(
                "leave out --freeze or say {frozen}, or ask the operator for `gelu serve --freeze {wanted}`"
            ),
        )),
        _ => Ok(()),
    }
}

fn check_fit(network: &Network, train: &Dataset) -> Result<()> {
    let (inputs, classes) = (network.inputs(), network.classes());
    match (inputs, classes) == (train.inputs(), train.classes()) {
        true => Ok(()),
        false => Err(problem(
            format!(
                "the server's network takes {inputs} inputs and tells {classes} classes apart, but \
                 the data has {} and {}",
                train.inputs(),
                train.classes()
            ),
            "use data of the kind that the server's operator has asked for",
        )),
    }
}

fn observer(screen: Screen) -> impl FnMut(&ClientEvent) + Send {
    let mut told = false;
    move |event| match event {
        ClientEvent::Waiting { position } => {
            screen.note(|| format!("waiting, {position} before us"));
        }
        ClientEvent::LeaseGranted { steps, secret_rate, .. } => {
            if *secret_rate && !std::mem::replace(&mut told, true) {
                say(SECRET_RATE);
            }
            screen.note(|| format!("our turn, {steps} mini-batches"));
        }
        ClientEvent::StepDone(report) => {
            screen.step();
            screen.note(|| format!("loss {:.3}", report.loss));
        }
        _ => {}
    }
}

impl Done {
    fn steps(&self) -> impl Iterator<Item = &StepReport> {
        self.leases.iter().flat_map(|lease| &lease.steps)
    }

    /// What the end of the run must say where it came early.
    fn how_much(&self) -> String {
        format!(
            "{} of {} mini-batches are committed, {} of {} new rows classified",
            self.steps().count(),
            self.asked,
            self.predictions.len(),
            self.samples[1]
        )
    }

    fn json(&self, args: &Args, server: &str, report: Option<&Path>) -> Value {
        let total = self.statistics.total();
        json!({
            "network": self.model,
            "server": server,
            "accuracy_encrypted": self.accuracy,
            "seconds": self.phases.elapsed().as_secs_f64(),
            "bytes": total.up + total.down,
            "rounds": total.rounds,
            "backend": args.cryptosystem.backend,
            "key_bits": self.key_bits,
            "samples": { "train": self.samples[0], "test": self.samples[1] },
            "versions": self.leases.iter().map(|lease| lease.version).collect::<Vec<_>>(),
            "steps_done": self.steps().count(),
            "steps_asked": self.asked,
            "answered": self.predictions.len(),
            "asked": self.samples[1],
            "ended": self.ended.as_ref().map(Ended::reason),
            "saturations": self.cut_off.total(),
            "saturations_by_layer": self.cut_off.by_layer(),
            "losses": self.steps().map(|step| step.loss).collect::<Vec<_>>(),
            "phases": self.phases.done(),
            "protocol": protocol(&self.statistics),
            "ledger": { "verdict": self.exposure.verdict() },
            "report": report,
        })
    }

    fn headline(&self) -> String {
        let (model, [rows, _]) = (&self.model, self.samples);
        let trained = match self.ended {
            None => format!("Trained {model} on {rows} rows that the server never saw"),
            Some(_) => format!("The training of {model} ended early, {}", self.how_much()),
        };
        match self.accuracy {
            None => format!("{trained}."),
            Some(accuracy) => format!(
                "{trained}; {:.1}% of {} new rows were classified correctly under encryption.",
                100.0 * accuracy,
                self.predictions.len()
            ),
        }
    }

    fn text(&self, report: Option<&Path>) -> String {
        let total = self.statistics.total();
        format!(
            "\n{}\n{}, {} in {} rounds, {} leases\n{}\nThe ledger's verdict: {}.{}",
            self.headline(),
            seconds(self.phases.elapsed().as_secs_f64()),
            bytes(total.up + total.down),
            total.rounds,
            self.leases.len(),
            self.cut_off,
            self.exposure.verdict(),
            report::line(report)
        )
    }

    fn report(&self, args: &Args, server: &str) -> Report {
        let mean = |steps: &[&StepReport], value: fn(&StepReport) -> f64| {
            steps.iter().map(|step| value(step)).sum::<f64>() / steps.len() as f64
        };
        let curves = |measure: &str, caption: &str, value: fn(&StepReport) -> f64| {
            let steps: Vec<_> = self.steps().collect();
            let values = steps.chunks(self.steps_per_epoch).map(|epoch| mean(epoch, value));
            Curves {
                caption: caption.into(),
                measure: measure.into(),
                curves: vec![("encrypted", values.collect())],
            }
        };
        let traffic = self.statistics.phases.iter();
        let traffic = traffic.map(|(phase, cost)| (phase.to_string(), cost.up + cost.down));
        let time = self.phases.done().iter().map(|phase| (phase.name.clone(), phase.seconds));
        let item = |name: &str, value: String| (name.into(), value);
        let machine = Machine::here();
        Report {
            title: format!("Encrypted training of {}", self.model),
            headline: self.headline(),
            claims: vec![match self.ended {
                None => Claim::new("every lease was committed", true),
                Some(_) => Claim::new("the run ended early", false),
            }],
            warning: args.cryptosystem.backend.warning(),
            curves: vec![
                curves("loss", "Loss on the training rows", |step| step.loss),
                curves("accuracy", "Accuracy on the training rows", |step| {
                    step.correct as f64 / step.samples.max(1) as f64
                }),
            ],
            time: time.collect(),
            traffic: traffic.collect(),
            leakage: Some(Leakage {
                exposure: self.exposure.clone(),
                meaning: "The server's ledger decides, on the account of this certificate.".into(),
            }),
            facts: vec![
                Facts {
                    title: "Session",
                    items: vec![
                        item("server", server.into()),
                        item("cryptosystem", args.cryptosystem.backend.id().into()),
                        item("keys", format!("{} bits", self.key_bits)),
                        item("leases", self.leases.len().to_string()),
                        item("mini-batches", self.steps().count().to_string()),
                        item("values cut off at a bound", self.cut_off.to_string()),
                        item("seed", args.data.seed.to_string()),
                    ],
                },
                Facts {
                    title: "Machine",
                    items: vec![
                        item("processor", machine.processor),
                        item("threads", machine.threads.to_string()),
                        item("system", format!("{}, {} build", machine.system, machine.build)),
                    ],
                },
            ],
            command_line: machine::command_line(),
        }
    }
}
