//! `gelu certs`: a development authority, so that server and clients know each other.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use gelu_service::certs::{self, Authority, Identity};
use serde::Serialize;

use crate::output::Output;
use crate::problem::{self, Advise};

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
    #[serde(flatten)]
    identity: Files,
    /// That was made beside the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<Files>,
}

#[derive(Serialize)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// Makes what was asked for.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    match &args.action {
        Action::Init { dir, host, account } => {
            let names: Vec<_> = host.iter().map(String::as_str).collect();
            // Checked before anything is made: it is all or nothing.
            if let Some(account) = account {
                certs::check_account(account).advise(|| "choose another --account".into())?;
            }
            let (authority, identity) = Authority::init(dir, &names).map_err(advised)?;
            let client = account.as_deref().map(|account| authority.issue_client(account));
            let client = client.transpose()?.map(Files::from);
            let next = match (account, &client) {
                (Some(account), Some(files)) => files.of_account(account),
                _ => format!("next: gelu certs add NAME --dir {}", dir.display()),
            };
            let made = Made { client, ..Made::of(&authority, identity) };
            let (ca, server) = (made.authority.display(), made.identity.certificate.display());
            output.show(&made, format_args!("{ca}: the authority\n{server}: the server\n{next}"))
        }
        Action::Add { account, dir } => {
            let authority = Authority::open(dir).advise(|| {
                format!("make an authority with `gelu certs init --dir {}`", dir.display())
            })?;
            let made = Made::of(&authority, authority.issue_client(account)?);
            output.show(&made, made.identity.of_account(account))
        }
    }
}

fn advised(error: gelu_service::Error) -> anyhow::Error {
    use gelu_service::error::{Error, FileError, FileProblem};
    let next = match &error {
        Error::File(FileError { problem: FileProblem::Exists, .. }) => {
            "choose another folder with --dir, or go on with that authority"
        }
        Error::Configuration { .. } => "write --host with a host name or an address",
        _ => return error.into(),
    };
    problem::advised(error, next)
}

impl Made {
    fn of(authority: &Authority, identity: Identity) -> Self {
        Self { authority: authority.certificate(), identity: identity.into(), client: None }
    }
}

impl Files {
    /// As a person reads it.
    fn of_account(&self, account: &str) -> String {
        format!(
            "{} and {}: the account {account:?}",
            self.certificate.display(),
            self.key.display()
        )
    }
}

impl From<Identity> for Files {
    fn from(Identity { certificate, key }: Identity) -> Self {
        Self { certificate, key }
    }
}
