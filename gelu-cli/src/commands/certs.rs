//! `gelu certs`: a development authority, so that server and clients know each other.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{ArgGroup, Subcommand};
use gelu_service::certs::{self, Authority, Entry, Identity, Whom};
use serde::Serialize;

use crate::output::{Output, table};
use crate::problem::{self, Advise};

/// Make certificates for the server and its clients (a development authority)
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu certs init                           an authority and a server certificate for localhost
  gelu certs init --host gelu.example.org   … for another host as well
  gelu certs add alice                      a client certificate; `alice` is her account
  gelu certs list                           all of them: whose, until when, revoked or not
  gelu certs renew alice                    a new key and certificate in the place of hers
  gelu certs renew --server                 the same for the server
  gelu certs revoke alice                   hers count no more: servers turn her away

A server reads crl.pem, the list of what was revoked, beside its ca.pem; where it runs elsewhere,
copy the new list there.

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
        #[command(flatten)]
        folder: Folder,
    },
    /// Make a new key and certificate in the place of a client's or the server's
    #[command(group(ArgGroup::new("who").args(["account", "server"]).required(true)))]
    Renew {
        /// The client's account
        account: Option<String>,
        /// The server's
        #[arg(long)]
        server: bool,
        /// Host name or address of the server, besides localhost [default: those of the old certificate]
        #[arg(long, value_name = "NAME", conflicts_with = "account")]
        host: Vec<String>,
        /// Revoke the old ones at once; without it they are valid until they end
        #[arg(long)]
        revoke_old: bool,
        #[command(flatten)]
        folder: Folder,
    },
    /// Revoke a client's certificates: servers turn it away, within a second where they run
    #[command(group(ArgGroup::new("what").args(["account", "certificate"]).required(true)))]
    Revoke {
        /// The client's account: all of its certificates
        account: Option<String>,
        /// One certificate alone
        #[arg(long, value_name = "FILE")]
        certificate: Option<PathBuf>,
        #[command(flatten)]
        folder: Folder,
    },
    /// List what was issued: whose, until when, revoked or not
    List {
        #[command(flatten)]
        folder: Folder,
    },
}

/// Where the authority is.
#[derive(Debug, clap::Args)]
pub(super) struct Folder {
    /// Folder of the authority
    #[arg(long, value_name = "DIR", default_value = "certs")]
    dir: PathBuf,
}

impl Folder {
    /// The authority in it.
    pub(super) fn open(&self) -> Result<Authority> {
        Authority::open(&self.dir).advise(|| {
            format!("make an authority with `gelu certs init --dir {}`", self.dir.display())
        })
    }
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

/// What was taken back.
#[derive(Serialize)]
struct Revoked {
    /// The list that servers read.
    list: PathBuf,
    /// Serials that are on it now and were not before.
    revoked: Vec<String>,
}

#[derive(Serialize)]
struct Renewed {
    #[serde(flatten)]
    identity: Files,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Revoked>,
}

/// A certificate on the list.
#[derive(Serialize)]
struct Row {
    /// None for the server.
    account: Option<String>,
    serial: String,
    /// Seconds since 1970.
    expires: u64,
    /// Seconds since 1970.
    revoked: Option<u64>,
    state: &'static str,
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
            if let Some(account) = account {
                certs::check_account(account).advise(|| "choose another --account".into())?;
            }
            let account = account.as_deref();
            let (authority, identity) = Authority::init(dir, &names, account).map_err(advised)?;
            let client = account.map(|account| Files::from(authority.client(account)));
            let next = match (account, &client) {
                (Some(account), Some(files)) => files.of_account(account),
                _ => format!("next: gelu certs add NAME --dir {}", dir.display()),
            };
            let made = Made { client, ..Made::of(&authority, identity) };
            let (ca, server) = (made.authority.display(), made.identity.certificate.display());
            output.show(&made, format_args!("{ca}: the authority\n{server}: the server\n{next}"))
        }
        Action::Add { account, folder } => {
            let authority = folder.open()?;
            let made = Made::of(&authority, authority.issue_client(account)?);
            output.show(&made, made.identity.of_account(account))
        }
        Action::Renew { account, host, revoke_old, folder, .. } => {
            renew(&folder.open()?, account.as_deref(), host, *revoke_old, output)
        }
        Action::Revoke { account, certificate, folder } => {
            let authority = folder.open()?;
            let whom = match (account, certificate) {
                (_, Some(path)) => Whom::Certificate(path),
                (account, None) => Whom::Account(account.as_deref().unwrap_or_default()),
            };
            let revoked = Revoked::by(&authority, whom)?;
            output.show(&revoked, revoked.in_words())
        }
        Action::List { folder } => list(folder.open()?.list()?, output),
    }
}

fn renew(
    authority: &Authority,
    account: Option<&str>,
    host: &[String],
    revoke_old: bool,
    output: Output,
) -> Result<()> {
    let names: Vec<_> = host.iter().map(String::as_str).collect();
    let identity = match account {
        Some(account) => authority
            .renew_client(account)
            .advise(|| format!("`gelu certs add {account}` makes the first one"))?,
        None => authority
            .renew_server(&names)
            .advise(|| "`gelu certs init` makes the first one of a server".into())?,
    };
    let older = account.map_or(Whom::OlderOfServer, Whom::OlderOf);
    let old = revoke_old.then(|| Revoked::by(authority, older)).transpose()?;
    let renewed = Renewed { identity: identity.into(), old };
    let files = match account {
        Some(account) => renewed.identity.of_account(account),
        None => format!(
            "{} and {}: the server",
            renewed.identity.certificate.display(),
            renewed.identity.key.display()
        ),
    };
    let old = renewed.old.as_ref().map(|old| format!("\n{}", old.in_words()));
    output.show(&renewed, format_args!("{files}{}", old.unwrap_or_default()))
}

fn list(entries: Vec<Entry>, output: Output) -> Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let row = |Entry { account, serial, expires, revoked }: Entry| {
        let left = Duration::from_secs(expires).checked_sub(now);
        let state = match (revoked, left) {
            (Some(_), _) => "revoked",
            (None, None) => "expired",
            (None, Some(left)) if left < certs::SOON => "ends soon",
            _ => "valid",
        };
        Row { account, serial, expires, revoked, state }
    };
    let rows: Vec<Row> = entries.into_iter().map(row).collect();
    let mut shown = table(&["account", "state", "until", "serial"]);
    for Row { account, serial, expires, state, .. } in &rows {
        let account = account.as_deref().unwrap_or("(the server)");
        shown.add_row([account, state, certs::date(*expires).as_str(), serial.as_str()]);
    }
    output.show(&rows, shown)
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

impl Revoked {
    fn by(authority: &Authority, whom: Whom<'_>) -> Result<Self> {
        let revoked = authority.revoke(whom)?;
        Ok(Self { list: authority.revocation_list(), revoked })
    }

    fn in_words(&self) -> String {
        let list = self.list.display();
        match self.revoked.len() {
            0 => format!("{list}: nothing new; they were revoked before"),
            1 => format!("{list}: one certificate more counts no more; servers need this file"),
            n => format!("{list}: {n} certificates more count no more; servers need this file"),
        }
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
