//! Blind inference: queries whose sums nobody sees. The weights stay with the server, layer by layer, and the data with
//! the client.
//!
//! In an open query the client decrypts the weighted sums of every layer, and each is an equation about the weights
//! ([`ledger`](crate::ledger)). Here both parties hold *shares* of them instead, modulo 2^l, and compute the exact
//! activation on shares by a [two-party protocol](crate::circuit::two_party). All encryption and all garbling go into
//! *tickets*, made before there is a query; a ticket is good for one sample.
//!
//! # The protocol
//!
//! For each stage: a linear map W with offsets b (its bias in the sums' scale), l bits of ring, r uniform modulo 2^l for
//! each input, s uniform modulo 2^l for each output.
//!
//! ```text
//! session          client  key, nonce                                        OpenBlind →
//!                  server  nonce, base transfers                         ← TransferOffer
//!                  client                                               TransferAnswer →
//! ticket           client  r of all stages, under encryption            EncryptedMasks →
//! (2 round trips)  server  c = W·r − s of all stages, sealed           ← EncryptedShares
//!                  client  a transfer for each bit of c                TransferRequest →   one for each ticket, all at once
//!                  server  garbles                                       ← GarbledTicket
//! query            client  x − r of the first stage                       HiddenInputs →
//! (1 round trip    server  z = W·(x − r) + s + b + offset: labels          ← ShareLabels
//! a stage)         client  A + ρ by the circuit on z + c               HiddenActivations →   (A + ρ) − r of the next stage
//!                  …
//!                  server  the last stage            ← ClassLabels with ρ, or ← ScoreShares
//! ```
//!
//! z + c = W·x + b + offset mod 2^l, and l is wide enough that nothing wraps; the circuit encodes the activation as
//! [`Pass`](crate::Pass) does, bit for bit ([`circuit`](crate::circuit)). So a blind answer is the fixed-point network's,
//! and not an approximation of it. At the end, the client adds its share of the scores, or an argmax circuit gives it
//! the class alone.
//!
//! # What each party sees
//!
//! | party | sees | why it says nothing |
//! | --- | --- | --- |
//! | server | ⟦r⟧ | encrypted under the client's key |
//! | server | requests for transfers | the transfers hide the choices ([`TwoParty`](crate::circuit::two_party::TwoParty)) |
//! | server | x − r, (A + ρ) − r | r is uniform and used once; ρ is its own |
//! | client | c = W·r − s | s is uniform and used once; the rest of the answer is [sealed](crate::backend::Sealed::share) |
//! | client | tables, one label of each wire | the garbling hides z |
//! | client | A + ρ | ρ is uniform and used once |
//! | client | the class, or the scores | it asked for them: this is what the ledger counts |
//!
//! # What rests on what
//!
//! - The data rests on the cryptosystem's secrecy (r), on the transfers' (c), and for the rest on nothing: whatever a
//!   server sends, even by other circuits than agreed, the client answers with numbers under masks of its own and never
//!   says whether an answer looked right. A server that computes another function gives wrong answers and learns nothing.
//! - The model rests on the masked seal (each backend says by which distance c is uniform), on garbling, and on the
//!   transfers' check. A client that breaks the rules of the transfers is caught, up to guesses of bits of Δ on which it
//!   stakes its session. A client may choose any x and r, which are inputs like others. It may choose c′ ≠ c, too: it then
//!   evaluates the circuit on z + c′, a sum shifted by a number of its own choice. What it gets is still an answer of so
//!   many bits, and charged as one (Muse, USENIX Security 2021, takes models apart in this way).
//! - What is told, is told: `samples · answer bits` about the whole model
//!   ([`Exposure::blind`](crate::ledger::Exposure::blind)).
//!
//! # A ticket is used once
//!
//! Two sets of labels of one circuit open it, and two queries under one r give the difference of their inputs. So
//! a ticket is taken out of its owner's store by value, at both sides, before anything is sent that uses it, and
//! whatever fails afterwards, it is gone. Tickets are kept in memory alone; they are for one key, session and
//! version, and a new version of the model voids them.
//!
//! Source: the split in two phases is DELPHI's (Mishra, Lehmkuhl, Srinivasan, Zheng, Popa, USENIX Security 2020), with the
//! roles changed: here the server garbles, so that it keeps little and what the client sends is padded.

mod circuits;
pub(crate) mod numbers;
mod plan;

use sha2::{Digest, Sha256};

use crate::backend::Cryptosystem;
pub use circuits::{Answer, BlindStage, Circuits};
pub use plan::{BlindCosts, BlindPlan, SharedExchange};

/// The name that both parties give a session: a hash of all that it was opened with. It is new whenever one of both
/// nonces is.
pub(crate) fn session_name<C: Cryptosystem>(
    public_key: &[u8],
    answer: Answer,
    nonces: [&[u8; 32]; 2],
) -> [u8; 32] {
    let mut hash = Sha256::new();
    let answer: &[u8] = match answer {
        Answer::Class => b"class",
        Answer::Scores => b"scores",
    };
    hash.update(b"gelu blind session 1");
    for part in [C::ID.as_bytes(), public_key, answer, nonces[0], nonces[1]] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}
