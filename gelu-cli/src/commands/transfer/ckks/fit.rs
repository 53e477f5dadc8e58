//! `gelu transfer fit --engine ckks`: the data party. It encrypts, refreshes, judges.

use std::path::Path;

use anyhow::{Context, Result};
use gelu_ckks::SecretKey;
use gelu_files::Access;
use gelu_nn::{Dataset, Model};
use gelu_service::ClientTls;
use gelu_transfer::plain::Training;
use gelu_transfer::{Activation, BasePlan, DataParty, Error, Plan, Rows, State};
use rand::rngs::ChaCha20Rng;

use super::super::fit::Args;
use super::super::source::Source;
use super::base;
use super::link::Link;
use super::options::{RowsOf, refuse};
use super::outcome::{Bytes, OfBase, Outcome};
use super::wire::{BaseTerms, Terms, TrainingTerms, most_bytes};
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
    let mut source = args.source.load()?;
    let base = base::of(&source)?;
    let rows = RowsOf::of(&source.split.train, base.as_ref(), args.batch, args.rate.rate);
    let unattended = args.ckks.training.unattended().unwrap_or(1);
    let plan = Plan::new(args.ckks.training.settings(rows, unattended)?)?;
    let used = plan.settings().rows;
    let left = source.split.train.len() - used;
    if left > 0 {
        let (batches, batch) = (plan.batches(), plan.settings().batch);
        say(&format!("{left} rows are left over: {batches} batches of {batch}"));
        source.split.train = source.split.train.head(used);
    }
    let parts = base::parts(&source.split);
    let of_base = base.as_ref().map(|base| base::plan(&parts, base)).transpose()?;
    let for_rows = of_base.as_ref().map_or(0, BasePlan::memory_of_rows);
    check_memory(plan.memory_of_data().max(for_rows))?;
    let saved = saved_state(state_file)?;
    let last = args.ckks.training.iterations();
    if let Some(saved) = &saved {
        saved.check(&plan).map_err(explained)?;
        if saved.iteration() >= last {
            return Err(problem(
                format!("the state has {} iterations already, of {last}", saved.iteration()),
                "choose more --iterations, or another file for --state",
            ));
        }
    }
    say(&format!(
        "{}, {}, {} rows to train on, {} held out\nring of degree {}, {} levels; keys {}, features {}",
        source.name,
        source.start.architecture(),
        used,
        source.split.test.len(),
        plan.parameters().degree(),
        plan.parameters().top_level(),
        bytes(plan.key_bytes()),
        bytes(plan.data_bytes()),
    ));

    let rng = &mut rand::make_rng::<ChaCha20Rng>();
    let begin = |source: &Source, rng: &mut ChaCha20Rng| -> Result<(Rows, DataParty)> {
        let train = &source.split.train;
        let x = rows_of(train)?;
        let secret = SecretKey::generate(plan.parameters().clone(), rng);
        let data = DataParty::new(plan.clone(), secret, x.clone(), train.labels());
        let mut data = data.map_err(explained)?;
        if let Some(saved) = saved.clone() {
            data = data.resume(saved).map_err(explained)?;
        }
        Ok((x, data))
    };
    // What can be refused is refused before anybody is asked.
    let given = base.is_none().then(|| begin(&source, rng)).transpose()?;

    let mut phases = Phases::start();
    let place = Place::of(args, base.is_some().then_some(&source.start), &mut phases)?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the runtime")?;
    let next = match state_file {
        Some(_) => "run the command again to go on from the last refresh",
        None => "run the command again; with --state FILE it goes on from the last refresh",
    };
    let told = |error: anyhow::Error| match advice(&error) {
        None if !error.is::<Error>() => problem(sentence(&error), next),
        _ => error,
    };
    let (address, tls) = place.reach();
    let terms = Terms {
        base: of_base.as_ref().map(|plan| BaseTerms::of(plan.settings())).transpose()?,
        training: Some(
            TrainingTerms::of(plan.settings()).advise(|| "choose smaller settings".into())?,
        ),
    };
    let mut link = wait_or(&runtime, Link::open(&address, tls, &terms), next)?;
    let mut of_features = None;
    if let (Some(base), Some(of_base)) = (&base, &of_base) {
        let parts = base::parts(&source.split);
        let asked = base::features(&mut link, of_base, &parts, &mut phases, rng);
        let (features, sent) = wait_or(&runtime, asked, next).map_err(told)?;
        let clear = base::in_the_clear(&parts, base)?;
        let off = base::largest_difference(&features, &clear);
        let clear = source.on_features(base::columns(&clear, used))?;
        source = source.on_features(base::columns(&features, used))?;
        of_features = Some(OfBase { plan: of_base, sent, off, clear });
    }
    let (x, mut data) = given.map_or_else(|| begin(&source, rng), Ok)?;
    let first = data.state().clone();
    let mut session =
        Session { plan: &plan, data: &mut data, state: state_file, phases: &mut phases, rng };
    let trained = wait_or(&runtime, session.run(link, last), next).map_err(told)?;
    let theirs = place.stop()?;

    let running = phases.begin("training in the clear", 0);
    let labels = source.split.train.labels();
    let (same, largest) = in_the_clear(&plan, &x, labels, &first, last)?;
    let clear = match &of_features {
        None => same.clone(),
        // The whole pipeline, base and preparation included.
        Some(of) => in_the_clear(&plan, &rows_of(&of.clear.split.train)?, labels, &first, last)?.0,
    };
    phases.end(running, "the same in the clear", "the same steps were taken in the clear");
    let weights = |state: &State| -> Vec<Vec<f64>> {
        state.heads().iter().map(|head| head.weights().to_vec()).collect()
    };
    let outcome = Outcome {
        source: &source,
        plan: &plan,
        base: of_features,
        iterations: (first.iteration(), last),
        encrypted: weights(data.state()),
        same,
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
    /// With a model whose frozen stages are the base, if there is one.
    fn of(args: &Args, base: Option<&Model>, phases: &mut Phases) -> Result<Self> {
        if let Some(address) = &args.ckks.server.server {
            return Ok(Self::There { address: address.clone(), tls: args.ckks.server.tls()? });
        }
        let running = phases.begin("starting a compute party", 0);
        let deployment = Deployment::create()?;
        let tls = deployment.admit("client")?;
        let server = deployment.compute(base, args.threads)?;
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
    async fn run(&mut self, mut link: Link, last: usize) -> Result<Bytes> {
        let (plan, mut sent) = (self.plan, Bytes::default());
        let (up, down) = (link.up, link.down);

        let running = self.phases.begin("making and sending keys", 0);
        let keys = self.data.evaluation_keys(self.rng)?;
        link.deliver(&keys).await?;
        drop(keys);
        sent.keys = link.up - up;
        self.phases.end(running, "keys", &format!("keys are there, {}", bytes(sent.keys)));

        let running = self.phases.begin("encrypting features", plan.batches() as u64);
        for index in 0..plan.batches() {
            link.deliver(&self.data.batch(index, self.rng)?).await?;
            running.step();
        }
        sent.data = link.up - up - sent.keys;
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
        (sent.up, sent.down) = (link.up - before, link.down - down);
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

/// Refuses what this machine's memory does not bear: the compute party sees to its own.
///
/// # Errors
/// Names both numbers.
pub(super) fn check_memory(needed: u64) -> Result<()> {
    let Some(available) = machine::available_memory() else { return Ok(()) };
    if needed <= available {
        return Ok(());
    }
    Err(problem(
        format!(
            "the data party needs {} of memory for keys and messages, and {} are available here",
            bytes(needed),
            bytes(available)
        ),
        "take fewer rows, a smaller --unattended, --degree or --batch, or a larger machine; `gelu transfer plan --engine ckks` shows what each takes",
    ))
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
