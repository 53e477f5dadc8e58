//! A base network at the compute party: rows go in encrypted, features come out encrypted.
//!
//! # Why
//! In setup 1 the features are those of a network that its owner does not give away. It runs it on encrypted rows, and the head is
//! trained on what comes out. A base that this module takes is a list of layers a = (W·x + b)², squares because CKKS multiplies
//! and does nothing else; convolutions and mean pooling are such maps.
//!
//! ```text
//! data party (RowOwner)                              compute party (BaseOwner)
//!   keys that cannot decrypt                    ──▶
//!   inputs i, i + 1 of N/2 rows, encrypted      ──▶    for each pair of inputs
//!                                               ◀──    features f, f + 1 of these rows, encrypted and flooded, for each pair
//! ```
//!
//! # Two values, not a row, in a ciphertext
//! Slot r of ciphertext p is input 2p of row r, and i times input 2p + 1: as many rows as there are slots cost what one costs. A layer
//! is then sums of ciphertexts with constant weights ([`WeightedSums`](gelu_ckks::WeightedSums)): no rotation, no key, and no product
//! with a zero of a convolution; its square is one relinearisation. In the first layer weights are complex, and the real part of a sum, one
//! conjugation, is what it would be of real inputs ([`real_part`](gelu_ckks::Ciphertext::real_part)): at the scale of the sum, so that
//! switching keys adds nothing that counts, as it would to the inputs themselves. Half as many products pay for the conjugations. Two
//! features become one answer without a key, as i in all slots is a monomial. The other packing, one image in the slots of a ciphertext
//! (`gelu-fhe-baseline`), answers a *single* image in milliseconds. Counted for LeNet-5's two layers with squares, 784 inputs and
//! 256 features, in the ring of degree 2^14 that hiding takes in both:
//!
//! | for n rows | two values in a ciphertext, n ≤ 8,192 | an image in a ciphertext |
//! |---|---|---|
//! | ciphertexts up | 392, of 6 primes | n, of 7 primes |
//! | ciphertexts down | 128 | n |
//! | relinearisations | 864 + 256 | 2n |
//! | rotations and conjugations | 864 | about 25·n |
//! | products with weights | 15,552 + 55,296 constants | 70·n diagonals |
//! | keys | 2 | about 25 |
//!
//! So from about 350 rows the first is less in what costs most, and a head wants 1,024 rows at least.
//!
//! # Why the data party decrypts the features
//! Features could go straight into the head's training: ciphertexts of features become those of [`layout`](crate::layout) by one product
//! with a 0-1 mask for each input and shift (257·79 for 256 features and 1,024 rows in a ring of 2^13, 257·19 in one of
//! 2^15), a rotation for each shift, and one level. Then the ring bears 2·squares levels of the base, that one and those of an
//! iteration at once, and each gradient must be flooded, for it depends on the base: 2^15 and ten primes instead of six, so ciphertexts
//! three times as long (counted: 0.8 GB for 784 inputs, where they are 0.24 GB here). And it would hide little: a
//! gradient is Xᵀ·e, so each iteration gives a linear equation of each feature for each head; 24 iterations of 5 heads are
//! 30,840 of them, twelve times the 2,572 numbers of that base. So the data party decrypts features, prepares them, and
//! encrypts them afresh as the rows of a [`Plan`](crate::Plan): 2^13, and nobody guesses how to centre what nobody sees.
//!
//! # Who learns what
//! Both parties follow the protocol (semi-honest).
//!
//! | party | learns |
//! |---|---|
//! | compute party | sizes, settings and the [bounds](BaseSettings::least) of inputs; nothing of rows, features, labels or head |
//! | data party | **every feature of every row of its own**, within the flood; nothing else of the base |
//!
//! Features are equations about the base: of LeNet-5's two layers a dozen images give as many as they have numbers. That is
//! what the use of a model gives away, with any engine (the exact one counts it); a base that must not be rebuilt
//! needs a limit on rows. What is *not* given away is what a ciphertext says beyond its numbers: a fresh encryption of 0
//! makes c₁ look uniform, and noise 2^[`HIDING_BITS`] times as large as the computation's can be covers that
//! ([`PublicKey::hide_computation`](gelu_ckks::PublicKey::hide_computation)). The bound on the computation's noise is that of the worst
//! row within the settings' bounds, by interval arithmetic, not of a mean one. A data party that sends larger inputs than it
//! said sees more noise than is covered; slots of no row hold the features of a row of zeros.
//!
//! # Levels
//! Values are at the scale 2^60, weights at 2^20, so a layer is at 2^80 and is not divided; its square is at 2^160, and
//! division by two primes of 50 bits takes it back to 2^60. (Inputs are at 2^59: a real part doubles the scale.) So
//! rounding moves a slot by 2^-48, and what covers 2^30 times as much is 2^-10 or less of a feature for networks of moderate
//! weights. k squares take 2k + 2 primes.
mod network;
mod parties;
mod plan;

pub use network::{Base, Layer};
pub use parties::{BaseOwner, RowOwner};
pub use plan::{BasePlan, BaseSettings, HIDING_BITS};
