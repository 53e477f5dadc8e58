//! How a run ends: with all that was asked for, or early, with what had been done by then.
//!
//! Encrypted work is dear: what was done before a refusal, an interruption or a lost server is shown
//! and written like any result, says how much of how much it is, and ends in [`EXIT_CODE`].

use std::fmt;
use std::path::Path;

use anyhow::{Error, Result};
use serde_json::Value;

use crate::destination::Destination;
use crate::output::Output;
use crate::phases::say;
use crate::problem;
use crate::report::Report;

/// The exit code of a run that ended early and has shown what it had.
pub(crate) const EXIT_CODE: u8 = 3;

/// Marks the error of a run whose partial results have been shown.
#[derive(Debug)]
struct Early {
    done: String,
}

impl fmt::Display for Early {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the run ended early, {}", self.done)
    }
}

/// Why a run ended before its work was done.
#[derive(Debug, Clone)]
pub(crate) struct Ended {
    why: String,
    next: Option<String>,
}

impl Ended {
    /// Nothing if `result` is no error, and the error itself if there is not `any` work to show.
    pub(crate) fn of(result: Result<()>, any: bool) -> Result<Option<Self>> {
        match result {
            Ok(()) => Ok(None),
            Err(error) if !any => Err(error),
            Err(error) => {
                let next = problem::advice(&error);
                Ok(Some(Self { why: problem::sentence(&error), next }))
            }
        }
    }

    /// The reason, in a sentence.
    pub(crate) fn reason(&self) -> &str {
        &self.why
    }

    /// The error of a run that has shown what it had: `done`.
    pub(crate) fn into_error(self, done: String) -> Error {
        let error = match self.next {
            Some(next) => problem::problem(self.why, next),
            None => Error::msg(self.why),
        };
        error.context(Early { done })
    }
}

/// Whether partial results of this failed run have been shown.
pub(crate) fn is_early(error: &Error) -> bool {
    error.is::<Early>()
}

/// What a run has to show, in the order in which it is shown.
pub(crate) struct Results<'a> {
    /// The page, and where it goes if it goes anywhere.
    pub(crate) report: Option<(Report, &'a Destination)>,
    /// Files that had to be written before: a trained model.
    pub(crate) saved: Result<()>,
    /// Why the run ended early, and how much was done by then.
    pub(crate) ended: Option<(Ended, String)>,
}

impl Results<'_> {
    /// Writes the report, shows the result (told where the report is), and only then fails if
    /// something has failed: nothing hides a result.
    pub(crate) fn deliver(
        self,
        output: Output,
        json: impl FnOnce(Option<&Path>) -> Value,
        text: impl FnOnce(Option<&Path>) -> String,
    ) -> Result<()> {
        let written = self.report.map(|(report, to)| report.write(to).map(|()| to.path()));
        let path = written.as_ref().and_then(|written| written.as_ref().ok()).copied();
        let shown = match output.json {
            true => output.show(&json(path), ""),
            false => output.show(&(), text(path)),
        };
        if let Some((ended, done)) = self.ended {
            for failed in [shown.err(), self.saved.err(), written.and_then(Result::err)] {
                failed.iter().for_each(|error| say(&problem::explain(error)));
            }
            return Err(ended.into_error(done));
        }
        shown.and(self.saved).and(written.transpose().map(|_| ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::Kind;
    use crate::problem::problem;

    #[test]
    fn an_early_end_says_what_was_done_and_why() {
        let why = || problem("the budget is spent", "ask the operator");
        assert!(Ended::of(Ok(()), true).unwrap().is_none());
        assert!(Ended::of(Err(why()), false).is_err_and(|error| !is_early(&error)));
        let ended = Ended::of(Err(why()), true).unwrap().unwrap();
        assert_eq!(ended.reason(), "the budget is spent");
        let ended = Some((ended, "3 of 5 rows are answered".into()));
        let results = Results { report: None, saved: Ok(()), ended };
        let error = results.deliver(Output { json: false }, |_| Value::Null, |_| String::new());
        let error = error.unwrap_err();
        assert!(is_early(&error));
        assert_eq!(
            problem::explain(&error),
            "error: the run ended early, 3 of 5 rows are answered: the budget is spent\n next: ask \
             the operator"
        );
    }

    #[test]
    fn a_failed_report_hides_nothing_and_is_an_error() {
        let (folder, report) = (tempfile::tempdir().unwrap(), Report::of_tests("a"));
        // The folder was there when the run began.
        let path = folder.path().join("nothing").join("r.html");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        let to = Destination::check(&path, Kind::Report, &[], false).unwrap();
        std::fs::remove_dir(path.parent().unwrap()).unwrap();
        let results = Results { report: Some((report, &to)), saved: Ok(()), ended: None };
        let mut told = Some(Path::new("untold").to_owned());
        let delivered = results.deliver(
            Output { json: false },
            |_| Value::Null,
            |path| {
                told = path.map(Path::to_owned);
                String::new()
            },
        );
        assert_eq!(told, None, "there is no report to point to");
        assert!(delivered.is_err_and(|error| !is_early(&error)));
    }
}
