//! BGN-Net: a neural network evaluated on ciphertexts that multiply once.
//!
//! Yuan and Yu, *Privacy preserving back-propagation neural network learning made practical with
//! cloud computing* (IEEE TPDS 25(1), 2014), let several parties train one network on the union of
//! their data. They encrypt under BGN, a cloud computes, and nobody sees the data of others. The
//! sigmoid becomes its Taylor polynomial of fifth order,
//!
//! ```text
//! f(z) = 1/2 + z/4 − z³/48 + z⁵/480
//! ```
//!
//! whose degree no scheme with one multiplication reaches. So their protocol goes in rounds: after a
//! multiplication the parties decrypt the product as random shares, that is, *masked*, and encrypt it
//! anew, fit to be multiplied again.
//!
//! # What runs here
//! Inference, with the weights as secret from the cloud as the data:
//!
//! ```text
//! parties ──⟦x⟧ in G1──▶ cloud                                 ⟦W⟧, ⟦b⟧ in G2 since the setup
//!
//!  for each hidden layer, v being                                      comes back
//!    sums        W·x + b                                        z in G1, z in G2
//!    square      z · z                                          s in G1, s in G2       s = z²
//!    quartic     s · (s − 10)                                   p in G2                p = z⁴ − 10z²
//!    activation  240 + z · (120 + p)                            a in G1                a = f(z)
//!
//!  cloud ──⟦v + r⟧ on level 2, sealed──▶ key holder     decrypts v + r, divides, encrypts
//!  cloud ◀──⟦(v + r) / d⟧ on level 1───  key holder     and takes off its share of the mask
//!
//!  at last  ⟦W·a + b⟧ on level 2, sealed ──▶ key holder     decrypts the scores
//! ```
//!
//! since 480·f(z) = 240 + z·(120 + z⁴ − 10·z²): three multiplications of ciphertexts and four rounds.
//!
//! # Exactness
//! Values are integers with binary fractions, and every product is divided back to its scale d in its
//! round. The mask is r = ρ + d·h with ρ uniform below d. The key holder computes ⌊(v + r)/d⌋, the
//! cloud takes h off, and what is left is
//!
//! ```text
//! ⌊(v + ρ)/d⌋  =  v/d, rounded up or down at random, v/d in the mean
//! ```
//!
//! which is stochastic rounding, exactly: the mask's low part is the rounding's dither. The
//! [oracle](mod@oracle) computes the same in the clear from the same ρ, and the encrypted result is
//! equal to it bit for bit. (A mask without ρ would tell the key holder the low bits; rounding to the
//! nearest would need a protocol to compare shares.)
//!
//! # Ranges
//! Decryption searches for its result, so v + r must be small: [`Plan`] bounds every v and refuses,
//! naming the layer and the step, what does not fit a range that can be searched. Bounds of sums
//! follow from the weights (provably) or are declared, from training data with a margin, where that
//! is less. A sum beyond its declared bound is computed all the same, and rightly, as far as the
//! search reaches; beyond that the round fails with [`Error::Decryption`](gelu_core::Error). No number
//! wraps around: arithmetic is modulo a prime of 255 bits.
//!
//! # Who learns what
//! | who | sees | learns |
//! |---|---|---|
//! | cloud | ciphertexts, shapes, bounds | nothing more (SXDH) |
//! | key holder | v + r for every v, the scores | the scores; of a v next to nothing: v + r for any two v are within 2^−`mask_bits` statistically |
//! | a party with some features | nothing of the others' | nothing |
//! | cloud and key holder together | everything | everything |
//!
//! The mask has to lie in the range that is searched: 16 bits of masking are not the 40 that one would
//! wish for, and each bit more doubles the search. This is a price of bounded decryption, not of this
//! implementation. A v beyond its declared bound is masked less well. Declared bounds tell both
//! parties how large sums were in training. Both follow the protocol (semi-honest).
//!
//! # Gaps, and how they are filled
//! The article was not at hand; what is written above is its abstract and what is known of it. Where
//! it leaves room, or is not known to us:
//!
//! - *The key.* Theirs is shared: all parties take part in each decryption. Here one [`KeyHolder`]
//!   stands for them; with Z parties, decryptions and their messages come Z times.
//! - *Large values.* They extend decryption to messages larger than the search reaches. Here values
//!   are scaled back in every round, and stay small: fewer operations.
//! - *The curve.* Prime order on BLS12-381 in place of composite order, whose pairings are slower by a
//!   factor of 254 at this level of security (Guillevic, ACNS 2013).
//! - *The order of operations* within f, the division in each round and the stochastic rounding.
//! - *Training* is counted ([`training_iteration`]), not run.

mod cloud;
mod costs;
mod key_holder;
mod messages;
mod model;
pub mod oracle;
mod plan;
#[cfg(test)]
mod tests;

pub use cloud::{Cloud, Evaluation, Turn};
pub use costs::{Costs, inference, training_iteration};
pub use key_holder::{KeyHolder, Session};
pub use messages::{
    EncryptedInputs, EncryptedModel, EncryptedScores, MaskedValues, RefreshedValues,
};
pub use model::{Model, RealLayer};
pub use plan::{HiddenPlan, LayerPlan, Mask, Plan, Settings, Step};
