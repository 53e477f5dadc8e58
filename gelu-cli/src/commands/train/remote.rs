//! Training with a server elsewhere: one client among others.

use std::sync::Arc;

use anyhow::{Context, Result};
use gelu_bench::exhibit::Claim;
use gelu_core::client::StepReport;
use gelu_core::ledger::{Exposure, SumLedger};
use gelu_core::plan::Purpose;
use gelu_service::client::{ClientEvent, Statistics, SumsFile};
use serde_json::{Value, json};

use super::{Args, BATCH};
use crate::backend::{Scheme, Task};
use crate::client::{self, Lease};
use crate::data::Samples;
use crate::experiment::protocol;
use crate::leases::Rules;
use crate::machine::{self, Machine};
use crate::output::Output;
use crate::phases::{Phases, Screen, bytes, say, seconds};
use crate::problem::problem;
use crate::report::{Facts, Leakage, Report, epochs};

/// Trains until the schedule is over, then classifies the held-out rows.
pub(super) fn run(args: &Args, server: &str, output: Output) -> Result<()> {
    let samples = args.data.load(args.network.as_deref())?;
    let done = args.cryptosystem.backend.run(Remote { args, server, samples: &samples })?;
    done.report(args, server).write(&args.report)?;
    output.show(&done.json(args, server), done.text(args))
}

struct Remote<'a> {
    args: &'a Args,
    server: &'a str,
    samples: &'a Samples,
}

/// What this client saw.
struct Done {
    model: String,
    leases: Vec<Lease>,
    accuracy: f64,
    samples: [usize; 2],
    steps_per_epoch: usize,
    exposure: Exposure,
    statistics: Statistics,
    phases: Phases,
}

impl Task for Remote<'_> {
    type Output = Result<Done>;

    fn run<S: Scheme>(self) -> Result<Done> {
        let Self { args, server, samples } = self;
        let (train, test) = (&samples.split.train, &samples.split.test);
        let batch = args.batch.unwrap_or(BATCH);
        let steps = args.steps(train.len(), batch.max(1));
        let schedule = client::schedule(train.len(), batch, steps, args.data.seed)?;
        let tls = args.server.tls()?;
        let sums = args.sums.clone().unwrap_or_else(|| args.server.sums());
        let sums: Arc<dyn SumLedger> = Arc::new(SumsFile::open(&sums)?);
        let mut phases = Phases::start();
        let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
        let screen = Screen::default();
        let connection = client::connect::<S>(server, &tls, observer(screen.clone()));
        let connection = client::wait(&runtime, connection)?;
        let (inputs, classes) = (connection.network().inputs(), connection.network().classes());
        if (inputs, classes) != (train.inputs(), train.classes()) {
            return Err(problem(
                format!(
                    "the server's network takes {inputs} inputs and tells {classes} classes apart, \
                     but the data has {} and {}",
                    train.inputs(),
                    train.classes()
                ),
                "use data of the kind that the server's operator has asked for",
            ));
        }
        let card = connection.card();
        say(&format!("{server} serves {}; {}", card.name, card.training));
        // What cannot end is refused before there is a key.
        let (network, policy) = (connection.network(), args.data_policy());
        let rules = Rules::new(network, &card.precision, batch, policy, card.lease_samples);
        let ledger = sums.ledger()?;
        let lengths = rules.lengths(&ledger, &ledger.ids(train.features()), &schedule);
        if let Err(error) = lengths {
            runtime.block_on(connection.close());
            return Err(error);
        }

        let running = phases.begin("preparing the key", 0);
        let secret = args.server.secret::<S>(args.cryptosystem.key_bits)?;
        phases.end(running, "keys", "the key is ready");
        let opening = async { Ok(connection.open_counted(secret, policy, sums).await?) };
        let mut session = client::wait(&runtime, opening)?;

        let running = phases.begin("training under encryption", steps as u64);
        screen.show(&running);
        let trained = client::wait(&runtime, client::train(&mut session, 0, train, &schedule));
        let leases = match trained {
            Ok(leases) => leases,
            Err(error) => {
                runtime.block_on(session.close());
                return Err(error);
            }
        };
        phases.end(running, "training", &format!("trained on {steps} encrypted mini-batches"));

        let running = phases.begin("classifying", test.len() as u64);
        let answered = |answer: &[usize]| running.steps(answer.len());
        let predictions = client::classify(&mut session, test, QUERY, answered);
        let predictions = client::wait(&runtime, predictions)?;
        phases.end(running, "inference", &format!("classified {} new rows", test.len()));

        let longest = leases.iter().map(|lease| lease.steps.len()).max().unwrap_or(1);
        let purpose = Purpose::Training { steps: u32::try_from(longest)? };
        Ok(Done {
            model: session.card().name.clone(),
            accuracy: client::accuracy(&predictions, test.labels()),
            samples: [train.len(), test.len()],
            steps_per_epoch: (train.len() / batch).max(1),
            exposure: session.exposure(batch, purpose)?,
            statistics: runtime.block_on(session.close()),
            leases,
            phases,
        })
    }
}

const SECRET_RATE: &str = "the server keeps its learning rate secret: nothing proves the rate that it sends \
                           encrypted, and a dishonest server that sends 0 reads every update";

/// Rows of one query: they share ciphertexts.
const QUERY: usize = 16;

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

    fn json(&self, args: &Args, server: &str) -> Value {
        let total = self.statistics.total();
        json!({
            "network": self.model,
            "server": server,
            "accuracy_encrypted": self.accuracy,
            "seconds": self.phases.elapsed().as_secs_f64(),
            "bytes": total.up + total.down,
            "rounds": total.rounds,
            "backend": args.cryptosystem.backend,
            "key_bits": args.cryptosystem.key_bits,
            "samples": { "train": self.samples[0], "test": self.samples[1] },
            "versions": self.leases.iter().map(|lease| lease.version).collect::<Vec<_>>(),
            "losses": self.steps().map(|step| step.loss).collect::<Vec<_>>(),
            "phases": self.phases.done(),
            "protocol": protocol(&self.statistics),
            "ledger": { "verdict": self.exposure.verdict() },
            "report": args.report,
        })
    }

    fn headline(&self) -> String {
        format!(
            "Trained {} on {} rows that the server never saw; {:.1}% of {} new rows were \
             classified correctly under encryption.",
            self.model,
            self.samples[0],
            100.0 * self.accuracy,
            self.samples[1]
        )
    }

    fn text(&self, args: &Args) -> String {
        let total = self.statistics.total();
        format!(
            "\n{}\n{}, {} in {} rounds, {} leases\nThe ledger's verdict: {}.\nReport: {}",
            self.headline(),
            seconds(self.phases.elapsed().as_secs_f64()),
            bytes(total.up + total.down),
            total.rounds,
            self.leases.len(),
            self.exposure.verdict(),
            args.report.display()
        )
    }

    fn report(&self, args: &Args, server: &str) -> Report {
        let mean = |steps: &[&StepReport], value: fn(&StepReport) -> f64| {
            steps.iter().map(|step| value(step)).sum::<f64>() / steps.len() as f64
        };
        let curves = |measure: &str, caption: &str, value: fn(&StepReport) -> f64| {
            let steps: Vec<_> = self.steps().collect();
            let values = steps.chunks(self.steps_per_epoch).map(|epoch| mean(epoch, value));
            epochs(caption, measure, vec![("encrypted", values.collect())])
        };
        let traffic = self.statistics.phases.iter();
        let traffic = traffic.map(|(phase, cost)| (phase.to_string(), cost.up + cost.down));
        let time = self.phases.done().iter().map(|phase| (phase.name.clone(), phase.seconds));
        let item = |name: &str, value: String| (name.into(), value);
        let machine = Machine::here();
        Report {
            title: format!("Encrypted training of {}", self.model),
            headline: self.headline(),
            claims: vec![Claim::new("every lease was committed", true)],
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
                        item("leases", self.leases.len().to_string()),
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
