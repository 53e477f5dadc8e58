//! The security laboratory, from its list to a result.

use super::{gelu_bench, json};

#[test]
fn attacks_are_listed_and_run() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let listed = json(here, &["attack"]);
    let named = |name: &str| listed.as_array().unwrap().iter().any(|a| a["name"] == name);
    for name in ["packing", "randomness", "lattice", "blind", "low-bits", "masks"] {
        assert!(named(name), "{listed}");
    }
    let run = gelu_bench(here, &["attack"]).assert().success();
    let text = String::from_utf8(run.get_output().stdout.clone()).unwrap();
    assert!(text.contains("packing") && text.contains("gelu-bench attack all"), "{text}");
    let made = json(here, &["attack", "low-bits"]);
    let claims = made["claims"].as_array().unwrap();
    assert!(claims.iter().all(|claim| claim["holds"] == true), "{made}");
    assert_eq!((&made["id"], claims.len()), (&"attack-low-bits".into(), 3));
}
