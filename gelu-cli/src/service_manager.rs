//! What the service manager is told of a server: for systemd's `Type=notify-reload`, or whoever else has set
//! `NOTIFY_SOCKET`. Without it nothing is done.
//!
//! ```text
//!  READY=1  ──▶  RELOADING=1 … READY=1  ──▶  STOPPING=1
//! ```

use sd_notify::NotifyState;

/// The server listens, and clients may come.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again until `work` is done, however it ends: what is in force then is served.
pub async fn reloading<T>(work: impl Future<Output = T>) -> T {
    match NotifyState::monotonic_usec_now() {
        // Without the time the manager would take the reload for failed.
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of a reload"),
    }
    let done = work.await;
    ready();
    done
}

/// The server lets nobody in any more.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// A manager that does not listen is no reason not to serve.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told: is NOTIFY_SOCKET right?");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::process::Command;
    use std::time::Duration;

    /// In a process of its own, because the socket is named by its environment.
    #[test]
    fn the_service_manager_hears_of_a_life() {
        if std::env::var_os("GELU_TEST_NOTIFY").is_some() {
            ready();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            assert_eq!(runtime.block_on(reloading(async { 7 })), 7);
            return stopping();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let live = |configure: &dyn Fn(&mut Command)| {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "service_manager::tests::the_service_manager_hears_of_a_life"]);
            child.env("GELU_TEST_NOTIFY", "").env_remove("NOTIFY_SOCKET");
            configure(&mut child);
            let output = child.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
        };
        live(&|child| {
            child.env("NOTIFY_SOCKET", &path);
        });
        let heard = || {
            let mut bytes = [0; 256];
            let length = socket.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        };
        assert_eq!(heard(), "READY=1\n");
        let reloading = heard();
        let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
        assert_eq!([heard(), heard()], ["READY=1\n", "STOPPING=1\n"]);
        // Nobody there, and nobody named: it serves all the same.
        live(&|child| {
            child.env("NOTIFY_SOCKET", folder.path().join("nobody"));
        });
        live(&|_| ());
        socket.set_nonblocking(true).unwrap();
        assert!(socket.recv(&mut [0; 8]).is_err(), "somebody was told");
    }
}
