//! Options of an example, and what memory there is.

use std::collections::BTreeMap;
use std::str::FromStr;

/// `--name value`, and at most one path.
pub(crate) struct Options {
    named: BTreeMap<String, String>,
    pub(crate) path: Option<std::path::PathBuf>,
}

impl Options {
    /// Those of the command line.
    pub(crate) fn read() -> Result<Self, String> {
        let mut options = Self { named: BTreeMap::new(), path: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix("--") {
                Some(name) => {
                    let value = arguments.next().ok_or(format!("--{name} takes a value"))?;
                    options.named.insert(name.into(), value);
                }
                None => options.path = Some(argument.into()),
            }
        }
        Ok(options)
    }

    /// The value of an option, if it was given.
    pub(crate) fn take<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, String> {
        let read =
            |text: String| text.parse().map_err(|_| format!("--{name} does not take {text}"));
        self.named.remove(name).map(read).transpose()
    }

    /// Refuses what is left.
    pub(crate) fn end(&self) -> Result<(), String> {
        self.named.keys().next().map_or(Ok(()), |name| Err(format!("there is no option --{name}")))
    }
}

/// Bytes of memory that are available: `MemAvailable` on Linux, no limit elsewhere.
pub(crate) fn available() -> u64 {
    kib("/proc/meminfo", "MemAvailable:").map_or(u64::MAX, |kib| kib << 10)
}

/// The most memory that this process had, in MiB.
pub(crate) fn peak() -> u64 {
    kib("/proc/self/status", "VmHWM:").unwrap_or(0) >> 10
}

fn kib(file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
