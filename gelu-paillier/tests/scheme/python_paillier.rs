//! An outside judge: python-paillier decrypts ours, we decrypt theirs, with keys of either side.
//!
//! Needs `python3` with `venv` and a package index for `phe`; says SKIPPED where one is missing.
//! `GELU_PHE_PYTHON` names a python that has `phe` already.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gelu_core::{AdditiveHE, Cryptosystem, SlotShape};
use gelu_paillier::phe::{EncryptedNumber, Number};
use gelu_paillier::{InsecurePaillier as P, PublicKey, SecretKey};
use num_bigint_dig::BigInt;
use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

/// Reads keys with pheutil's own functions, then answers with numbers of its own.
const JUDGE: &str = r#"
import io, json, sys, phe
from phe.command_line import load_public_key, load_encrypted_number, serialise_encrypted

job = json.load(sys.stdin)
ours = json.loads(job["secret"])
public = load_public_key(ours["pub"])
number = lambda text, key: load_encrypted_number(io.StringIO(text), key)
private = phe.PaillierPrivateKey(public, phe.util.base64_to_int(ours["p"]), phe.util.base64_to_int(ours["q"]))

their_public, their_private = phe.generate_paillier_keypair(n_length=512)
plain = lambda e, key=public: json.dumps({"v": str(e.ciphertext()), "e": e.exponent})
jwk = lambda k: {"kty": "DAJ", "alg": "PAI-GN1", "key_ops": ["encrypt"], "kid": "test",
                 "n": phe.util.int_to_base64(k.n)}
values = [0, 1, -1, 2**100, -2**100, 1.5, -0.001, 3.14159e20]
print(json.dumps({
    "decrypted": [str(private.decrypt(number(text, public))) for text in job["numbers"]],
    "values": [repr(float(v)) for v in values],
    "under_ours": [plain(public.encrypt(v)) for v in values],
    "serialised": serialise_encrypted(public.encrypt(2.5)),
    "under_theirs": [plain(their_public.encrypt(v)) for v in values],
    "their_secret": json.dumps({"kty": "DAJ", "key_ops": ["decrypt"], "pub": jwk(their_public), "kid": "test",
        "p": phe.util.int_to_base64(their_private.p), "q": phe.util.int_to_base64(their_private.q)}),
}))
"#;

#[test]
fn python_paillier_and_we_understand_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let python = match python_with_phe(dir.path()) {
        Ok(python) => python,
        Err(why) => {
            eprintln!("SKIPPED: no python-paillier to compare with ({why})");
            return;
        }
    };
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    let secret = P::keygen(512, rng).unwrap();
    let public = secret.public_key();

    let bound = (1i128 << 126) - 1;
    let cases = [(0, 0), (1, 0), (-1, 0), (bound, 0), (-bound, 0), (24, -1), (-3, 2)];
    let numbers = cases.map(|(mantissa, exponent)| {
        EncryptedNumber::encrypt(public, &Number::new(mantissa, exponent), rng).unwrap()
    });
    // A result of homomorphic arithmetic: −2·(−3)·16² + 24·16².
    let combined = [(-2, &numbers[6].ciphertext), (1, &numbers[5].ciphertext)];
    let combined = EncryptedNumber {
        ciphertext: P::linear_combination(public, &combined).unwrap(),
        exponent: 2,
    };
    let texts: Vec<_> = numbers.iter().chain([&combined]).map(|n| n.to_json(public)).collect();
    let answer = ask(
        &python,
        &serde_json::json!({
            "secret": secret.to_phe_json().as_str(), "numbers": texts,
        }),
    );

    let exact: Vec<_> =
        answer["decrypted"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let b = bound.to_string();
    assert_eq!(exact, ["0", "1", "-1", &b, &format!("-{b}"), "1.5", "-768", "7680"]);

    let serialised = answer["serialised"].as_str().unwrap();
    let number = EncryptedNumber::from_json(public, serialised).unwrap();
    assert_eq!((number.exponent, number.decrypt(&secret).unwrap().to_f64()), (-32, 2.5));

    let theirs =
        SecretKey::insecure_from_phe_json(answer["their_secret"].as_str().unwrap()).unwrap();
    for (key, name) in [(&secret, "under_ours"), (&theirs, "under_theirs")] {
        let public = PublicKey::insecure_from_phe_json(&key.public_key().to_phe_json()).unwrap();
        let values = answer["values"].as_array().unwrap();
        for (value, text) in values.iter().zip(answer[name].as_array().unwrap()) {
            let number = EncryptedNumber::from_json(&public, text.as_str().unwrap()).unwrap();
            let got = number.decrypt(key).unwrap();
            let expected: f64 = value.as_str().unwrap().parse().unwrap();
            assert_eq!(got.to_f64(), expected, "{name}: {value}");
            if number.exponent == 0 {
                let slot = SlotShape { bits: 127, count: 1 };
                let slots = P::decrypt(key, &number.ciphertext, slot).unwrap();
                assert_eq!(BigInt::from(slots.values()[0]), got.mantissa);
            }
        }
    }
}

fn python_with_phe(dir: &Path) -> Result<PathBuf, String> {
    let run = |program: &Path, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(format!("{arguments:?}: {}", said.lines().last().unwrap_or("failed")))
            }
            Err(error) => Err(format!("{}: {error}", program.display())),
        }
    };
    if let Some(python) = std::env::var_os("GELU_PHE_PYTHON").map(PathBuf::from) {
        return run(&python, &["-c", "import phe.command_line"]).map(|()| python);
    }
    let venv = dir.join("venv");
    run(Path::new("python3"), &["-m", "venv", venv.to_str().ok_or("an odd path")?])?;
    let python = venv.join("bin").join("python");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    // pheutil's functions live beside its command line, which needs click.
    run(&python, &[&install[..], &["--timeout", "20", "--retries", "1", "phe", "click"]].concat())?;
    run(&python, &["-c", "import phe.command_line"]).map(|()| python)
}

fn ask(python: &Path, job: &serde_json::Value) -> serde_json::Value {
    let mut child = Command::new(python)
        .args(["-c", JUDGE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    serde_json::to_writer(child.stdin.take().unwrap(), job).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "python failed; its words are above");
    serde_json::from_slice(&output.stdout).unwrap()
}
