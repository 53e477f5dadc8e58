//! Benchmarks and measured experiments, all in one process.
//!
//! The criterion benches are in `benches/`: `he` (operations of each cryptosystem), `layer`
//! (encrypted matrix products), `protocol` (whole inferences and training steps). Each checks its
//! answer before it is timed. `peers` compares with other people's libraries; `summary` prints the
//! results of the others as one table. Experiments that count rather than time live here.
#![forbid(unsafe_code)]

pub mod complexity;

/// Makes this process compute on one thread, so that its figures are those of a core. To be called
/// before anything computes.
///
/// # Panics
/// When something has computed already.
pub fn on_one_thread() {
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build_global();
    one.expect("called before anything computes");
}
