//! How a process is asked to end, and what it leaves behind: nothing.
//!
//! | signal | from | exit code |
//! |---|---|---|
//! | SIGHUP | a terminal that closes | 129 |
//! | SIGINT | Ctrl-C | 130 |
//! | SIGTERM | `kill`, a system that shuts down | 143 |
//!
//! Whoever can end in order waits for `asked_to_stop`. While nobody does (a key is being made, a
//! training in the clear goes on), or at a second signal, the processes and folders that were registered
//! here ([`TempFolder`], `ends_with_us`) go, and this process ends at once.
//!
//! While somebody holds [`hangups`], a SIGHUP asks to read the configuration again, and ends nothing; unless it
//! came because our terminal has closed.
//!
//! `nohup` stands for itself: a SIGHUP that our parent had ignored stays ignored.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

/// Begins to listen, and returns when a signal would be heard. Must come before anything that is worth cleaning up.
pub(crate) fn listen() {
    let (ready, listening) = mpsc::channel::<()>();
    let listener = std::thread::Builder::new().name("gelu-signals".into());
    // Without it signals end the process as they always have.
    let _ = listener.spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime {
            runtime.block_on(handle(ready));
        }
    });
    let _ = listening.recv();
}

/// Ready as soon as this process is asked to end; its owner then ends in order. Whoever holds this is
/// counted on, from the call on.
pub(crate) fn asked_to_stop() -> impl Future<Output = ()> {
    let (waiting, asked) = (Waiting::begin(), ASKED.notified());
    async move {
        let _waiting = waiting;
        if code().is_none() {
            asked.await;
        }
    }
}

/// From here on a SIGHUP is told to whoever holds this.
pub fn hangups() -> Hangups {
    Hangups(HANGUPS.subscribe())
}

/// The SIGHUPs that have come since [`hangups`].
#[derive(Debug)]
pub struct Hangups(watch::Receiver<()>);

impl Hangups {
    /// Waits for the next one; several that came meanwhile are one. Cancelling this loses nothing.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await // Not reached: the sender is as old as the process.
        }
    }
}

/// The exit code of a process that was asked to end: 128 and the signal's number.
pub(crate) fn code() -> Option<u8> {
    match SIGNAL.load(Ordering::SeqCst) {
        0 => None,
        signal => u8::try_from(128 + signal).ok(),
    }
}

/// Ends in this time at the latest, for those who end in order.
pub(crate) fn end_within(limit: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        end();
    });
}

/// A folder that is gone when this is dropped, or when a signal ends the process.
#[derive(Debug)]
pub struct TempFolder {
    folder: TempDir,
}

impl TempFolder {
    /// Makes the folder.
    pub fn create() -> Result<Self> {
        // Under the lock: no signal comes between the folder and its entry.
        let mut left = left();
        let folder = tempfile::Builder::new().prefix("gelu-").tempdir();
        let folder = folder.context("cannot make a temporary folder")?;
        left.folders.push(folder.path().to_owned());
        Ok(Self { folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for TempFolder {
    /// Removed before it is forgotten, so that a signal between the two finds nothing to do.
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.folder.path());
        left().folders.retain(|path| path != self.folder.path());
    }
}

/// A process of ours that ends with us.
pub(crate) fn ends_with_us(child: &Arc<Mutex<Child>>) {
    let mut left = left();
    left.children.retain(|child| child.strong_count() > 0);
    left.children.push(Arc::downgrade(child));
}

/// What must not outlive us.
struct Left {
    folders: Vec<PathBuf>,
    children: Vec<Weak<Mutex<Child>>>,
}

static LEFT: Mutex<Left> = Mutex::new(Left { folders: Vec::new(), children: Vec::new() });
static SIGNAL: AtomicI32 = AtomicI32::new(0);
static WAITING: AtomicUsize = AtomicUsize::new(0);
static ASKED: Notify = Notify::const_new();
static HANGUPS: LazyLock<watch::Sender<()>> = LazyLock::new(|| watch::Sender::new(()));

fn left() -> MutexGuard<'static, Left> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Somebody who will end in order.
struct Waiting;

impl Waiting {
    fn begin() -> Self {
        WAITING.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        WAITING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Processes first, since they write into the folders.
fn end() -> ! {
    let left = left();
    for child in left.children.iter().filter_map(Weak::upgrade) {
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
    // Other threads of ours may still be writing there: until a look finds nothing.
    for _ in 0..100 {
        for folder in &left.folders {
            let _ = std::fs::remove_dir_all(folder);
        }
        if !left.folders.iter().any(|folder| folder.exists()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    std::process::exit(code().unwrap_or(1).into())
}

/// Drops `ready` as soon as signals come here.
async fn handle(ready: Sender<()>) {
    let Some(mut signals) = Signals::listen() else { return };
    #[cfg(unix)]
    let had_terminal = has_terminal();
    drop(ready);
    loop {
        let signal = signals.next().await;
        #[cfg(unix)]
        if signal == HANGUP && HANGUPS.receiver_count() > 0 && has_terminal() == had_terminal {
            HANGUPS.send_replace(());
            continue;
        }
        let first = SIGNAL.swap(signal, Ordering::SeqCst) == 0;
        if !first || WAITING.load(Ordering::SeqCst) == 0 {
            end();
        }
        ASKED.notify_waiters();
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` where our parent had it ignored.
    hangup: Option<Signal>,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Option<Self> {
        Some(Self {
            interrupt: signal(SignalKind::interrupt()).ok()?,
            terminate: signal(SignalKind::terminate()).ok()?,
            hangup: if ignores_hangup() { None } else { signal(SignalKind::hangup()).ok() },
        })
    }

    async fn next(&mut self) -> i32 {
        let hangup = async {
            match &mut self.hangup {
                Some(signal) => signal.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPT,
            _ = self.terminate.recv() => TERMINATE,
            _ = hangup => HANGUP,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Option<Self> {
        Some(Self)
    }

    async fn next(&mut self) -> i32 {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        INTERRUPT
    }
}

/// Whether this process is controlled from a terminal. A terminal that closes is none any more when its SIGHUP comes.
#[cfg(unix)]
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Whether our parent has ignored SIGHUP for us, as `nohup` does, where the system tells.
#[cfg(unix)]
pub fn ignores_hangup() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return false };
    ignored_in(&status, HANGUP)
}

#[cfg(unix)]
fn ignored_in(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

const INTERRUPT: i32 = 2;
#[cfg(unix)]
const TERMINATE: i32 = 15;
#[cfg(unix)]
const HANGUP: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_the_parent_ignored_is_read_from_the_mask() {
        let status = "Name:\tgelu\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        for (signal, expected) in
            [(HANGUP, true), (13, true), (INTERRUPT, false), (TERMINATE, false)]
        {
            assert_eq!(ignored_in(status, signal), expected, "{signal}");
        }
        assert!(!ignored_in("", HANGUP) && !ignored_in("SigIgn:\txyz", HANGUP));
    }

    /// In a process of its own, which the last signal ends.
    #[cfg(unix)]
    #[test]
    #[expect(
        clippy::print_stdout,
        reason = "the process that is killed speaks to the one that kills it"
    )]
    fn a_hangup_is_told_to_who_listens_and_ends_the_process_otherwise() {
        use std::io::{BufRead, BufReader};
        use std::process::{Command, Stdio};

        if std::env::var_os("GELU_TEST_HANGUPS").is_some() {
            listen();
            let mut heard = hangups();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for _ in 0..2 {
                println!("\nlistens");
                runtime.block_on(heard.next());
            }
            drop(heard);
            println!("\ndeaf");
            std::thread::sleep(Duration::from_secs(60));
            return;
        }
        if ignores_hangup() {
            return println!("SKIP: SIGHUP is ignored here, as under nohup");
        }
        let name = "signals::tests::a_hangup_is_told_to_who_listens_and_ends_the_process_otherwise";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env("GELU_TEST_HANGUPS", "")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let id = child.id().to_string();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let said = said.filter(|line| ["listens", "deaf"].contains(&line.as_str()));
        for (line, expected) in said.zip(["listens", "listens", "deaf"]) {
            assert_eq!(line, expected);
            assert!(Command::new("kill").args(["-s", "HUP", &id]).status().unwrap().success());
            if expected == "deaf" {
                break;
            }
        }
        assert_eq!(child.wait().unwrap().code(), Some(129));
    }

    #[test]
    fn a_folder_is_known_as_long_as_it_lives() {
        let folder = TempFolder::create().unwrap();
        let path = folder.path().to_owned();
        std::fs::write(path.join("key"), "secret").unwrap();
        assert!(left().folders.contains(&path));
        drop(folder);
        assert!(!path.exists() && !left().folders.contains(&path));
    }
}
