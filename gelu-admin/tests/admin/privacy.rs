//! Metrics and logs tell no input, no label and no weight.
//!
//! Two laws over real sessions with everything turned on, under the backend that encrypts nothing: whatever it leaves out, no
//! other could tell.
//!
//! 1. No number of the data or of the model stands in the output, in any notation that a program would use.
//! 2. The output is the same for other data and another model: so it tells nothing about them in any way.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gelu_admin::Metrics;
use gelu_core::blind::Answer;
use gelu_core::clear::{Clear, ClearKey};
use gelu_core::client::DataPolicy;
use gelu_core::ledger::Policy;
use gelu_core::server::LearningRate;
use gelu_core::{Format, Precision};
use gelu_nn::{Activation, Model, Sequential};
use gelu_service::certs::Authority;
use gelu_service::server::Summary;
use gelu_service::{ClientTls, Config, Connection, Limits, Offer, Server, ServerTls};
use gelu_store::Store;
use ndarray::{Array2, Axis};
use rand::rngs::ChaCha20Rng;
use rand::{Rng, SeedableRng};
use serde_json::Value;

const BATCH: usize = 6;

type Batch = (Array2<f64>, Vec<usize>);

/// What a run must keep to itself.
struct Secrets {
    batches: Vec<Batch>,
    model: Model,
}

impl Secrets {
    fn of(seed: u64) -> Self {
        let rng = &mut ChaCha20Rng::seed_from_u64(seed);
        // As iris of the zoo, with an activation that can be computed blindly in this precision.
        let architecture = Sequential::dense(4, &[5], 3, Activation::Relu).unwrap();
        let model = Model::initialise("iris", architecture, Precision::TRAINING, rng).unwrap();
        let mut uniform = || f64::from(rng.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0;
        let batch = |_| {
            let inputs = Array2::from_shape_fn((4, BATCH), |_| uniform());
            (inputs, (0..BATCH).map(|_| usize::from(uniform() > 0.0) + 1).collect())
        };
        Self { batches: (0..2).map(batch).collect(), model }
    }

    /// The numbers, as a program might write them. Short ones are left out: they stand everywhere.
    fn notations(&self, later: &Model) -> BTreeSet<String> {
        let Precision { weights, activations, .. } = *self.model.precision();
        let inputs = self.batches.iter().flat_map(|(inputs, _)| inputs.iter().copied());
        let of_models = [&self.model, later].into_iter().flat_map(|model| {
            let values = model.parameters().layers.iter().flat_map(|layer| layer.values());
            values.map(|value| weights.decode(*value))
        });
        let written = |(x, format): (f64, Format)| {
            let integer = format.encode(x, &Default::default());
            #[expect(clippy::cast_possible_truncation, reason = "as a program might")]
            let single = x as f32;
            [
                format!("{x}"),
                format!("{x:e}"),
                format!("{x:.4}"),
                format!("{x:.6}"),
                format!("{single}"),
                format!("{integer}"),
                format!("{integer:x}"),
            ]
        };
        let numbers = inputs.map(|x| (x, activations)).chain(of_models.map(|w| (w, weights)));
        let all = numbers
            .filter(|(x, _)| *x != 0.0)
            .flat_map(written)
            .map(|text| text.trim_start_matches('-').to_owned());
        all.filter(|text| text.len() >= 6).collect()
    }
}

/// The numbers in a text that are among those.
fn found(text: &str, secrets: &BTreeSet<String>) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "-.".contains(c)));
    let words = words.map(|word| word.trim_start_matches('-'));
    words.filter(|word| secrets.contains(*word)).map(str::to_owned).collect()
}

/// The log of this process, as `--log-format json` writes it.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

/// What the outside has seen of a run.
struct Seen {
    log: String,
    metrics: String,
    secrets: BTreeSet<String>,
}

/// A training, queries of both modes, a refusal and clients that break off.
async fn run(secrets: &Secrets, log: &Log) -> Seen {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    secrets.model.save(&path).unwrap();
    let authority = Authority::create(&folder.path().join("certs")).unwrap();
    let identity = authority.issue_server(&[]).unwrap();
    let tls = ServerTls::read(&authority.certificate(), &identity).unwrap();
    let (address, rate) = ("127.0.0.1:0".parse().unwrap(), LearningRate::Public(0.25));
    let mut config = Config::new(address, tls, Store::in_memory());
    let mut offer = Offer::<Clear>::new(&path, rate);
    let metrics = Arc::new(Metrics::new(true));
    offer.policy = Policy::AllowModelExtraction;
    offer.danger_lease_seed = Some([7; 32]);
    offer.precompute = true;
    config.limits.greeting = Duration::from_secs(50);
    config.observer = Arc::clone(&metrics) as _;
    let server = Server::bind(config, vec![offer.into()]).await.unwrap();
    let address = server.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));

    let connect = async |account: &str| {
        let identity = authority.issue_client(account).unwrap();
        let tls = ClientTls::read(&authority.certificate(), &identity).unwrap();
        let limits = Limits::default();
        Connection::<Clear>::connect(address, "localhost", "", &tls, limits, |_| {}).await.unwrap()
    };
    let key = || Arc::new(ClearKey::new(2048).unwrap());
    let policy = DataPolicy::AllowInputReconstruction;
    let (inputs, _) = &secrets.batches[0];

    let mut alice = connect("alice").await.open(key(), policy).await.unwrap();
    alice.classify(inputs).await.unwrap();
    alice.train(2, &mut secrets.batches.clone().into_iter().peekable()).await.unwrap();
    alice.close().await;

    let mut bob = connect("bob").await.open_blind(key(), Answer::Class).await.unwrap();
    bob.classify(&inputs.slice_axis(Axis(1), (0..2).into()).to_owned()).await.unwrap();
    bob.close().await;

    let refused = connect("carol").await.open_blind(key(), Answer::Scores).await;
    assert!(refused.is_err(), "scores are not offered");

    let mut dora = connect("dora").await.open(key(), policy).await.unwrap();
    dora.classify(inputs).await.unwrap();
    drop(dora);

    // Nobody is interrupted by the end, which could come sooner or later.
    let begun = Instant::now();
    while !metrics.encode().contains("gelu_sessions{model=\"iris\"} 0\n") {
        assert!(begun.elapsed() < Duration::from_secs(50), "{}", metrics.encode());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(stop);
    let summary: Summary = serving.await.unwrap().unwrap();
    assert_eq!((summary.sessions, summary.committed, summary.refused), (4, 1, 1), "{summary:?}");
    assert_eq!(summary.failed, 2, "{summary:?}");
    let secrets = secrets.notations(&Model::load(&path).unwrap());
    assert!(secrets.len() > 200, "{}", secrets.len());
    Seen { log: log.take(), metrics: metrics.encode(), secrets }
}

/// What of the log may not depend on secrets: all that this project's crates say, but for times, addresses and the sizes of
/// updates, which cross the network in any case.
fn events(log: &str) -> Vec<String> {
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = lines.filter(|line| line["target"].as_str().unwrap().starts_with("gelu"));
    let mut events: Vec<_> = ours
        .map(|mut line| {
            line.as_object_mut().unwrap().remove("timestamp").expect("a line has its time");
            let fields = line["fields"].as_object_mut().unwrap();
            fields.retain(|name, _| !["seconds", "waited", "peer"].contains(&name.as_str()));
            if fields.get("name").is_some_and(|name| UPDATES.contains(&name.as_str().unwrap())) {
                fields.remove("bytes");
            }
            line.to_string()
        })
        .collect();
    events.sort();
    events
}

/// The same of the metrics.
fn samples(metrics: &str) -> Vec<&str> {
    let samples = metrics.lines().map(|line| {
        let volatile = line.contains("_seconds") || line.starts_with("gelu_account_bytes");
        let of_updates = line.contains("_bytes") && UPDATES.iter().any(|name| line.contains(name));
        match volatile || of_updates {
            true => line.rsplit_once(' ').unwrap().0,
            false => line,
        }
    });
    let mut samples: Vec<_> = samples.collect();
    samples.sort_unstable();
    samples
}

/// Integers of any length, each as short as it is.
const UPDATES: [&str; 2] = ["MaskedUpdate", "FinalUpdate"];

/// In a process of its own: there is one log for all that a process does.
#[test]
fn metrics_and_logs_tell_no_input_no_label_and_no_weight() {
    if std::env::var_os("GELU_TEST_PRIVACY").is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let name = "privacy::metrics_and_logs_tell_no_input_no_label_and_no_weight";
        child.args(["--exact", name, "--nocapture"]).env("GELU_TEST_PRIVACY", "");
        let output = child.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let log = Log::default();
    let writer = log.clone();
    let logs = tracing_subscriber::fmt().json().with_max_level(tracing::Level::TRACE);
    logs.with_writer(move || writer.clone()).init();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let seen = [1, 2].map(|seed| runtime.block_on(run(&Secrets::of(seed), &log)));

    for Seen { log, metrics, secrets } in &seen {
        for part in ["committed", "tickets spent", "refused", "computed", "Precompute", "rustls"] {
            assert!(log.contains(part), "{part} is not in the log");
        }
        for text in [log, metrics] {
            assert_eq!(found(text, secrets), BTreeSet::new());
            // The search finds what is there.
            let planted: String = secrets.iter().map(|secret| format!("=-{secret},")).collect();
            let planted = text.replacen("alice", &planted, 1);
            assert_eq!(found(&planted, secrets), *secrets);
        }
    }
    let [one, other] = &seen;
    assert!(one.secrets.difference(&other.secrets).count() > 200, "both have the same secrets");
    assert_eq!(events(&one.log), events(&other.log));
    assert_eq!(samples(&one.metrics), samples(&other.metrics));
}
