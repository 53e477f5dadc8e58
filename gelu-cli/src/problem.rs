//! Errors as a person meets them: one sentence, then what to do next.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::Error;
use gelu_core::error::Refused;

/// An error together with the way out of it.
#[derive(Debug)]
pub struct Problem {
    what: String,
    next: String,
    /// What it is about, where that has a type: its words are in `what`.
    cause: Option<Error>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Problem {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(AsRef::as_ref)
    }
}

/// What went wrong, and what to do next.
pub fn problem(what: impl Into<String>, next: impl Into<String>) -> Error {
    Problem { what: what.into(), next: next.into(), cause: None }.into()
}

/// An error, kept as it is, and what to do next.
pub fn advised(error: impl Into<Error>, next: impl Into<String>) -> Error {
    let error = error.into();
    Problem { what: sentence(&error), next: next.into(), cause: Some(error) }.into()
}

/// A file that cannot be written, and what helps.
pub(crate) fn cannot_write(path: &Path, error: &io::Error) -> Error {
    let next = of_io(error).unwrap_or("choose another path");
    problem(format!("cannot write {}: {error}", path.display()), next)
}

/// Adds the way out to an error.
pub trait Advise<T> {
    /// Keeps the error as it is and says what to do next.
    fn advise(self, next: impl FnOnce() -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<Error>> Advise<T> for Result<T, E> {
    fn advise(self, next: impl FnOnce() -> String) -> anyhow::Result<T> {
        self.map_err(|error| advised(error, next()))
    }
}

/// The whole message: `error: …`, and `next: …` where there is advice.
pub fn explain(error: &Error) -> String {
    let what = format!("error: {}", sentence(error));
    match advice(error) {
        Some(next) => format!("{what}\n next: {next}"),
        None => what,
    }
}

/// The chain of causes as one sentence; a cause that its parent repeats is left out.
pub fn sentence(error: &Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |sentence, cause| {
        match (sentence.is_empty(), sentence.contains(&cause)) {
            (true, _) => cause,
            (_, true) => sentence,
            _ => format!("{sentence}: {cause}"),
        }
    })
}

/// The advice that came with an error, or what is known to help against one of its kind.
pub fn advice(error: &Error) -> Option<String> {
    if let Some(problem) = error.chain().find_map(|e| e.downcast_ref::<Problem>()) {
        return Some(problem.next.clone());
    }
    error.chain().find_map(of_cause).map(Into::into)
}

/// What helps against one cause of an error, whichever crate it comes from.
fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    use gelu_core::Error as Core;
    use gelu_nn::error::ModelFileError;
    use gelu_service::Error as Service;
    if let Some(error) = cause.downcast_ref::<Service>() {
        return match error {
            Service::Refused(refused) => Some(of_refusal(refused)),
            Service::PeerIncompatible(_) => Some(INCOMPATIBLE),
            Service::Protocol(error) => of_cause(error),
            Service::Network { source, .. } => Some(of_network(source)),
            _ => None,
        };
    }
    if let Some(refused) = cause.downcast_ref::<Refused>() {
        return Some(of_refusal(refused));
    }
    if let Some(gelu_nn::Error::ModelFile(ModelFileError::NoMetadata(_))) = cause.downcast_ref() {
        return Some("`gelu import` makes a model of weights that were trained elsewhere");
    }
    match cause.downcast_ref::<Core>() {
        Some(Core::Refused(refused)) => Some(of_refusal(refused)),
        Some(Core::PeerIncompatible(_)) => Some(INCOMPATIBLE),
        Some(Core::Range(_)) => Some(
            "use a model for queries (--precision inference), a smaller --batch, a smaller \
                 --lease-samples, or a --backend with larger plaintexts: `gelu backends`",
        ),
        _ => cause.downcast_ref::<io::Error>().and_then(of_io),
    }
}

const INCOMPATIBLE: &str = "run the same version and --backend on both sides";

fn of_refusal(refused: &Refused) -> &'static str {
    match refused {
        Refused::ByPeer(reason) if reason.contains("tell its operator") => {
            "the server's own log says what is wrong there; run the command again when it is mended"
        }
        Refused::ExposesData { .. } => {
            "train on more different rows; as a last resort --allow-input-reconstruction gives the \
             protection of the data up"
        }
        Refused::LeaseLimit { .. } => "--lease-samples where the server is started must be larger",
        Refused::ShortMasks { .. } => {
            "use a model with longer masks (sigma), or ask for shorter leases"
        }
        Refused::Unbooked(_) => {
            "check the file and the folder that it is in; --sums names another one"
        }
        _ => {
            "`gelu audit MODEL` shows how many samples are safe; only the server's operator can \
             override the ledger, with --allow-model-extraction"
        }
    }
}

/// What helps where no connection comes about, at either end.
fn of_network(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable | ErrorKind::PermissionDenied => {
            "choose another address with --listen, or port 0 for a free one"
        }
        _ => "check the address and the port, and that the server runs there",
    }
}

/// What helps when the system says no.
pub fn of_io(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        ErrorKind::NotFound => "check the path",
        ErrorKind::PermissionDenied => "check who may read and write there",
        ErrorKind::AlreadyExists => "choose another path, or move the old file away",
        ErrorKind::IsADirectory => "name a file, not a folder",
        ErrorKind::NotADirectory => "check the path: what stands for a folder in it is a file",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "make room on that disk, or choose a path on another one"
        }
        ErrorKind::ReadOnlyFilesystem => "choose a path that can be written to",
        ErrorKind::FileTooLarge => "choose a path on a file system without that limit",
        ErrorKind::InvalidFilename | ErrorKind::InvalidInput => "choose another name",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn one_sentence_and_the_next_step() {
        let error = problem("there is no key", "make one with `gelu keygen`");
        assert_eq!(
            explain(&error.context("cannot start")),
            "error: cannot start: there is no key\n next: make one with `gelu keygen`"
        );
        let missing = io::Error::from(ErrorKind::NotFound);
        let error = Err::<(), _>(missing).context("cannot read m").unwrap_err();
        assert!(explain(&error).ends_with("next: check the path"));
        let advised = Err::<(), _>(anyhow::anyhow!("a")).advise(|| "b".into()).unwrap_err();
        assert_eq!(explain(&advised), "error: a\n next: b");
        let missing = || io::Error::from(ErrorKind::NotFound);
        let kept = super::advised(missing(), "look elsewhere");
        assert_eq!(sentence(&kept), missing().to_string(), "said once");
        assert_eq!(advice(&kept).as_deref(), Some("look elsewhere"), "not the advice of its cause");
        assert!(kept.chain().any(|cause| cause.is::<io::Error>()), "who must act is still known");
    }

    #[test]
    fn whoever_can_make_room_is_told_so() {
        let full = || io::Error::from(ErrorKind::StorageFull);
        let wrapped = [
            anyhow::Error::new(full()).context("cannot write"),
            gelu_service::Error::from(gelu_nn::Error::Io { path: "m".into(), source: full() })
                .into(),
        ];
        for error in wrapped {
            assert!(explain(&error).contains("next: make room on that disk"), "{error:?}");
        }
        let theirs = Refused::ByPeer("the server cannot keep its ledger; tell its operator".into());
        let said = explain(&gelu_service::Error::from(theirs).into());
        assert!(said.contains("the server's own log") && !said.contains("gelu audit"), "{said}");
        for kind in [
            ErrorKind::ReadOnlyFilesystem,
            ErrorKind::IsADirectory,
            ErrorKind::NotADirectory,
            ErrorKind::QuotaExceeded,
        ] {
            assert!(of_io(&kind.into()).is_some(), "{kind:?}");
        }
    }

    #[test]
    fn words_of_others_do_not_reach_the_terminal_raw() {
        for (raw, shown) in [
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("no\nerror: lost", "no\\nerror: lost"),
            ("a\rb", "a\\rb"),
            ("\u{202e}gnp", "\\u{202e}gnp"),
        ] {
            let refused = gelu_service::Error::from(Refused::ByPeer(raw.into()));
            assert!(explain(&refused.into()).contains(shown), "{raw:?}");
            let backend = gelu_core::error::PeerIncompatible::Backend {
                ours: "paillier".into(),
                theirs: raw.into(),
            };
            let said = explain(&gelu_service::Error::from(backend).into());
            assert!(!said.contains(raw), "{said:?}");
        }
        let long = Refused::ByPeer("x".repeat(1 << 20));
        assert!(explain(&gelu_service::Error::from(long).into()).len() < 1000);
    }

    #[test]
    fn repeated_causes_are_said_once() {
        let error = anyhow::anyhow!("disk full").context("cannot write: disk full");
        assert_eq!(explain(&error), "error: cannot write: disk full");
    }
}
