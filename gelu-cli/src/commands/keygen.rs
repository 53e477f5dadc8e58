//! `gelu keygen`: a key pair in a file that only its owner may read.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::CommandFactory;
use serde::Serialize;

use crate::Cli;
use crate::args::usage_error;
use crate::backend::{Backend, Scheme, Task};
use crate::output::Output;
use crate::phases::Phases;
use crate::problem::{cannot_write, problem};

/// Make a key pair for a client
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu keygen alice.key              3072 bits, for new keys
  gelu keygen --bits 2048 alice.key  the paper's size, about 112 bits of security
  gelu keygen --backend elgamal e.key  for another cryptosystem, if this build has it

The file is the client's secret: whoever has it reads everything that was ever encrypted with it.
It is created with mode 0600 and never overwritten. --key alice.key uses it, in `gelu predict`,
`gelu infer` and `gelu train --server`; without --key every run makes a fresh key and forgets it.")]
pub(crate) struct Args {
    /// Where to write the key
    #[arg(value_name = "FILE", default_value = "gelu.key")]
    file: PathBuf,
    /// Bits of the key, of the backend's sizes [default: 3072 for paillier, 8192 for lattice; others have one size]
    #[arg(long, value_name = "BITS")]
    bits: Option<u32>,
    /// The cryptosystem, of those in this build; `gelu backends` compares them
    #[arg(long, value_enum, default_value_t = Backend::DEFAULT)]
    backend: Backend,
}

#[derive(Serialize)]
struct Made<'a> {
    file: &'a Path,
    backend: Backend,
    key_bits: u32,
    seconds: f64,
}

struct Keygen<'a> {
    file: &'a Path,
    bits: u32,
}

/// Makes the key.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let bits = args.bits.unwrap_or_else(|| args.backend.new_key_bits());
    if let Err(why) = args.backend.check_key_bits(bits) {
        usage_error("--bits", &why).format(&mut Cli::command()).exit();
    }
    if args.file.exists() {
        let what =
            format!("{} exists already, and keys are never overwritten", args.file.display());
        return Err(problem(what, "choose another name, or move the old key away"));
    }
    gelu_files::check_writable(&args.file).map_err(|error| cannot_write(&args.file, &error))?;
    let mut phases = Phases::start();
    let running = phases.begin("making a key", 0);
    args.backend.run(Keygen { file: &args.file, bits })?;
    let file = args.file.display();
    phases.end(running, "key", &format!("made a key of {bits} bits"));
    let made = Made {
        file: &args.file,
        backend: args.backend,
        key_bits: bits,
        seconds: phases.elapsed().as_secs_f64(),
    };
    output.show(&made, format_args!("{file}: a key of {bits} bits, readable by you alone"))
}

impl Task for Keygen<'_> {
    type Output = Result<()>;

    fn run<S: Scheme>(self) -> Result<()> {
        let mut rng = rand::make_rng::<rand::rngs::ChaCha20Rng>();
        let secret = <S as gelu_core::Cryptosystem>::keygen(self.bits, &mut rng)?;
        S::write_key(&secret, self.file)
    }
}
