//! What a query and a training step spend their time on, party by party.
//!
//! Client and server work in one process here, so that one stopwatch sees both; between them are TLS,
//! sockets and a link as always, and each has the whole machine while it is its turn, as two
//! processes would.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gelu_cli::args::Cryptosystem;
use gelu_cli::backend::{Backend, Scheme, Task};
use gelu_cli::client;
use gelu_cli::local::{Deployment, Terms};
use gelu_core::Precision;
use gelu_core::client::DataPolicy;
use gelu_nn::{FixedTrainer, Model};
use gelu_service::Session;
use gelu_service::client::ClientEvent;
use ndarray::Array2;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::parties::{cryptosystems, terms};
use crate::exhibit::{Axis, Bar, Bars, Cell, Claim, Column, Exhibit, Part, Row, Source, Table};
use crate::link::{Profile, Route};
use crate::setting::{Extent, Progress, Setting};
use crate::timed::{Timed, Times};
use crate::{Error, networks};

/// What the segments of the bars are.
const SEGMENTS: [&str; 7] = [
    "client: encrypt",
    "client: decrypt",
    "client: other",
    "server: check",
    "server: multiply",
    "server: seal",
    "network, other",
];

/// Time by phase.
pub(super) fn exhibit(setting: &Setting, progress: &dyn Progress) -> Result<Exhibit> {
    let quick = setting.extent == Extent::Quick;
    let networks: &[(&'static str, &str)] = match quick {
        true => &[("Dense(12)", "dense12"), ("Conv-1", "conv1")],
        false => &[
            ("Dense(12)", "dense12"),
            ("Dense(300)", "mnist-dense"),
            ("Conv-1", "conv1"),
            ("LeNet-5", "lenet5"),
        ],
    };
    let links = match quick {
        true => vec![Profile::loopback(), Profile::lan()],
        false => vec![Profile::loopback(), Profile::lan(), Profile::wan()],
    };
    let cryptosystems = cryptosystems(setting)?;
    let (runs, steps) = if quick { (3, 4) } else { (10, 6) };
    let mut queries = Vec::new();
    for &(name, network) in networks {
        let (model, _) = match quick {
            true => (networks::drawn(network, Precision::INFERENCE, setting)?, false),
            false => networks::trained_or_drawn(network, setting, progress)?,
        };
        progress.begin(&format!("queries of {name}"), cryptosystems.len() * links.len());
        for cryptosystem in cryptosystems {
            for link in &links {
                let seconds = run(Work::Queries { runs }, cryptosystem, &model, link, setting)?;
                let (backend, link) = (cryptosystem.backend, link.name().to_string());
                queries.push(Measured { network: name, backend, link, seconds });
                progress.step();
            }
        }
    }
    let trained: &[(&'static str, &str, usize)] = match quick {
        true => &[("Dense(12)", "dense12", 16)],
        false => &[("Dense(12)", "dense12", 64), ("Dense(300)", "mnist-dense", 64)],
    };
    let mut training = Vec::new();
    for &(name, network, batch) in trained {
        let model = networks::drawn(network, Precision::TRAINING, setting)?;
        progress.begin(&format!("training steps of {name}"), cryptosystems.len() * links.len());
        for cryptosystem in cryptosystems.map(Cryptosystem::for_training) {
            for link in &links {
                let work = Work::Steps { steps, batch };
                let seconds = run(work, cryptosystem, &model, link, setting)?;
                let (backend, link) = (cryptosystem.backend, link.name().to_string());
                training.push(Measured { network: name, backend, link, seconds });
                progress.step();
            }
        }
    }
    let what = "What an encrypted query of one image spends its time on";
    let of_training =
        format!("What a training step of {} samples spends its time on", trained[0].2);
    Ok(Exhibit {
        id: "figure-phases".into(),
        title: "Time by phase".into(),
        finding: finding(&queries, &training),
        claims: claims(&queries, &training),
        parts: vec![
            bars(what, "time of a query (ms)", 1e3, &queries),
            table(what, "ms", 1e3, &queries),
            bars(&of_training, "time of a training step (s)", 1.0, &training),
            table(&of_training, "s", 1.0, &training),
        ],
        notes: notes(&links, runs, steps, quick),
    })
}

/// One bar: the seconds of each segment, of one query or step on average.
#[derive(Debug, Clone)]
struct Measured {
    network: &'static str,
    backend: Backend,
    link: String,
    seconds: [f64; 7],
}

impl Measured {
    fn name(&self) -> String {
        format!("{}, {}, {}", self.network, self.backend.id(), self.link)
    }

    fn total(&self) -> f64 {
        self.seconds.iter().sum()
    }

    fn share(&self, segments: &[usize]) -> f64 {
        segments.iter().map(|&s| self.seconds[s]).sum::<f64>() / self.total()
    }
}

fn finding(queries: &[Measured], training: &[Measured]) -> String {
    let percent = |measured: &Measured, segments: &[usize]| 100.0 * measured.share(segments);
    let one = |measured: &Measured, what: &str| {
        format!(
            "{what} of {}: the server's products take {:.0} %, its sealing {:.0} %, the client's encryption \
             and decryption {:.0} %, its own arithmetic {:.0} %, the network and the rest {:.0} %.",
            measured.name(),
            percent(measured, &[4]),
            percent(measured, &[5]),
            percent(measured, &[0, 1]),
            percent(measured, &[2]),
            percent(measured, &[6]),
        )
    };
    // The largest network over a local link, by each scheme.
    let last = |all: &[Measured], what: &str| {
        let of = |backend| {
            let last = all.iter().rfind(|m| m.backend == backend && m.link == "lan");
            last.map(|m| one(m, what))
        };
        [Backend::Paillier, Backend::Lattice].into_iter().filter_map(of).collect::<Vec<_>>()
    };
    [last(queries, "A query"), last(training, "A training step")].concat().join(" ")
}

fn claims(queries: &[Measured], training: &[Measured]) -> Vec<Claim> {
    let all = queries.iter().chain(training);
    let least = all.flat_map(|m| m.seconds).fold(f64::MAX, f64::min);
    let text = format!("No time is counted twice: the least segment has {:.1} ms", 1e3 * least);
    let answers = "Every answer equals the plaintext model's, and the trained weights the oracle's, bit for bit";
    vec![Claim::new(answers, true), Claim::new(text, least >= 0.0)]
}

fn bars(caption: &str, axis: &str, scale: f64, measured: &[Measured]) -> Part {
    let bar = |m: &Measured| Bar { name: m.name(), values: m.seconds.map(|s| s * scale).to_vec() };
    Part::Bars(Bars {
        caption: caption.into(),
        axis: Axis::linear(axis),
        segments: SEGMENTS.map(String::from).to_vec(),
        bars: measured.iter().map(bar).collect(),
    })
}

fn table(caption: &str, unit: &str, scale: f64, measured: &[Measured]) -> Part {
    let mut columns = vec![Column::new("network, scheme, link")];
    columns.extend(SEGMENTS.iter().map(|segment| Column::with_unit(segment, unit)));
    columns.push(Column::with_unit("in all", unit));
    let row = |m: &Measured| {
        let mut cells = vec![Cell::from(m.name())];
        cells.extend(m.seconds.map(|s| Cell::from(s * scale)));
        cells.push(Cell::from(m.total() * scale));
        Row { source: Source::Measured, cells }
    };
    Part::Table(Table {
        caption: caption.into(),
        columns,
        rows: measured.iter().map(row).collect(),
    })
}

fn notes(links: &[Profile], runs: usize, steps: u32, quick: bool) -> Vec<String> {
    let links: Vec<_> = links.iter().map(ToString::to_string).collect();
    let mut notes = vec![
        format!("Links: {}. Simulated; their numbers are ours.", links.join("; ")),
        format!(
            "Means of {runs} queries after one that built the tables of the key, and of the {} steps of a \
             lease of {steps} that work with masked weights and end in a masked update.",
            steps - 2
        ),
        "The client's other work is encoding, activations, gradients and masks; the server checks that \
         ciphertexts are well-formed; the last segment is the link, TLS and the sockets."
            .into(),
        "Client and server work in one process here, in turns, over TLS and the link. What the server does \
         beside the cryptosystem (planning, its ledger on the disk, the masked update) is in the last \
         segment."
            .into(),
    ];
    if quick {
        notes.push(
            "Two small networks with random weights; --set paper has Dense(300), LeNet-5 and the wide-area \
             link as well."
                .into(),
        );
    }
    notes
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Work {
    Queries { runs: usize },
    Steps { steps: u32, batch: usize },
}

/// Seconds by segment.
fn run(
    work: Work,
    cryptosystem: Cryptosystem,
    model: &Model,
    link: &Profile,
    setting: &Setting,
) -> Result<[f64; 7]> {
    cryptosystem.backend.run(Run { work, cryptosystem, model, link, setting })
}

struct Run<'a> {
    work: Work,
    cryptosystem: Cryptosystem,
    model: &'a Model,
    link: &'a Profile,
    setting: &'a Setting,
}

impl Task for Run<'_> {
    type Output = Result<[f64; 7]>;

    fn run<S: Scheme>(self) -> Result<[f64; 7]> {
        let Self { work, cryptosystem, model, link, setting } = self;
        let terms = terms(cryptosystem, setting);
        let rng = &mut ChaCha20Rng::seed_from_u64(setting.seed);
        let secret = Arc::new(S::keygen(cryptosystem.key_bits, rng)?);
        let deployment = Deployment::create()?;
        let runtime = Runtime::new().context("cannot start the runtime")?;
        let binding = deployment.bind::<Timed<S>>(model, &terms);
        let server = client::complete(&runtime, binding)?;
        let route = Route::new(server.local_addr()?, link, setting.seed)?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = runtime.spawn(server.run(async {
            let _ = stopped.await;
        }));
        let tls = deployment.admit("client")?;
        let log = Log::default();
        let (observer, policy) = (log.observer(), DataPolicy::AllowInputReconstruction);
        let session = client::open::<Timed<S>>(&route.address, &tls, secret, policy, observer);
        let mut session = client::wait(&runtime, session)?;
        let seconds = match work {
            Work::Queries { runs } => {
                let inputs = model.architecture().input().features();
                let queries = networks::queries(None, inputs, [runs + 1, 1], setting.seed);
                ask(&runtime, &mut session, model, &queries, &log)?
            }
            Work::Steps { steps, batch } => {
                let inputs = model.architecture().input().features();
                let queries =
                    networks::queries(None, inputs, [steps as usize, batch], setting.seed);
                let classes = model.architecture().classes();
                let labels: Vec<_> = (0..batch).map(|sample| sample % classes).collect();
                let batches = queries.into_iter().map(|inputs| (inputs, labels.clone())).collect();
                train(&runtime, &mut session, batches, &log)
                    .and_then(|done| check(model, &deployment, &terms, done))?
            }
        };
        client::complete(&runtime, session.close());
        drop(stop);
        client::complete(&runtime, serving)??;
        Ok(seconds)
    }
}

/// What the client has seen of the clock, mark by mark.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    waited: Duration,
    /// The end of each training step.
    marks: Vec<Mark>,
}

/// The clock, what was waited so far, and what the cryptosystem took since the mark before.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    waited: Duration,
    times: Times,
}

impl Log {
    fn observer(&self) -> impl FnMut(&ClientEvent) + Send + 'static {
        let log = self.clone();
        move |event| match event {
            ClientEvent::Round { waited, .. } => log.state().waited += *waited,
            ClientEvent::StepDone(_) => {
                let mark = log.mark();
                log.state().marks.push(mark);
            }
            _ => {}
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no observer has panicked")
    }

    fn mark(&self) -> Mark {
        Mark { at: Instant::now(), waited: self.state().waited, times: Times::take() }
    }
}

/// Seconds by segment from one mark to another, in which the cryptosystem took `times`, divided by `runs`.
fn segments(from: &Mark, to: &Mark, times: &[Times], runs: usize) -> [f64; 7] {
    let seconds = |part: fn(&Times) -> Duration| -> f64 {
        times.iter().map(|times| part(times).as_secs_f64()).sum()
    };
    let (encrypt, decrypt) = (seconds(|t| t.encrypt), seconds(|t| t.decrypt));
    let (validate, linear, seal) =
        (seconds(|t| t.validate), seconds(|t| t.linear), seconds(|t| t.seal));
    let waited = (to.waited - from.waited).as_secs_f64();
    let ours = (to.at - from.at).as_secs_f64() - waited;
    let (rest, network) = (ours - encrypt - decrypt, waited - validate - linear - seal);
    [encrypt, decrypt, rest, validate, linear, seal, network].map(|s| s / runs as f64)
}

fn ask<S: Scheme>(
    runtime: &Runtime,
    session: &mut Session<Timed<S>>,
    model: &Model,
    queries: &[Array2<f64>],
    log: &Log,
) -> Result<[f64; 7]> {
    let expected = queries.iter().map(|query| Ok(model.probabilities(query)?.0));
    let expected: Vec<_> = expected.collect::<Result<_>>()?;
    let mut answers = Vec::new();
    let mut marks = Vec::new();
    for query in queries {
        answers.push(client::wait(runtime, async { Ok(session.classify(query).await?) })?);
        marks.push(log.mark());
    }
    if answers != expected {
        return Err(Error::WrongAnswer(format!("an answer of {}", model.name())).into());
    }
    Ok(of(&marks))
}

/// From the first mark to the last.
fn of(marks: &[Mark]) -> [f64; 7] {
    let times: Vec<_> = marks[1..].iter().map(|mark| mark.times).collect();
    segments(&marks[0], &marks[marks.len() - 1], &times, times.len())
}

type Batch = (Array2<f64>, Vec<usize>);

/// One lease; the time from the end of its first step to the end of its last but one.
fn train<S: Scheme>(
    runtime: &Runtime,
    session: &mut Session<Timed<S>>,
    batches: Vec<Batch>,
    log: &Log,
) -> Result<([f64; 7], Vec<Batch>)> {
    let steps = u32::try_from(batches.len())?;
    let training = async {
        let mut data = batches.iter().cloned().peekable();
        Ok(session.train(steps, &mut data).await?)
    };
    let report = client::wait(runtime, training)?;
    anyhow::ensure!(
        report.steps.len() == batches.len(),
        "the server granted a shorter lease; run again"
    );
    let marks = &log.state().marks;
    Ok((of(&marks[..marks.len() - 1]), batches))
}

/// The trained weights must be the oracle's.
fn check(
    model: &Model,
    deployment: &Deployment,
    terms: &Terms,
    (seconds, batches): ([f64; 7], Vec<Batch>),
) -> Result<[f64; 7]> {
    let mut oracle = FixedTrainer::new(model);
    for (inputs, labels) in &batches {
        oracle.step(inputs, labels, terms.rate.rate())?;
    }
    match oracle.parameters() == deployment.stored_model()?.parameters() {
        true => Ok(seconds),
        false => Err(Error::WrongAnswer(format!("the trained {}", model.name())).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 s in all, of which 6 were waited; 1 s each of the five calls.
    #[test]
    fn segments_add_up_to_the_whole() {
        let second = Duration::from_secs(1);
        let at = Instant::now();
        let times = Times {
            encrypt: second,
            decrypt: second,
            validate: second,
            linear: second,
            seal: second,
        };
        let from = Mark { at, waited: second, times: Times::default() };
        let to = Mark { at: at + 10 * second, waited: 7 * second, times };
        let seconds = segments(&from, &to, &[times], 1);
        assert_eq!(seconds, [1.0, 1.0, 2.0, 1.0, 1.0, 1.0, 3.0]);
        let of = |seconds| Measured {
            network: "x",
            backend: Backend::Paillier,
            link: "lan".into(),
            seconds,
        };
        let measured = of(seconds);
        assert_eq!((measured.total(), measured.share(&[4])), (10.0, 0.1));
        assert!(claims(&[measured], &[])[1].holds);
        let twice = of(segments(&from, &to, &[times; 5], 1));
        assert!(!claims(&[twice], &[])[1].holds);
    }

    /// A whole session in one process, over a link: every part has taken some time.
    #[test]
    fn both_parties_are_seen() {
        let setting =
            Setting { extent: Extent::Quick, data: None, models: None, seed: 1, key_bits: 2048 };
        let model = networks::drawn("iris", Precision::TRAINING, &setting).unwrap();
        let link = "delay=3ms".parse().unwrap();
        let works = [(Work::Queries { runs: 2 }, 2.0), (Work::Steps { steps: 4, batch: 3 }, 4.0)];
        let cryptosystems = cryptosystems(&setting).unwrap().map(Cryptosystem::for_training);
        for ((work, rounds), cryptosystem) in
            works.into_iter().flat_map(|work| cryptosystems.map(|c| (work, c)))
        {
            let seconds = run(work, cryptosystem, &model, &link, &setting).unwrap();
            assert!(seconds.iter().all(|s| *s > 0.0), "{seconds:?}");
            assert!(seconds[6] >= rounds * 0.006, "every round is a round trip: {seconds:?}");
        }
    }
}
