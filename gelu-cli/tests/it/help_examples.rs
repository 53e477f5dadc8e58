//! Every example of every help page ends well.
//!
//! The examples are read from the program itself and run as they stand, with four changes: what they
//! name but nobody has (`loans.csv`, `gelu.example.org`) is made here; where they name no backend they take
//! the one that encrypts nothing (and keeps no keys), which differs in time only; trainings run for one seed and one
//! epoch, on a tenth of the rows that they ask for.
//!
//! `GELU_EXAMPLES=all` runs ten seeds, all epochs and rows, and the examples that take minutes; use a release build for it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use gelu_core::Precision;
use gelu_nn::{Model, zoo};
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use super::{ended, gelu, import, listening};

/// Examples that take minutes, and what runs them otherwise.
const SLOW: [(&str, &str); 3] = [
    ("gelu bench kernels", "measures for half a minute"),
    ("gelu bench kernels --json", "measures for half a minute"),
    (
        "gelu train --plaintext --network lenet5 --data DIR --out lenet5.safetensors",
        "trains for minutes",
    ),
];

/// Examples that need what this machine may not have.
const ELSEWHERE: [(&str, &str); 1] = [(
    "gelu publish better.safetensors --store postgres://gelu@localhost/gelu",
    "needs a database",
)];

/// A server of two models.
const SERVER: &str = r#"
[server]
listen = "127.0.0.1:0"
store = "several.store"

[[model]]
file = "served.safetensors"
backend = "insecure-clear"

[[model]]
file = "digits.safetensors"
backend = "insecure-clear"
allow-model-extraction = true
"#;

/// The program, in a folder that has everything the examples name.
struct Bench {
    folder: tempfile::TempDir,
    data: Option<PathBuf>,
    thorough: bool,
}

/// A server that stops when it is dropped.
struct Server {
    child: Child,
    address: String,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let thorough = std::env::var_os("GELU_EXAMPLES").is_some_and(|value| value == "all");
        let bench = Self { folder, data: super::data(), thorough };
        bench.make_what_examples_name();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Models, tables, certificates and a key under the names that the help pages use.
    fn make_what_examples_name(&self) {
        let rng = &mut ChaCha20Rng::seed_from_u64(1);
        let models = [
            ("lenet5", zoo::lenet5(), Precision::INFERENCE),
            ("mnist", zoo::mnist_dense(), Precision::INFERENCE),
            ("mnist-dense", zoo::mnist_dense(), Precision::INFERENCE),
            ("served", zoo::lenet5(), Precision::INFERENCE),
            ("better", zoo::mnist_dense(), Precision::INFERENCE),
            ("old", zoo::mnist_dense(), Precision::INFERENCE),
            ("fresh", zoo::digits(), Precision::TRAINING),
            ("trained", zoo::digits(), Precision::TRAINING),
        ];
        for (name, architecture, precision) in models {
            let model = Model::initialise(name, architecture, precision, rng).unwrap();
            model.save(&self.path(&format!("{name}.safetensors"))).unwrap();
        }
        // 600 rows: 30 numbers and a word that depends on them.
        let mut table = (0..30).map(|i| format!("x{i}")).collect::<Vec<_>>().join(",");
        table.push_str(",approved\n");
        for row in 0..600u32 {
            let number = |i: u32| (row * 7919 + i * 104_729 + row * row * (i + 3)) % 1000;
            let cells: Vec<_> = (0..30).map(|i| number(i).to_string()).collect();
            let word = if number(0) + number(1) > 1000 { "yes" } else { "no" };
            table.push_str(&format!("{},{word}\n", cells.join(",")));
        }
        for name in ["loans.csv", "mine.csv", "new.csv"] {
            std::fs::write(self.path(name), &table).unwrap();
        }
        import::make_examples(self.folder.path());
        let features = include_bytes!("../../../gelu-nn/src/data/abstracts.safetensors");
        std::fs::write(self.path("mine.safetensors"), features).unwrap();
        let of_loans = ["train", "--plaintext", "--csv", "loans.csv", "--epochs", "0"];
        let of_loans = [&of_loans[..], &["--out", "loans.safetensors"]].concat();
        let of_digits = ["train", "--plaintext", "--dataset", "digits", "--classes", "0,1,2,3,4"];
        let squares = ["--network", "digits-square", "--out", "base.safetensors"];
        let squares = [&of_digits[..], &squares].concat();
        for words in [&["certs", "init"][..], &["certs", "add", "alice"], &of_loans, &squares] {
            self.gelu(words);
        }
        self.make_what_predict_names();
        std::fs::write(self.path("server.toml"), SERVER).unwrap();
        std::fs::create_dir(self.path("page")).unwrap();
        for name in ["index.html", "worker.js", "gelu_web.wasm"] {
            std::fs::write(self.path("page").join(name), "").unwrap();
        }
        // Books as a server leaves them.
        let books = gelu_store::Location::File(self.path("mnist.safetensors.store"));
        gelu_store::Store::open(&books).unwrap();
    }

    /// Models that know what their inputs are, and new rows and images for them.
    fn make_what_predict_names(&self) {
        for name in ["iris", "digits"] {
            let out = format!("{name}.safetensors");
            let train = ["train", "--plaintext", "--dataset", name, "--epochs", "0", "--out", &out];
            self.gelu(&train);
        }
        let names = gelu_nn::Dataset::iris().feature_names().join(",");
        std::fs::write(self.path("flowers.csv"), format!("flower,{names}\na,5,3,1,1\nb,6,3,5,2\n"))
            .unwrap();
        std::fs::create_dir(self.path("scans")).unwrap();
        self.write_image("scans/a.png", 9);
        for (class, pixel) in [("cat", 50), ("dog", 200)] {
            std::fs::create_dir_all(self.path(&format!("photos/{class}"))).unwrap();
            (0..10).for_each(|i| self.write_image(&format!("photos/{class}/{i}.png"), pixel + i));
        }
    }

    /// A grey image of 8x8 equal pixels.
    fn write_image(&self, name: &str, pixel: u8) {
        let file = std::fs::File::create(self.path(name)).unwrap();
        let mut encoder = png::Encoder::new(file, 8, 8).write_header().unwrap();
        encoder.write_image_data(&[pixel; 64]).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        gelu(self.folder.path(), words)
    }

    fn output(&self, words: &[&str]) -> Output {
        self.command(words).stdin(Stdio::null()).output().unwrap()
    }

    /// Runs the program to its end, which must be a good one.
    fn gelu(&self, words: &[&str]) -> String {
        let output = self.output(words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gelu {}: {}\n{said}", words.join(" "), output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// Serves until dropped.
    fn serve(&self, words: &[&str]) -> Server {
        let words = [words, &["--json", "--stop-with-stdin"]].concat();
        let mut command = self.command(&words);
        let (child, address) = listening(&mut command);
        Server { child, address }
    }

    /// Every example of a page and of the pages below it.
    fn examples(&self, page: &[&str]) -> BTreeSet<String> {
        let help = self.gelu(&[page, &["--help"]].concat());
        let section = |title: &'static str| {
            let lines = help.lines().skip_while(move |line| *line != title).skip(1);
            lines.take_while(|line| !line.is_empty())
        };
        let commands = section("Examples:").chain(section("Start here:")).map(str::trim);
        let commands = commands.filter(|line| line.starts_with("gelu "));
        let commands = commands.map(|line| line.split("  ").next().unwrap_or_default());
        let mut all: BTreeSet<_> =
            commands.flat_map(|line| line.split(" && ")).map(String::from).collect();
        // Names of subcommands are indented by two, their descriptions by more.
        let names =
            section("Commands:").filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        for name in
            names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help")
        {
            all.extend(self.examples(&[page, &[name]].concat()));
        }
        all
    }

    /// Runs an example as it stands, or says why not.
    fn run(&self, example: &str) {
        if example.contains("COMMAND") {
            return;
        }
        if let Some((_, reason)) = SLOW.iter().find(|(slow, _)| *slow == example && !self.thorough)
        {
            return println!("SKIP: {example}: {reason}");
        }
        if let Some((_, reason)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == example) {
            return println!("SKIP: {example}: {reason}");
        }
        let mut words: Vec<String> = example.split_whitespace().skip(1).map(String::from).collect();
        if let Some(word) = words.iter_mut().find(|word| *word == "DIR") {
            let Some(data) = &self.data else { return println!("SKIP: {example}: no data") };
            *word = data.display().to_string();
        }
        let command = words[0].clone();
        let has = |name: &str| words.iter().any(|word| word == name);
        if has("elgamal") && !cfg!(feature = "elgamal") {
            return println!("SKIP: {example}: not in this build");
        }
        // Keys and certificates are never overwritten.
        if command == "keygen" {
            std::fs::remove_file(self.path(words.last().unwrap())).ok();
        }
        if command == "certs" {
            std::fs::remove_dir_all(self.path("certs")).unwrap();
            if has("add") {
                self.gelu(&["certs", "init"]);
            } else if !has("init") {
                self.gelu(&["certs", "init", "--account", "alice"]);
            }
        }
        let takes_backend = ["demo", "train", "infer", "predict", "serve"]
            .contains(&command.as_str())
            || example.starts_with("gelu bench latency")
            || example.starts_with("gelu bench train-step");
        let from_file = has("--config");
        if takes_backend && !has("--backend") && !has("--plaintext") && !from_file {
            words.extend(["--backend", "insecure-clear"].map(String::from));
            if let Some(key) = words.iter().position(|word| word == "--key") {
                words.drain(key..key + 2);
            }
        }
        if let Some(web) = words.iter().position(|word| word == "--web") {
            words[web + 1] = "127.0.0.1:0".into();
        }
        if !self.thorough {
            for option in ["--rows", "--held-out"] {
                if let Some(rows) = words.iter().position(|word| word == option) {
                    let asked: usize = words[rows + 1].parse().unwrap();
                    words[rows + 1] = (asked / 10).to_string();
                }
            }
            if let Some(epochs) = words.iter().position(|word| word == "--epochs") {
                let asked: usize = words[epochs + 1].parse().unwrap();
                words[epochs + 1] = asked.min(1).to_string();
            } else if command == "train" {
                words.extend(["--epochs", "1"].map(String::from));
            }
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if example.starts_with("gelu schema sum") {
            return self.sum(&words);
        }
        if command == "serve" || example.starts_with("gelu transfer compute") {
            let free = ["--listen", "127.0.0.1:0"];
            let listens = words.iter().position(|word| *word == "--listen");
            let words = match listens {
                _ if from_file => words,
                Some(at) => [&words[..at], &free, &words[at + 2..]].concat(),
                None => [&words[..], &free].concat(),
            };
            return self.serve(&words).stop(example);
        }
        let seeds = if command == "train" { if self.thorough { 10 } else { 1 } } else { 1 };
        for seed in 1..=seeds {
            let seed = seed.to_string();
            let seed = if command == "train" { &["--seed", &seed][..] } else { &[] };
            match words.iter().position(|word| word.starts_with("gelu.example.org:")) {
                None => {
                    self.gelu(&[&words[..], seed].concat());
                    if example.starts_with("gelu certs init") {
                        self.gelu(&["certs", "add", "alice"]);
                    } else if example.starts_with("gelu certs revoke") {
                        self.gelu(&["certs", "renew", "alice"]);
                    }
                }
                Some(at) => {
                    let server = match command.as_str() {
                        "transfer" => self.compute_party(),
                        command => self.partner(command == "train"),
                    };
                    let there =
                        [&words[..at], &[server.address.as_str()], &words[at + 1..], seed].concat();
                    self.gelu(&there);
                    server.stop(example);
                }
            }
        }
    }

    /// All owners of a sum, whose tables are alike; each confirms the code.
    fn sum<'w>(&self, of_alice: &[&'w str]) {
        let owners = [("alice", "bob,carol"), ("bob", "alice,carol"), ("carol", "alice,bob")];
        let start = |(me, others)| {
            let of_owner = |word: &&'w str| match *word {
                "alice" => me,
                "bob,carol" => others,
                word => word,
            };
            let words: Vec<_> = of_alice.iter().map(of_owner).collect();
            let mut child = self.command(&words).stdin(Stdio::piped()).spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"yes\n").unwrap();
            child
        };
        for mut owner in owners.map(start) {
            assert!(owner.wait().unwrap().success());
        }
    }

    /// A compute party with a base for digits.
    fn compute_party(&self) -> Server {
        let base = ["--base", "base.safetensors", "--freeze", "1", "--allow-model-extraction"];
        let compute = ["transfer", "compute", "--listen", "127.0.0.1:0"];
        self.serve(&[&compute[..], &base].concat())
    }

    /// A server of a fresh model that fits `mine.csv` and `new.csv`.
    fn partner(&self, training: bool) -> Server {
        let precision = if training { "training" } else { "inference" };
        self.gelu(&[
            "train",
            "--plaintext",
            "--csv",
            "mine.csv",
            "--epochs",
            "0",
            "--precision",
            precision,
            "--out",
            "partner.safetensors",
        ]);
        std::fs::remove_file(self.path("partner.safetensors.store")).ok();
        let serve = [
            "serve",
            "--model",
            "partner.safetensors",
            "--listen",
            "127.0.0.1:0",
            "--backend",
            "insecure-clear",
        ];
        self.serve(&[&serve[..], &["--allow-model-extraction"]].concat())
    }
}

impl Server {
    /// Ends its input, which is its sign to stop; it must stop well.
    fn stop(mut self, example: &str) {
        drop(self.child.stdin.take());
        let status = ended(&mut self.child);
        assert!(status.success(), "{example}: the server ended with {status}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Runs those of all examples, in a folder of their own.
fn run_examples(of: impl Fn(&str) -> bool) {
    let bench = Bench::new();
    let examples = bench.examples(&[]);
    assert!(examples.len() > 50, "found only {examples:?}");
    for (slow, _) in SLOW.into_iter().chain(ELSEWHERE) {
        assert!(examples.contains(slow), "{slow} is no example any more");
    }
    for example in examples.iter().filter(|example| of(example)) {
        let began = std::time::Instant::now();
        bench.run(example);
        println!("{:6.1} s  {example}", began.elapsed().as_secs_f64());
    }
}

/// Of two commands, whose examples take half of the time.
fn is_in_half(example: &str) -> bool {
    ["gelu transfer", "gelu bench"].iter().any(|command| example.starts_with(command))
}

#[test]
fn every_example_of_transfer_and_bench_ends_well() {
    run_examples(is_in_half);
}

#[test]
fn every_other_example_of_every_help_page_ends_well() {
    run_examples(|example| !is_in_half(example));
}
