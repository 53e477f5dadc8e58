//! What the Tab key and `man` know.

use std::fs;
use std::process::Command;

use super::{json, run, said};

#[test]
fn every_shell_gets_a_script_that_knows_the_commands() {
    let folder = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = run(folder.path(), &["completions", shell]);
        let script = String::from_utf8(run.stdout.clone()).unwrap();
        assert!(run.status.success() && script.contains("predict"), "{shell}: {}", said(&run));
        let told = json(folder.path(), &["completions", shell]);
        assert_eq!(told["script"].as_str().unwrap().trim_end(), script.trim_end(), "{shell}");
        if shell == "bash" {
            fs::write(folder.path().join("script"), script).unwrap();
            let ask = "source ./script; COMP_WORDS=(gelu pre); COMP_CWORD=1; _gelu gelu pre gelu; echo \"${COMPREPLY[@]}\"";
            match Command::new("bash").args(["-c", ask]).current_dir(folder.path()).output() {
                Ok(asked) => assert_eq!(String::from_utf8_lossy(&asked.stdout).trim(), "predict"),
                Err(error) => println!("SKIP: completions are not asked for: bash: {error}"),
            }
        }
    }
    assert_eq!(run(folder.path(), &["completions", "csh"]).status.code(), Some(2));
}

#[test]
fn every_command_has_a_page_and_no_other_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let one = String::from_utf8(run(path, &["man"]).stdout).unwrap();
    assert!(one.contains(".TH gelu 1"), "{one}");
    for _ in 0..2 {
        let pages = json(path, &["man", "man1"]);
        let pages = pages["pages"].as_array().unwrap();
        assert_eq!(pages.len(), fs::read_dir(path.join("man1")).unwrap().count());
        for name in ["gelu", "gelu-predict", "gelu-transfer-fit", "gelu-completions"] {
            let page = fs::read_to_string(path.join(format!("man1/{name}.1"))).unwrap();
            assert!(page.contains(&format!(".TH {name} 1")), "{name}");
        }
        assert!(!path.join("man1/gelu-attack.1").exists(), "hidden commands have no page");
    }
    fs::write(path.join("man1/gelu.1"), "mine").unwrap();
    let refused = run(path, &["man", "man1"]);
    assert!(said(&refused).contains("gelu.1"), "{}", said(&refused));
    assert_eq!(fs::read_to_string(path.join("man1/gelu.1")).unwrap(), "mine");
}
