//! `gelu token`: a short-lived proof of an account, for who cannot present a certificate.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use gelu_service::certs;
use serde::Serialize;

use super::certs::Folder;
use crate::output::Output;
use crate::problem::Advise;

/// Make a short-lived token of an account, for a browser (signed by the authority of `gelu certs`)
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gelu token alice                 valid for an hour
  gelu token alice --for 10min     … for ten minutes; a day is the most
  gelu token alice --json          with its number and when it ends

Whoever has the text is the account until it expires: hand it over by TLS alone. It ends with the
account's certificate: `gelu certs revoke alice` ends both.")]
pub(crate) struct Args {
    /// The account; it has a certificate of the authority
    account: String,
    /// How long it is valid: a number with s, min or h
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = duration)]
    lifetime: Duration,
    #[command(flatten)]
    folder: Folder,
}

#[derive(Serialize)]
struct Made<'a> {
    token: &'a str,
    account: &'a str,
    /// Its own name, for logs.
    id: &'a str,
    /// Seconds since 1970.
    expires: u64,
    until: String,
}

/// Makes it.
pub(crate) fn run(args: &Args, output: Output) -> Result<()> {
    let authority = args.folder.open()?;
    let made = authority.token(&args.account, args.lifetime, SystemTime::now());
    let (token, text) = made.advise(|| "`gelu certs list` shows the accounts".into())?;
    let made = Made {
        token: &text,
        account: token.account(),
        id: token.id(),
        expires: token.expires(),
        until: certs::date(token.expires()),
    };
    output.show(&made, &text)
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" => 1,
        "min" => 60,
        "h" => 3600,
        _ => 0,
    };
    let number = number.parse::<u64>().ok().filter(|_| seconds > 0);
    let seconds = number.and_then(|number| number.checked_mul(seconds));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| "a number with s, min or h, such as 30min".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_numbers_with_a_unit() {
        for (text, seconds) in [("90s", 90), ("10min", 600), ("24h", 86_400), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "1", "h", "1 h", "1d", "-1h", "1.5h", "99999999999999999999h", "9999999999999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
