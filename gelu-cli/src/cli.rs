//! The command line of `gelu`; every command's own arguments live with the command.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::args::Moved;
use crate::commands::{
    audit, backends, bench, certs, completions, datasets, demo, import, infer, keygen, ledger, man,
    models, plan, predict, publish, round, schema, serve, token, train, transfer,
};
use crate::output::Output;
use crate::program::{self, Common};

/// Train and query neural networks on data that the server cannot see.
///
/// A client owns the data and the keys, a server owns the model. The server computes every layer
/// on ciphertexts; the client decrypts, applies the exact activation and encrypts again. The
/// trained weights equal those of the same training in the clear, bit for bit.
#[derive(Debug, Parser)]
#[command(name = "gelu", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Start here:
  gelu demo                     the whole thing in one command, with a report to open
  gelu models                   the networks of the paper, and what they cost
  gelu backends                 the cryptosystems of this program, and what each can do
  gelu audit iris               what a training of that network would leak, to whom
  gelu plan lenet5              how its layers travel in ciphertexts, and what each of them costs
  gelu transfer fit             a head, trained under encryption on medical abstracts
  gelu schema infer loans.csv   what the columns of a table of yours would mean to a network
  gelu import net.onnx --out net.safetensors             a model from elsewhere, made one of ours
  gelu predict --model loans.safetensors --csv new.csv   a class for each new row, encrypted
  gelu help COMMAND             examples for each command";

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Models(models::Args),
    Datasets(datasets::Args),
    Backends(backends::Args),
    Audit(audit::Args),
    Plan(plan::Args),
    Round(round::Args),
    Import(import::Args),
    Train(Box<train::Args>),
    Transfer(Box<transfer::Args>),
    Predict(Box<predict::Args>),
    Infer(Box<infer::Args>),
    Schema(schema::Args),
    Bench(Box<bench::Args>),
    Serve(Box<serve::Args>),
    Publish(publish::Args),
    Ledger(ledger::Args),
    Certs(certs::Args),
    Token(token::Args),
    Keygen(keygen::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[command(hide = true)]
    Attack(Moved),
}

impl Cli {
    /// Does what was asked, and returns the exit code of the process.
    pub fn run(self) -> u8 {
        program::run(self.common, |output| self.command.run(output))
    }
}

impl Command {
    fn run(self, output: Output) -> Result<()> {
        match self {
            Self::Demo(args) => demo::run(&args, output),
            Self::Models(args) => models::run(&args, output),
            Self::Datasets(args) => datasets::run(&args, output),
            Self::Backends(args) => backends::run(&args, output),
            Self::Audit(args) => audit::run(&args, output),
            Self::Plan(args) => plan::run(&args, output),
            Self::Round(args) => round::run(&args, output),
            Self::Import(args) => import::run(&args, output),
            Self::Train(args) => train::run(&args, output),
            Self::Transfer(args) => transfer::run(&args, output),
            Self::Predict(args) => predict::run(&args, output),
            Self::Infer(args) => infer::run(&args, output),
            Self::Schema(args) => schema::run(&args, output),
            Self::Bench(args) => bench::run(&args, output),
            Self::Attack(moved) => moved.refuse("attack", "attack"),
            Self::Serve(args) => serve::run(&args, output),
            Self::Publish(args) => publish::run(&args, output),
            Self::Ledger(args) => ledger::run(&args, output),
            Self::Certs(args) => certs::run(&args, output),
            Self::Token(args) => token::run(&args, output),
            Self::Keygen(args) => keygen::run(&args, output),
            Self::Completions(args) => completions::run(&args, output),
            Self::Man(args) => man::run(&args, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::*;
    use crate::args::Cryptosystem;
    use crate::backend::Backend;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_of_keys_follow_the_backend() {
        let parse = |more: &[&str]| {
            let arguments = [&["gelu", "demo"], more].concat();
            let matches = Cli::command().try_get_matches_from(arguments).unwrap();
            Cryptosystem::from_arg_matches(matches.subcommand().unwrap().1)
        };
        for backend in clap::ValueEnum::value_variants() {
            let backend: &Backend = backend;
            let name = ["--backend", backend.id()];
            assert_eq!(parse(&name).unwrap().key_bits, backend.key_bits()[0]);
            for bits in backend.key_bits() {
                let bits = &bits.to_string();
                let chosen = parse(&[&name[..], &["--key-bits", bits]].concat()).unwrap();
                assert_eq!((chosen.backend, &chosen.key_bits.to_string()), (*backend, bits));
            }
            let refused = parse(&[&name[..], &["--key-bits", "1000"]].concat()).unwrap_err();
            let said = refused.to_string();
            for part in ["1000", backend.id(), &backend.key_bits()[0].to_string()] {
                assert!(said.contains(part), "{said}");
            }
        }
    }

    #[test]
    fn every_command_teaches_by_example() {
        let command = Cli::command();
        for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            assert!(command.get_after_help().is_some(), "{name} has no examples");
        }
    }
}
