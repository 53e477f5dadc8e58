//! `gelu certs`: a development authority, so that server and clients know each other.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use gelu_service::certs::{Authority, Identity};
use serde::Serialize;

use crate::output::Output;
use crate::problem::{Advise, problem};

/// Make certificates for the server and its clients (a development authority)
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu certs init                           an authority and a server certificate for localhost
  gelu certs init --host gelu.example.org   … for another host as well
  gelu certs add alice                      a client certificate; `alice` is her account

Give every client its own certificate: the leakage ledger counts by account. Send it
clients/NAME.pem, clients/NAME.key and ca.pem; keep ca.key and server.key.")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make an authority and the server's certificate
    Init {
        /// Folder of the authority
        #[arg(long, value_name = "DIR", default_value = "certs")]
        dir: PathBuf,
        /// Host name or address of the server, besides localhost (may be given several times)
        #[arg(long, value_name = "NAME")]
        host: Vec<String>,
        /// Make a client's certificate as well, for this account
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
    },
    /// Make a client's certificate
    Add {
        /// The client's account
        account: String,
        /// Folder of the authority
        #[arg(long, value_name = "DIR", default_value = "certs")]
        dir: PathBuf,
    },
}

#[derive(Serialize)]
struct Made {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

/// Makes what was asked for.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    match &args.action {
        Action::Init { dir, host, account } => {
            let names: Vec<_> = host.iter().map(String::as_str).collect();
            let (authority, identity) = Authority::init(dir, &names).map_err(advised)?;
            let made = made(&authority, identity);
            let (ca, server) = (made.authority.display(), made.certificate.display());
            let client =
                account.as_deref().map(|account| authority.issue_client(account)).transpose()?;
            let next = match client {
                Some(Identity { certificate, .. }) => {
                    format!("{}: a client", certificate.display())
                }
                None => format!("next: gelu certs add NAME --dir {}", dir.display()),
            };
            output.show(&made, format_args!("{ca}: the authority\n{server}: the server\n{next}"))
        }
        Action::Add { account, dir } => {
            let authority = Authority::open(dir).advise(|| {
                format!("make an authority with `gelu certs init --dir {}`", dir.display())
            })?;
            let made = made(&authority, authority.issue_client(account)?);
            let files = format!("{} and {}", made.certificate.display(), made.key.display());
            output.show(&made, format_args!("{files}: the account {account:?}"))
        }
    }
}

fn advised(error: gelu_service::Error) -> anyhow::Error {
    use gelu_service::error::{Error, FileError, FileProblem};
    match &error {
        Error::File(FileError { problem: FileProblem::Exists, .. }) => {
            let next = "choose another folder with --dir, or go on with that authority";
            problem(error.to_string(), next)
        }
        Error::Configuration { .. } => {
            problem(error.to_string(), "write --host with a host name or an address")
        }
        _ => error.into(),
    }
}

fn made(authority: &Authority, identity: Identity) -> Made {
    let Identity { certificate, key } = identity;
    Made { authority: authority.certificate(), certificate, key }
}
