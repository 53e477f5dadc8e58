//! Facts about this machine, as far as the system tells them.

use std::fmt;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// What a measurement should be read with.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// Threads that run at the same time.
    pub threads: usize,
    /// Operating system and architecture.
    pub system: String,
    /// Whether this program was built with optimisation.
    pub build: &'static str,
}

impl Machine {
    /// Looks around.
    pub fn here() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Self {
            processor: name.map_or("unknown", |(_, name)| name).into(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }
}

/// The most bytes of memory that a process (`self` or a number) has held so far.
pub fn peak_memory(process: &str) -> Option<u64> {
    amount(&format!("/proc/{process}/status"), "VmHWM:")
}

/// Bytes of memory that a process (`self` or a number) holds now.
pub fn memory(process: &str) -> Option<u64> {
    amount(&format!("/proc/{process}/status"), "VmRSS:")
}

/// Bytes of memory that programs may still take, where the system tells.
pub fn available_memory() -> Option<u64> {
    amount("/proc/meminfo", "MemAvailable:")
}

fn amount(file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Processor time that a process (`self` or a number) has used so far, in seconds, in steps of a
/// hundredth.
pub fn cpu_seconds(process: &str) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, which stands in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) as f64 / TICKS_A_SECOND)
}

/// What Linux counts in for its users, on every architecture of ours.
const TICKS_A_SECOND: f64 = 100.0;

/// How many processes wanted a processor, on average of the last minute.
pub fn load() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_ascii_whitespace().next()?.parse().ok()
}

/// The commit of the checkout that this program was built from, `-dirty` if it was changed since;
/// `None` where that checkout or git is missing.
pub fn commit() -> Option<String> {
    let mut git = Command::new("git");
    git.args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty"]);
    git.args(["--abbrev=12", "--exclude=*"]).stdin(Stdio::null()).stderr(Stdio::null());
    let said = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(said.stdout).ok()?.trim().to_owned())
}

/// Date and time in UTC, such as `2026-11-21T05:40:00Z`.
pub fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date(since.as_secs())
}

/// Seconds since 1970 as a date of the Gregorian calendar. Years are counted from March, so that
/// the leap day is their last (Howard Hinnant, *chrono-compatible low-level date algorithms*).
pub(crate) fn date(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// This process, as one would type it again.
pub fn command_line() -> String {
    let mut words = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let program = words.next().unwrap_or_default();
    let name = Path::new(&program).file_stem().unwrap_or_default().to_string_lossy().into_owned();
    typed([name].into_iter().chain(words))
}

/// Words as one would type them into a shell.
pub fn typed(words: impl IntoIterator<Item = String>) -> String {
    let quoted = |word: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        match !word.is_empty() && word.chars().all(plain) {
            true => word,
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    };
    words.into_iter().map(quoted).collect::<Vec<_>>().join(" ")
}

/// In one line.
impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processor, threads, system, build } = self;
        write!(f, "{processor}, {threads} threads, {system}, {build} build")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        let words = ["--data", "a b", "it's", ""].map(String::from);
        assert_eq!(typed(words), r"--data 'a b' 'it'\''s' ''");
    }

    #[test]
    fn dates_by_hand() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(4_107_542_400), "2100-03-01T00:00:00Z");
        assert_eq!(date(1_795_237_200), "2026-11-21T05:00:00Z");
    }
}
