//! Two parties compute a circuit on shares, and neither sees the value: half gates and the oblivious transfers
//! under them. Bytes in, bytes out; no sockets and no layers.
//!
//! The *garbler* (in gelu the server) chooses the labels of all wires and sends a table for each AND gate; the
//! *evaluator* (the client) gets one label of each wire and learns only the outputs, each hidden by a random
//! number ρ that the garbler knows.
//!
//! ```text
//! once a session   garbler    Offer::new                ── 8,192 B ─▶
//!                  evaluator  CotReceiver::answer       ◀─ 10,240 B ─     128 base OTs, 32 punctured trees
//!                  garbler    Offer::accept → CotSender
//! once a batch     evaluator  CotReceiver::extend       ◀─ 4 B a bit ─    its labels, for its bits c
//!                  garbler    CotSender::extend         its labels of 0
//!                             Garbler::garble           ── tables, rows ▶ 32 B an AND, 4 or 8 B an output bit
//! online           garbler    Garbling::encode          ── 16 B a bit ──▶ labels of its own bits
//!                  evaluator  Evaluation::evaluate      A + ρ mod 2^m
//! ```
//!
//! # Laws
//! For every [`Circuit`](gelu_core::circuit::Circuit), bits s of the garbler and c of the evaluator:
//!
//! | what | equals |
//! | --- | --- |
//! | evaluator's label of bit c | garbler's label of 0 ⊕ c·Δ |
//! | `evaluate` − ρ mod 2^m | `circuit.evaluate(s ‖ c)` mod 2^m |
//! | bytes of every engine | those of the portable one |
//!
//! # Security
//! The evaluator may be malicious in the oblivious transfers: a check catches it, except that each guess
//! of bits of Δ that it stakes its session on, at odds of one to 2^bits, goes through ([`CotSender::extend`]).
//! A malicious garbler can garble another circuit: what the evaluator then decodes is a function of its own bits
//! that the garbler chose, so it must hand nothing back but sums under a mask of its own. Labels are used once:
//! two labels of one wire differ by Δ, which opens everything. So [`Garbling::encode`] consumes the
//! garbling, and a failed [`CotSender::extend`] consumes the session.
//!
//! Nothing branches on, or addresses memory by, a label, a seed, a choice or Δ. Secrets are wiped on drop.
//!
//! Sources: half gates: Zahur, Rosulek, Evans, EUROCRYPT 2015. The hash: Guo, Katz, Wang, Weng, Yu, CRYPTO 2020.
//! Oblivious transfer: Masny and Rindal, CCS 2019; Roy, *SoftSpokenOT*, CRYPTO 2022. The free XOR of Kolesnikov
//! and Schneider (ICALP 2008) was patented (US 8,443,205); whether the patent is in force was not verified.
#![deny(unsafe_code)]

mod base_ot;
mod bits;
mod cot;
mod evaluate;
mod field;
mod garble;
mod kernel;
mod session;
#[cfg(test)]
mod tests;
mod tree;
mod two_party;

pub use bits::{Bits, Labels};
#[cfg(any(test, feature = "laboratory"))]
pub use cot::laboratory;
pub use cot::{CotReceiver, CotSender, Offer};
pub use evaluate::{Evaluation, Evaluator};
pub use garble::{Garbler, Garbling, Task};
pub use session::{Delta, Session};
pub use two_party::{EvaluatorSession, GarblerSession, HalfGates, SessionOffer};

/// Which engine computes: `vaes`, `aes-ni` or `portable`. For measurements.
pub fn engine() -> &'static str {
    kernel::Kernel::best().name()
}
