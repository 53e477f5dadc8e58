//! `gelu transfer fit --engine ckks`: the data party. It encrypts, refreshes, judges.

use std::path::Path;

use anyhow::{Context, Result};
use gelu_ckks::SecretKey;
use gelu_files::Access;
use gelu_nn::Dataset;
use gelu_service::ClientTls;
use gelu_transfer::plain::Training;
use gelu_transfer::{Activation, DataParty, Error, Plan, Rows, State};
use rand::rngs::ChaCha20Rng;

use super::super::fit::Args;
use super::link::Link;
use super::options::{RowsOf, refuse};
use super::outcome::{Bytes, Outcome};
use super::wire::{Terms, most_bytes};
use crate::client::wait_or;
use crate::destination::{Destination, Kind};
use crate::local::{Deployment, LocalServer};
use crate::machine;
use crate::phases::{Phases, bytes, say};
use crate::problem::{Advise, advice, problem, sentence};

/// Trains, judges, writes.
pub(in super::super) fn run(args: &Args, output: crate::output::Output) -> Result<()> {
    refuse_exact(args)?;
    args.threads.start()?;
    let mut inputs = args.source.inputs();
    let state_file = args.ckks.state.as_deref();
    if let Some(path) = state_file {
        Destination::check(path, STATE, &inputs, args.force)?;
        inputs.push(path);
    }
    let (page, out) = (args.report(&inputs)?, args.out(&inputs)?);
    let source = args.source.load()?;
    let train = &source.split.train;
    let rows = RowsOf::of(train, args.batch, args.rate.rate);
    let unattended = args.ckks.training.unattended().unwrap_or(1);
    let plan = Plan::new(args.ckks.training.settings(rows, unattended)?)?;
    let used = train.head(plan.settings().rows);
    if used.len() < train.len() {
        say(&format!(
            "{} rows are left over: {} batches of {}",
            train.len() - used.len(),
            plan.batches(),
            plan.settings().batch
        ));
    }
    say(&format!(
        "{}, {}, {} rows to train on, {} held out\nring of degree {}, {} levels; keys {}, features {}",
        source.name,
        source.start.architecture(),
        used.len(),
        source.split.test.len(),
        plan.parameters().degree(),
        plan.parameters().top_level(),
        bytes(plan.key_bytes()),
        bytes(plan.data_bytes()),
    ));

    let rng = &mut rand::make_rng::<ChaCha20Rng>();
    let x = rows_of(&used)?;
    let secret = SecretKey::generate(plan.parameters().clone(), rng);
    let data = DataParty::new(plan.clone(), secret, x.clone(), used.labels());
    let mut data = data.map_err(explained)?;
    if let Some(saved) = saved_state(state_file)? {
        data = data.resume(saved).map_err(explained)?;
    }
    let first = data.state().clone();
    let last = args.ckks.training.iterations();
    if first.iteration() >= last {
        return Err(problem(
            format!("the state has {} iterations already, of {last}", first.iteration()),
            "choose more --iterations, or another file for --state",
        ));
    }

    let mut phases = Phases::start();
    let place = Place::of(args, &mut phases)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let mut session =
        Session { plan: &plan, data: &mut data, state: state_file, phases: &mut phases, rng };
    let next = match state_file {
        Some(_) => "run the command again to go on from the last refresh",
        None => "run the command again; with --state FILE it goes on from the last refresh",
    };
    let trained = wait_or(&runtime, session.run(&place, last), next);
    let trained = trained.map_err(|error| match advice(&error) {
        None if !error.is::<Error>() => problem(sentence(&error), next),
        _ => error,
    })?;
    let theirs = place.stop()?;

    let running = phases.begin("training in the clear", 0);
    let (clear, largest) = in_the_clear(&plan, &x, used.labels(), &first, last)?;
    phases.end(running, "the same in the clear", "the same steps were taken in the clear");
    let weights = |state: &State| -> Vec<Vec<f64>> {
        state.heads().iter().map(|head| head.weights().to_vec()).collect()
    };
    let outcome = Outcome {
        source: &source,
        plan: &plan,
        iterations: (first.iteration(), last),
        encrypted: weights(data.state()),
        clear,
        largest,
        bytes: trained,
        phases,
        memory: (machine::peak_memory("self"), theirs),
        out: args.out.as_deref(),
    };
    outcome.deliver(out.as_ref(), page.as_ref(), output)
}

/// Where the compute party is.
enum Place {
    /// A process that was started for this run; its certificates go with it.
    Here { server: LocalServer, tls: ClientTls, _deployment: Box<Deployment> },
    /// Elsewhere.
    There { address: String, tls: ClientTls },
}

impl Place {
    fn of(args: &Args, phases: &mut Phases) -> Result<Self> {
        if let Some(address) = &args.ckks.server.server {
            return Ok(Self::There { address: address.clone(), tls: args.ckks.server.tls()? });
        }
        let running = phases.begin("starting a compute party", 0);
        let deployment = Deployment::create()?;
        let tls = deployment.admit("client")?;
        let server = deployment.compute(args.threads)?;
        phases.end(running, "compute party", "a compute party was started here");
        Ok(Self::Here { server, tls, _deployment: Box::new(deployment) })
    }

    fn reach(&self) -> (String, &ClientTls) {
        match self {
            Self::Here { server, tls, .. } => (server.address.to_string(), tls),
            Self::There { address, tls } => (address.clone(), tls),
        }
    }

    /// Ends what was started; the most memory that it took.
    fn stop(self) -> Result<Option<u64>> {
        match self {
            Self::There { .. } => Ok(None),
            Self::Here { server, .. } => {
                let memory = server.peak_memory();
                server.stop().map(|()| memory)
            }
        }
    }
}

/// A training with a compute party.
struct Session<'a> {
    plan: &'a Plan,
    data: &'a mut DataParty,
    state: Option<&'a Path>,
    phases: &'a mut Phases,
    rng: &'a mut ChaCha20Rng,
}

impl Session<'_> {
    /// Up to iteration `last`.
    async fn run(&mut self, place: &Place, last: usize) -> Result<Bytes> {
        let (plan, mut sent) = (self.plan, Bytes::default());
        let (address, tls) = place.reach();
        let terms = Terms::of(plan.settings()).advise(|| "choose smaller settings".into())?;
        let mut link = Link::open(&address, tls, &terms).await?;

        let running = self.phases.begin("making and sending keys", 0);
        let keys = self.data.evaluation_keys(self.rng)?;
        link.deliver(&keys).await?;
        drop(keys);
        sent.keys = link.up;
        self.phases.end(running, "keys", &format!("keys are there, {}", bytes(sent.keys)));

        let running = self.phases.begin("encrypting features", plan.batches() as u64);
        for index in 0..plan.batches() {
            link.deliver(&self.data.batch(index, self.rng)?).await?;
            running.step();
        }
        sent.data = link.up - sent.keys;
        self.phases.end(running, "features", &format!("features are there, {}", bytes(sent.data)));

        let first = self.data.state().iteration();
        let running = self.phases.begin("training", (last - first) as u64);
        let (before, most) = (link.up, most_bytes(plan.refresh_bytes().1));
        while self.data.state().iteration() < last {
            let done = self.data.state().iteration();
            let count = plan.settings().unattended.min(last - done);
            let heads = self.data.heads(count, self.rng).map_err(explained)?;
            let gradients = link.ask(&heads, most).await?;
            self.data.receive(&gradients).map_err(explained)?;
            self.save()?;
            running.steps(count);
            running.note(format!("iteration {} of {last}", done + count));
            tracing::info!(iteration = done + count, last, "refreshed");
            sent.refreshes += 1;
        }
        (sent.up, sent.down) = (link.up - before, link.down);
        link.close().await;
        let said = format!("trained {} iterations, {} refreshes", last - first, sent.refreshes);
        self.phases.end(running, "training", &said);
        Ok(sent)
    }

    fn save(&self) -> Result<()> {
        let Some(path) = self.state else { return Ok(()) };
        let bytes = self.data.state().to_bytes()?;
        gelu_files::replace(path, &bytes, Access::Secret)
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Prepared rows with a constant 1 at the end of each.
fn rows_of(rows: &Dataset) -> Result<Rows> {
    let columns = rows.features().columns().into_iter();
    let values = columns.flat_map(|row| row.iter().copied().chain([1.0]).collect::<Vec<_>>());
    Ok(Rows::new(values.collect(), rows.inputs() + 1)?)
}

/// The weights of each head after the same iterations, and the largest |z|.
fn in_the_clear(
    plan: &Plan,
    x: &Rows,
    classes: &[usize],
    first: &State,
    last: usize,
) -> Result<(Vec<Vec<f64>>, f64)> {
    let settings = plan.settings();
    let activation = Activation::Polynomial(settings.sigmoid.clone());
    let mut largest = 0.0f64;
    let mut all = Vec::new();
    for head in 0..settings.heads {
        let positive = if settings.heads == 1 { 1 } else { head };
        let y: Vec<_> = classes.iter().map(|&class| class == positive).collect();
        let training = Training::new(x, &y, settings.batch, settings.rate, activation.clone())?;
        let mut training = training.resume(first, head)?;
        (first.iteration()..last).for_each(|_| training.step());
        largest = largest.max(training.largest());
        all.push(training.head().weights().to_vec());
    }
    Ok((all, largest))
}

/// What was kept by an earlier run, if there is any.
fn saved_state(path: Option<&Path>) -> Result<Option<State>> {
    let Some(path) = path else { return Ok(None) };
    let advised = || "name another file for --state, or move this one away".to_owned();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => zeroize::Zeroizing::new(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).advise(advised),
    };
    if bytes.is_empty() {
        return Ok(None);
    }
    let state = State::from_bytes(&bytes).advise(advised)?;
    say(&format!("going on from iteration {} in {}", state.iteration(), path.display()));
    Ok(Some(state))
}

/// Errors of which the program knows more than the crate.
fn explained(error: Error) -> anyhow::Error {
    let next = match error {
        Error::FeatureTooLarge { .. } => {
            "the features are prepared already: cap what is far from the mean of its column, or project with --components"
        }
        Error::LeftRange { .. } | Error::Lost { .. } => {
            "choose a wider --range, a smaller --rate or a smaller --unattended; with --state FILE a run goes on from its last refresh"
        }
        Error::State(_) => "name another file for --state, or give the same rows as before",
        other => return other.into(),
    };
    problem(error.to_string(), next)
}

fn refuse_exact(args: &Args) -> Result<()> {
    args.source.refuse_layers()?;
    let cryptosystem = args.cryptosystem;
    let exact = super::super::default_backend();
    refuse(
        "ckks",
        "exact",
        &[
            ("--epochs", args.epochs.is_some()),
            ("--allow-input-reconstruction", args.allow_input_reconstruction),
            ("--secret-rate", args.rate.secret_rate.is_some()),
            ("--backend", cryptosystem.backend.id() != exact),
            ("--key-bits", cryptosystem.key_bits_given),
        ],
    )?;
    match args.ckks.server.key {
        None => Ok(()),
        Some(_) => Err(problem(
            "--engine ckks makes a key of its own for each run",
            "leave --key out; the head comes back in the clear, and --state keeps it",
        )),
    }
}

const STATE: Kind = Kind::Beginning("gelu-hd1");
