//! What took how long: every piece of long work goes through a stopwatch that the terminal shows
//! while it runs and the report shows afterwards.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gelu_core::text::{printable, printable_lines};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

pub use crate::amounts::{bytes, seconds};

/// A finished piece of work.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Phase {
    /// What was done.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
}

/// The work done so far.
#[derive(Debug)]
pub struct Phases {
    started: Instant,
    done: Vec<Phase>,
}

impl Phases {
    /// Starts the clock.
    pub fn start() -> Self {
        Self { started: Instant::now(), done: Vec::new() }
    }

    /// Begins a piece of work of `steps` steps (0: unknown), shown as `message`.
    pub fn begin(&self, message: &str, steps: u64) -> Running {
        let started = Instant::now();
        Running { bar: bar(message, steps), started, told: Arc::new(Mutex::new(started)) }
    }

    /// Ends a piece of work: `name` goes into the report, `said` onto the terminal.
    pub fn end(&mut self, running: Running, name: &str, said: &str) {
        let elapsed = running.started.elapsed();
        running.bar.finish_and_clear();
        say(&format!("{said}  ({})", seconds(elapsed.as_secs_f64())));
        self.done.push(Phase { name: name.into(), seconds: elapsed.as_secs_f64() });
    }

    /// All finished pieces, in order.
    pub fn done(&self) -> &[Phase] {
        &self.done
    }

    /// Since the start.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A piece of work that goes on.
#[derive(Debug, Clone)]
pub struct Running {
    bar: ProgressBar,
    started: Instant,
    /// When a line last told how far it is, where there is no terminal to show a bar.
    told: Arc<Mutex<Instant>>,
}

/// How often a log is told how far long work is.
const TOLD_EVERY: Duration = Duration::from_mins(1);

impl Running {
    /// Another step is done.
    pub fn step(&self) {
        self.steps(1);
    }

    /// So many more steps are done.
    pub fn steps(&self, steps: usize) {
        self.bar.inc(steps as u64);
        if self.bar.length().is_none() {
            self.note(format!("{} so far", self.bar.position()));
        }
        let mut told = self.told.lock().expect("no panic while held");
        if self.bar.is_hidden() && told.elapsed() >= TOLD_EVERY {
            *told = Instant::now();
            let (bar, left) = (&self.bar, seconds(self.bar.eta().as_secs_f64()));
            match bar.length() {
                Some(of) => {
                    say(&format!("{}: {} of {of}, {left} left", bar.prefix(), bar.position()))
                }
                None => say(&format!("{}: {} so far", bar.prefix(), bar.position())),
            }
        }
    }

    /// What is happening right now.
    pub fn note(&self, text: impl Into<String>) {
        self.bar.set_message(printable(&text.into()));
    }
}

/// What is shown right now, for those who only look on: the observers of a session outlive each
/// piece of work.
#[derive(Debug, Clone, Default)]
pub struct Screen(Arc<Mutex<Option<Running>>>);

impl Screen {
    /// From here on `running` is shown.
    pub fn show(&self, running: &Running) {
        *self.0.lock().expect("no panic while held") = Some(running.clone());
    }

    /// Another step is done.
    pub fn step(&self) {
        self.with(Running::step);
    }

    /// What is happening right now.
    pub fn note(&self, text: impl FnOnce() -> String) {
        self.with(|running| running.note(text()));
    }

    fn with(&self, f: impl FnOnce(&Running)) {
        if let Some(running) = &*self.0.lock().expect("no panic while held") {
            f(running);
        }
    }
}

/// A line for the person who watches, if there still is one; data goes to stdout, this does not.
pub fn say(line: &str) {
    match IN_THE_LOG.load(Ordering::Relaxed) {
        true => tracing::info!(target: SAID, "{}", printable_lines(line)),
        false => {
            let _ = writeln!(std::io::stderr(), "{}", printable_lines(line));
        }
    }
}

/// From here on lines for people are events of the log, where programs read it: every line of stderr is of one form then.
pub(crate) fn say_in_the_log() {
    IN_THE_LOG.store(true, Ordering::Relaxed);
}

static IN_THE_LOG: AtomicBool = AtomicBool::new(false);

/// The target of events that are [said](say). Filters match by prefix: it is none of a crate's.
pub(crate) const SAID: &str = "gelu::said";

/// A bar for counted work, a spinner for the rest; nothing unless somebody watches.
pub fn bar(message: &str, steps: u64) -> ProgressBar {
    let (bar, template) = match steps {
        0 => (ProgressBar::new_spinner(), "{spinner} {prefix}  {elapsed}  {msg}"),
        _ => (ProgressBar::new(steps), "{prefix}  {wide_bar} {pos}/{len}  {eta} left  {msg}"),
    };
    bar.set_draw_target(match IN_THE_LOG.load(Ordering::Relaxed) {
        true => ProgressDrawTarget::hidden(),
        false => ProgressDrawTarget::stderr_with_hz(8),
    });
    let style = ProgressStyle::with_template(template).expect("a constant");
    bar.set_style(style.progress_chars("━╸ "));
    bar.set_prefix(message.to_owned());
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_kept_in_order() {
        let mut phases = Phases::start();
        for name in ["one", "two"] {
            let running = phases.begin(name, 1);
            running.step();
            phases.end(running, name, name);
        }
        let names: Vec<_> = phases.done().iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert!(phases.elapsed().as_secs_f64() >= phases.done()[0].seconds);
    }
}
