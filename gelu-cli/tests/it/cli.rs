//! The program as its users meet it: help, usage errors, tables, keys, and what errors say.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

fn gelu(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("gelu").unwrap();
    command.args(arguments);
    command
}

/// Succeeds; what it printed.
fn stdout(arguments: &[&str]) -> String {
    let output = gelu(arguments).assert().success().get_output().stdout.clone();
    String::from_utf8(output).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(arguments)).unwrap()
}

/// Fails with exit code 1; what it said.
fn error(arguments: &[&str]) -> String {
    let output = gelu(arguments).assert().failure().code(1).get_output().clone();
    assert!(output.stdout.is_empty(), "an error is no result");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!said.contains("panicked"), "{said}");
    let start = said.find("error: ").expect("a sentence that says what is wrong");
    said[start..].to_owned()
}

#[test]
fn help_teaches_by_example() {
    let overview = stdout(&["--help"]);
    for command in [
        "demo", "keygen", "certs", "serve", "train", "infer", "audit", "plan", "models",
        "datasets", "backends", "bench", "import",
    ] {
        assert!(overview.contains(command), "{overview}");
        let help = stdout(&[command, "--help"]);
        assert!(help.contains(&format!("gelu {command}")), "{help}");
    }
    assert!(stdout(&["--version"]).starts_with("gelu "));
}

#[test]
fn wrong_usage_is_exit_code_2() {
    let wrong: [&[&str]; 18] = [
        &[],
        &["frobnicate"],
        &["demo", "--key-bits", "1000"],
        &["demo", "--backend", "rot13"],
        &["demo", "--threads", "0"],
        &["infer", "--dataset", "iris"],
        &["plan", "iris", "--sigma", "80"],
        &["plan", "iris", "--train", "--sigma", "39"],
        &["plan", "iris", "--batch", "0"],
        &["train", "--dataset", "iris", "--rate", "-1"],
        &["train", "--plaintext", "--server", "localhost:1", "--dataset", "iris"],
        // An identity is one at a server.
        &["train", "--dataset", "iris", "--account", "alice"],
        &["infer", "--model", "m.safetensors", "--dataset", "iris", "--certs", "certs"],
        &["infer", "--model", "m.safetensors", "--dataset", "iris", "--account", "client"],
        &["train", "--dataset", "iris", "--plaintext", "--certs", "certs"],
        &["train", "--dataset", "iris", "--clients", "2", "--sums", "s.sums"],
        &["train", "--dataset", "iris", "--rows", "9", "--account", "alice"],
        &["train", "--dataset", "iris", "--out", "m.safetensors", "--certs", "certs"],
    ];
    for arguments in wrong {
        gelu(arguments).assert().failure().code(2);
    }
}

#[test]
fn errors_say_what_to_do_next() {
    let folder = tempfile::tempdir().unwrap();
    let nothing = folder.path().join("nothing");
    let nothing = nothing.to_str().unwrap();
    for (arguments, expected) in [
        (&["audit", "resnet"][..], "lenet5"),
        (&["plan", "resnet"], "lenet5"),
        (&["train"], "--dataset"),
        (&["train", "--dataset", "cifar"], "kr-vs-kp"),
        (&["train", "--dataset", "cifar"], "gelu datasets"),
        (&["train", "--data", nothing, "--dataset", "mnist"], "train-images-idx3-ubyte"),
        (&["train", "--csv", nothing], "next: check the path"),
        (&["train", "--dataset", "iris", "--batch", "500"], "--batch"),
        (&["train", "--dataset", "iris", "--network", "lenet5"], "--network"),
        (&["infer", "--model", nothing, "--dataset", "iris"], "--plaintext"),
        (
            &["infer", "--server", "localhost:1", "--certs", nothing, "--dataset", "iris"],
            "certs add",
        ),
        (&["serve", "--model", nothing], "--plaintext"),
        (&["certs", "add", "alice", "--dir", nothing], "certs init"),
        (&["keygen", "--backend", "insecure-clear", nothing], "paillier"),
    ] {
        let said = error(arguments);
        assert!(said.contains(" next: ") && said.contains(expected), "{arguments:?}: {said}");
    }
}

#[test]
fn models_lists_the_networks_of_the_paper() {
    let models = json(&["models", "--json"]);
    let names: Vec<_> =
        models.as_array().unwrap().iter().map(|m| m["name"].as_str().unwrap()).collect();
    let expected = ["iris", "diabetes", "kr-vs-kp", "mnist-dense", "dense12", "conv1", "lenet5"];
    assert_eq!(names[..7], expected);
    assert_eq!(
        names[7..],
        [
            "conv1-square",
            "lenet5-square",
            "resnet20",
            "digits",
            "mnist-dense-square",
            "digits-square"
        ]
    );
    assert_eq!(models[3]["also"][0], "dense300");
    let iris = &models[0];
    assert_eq!((&iris["parameters"], &iris["inference"]["rounds"]), (&43.into(), &2.into()));
    // 4 + 5 inputs up, 5 + 3 sums down, 512 bytes each: so few are not worth packing.
    assert_eq!(iris["inference"]["bytes_per_sample"], (4 + 5 + 5 + 3) * 512);
    let text = stdout(&["models"]);
    assert!(text.contains("lenet5") && text.contains("44426"), "{text}");
    let larger = json(&["models", "--json", "--key-bits", "4096"]);
    assert_eq!(larger[0]["inference"]["bytes_per_sample"], 17 * 1024);
}

/// What has moved is refused with what to type instead; nothing of it is in the help.
#[test]
fn commands_of_the_laboratory_say_where_they_are() {
    for (words, instead) in [
        (&["attack"][..], "-- attack`"),
        (
            &["attack", "low-bits", "--set", "paper", "--data", "my data"],
            "-- attack low-bits --set paper --data 'my data'`",
        ),
        (&["bench", "table", "4"], "-- table 4`"),
        (&["bench", "figure", "cost", "--out", "x"], "-- figure cost --out x`"),
        (&["bench", "report", "--help"], "-- report --help`"),
    ] {
        let said = error(words);
        assert!(
            said.contains("cargo run --release -p gelu-bench ") && said.contains(instead),
            "{said}"
        );
    }
    for page in [&["--help"][..], &["bench", "--help"]] {
        let help = stdout(page);
        assert!(!help.contains("  attack") && !help.contains("  table"), "{help}");
    }
}

#[test]
fn backends_says_what_is_here_and_what_is_not() {
    let backends = json(&["backends", "--json"]);
    let named = |name: &str| {
        let found = backends.as_array().unwrap().iter().find(|b| b["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {backends}"))
    };
    let here = [
        ("paillier", "training-and-inference", 2046, 112, cfg!(feature = "paillier")),
        ("elgamal", "inference-only", 40, 126, cfg!(feature = "elgamal")),
        ("bgn", "inference-only", 40, 117, cfg!(feature = "bgn")),
    ];
    let help = stdout(&["infer", "--help"]);
    assert!(help.contains("gelu backends"), "{help}");
    for (name, what, bits, security, compiled_in) in here {
        let backend = named(name);
        assert_eq!((&backend["use"], &backend["plaintext_bits"]), (&what.into(), &bits.into()));
        assert_eq!(backend["security_bits"], security);
        assert_eq!(
            (&backend["feature"], &backend["compiled_in"]),
            (&name.into(), &compiled_in.into())
        );
        // What is left out is not on offer.
        assert_eq!(help.contains(&format!("- {name}:")), compiled_in, "{help}");
        let mut keygen = gelu(&["keygen", "--backend", name, "--bits", "1000", "/nowhere"]);
        let run = keygen.assert().failure().code(2);
        let said = String::from_utf8(run.get_output().stderr.clone()).unwrap();
        let size = backend["key_bits"][0].to_string();
        assert_eq!(said.contains(&size) && said.contains("'--bits'"), compiled_in, "{said}");
    }
    assert_eq!(named("insecure-clear")["security_bits"], Value::Null);
    let text = stdout(&["backends"]);
    for expected in ["insecure-clear", "plaintext", "Licences"] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn audit_shows_both_sides_of_the_ledger() {
    let audit = json(&["audit", "iris", "--batch", "10", "--steps", "20", "--json"]);
    let training = &audit["training"];
    assert_eq!(training["safe_samples"], 0);
    assert_eq!(training["least_samples"], 6);
    assert!(training["verdict"].as_str().unwrap().starts_with("no lease protects both"));
    let layers = training["exposure"]["model"].as_array().unwrap();
    let backward = &layers[2];
    // Three classes, but softmax ignores a shift of their scores.
    assert_eq!((&backward["direction"], &backward["unknowns"]), (&"backward".into(), &2.into()));
    assert_eq!(layers.len(), training["costs"]["exchanges"].as_array().unwrap().len());
    // Three classes are two bits, of four inputs, five hidden neurons and their biases.
    let class = &audit["blind"]["answers"][0];
    assert_eq!((&class["answer"], &class["bits"]), (&"Class".into(), &2.into()));
    let (safe, secret) = (&class["safe_samples"], &class["secret_bits"]);
    assert_eq!(safe.as_u64().unwrap(), (secret.as_u64().unwrap() - 1) / 2);
    let text = stdout(&["audit", "kr-vs-kp"]);
    for expected in ["open", "blind", "Training", "Verdict", "unknowns", "dense2"] {
        assert!(text.contains(expected), "{text}");
    }
}

/// What is trained for queries has the bits that its weights need; what is trained for training
/// keeps room, and can be rounded later.
#[test]
fn models_for_queries_have_no_bit_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (queries, training, rounded) = (file("queries"), file("training"), file("rounded"));
    let train = |precision: &str, out: &str| {
        let network = ["train", "--plaintext", "--network", "iris", "--json"];
        let options = ["--epochs", "0", "--precision", precision, "--out", out];
        json(&[&network[..], &options].concat())["precision"]["weights"].clone()
    };
    // Weights as drawn: below √(6/8) in magnitude, which needs no bit before the point.
    assert_eq!(train("inference", &queries), serde_json::json!({ "integer": 0, "fraction": 6 }));
    assert_eq!(train("training", &training), serde_json::json!({ "integer": 4, "fraction": 20 }));
    let round = json(&["round", &training, "--out", &rounded, "--json"]);
    assert_eq!(round["before"]["weights"]["integer"], 4);
    assert_eq!(round["after"]["weights"], serde_json::json!({ "integer": 0, "fraction": 6 }));
    assert!(round["largest_weight"].as_f64().unwrap() < 0.87);
    let again = json(&["round", &rounded, "--out", &rounded, "--force", "--json"]);
    assert_eq!(again["before"], again["after"]);
    let slots = |model: &str| {
        let plan = json(&["plan", model, "--json"]);
        plan["costs"]["exchanges"][0]["value_bits"].as_u64().unwrap()
    };
    assert_eq!(slots(&rounded), slots(&queries));
    assert!(slots(&rounded) + 18 <= slots(&training));
}

#[test]
fn plan_shows_layouts_and_what_they_cost() {
    let plan = json(&["plan", "lenet5", "--json"]);
    let costs = &plan["costs"];
    let exchanges = costs["exchanges"].as_array().unwrap();
    let layouts: Vec<_> = exchanges.iter().map(|e| e["layout"].as_str().unwrap()).collect();
    assert_eq!(layouts, ["positions/1", "positions/2", "samples/15", "samples/11", "samples/2"]);
    let first = &exchanges[0];
    assert_eq!(first["ciphertexts_up"], 72);
    assert_eq!(first["bytes"], (72 + 12) * 512);
    for of in ["operations", "bytes", "nanoseconds"] {
        let sum: u64 = exchanges.iter().map(|e| e[of].as_u64().unwrap()).sum();
        assert_eq!(costs[of], sum, "{of}");
    }
    let blind = &plan["blind"];
    let told: Vec<_> = blind["answers"].as_array().unwrap().iter().map(|a| &a["bits"]).collect();
    assert_eq!(told, [4, 270]);
    let trips = [&blind["tickets"]["round_trips"], &blind["query"]["round_trips"]];
    assert_eq!(trips, [2, 5], "{blind}");
    // A ticket for each sample; the query's own work is little beside them.
    let of = |blind: &Value, part: &str, what: &str| blind[part][what].as_u64().unwrap();
    let more = &json(&["plan", "lenet5", "--batch", "8", "--json"])["blind"];
    assert_eq!(of(more, "query", "bytes"), 8 * of(blind, "query", "bytes"));
    assert!(of(more, "tickets", "bytes") < 8 * of(blind, "tickets", "bytes"), "they share slots");
    let [before, with] = ["tickets", "query"].map(|part| of(blind, part, "nanoseconds"));
    assert!(with < before, "{blind}");
    let side_by_side = stdout(&["plan", "lenet5"]);
    assert!(side_by_side.contains("a class (4 bits) or scores (270 bits)"), "{side_by_side}");
    let refused = json(&["plan", "resnet20", "--json"])["blind"]["refused"].to_string();
    assert!(refused.starts_with("\"conv1: goes into a shortcut"), "{refused}");
    let training = ["plan", "lenet5", "--train", "--steps", "3", "--sigma", "70", "--batch", "2"];
    let text = stdout(&training);
    for expected in ["conv1+pool1", "backward", "positions", "sigma 70", "2 samples", "Total"] {
        assert!(text.contains(expected), "{text}");
    }
    let training = json(&[&training[..], &["--json"]].concat());
    assert!(training["blind"].is_null(), "trainings are open");
    let slots = |plan: &Value| plan["costs"]["exchanges"][0]["value_bits"].as_u64().unwrap();
    assert!(slots(&training) > slots(&plan), "masks take room");
    #[cfg(feature = "lattice")]
    {
        let options = ["plan", "lenet5", "--backend", "lattice"];
        let lattice = json(&[&options[..], &["--measure", "--json"]].concat());
        assert_eq!((&lattice["key_bits"], &lattice["measured"]), (&4096.into(), &true.into()));
        assert_eq!(lattice["costs"]["exchanges"][0]["layout"], "image/1x1x3");
        let backends = lattice["backends"].as_array().unwrap();
        let of = |name: &str| backends.iter().find(|b| b["backend"] == name).unwrap();
        assert_eq!(of("lattice")["bytes"], lattice["costs"]["bytes"]);
        assert_eq!(of("paillier")["bytes"], costs["bytes"]);
        let time = |name: &str| of(name)["nanoseconds"].as_u64().unwrap();
        assert!(time("lattice") < time("paillier"), "{backends:?}");
        let training = stdout(&[&options[..], &["--train"]].concat());
        assert!(training.contains("masks modulo 2^T") && training.contains("8192"), "{training}");
    }
    let larger = json(&["plan", "lenet5", "--json", "--key-bits", "3072"]);
    assert_eq!(larger["costs"]["exchanges"][0]["ciphertexts_up"], 36 * 2);
}

#[cfg(feature = "paillier")]
#[test]
fn keys_are_private_and_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alice.key");
    let file = path.to_str().unwrap();
    let made = json(&["keygen", "--bits", "2048", "--json", file]);
    assert_eq!((&made["key_bits"], &made["backend"]), (&2048.into(), &"paillier".into()));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let before = std::fs::read(&path).unwrap();
    assert!(error(&["keygen", file]).contains("never overwritten"));
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn certificates_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let certs = folder.path().join("certs");
    let dir = certs.to_str().unwrap();
    gelu(&["certs", "init", "--dir", dir, "--host", "gelu.example.org"]).assert().success();
    let made = json(&["certs", "add", "alice", "--dir", dir, "--json"]);
    assert!(Path::new(made["certificate"].as_str().unwrap()).is_file());
    assert!(Path::new(made["key"].as_str().unwrap()).is_file());
    assert!(error(&["certs", "init", "--dir", dir]).contains("exists"));
    assert!(error(&["certs", "add", "alice", "--dir", dir]).contains("exists"));
    error(&["certs", "add", "../alice", "--dir", dir]);
    // All of it or nothing, the account included.
    let other = folder.path().join("other");
    let init = ["certs", "init", "--dir", other.to_str().unwrap(), "--account"];
    assert!(error(&[&init[..], &["a b"]].concat()).contains("--account"));
    assert!(!other.exists());
    std::fs::create_dir_all(other.join("clients")).unwrap();
    std::fs::write(other.join("clients/alice.key"), "mine").unwrap();
    assert!(error(&[&init[..], &["alice"]].concat()).contains("alice.key: exists"));
    assert_eq!(std::fs::read_dir(&other).unwrap().count(), 1, "nothing was made");
    std::fs::remove_file(other.join("clients/alice.key")).unwrap();
    let made = json(&[&init[..], &["alice", "--json"]].concat());
    for file in [&made["certificate"], &made["client"]["certificate"], &made["client"]["key"]] {
        assert!(Path::new(file.as_str().unwrap()).is_file(), "{made}");
    }
}
