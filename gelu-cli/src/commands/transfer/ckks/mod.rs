//! `--engine ckks`: a head is trained on ciphertexts by a party that sees neither features nor head.
//!
//! ```text
//!  data party (`fit`)                              compute party (`compute`)
//!    Open { settings }             ──▶
//!                                  ◀──              Accepted   or  Refused { why }
//!    setup 1: keys of the base     ──▶
//!                                  ◀──              Received
//!    rows, in parts                ──▶                                          input by input
//!                                  ◀──              Received;  with the last ones  Working, …, features in parts
//!    keys, in parts                ──▶
//!                                  ◀──              Received
//!    a batch, in parts             ──▶                                          for each batch
//!                                  ◀──              Received
//!    heads, in parts               ──▶                                          for each refresh
//!                                  ◀──              Working, …, gradients in parts
//!    Bye                           ──▶
//! ```
//! Features alone may be asked for: no keys, batches and heads follow then. What a base takes is told to whoever
//! sends `Look` instead of `Open`.
//!
//! | file | idea |
//! | --- | --- |
//! | `wire` | what is said, and how long messages travel in short frames |
//! | `base` | setup 1: what a base is, and rows that go through it |
//! | `party` | the compute party's side of the exchange, without I/O |
//! | `compute` | the process around it: sockets, certificates, one computation at a time |
//! | `link` | the data party's end of the wire |
//! | `options` | settings of a training by the command line |
//! | `fit` | trains, with a state that a lost server does not take away |
//! | `features` | setup 1 without the base's file: what it makes of rows, as a file |
//! | `outcome` | what came of it: weights and scores beside those in the clear |
//! | `plan` | ring, keys, bytes, memory and time before anything runs |

mod base;
pub(super) mod compute;
pub(super) mod features;
pub(super) mod fit;
mod link;
pub(super) mod options;
mod outcome;
mod party;
pub(super) mod plan;
mod wire;

/// Whether the layers that a source stands on, if any, are a base for this engine.
pub(super) fn takes(source: &super::source::Source) -> bool {
    base::of(source).is_ok()
}
