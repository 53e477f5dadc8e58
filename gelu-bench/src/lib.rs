//! Benchmarks and measured experiments, all in one process.
//!
//! The criterion benches are in `benches/`: `he` (operations of each cryptosystem), `layer`
//! (encrypted matrix products), `protocol` (whole inferences and training steps). Each checks its
//! answer before it is timed. Experiments that count rather than time live here.
#![forbid(unsafe_code)]

pub mod complexity;
