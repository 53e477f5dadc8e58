//! Training the head of a network on encrypted features, under CKKS.
//!
//! # Why
//! A hospital has texts, labels and a base network that turns texts into features; another party has the machines. The hospital (the
//! *data party*) encrypts features and labels once; the *compute party* trains the head, a logistic regression for each class, on
//! what it cannot read. Now and then the data party decrypts what came of it and encrypts the head again: a *refresh*. With one
//! after each iteration a ring of degree 2^13 is enough; the larger rings bear several iterations unattended.
//!
//! ```
//! use gelu_ckks::SecretKey;
//! use gelu_transfer::{ComputeParty, DataParty, Plan, Preparation, Rows, Settings, Sigmoid};
//! # fn main() -> gelu_transfer::Result<()> {
//! # let rng = &mut rand::make_rng::<rand::rngs::ChaCha20Rng>();
//! # let raw = Rows::new((0..512).map(|i| f64::from(i * i % 37)).collect(), 4)?;
//! # let labels: Vec<usize> = (0..128).map(|i| usize::from(raw.row(i)[0] > 18.0)).collect();
//! let x = Preparation::fit(&raw)?.apply(&raw)?; // centred, of mean squared norm 16, and a constant 1
//! let plan = Plan::new(Settings {
//!     rows: 128,
//!     features: 4,
//!     heads: 1,
//!     batch: 128,
//!     sigmoid: Sigmoid::fit(1, 8.0)?,
//!     rate: 1.0,
//!     unattended: 1,
//! })?;
//!
//! // Once: keys, and the features.
//! let secret = SecretKey::generate(plan.parameters().clone(), rng);
//! let mut data = DataParty::new(plan.clone(), secret, x, &labels)?;
//! let mut compute = ComputeParty::new(plan, &data.evaluation_keys(rng)?)?;
//! compute.receive_batch(&data.batch(0, rng)?)?;
//!
//! // Each iteration: one ciphertext there, one back. All messages are bytes.
//! for _ in 0..3 {
//!     let gradients = compute.train(&data.heads(1, rng)?)?;
//!     data.receive(&gradients)?;
//! }
//! assert!(data.state().heads()[0].weights()[0] > 0.0); // larger features, class 1
//! # Ok(())
//! # }
//! ```
//!
//! # The way through the files
//!
//! | file | idea |
//! |---|---|
//! | [`plain`] | the training in the clear, which all else must equal |
//! | [`sigmoid`] | polynomials in place of the sigmoid |
//! | [`layout`] | where numbers sit, so that a step takes about 40 switched keys instead of a thousand |
//! | [`plan`] | levels, scales, keys, bytes, memory and time, before anything starts |
//! | [`price`] | what operations cost, on paper and on this machine |
//! | [`data`], [`compute`] | the two parties |
//! | [`message`] | what travels |
//! | [`base`] | setup 1: features by a network of the compute party, on encrypted rows |
//! | [`state`] | what a training goes on from |
//!
//! `examples/head.rs` trains on the embeddings of medical abstracts and compares weights with the clear after each refresh.
//! `gelu transfer fit --engine ckks` runs the two parties as processes.
//!
//! # What it costs
//! 2,048 rows in batches of 1,024, 384 features, one head, a refresh after each iteration. Transforms are of 2^13 residues, a row that
//! is read and multiplied counts as one: [`Plan::transforms`]. Times depend on the machine; measured CPU time was within a quarter of
//! this count times the price of a transform in the same process ([`price::measure_transform`]).
//!
//! | | linear on ±8 | cubic on ±12 |
//! |---|---|---|
//! | ring | 2^13, 214 bits, 2 levels | 2^13, 212 bits, 4 levels |
//! | ciphertexts of a batch | 103 | 103 |
//! | keys, features and labels, sent once | 4.5 + 21.5 MiB | 19.9 + 35.2 MiB |
//! | up and down at a refresh | 0.10 + 0.07 MiB | 0.17 + 0.07 MiB |
//! | transforms of an iteration | 2,333 | 4,368 |
//! | weights off by, of the largest, after 16 iterations | 4e-5 | 3e-5 |
//! | accuracy, AUC on test rows after 8 iterations | 0.882, 0.934 | 0.881, 0.934 |
//!
//! Four cubic iterations unattended: 2^15, 19 levels, keys of 332 MiB, features of 149 MiB, 5.3 MiB up and 1.4 MiB down at a refresh,
//! 2 GiB of memory, and weights off by 2e-5 after eight iterations. Nine, a whole training: 2^16, 44 levels, keys of 2.5 GiB,
//! features of 0.4 GiB, 12.4 GiB of memory in all; 136 s on two threads that others used as well; weights off by 8e-5.
//!
//! The same step in the clear takes about a millisecond, and the owner of data *and* head could take it alone: this pays where the
//! compute party brings what the owner lacks.
//!
//! # Security
//! The compute party sees encryptions of features, labels and heads, fresh ones under the data party's key, and evaluation keys: it
//! learns sizes and settings (IND-CPA under ring-LWE, 128 bits, [`gelu_ckks::parameters`]). Decryptions stay with the data party; what
//! goes back are fresh encryptions of heads that follow from them ([`gelu_ckks::flood`]). The data party learns its own head and
//! sums over its own rows. A compute party that deviates can spoil the head, and is found out only where gradients are
//! impossible ([`Error::Lost`]): scores on rows that were kept apart are the check. How a data party reacts to wrong gradients
//! (it goes on, or stops) is seen by the compute party: a party that is not trusted to follow the protocol needs the
//! exact protocol of this project instead.
#![forbid(unsafe_code)]

pub mod base;
pub mod compute;
pub mod data;
pub mod error;
pub mod layout;
pub mod message;
pub mod plain;
pub mod plan;
pub mod price;
pub mod sigmoid;
pub mod state;

pub use base::{Base, BaseOwner, BasePlan, BaseSettings, RowOwner};
pub use compute::ComputeParty;
pub use data::DataParty;
pub use error::{Error, Result};
pub use layout::Layout;
pub use plain::{Head, Preparation, Rows};
pub use plan::{Plan, Settings};
pub use sigmoid::{Activation, Sigmoid};
pub use state::State;
