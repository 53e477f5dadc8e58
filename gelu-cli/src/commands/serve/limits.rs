//! Time and room of a server, as its file says it.

use std::time::Duration;

use gelu_service::Limits;
use serde::Deserialize;

/// Bounds that the file sets; all others stand as they are. Times in seconds.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct LimitsTable {
    sessions: Option<usize>,
    sessions_of_account: Option<usize>,
    strangers: Option<usize>,
    strangers_of_network: Option<usize>,
    computations: Option<usize>,
    frame_bytes: Option<usize>,
    idle: Option<u64>,
    lease: Option<u64>,
    lease_silence: Option<u64>,
    grace: Option<u64>,
}

impl LimitsTable {
    pub(super) fn limits(self) -> Limits {
        let mut limits = Limits::default();
        let counts = [
            (self.sessions, &mut limits.sessions),
            (self.sessions_of_account, &mut limits.sessions_of_account),
            (self.strangers, &mut limits.strangers),
            (self.strangers_of_network, &mut limits.strangers_of_network),
            (self.computations, &mut limits.computations),
            (self.frame_bytes, &mut limits.frame_bytes),
        ];
        for (said, count) in counts {
            *count = said.unwrap_or(*count);
        }
        let times = [
            (self.idle, &mut limits.idle),
            (self.lease, &mut limits.lease),
            (self.lease_silence, &mut limits.lease_silence),
            (self.grace, &mut limits.grace),
        ];
        for (said, time) in times {
            *time = said.map_or(*time, Duration::from_secs);
        }
        limits
    }
}
