//! Benchmarks and measured experiments.
