//! The evidence: benchmarks, the paper's tables and figures, attacks.
//!
//! | module | holds |
//! |---|---|
//! | [`exhibit`] | what an experiment has to show, as data |
//! | [`setting`] | what an experiment is told, and how it tells how far it is |
//! | [`tables`] | the paper's tables |
//! | [`figures`] | the paper's figures, and more |
//! | [`questions`] | transfer learning under encryption: five questions, answered with numbers |
//! | [`attacks`] | the security laboratory |
//! | [`draw`] | pictures: charts as SVG, grey images as PNG |
//! | [`html`] | exhibits as HTML |
//! | [`markdown`], [`files`] | exhibits as text, and as files for other programs |
//! | [`evidence`] | a run of many exhibits: report, record, comparison |
//! | [`fit`] | the laws that values follow |
//! | [`timing`] | medians, on one core |
//! | [`learning`] | trainings in the clear, for the tables and figures of accuracy |
//! | `networks` | networks from the folder of models, trained now, or drawn |
//! | [`baselines`] | the systems without a client in between, on our models |
//! | [`timed`] | a stopwatch around any cryptosystem |
//! | [`link`] | links of a given delay, rate and loss, simulated |
//! | `load` | many accounts at once |
//! | `exhibits` | everything that can be made, by its name; here is what needs sockets |
//! | `cli`, `commands` | the program `gelu-bench` |
//!
//! What both programs need (the registry of backends, local servers, output) is taken from `gelu-cli`.
//!
//! The criterion benches are in `benches/`: `he` (operations of each cryptosystem), `layer`
//! (encrypted matrix products), `protocol` (whole inferences and training steps). Each checks its
//! answer before it is timed. `peers` compares with other people's libraries; `summary` prints the
//! results of the others as one table.
#![forbid(unsafe_code)]
// Both end the program when nobody reads.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod attacks;
pub mod baselines;
mod cli;
mod commands;
pub mod draw;
pub mod error;
pub mod evidence;
pub mod exhibit;
mod exhibits;
pub mod figures;
pub mod files;
pub mod fit;
pub mod html;
pub mod learning;
pub mod link;
mod load;
pub mod markdown;
mod networks;
pub mod questions;
pub mod setting;
pub mod tables;
pub mod timed;
pub mod timing;

pub use cli::Cli;
pub use error::Error;

/// Makes this process compute on one thread, so that its figures are those of a core. To be called
/// before anything computes.
///
/// # Panics
/// When something has computed already.
pub fn on_one_thread() {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build_global();
    one.expect("called before anything computes");
}
