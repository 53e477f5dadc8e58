//! The security laboratory: attacks on this system, undefended and defended.
//!
//! Each attack is a module: what the attacker does with what it sees, as plain functions; a run
//! against a system without the defence, one against the real system, and an exhibit of both.
//!
//! | module | the attacker | reads |
//! |---|---|---|
//! | [`packing`] | a client | weights, from plaintexts out of range |
//! | [`randomness`] | a client | weights, from the randomness of a response |
//! | [`low_bits`] | a server | which inputs are zero, from the low bits of masked gradients |
//! | [`masks`] | a server | anything at all, from masked updates |
//!
//! [`digits`], [`target`] and [`smooth`] are their tools.

pub mod digits;
pub mod low_bits;
pub mod masks;
pub mod packing;
pub mod randomness;
pub mod smooth;
pub mod target;
