//! The commands of the book's quick starts run as they stand, in their order and in one folder; only where the server
//! listens, which the pages cannot know, is put in.

use std::path::Path;
use std::process::{Child, Command};

use super::{gelu, listening};

const OPERATOR: &str = include_str!("../../../docs/src/quickstart-operator.md");
const DATA_ENGINEER: &str = include_str!("../../../docs/src/quickstart-data-engineer.md");

/// The blocks of shell commands of a page.
fn blocks(page: &str) -> Vec<&str> {
    let blocks = page.split("```sh\n").skip(1);
    blocks.map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A server that is killed with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs a block in the shell, with the program in its path and the server at `address`.
fn shell(folder: &Path, block: &str, address: &str) {
    let program = assert_cmd::cargo::cargo_bin("gelu");
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", program.parent().unwrap().display());
    let block = block.replace("gelu.example.org:7878", address);
    let mut bash = Command::new("bash");
    let run = bash.args(["-euc", &block]).env("PATH", path).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{block}\n{said}");
}

/// The operator serves, the data engineer asks: rows become lines with their names and the right classes.
#[test]
fn the_pages_of_the_operator_and_of_the_data_engineer_work_together() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (mut server, mut address) = (None, String::new());
    for block in blocks(OPERATOR) {
        let Some(serve) = block.strip_prefix("gelu serve ") else {
            shell(path, block, &address);
            continue;
        };
        let words: Vec<_> = serve.split_whitespace().collect();
        let words: Vec<_> =
            words.iter().map(|&w| if w == "0.0.0.0:7878" { "127.0.0.1:0" } else { w }).collect();
        let (child, at) = listening(&mut gelu(path, &[&["serve", "--json"][..], &words].concat()));
        (server, address) = (Some(Server(child)), at);
    }
    assert!(server.is_some(), "the page serves");
    let blocks = blocks(DATA_ENGINEER);
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        shell(path, block, &address);
    }
    let answers = std::fs::read_to_string(path.join("answers.csv")).unwrap();
    let answers: Vec<_> =
        answers.lines().map(|line| line.split(',').take(2).collect::<Vec<_>>()).collect();
    assert_eq!(answers[0], ["id", "class"]);
    assert_eq!(answers[1..], [["p-17", "setosa"], ["p-18", "virginica"], ["p-19", "versicolor"]]);
}
