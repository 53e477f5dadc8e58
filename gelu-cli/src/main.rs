//! The gelu program.
fn main() {}
