//! Slots: cryptosystems whose plaintexts are rows of small integers, and the layouts that all of them
//! share.
//!
//! | file | what |
//! | --- | --- |
//! | `plaintext` | integers, each proven to fit its slot |
//! | `additive` | [`AdditiveHE`]: the algebra of encrypted slots |
//! | `digits` | [`DigitSlots`], [`ScaleSlots`]: what only some schemes can do |
//! | `layout` | [`SlotLayout`]: how the values of a layer sit in slots |
//! | `exchange` | the steps of an exchange: encrypt, prepare, evaluate, seal, decrypt |
//! | `prices` | what operations cost, and so which layout is the cheapest |
//! | `shares` | [`MaskSlots`], [`SlotShares`]: answers that neither party can read alone |
//! | `updates` | masked updates under a secret learning rate |
//! | `backend` | [`SlotBackend`]: an [`AdditiveHE`] as a [`Backend`](crate::Backend) |
//! | `laws` | the laws of the algebra as code |

mod additive;
mod backend;
mod digits;
mod exchange;
pub(crate) mod laws;
pub mod layout;
mod matrix;
mod packing;
mod plaintext;
pub mod prices;
mod shares;
mod updates;

pub(crate) use additive::matvec_by_terms;
pub use additive::{AdditiveHE, check_block_len, seal};
pub use backend::SlotBackend;
pub use digits::{DigitSlots, ScaleSlots, scale_by_packing};
pub use exchange::{SlotAnswer, SlotWeights};
pub use layout::{Arrangement, SlotLayout};
pub use matrix::Matrix;
pub use packing::{Packed, Packing, Unpacked};
pub use plaintext::{MAX_SLOT_BITS, Plaintext, SlotShape, signed_bits, too_many_slots};
pub use prices::{MatrixSize, Prices};
pub use shares::{MaskSlots, SIGMA, SlotShares};
pub use updates::UpdateLayout;
