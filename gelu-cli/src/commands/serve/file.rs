//! A server's settings in a file: every key is an option of `gelu serve`, without the dashes.
//!
//! So one parser knows what a setting means, which values it takes, and what to say of others.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use clap::{Arg, Args, Command};
use gelu_service::Limits;
use gelu_store::Quota;
use serde::Deserialize;
use toml::{Table, Value};

use super::offer::ModelArgs;
use super::{Place, limits::LimitsTable};
use crate::problem::problem;

/// What a file says.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) fixed: Fixed,
    pub(super) models: Vec<ModelArgs>,
}

/// What holds from a server's start to its end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fixed {
    pub(super) place: Place,
    pub(super) limits: Limits,
    pub(super) quota: Quota,
    /// Of accounts that have one of their own.
    pub(super) quotas_of: BTreeMap<String, Quota>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    #[serde(default)]
    server: Table,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    quota: Quota,
    #[serde(default, rename = "quota-of")]
    quotas_of: BTreeMap<String, Quota>,
    #[serde(default)]
    model: Vec<Table>,
}

/// Options whose values are paths, seen from the file's folder.
const PATHS: [&str; 6] = ["certs", "store", "file", "model", "key", "web-root"];

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// The table and the key that cannot be, and why.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let unusable = |why: String| {
            let example = "packaging/server.toml is an example with all that can be said";
            problem(format!("{}: {why}", path.display()), example)
        };
        let text = std::fs::read_to_string(path).map_err(|e| unusable(e.to_string()))?;
        let content: Content =
            toml::from_str(&text).map_err(|e| unusable(e.to_string().trim().to_owned()))?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let place =
            parsed(&content.server, folder).map_err(|e| unusable(format!("[server]: {e}")))?;
        let models = content.model.iter().zip(1..).map(|(table, n)| {
            parsed(table, folder).map_err(|e| unusable(format!("[[model]] {n}: {e}")))
        });
        let models: Vec<_> = models.collect::<Result<_>>()?;
        if models.is_empty() {
            return Err(unusable("no [[model]] in it".into()));
        }
        let (limits, quota, quotas_of) =
            (content.limits.limits(), content.quota, content.quotas_of);
        Ok(Self { fixed: Fixed { place, limits, quota, quotas_of }, models })
    }
}

/// A table as the options that it stands for.
fn parsed<A: Args>(table: &Table, folder: &Path) -> Result<A, String> {
    // `--config` stands beside these options on the command line, which they name; it is no setting.
    let config = Arg::new("config").long("config").hide(true);
    let command = Command::new("gelu").no_binary_name(true).disable_help_flag(true).arg(config);
    let command = A::augment_args(command);
    let is_setting = |arg: &Arg, key: &str| arg.get_long() == Some(key) && !arg.is_hide_set();
    let known = |key: &str| command.get_arguments().any(|arg| is_setting(arg, key));
    let mut words = Vec::new();
    for (key, value) in table {
        let option = if key == "file" { "model" } else { key };
        if !known(option) {
            return Err(format!("there is no setting {key:?}"));
        }
        let at = |text: &str| match PATHS.contains(&&**key) && !text.contains("://") {
            true => folder.join(text).display().to_string(),
            false => text.to_owned(),
        };
        let value = match value {
            Value::Boolean(false) => continue,
            Value::Boolean(true) => None,
            Value::String(text) => Some(at(text)),
            Value::Array(values) => Some(joined(key, values)?),
            Value::Integer(n) => Some(n.to_string()),
            Value::Float(x) => Some(x.to_string()),
            other => return Err(format!("{key} cannot be a {}", other.type_str())),
        };
        words.push(match value {
            Some(value) => format!("--{option}={value}"),
            None => format!("--{option}"),
        });
    }
    let matches = command.try_get_matches_from(words).map_err(|error| one_line(&error))?;
    A::from_arg_matches(&matches).map_err(|error| one_line(&error))
}

fn joined(key: &str, values: &[Value]) -> Result<String, String> {
    let words: Option<Vec<_>> = values.iter().map(Value::as_str).collect();
    Ok(words.ok_or_else(|| format!("{key} is a list of words"))?.join(","))
}

/// What clap has to say, without its usage and its colours.
fn one_line(error: &clap::Error) -> String {
    let said = error.render().to_string();
    let said = said.trim_start_matches("error: ");
    said.split("\n\n").next().unwrap_or(said).replace('\n', " ")
}
