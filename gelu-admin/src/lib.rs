//! A gelu server seen from outside: is it well, is it ready, what is it doing.
//!
//! ```text
//!  gelu-service   ServerEvent ──▶ Metrics ─┐
//!  the process    starting, serving, … ──▶ Readiness ─┼─▶ Admin: an address of its own
//!                 store, backup, reload ◀──▶ Process ─┘
//! ```
//!
//! | request | answer |
//! |---|---|
//! | `GET /healthz` | 200 while the server's loop turns, 503 when it is stuck: restart it |
//! | `GET /readyz` | 200 when clients may be sent here, otherwise 503 and why |
//! | `GET /metrics` | numbers, in Prometheus' text format: see [`Metrics`] |
//! | `POST /backup` | writes a copy of the store and says where |
//! | `POST /reload` | reads the configuration again, as SIGHUP does |
//!
//! # Security
//! Nothing here tells an input, a label or a weight: [`Metrics`] sees [events](gelu_service::server::ServerEvent), which hold none,
//! and labels of metrics are names of models and words of this program. What is told is who could watch the
//! network anyway: how much, how often, how fast; so it stays on this machine unless the operator says otherwise. Whoever acts must be on
//! this machine in any case, and no page in a browser can.
//!
//! The address runs on a thread of its own: it answers when the server is overloaded, and whoever floods it takes a few
//! sockets and that one thread.
#![forbid(unsafe_code)]

mod listen;
mod metrics;
mod readiness;
mod routes;

pub use listen::{Admin, Config, Error, Limits};
pub use metrics::Metrics;
pub use readiness::Readiness;
pub use routes::Process;
