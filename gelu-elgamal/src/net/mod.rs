//! ElGamal-Net: two parties train a network on data of which each has some columns.
//!
//! Tingting Chen and Sheng Zhong, *Privacy-preserving backpropagation neural network learning*, IEEE
//! Transactions on Neural Networks 20(10), 2009: the first of the systems that GELU-Net compares
//! itself with (its section 4.6 and Table 2). Party A has some features of every sample, B the
//! others; the classes are known to both. The weights are known to both, too, before and after
//! every iteration: only activations are hidden, as shares.
//!
//! # The algorithms, and where they live
//!
//! | paper | here | what it does |
//! |---|---|---|
//! | Algorithm 1 | [`Trainer::step`] | one iteration of backpropagation, in shares |
//! | Algorithm 2 | `lookup`, [`sigmoid`] | shares of y(z_A + z_B), y the sigmoid in straight pieces |
//! | Algorithm 3 | `lookup`, `product` | shares of M·N |
//!
//! For a sample with A's x₁ … and B's …, weights w (hidden) and v (output), all shares marked A, B:
//!
//! ```text
//! z_A = Σ_{k of A} w_jk·x_k + b_j      z_B = Σ_{k of B} w_jk·x_k              each its own
//! h_A + h_B = y(z_A + z_B)                                                    Algorithm 2
//! e_A = Σ_j v_ij·h_A + c_i − t_i       e_B = Σ_j v_ij·h_B                     each its own
//! Δv_ij = e_i·h_j = e_A·h_A + (e_A·h_B + e_B·h_A) + e_B·h_B                   Algorithm 3 twice
//! δ_j = Σ_i v_ij·e_i                                                          each its own
//! g_j = h_j·(1 − h_j) = h_j − h_A² − 2·h_A·h_B − h_B²                         Algorithm 3
//! p_j = δ_j·g_j                                                               Algorithm 3 twice
//! Δw_jk = p_j·x_k                                                             Algorithm 3
//! both send their shares of all Δ, add them and take w − η·Δw, v − η·Δv
//! ```
//!
//! The nodes of the last layer are linear and the loss is the squared error, as in the paper.
//!
//! # What is ours, and why
//! The paper's text was at hand in its abstract and in a restatement of its Algorithm 2 by others
//! (*Privacy-Preserving Restricted Boltzmann Machine*, 2014); the rest is from knowledge of it.
//!
//! * *Shares* are uniform modulo 2^44 (`shares`): the paper leaves open from where its "random
//!   numbers" come, and from anything else than a group they tell something of what they hide.
//! * *Products* look up digits (`product`), because a table of all shares would have 2^44 entries.
//! * *Numbers* are in fixed point at scales that only grow, so that no share is ever rounded; what
//!   is rounded are a party's own sums before the sigmoid and the public weights. So the encrypted
//!   run equals [`Clear`], the same network without a second party, bit for bit, and
//!   [`Config::new`] proves that no number leaves the ring.
//! * *Weights* are kept finer (2^−16) than they are used (2^−5), and both are held within ±4.
//! * z_B is held within ±8, where the sigmoid's pieces end: it is the index of a table.
//! * *Errors are summed before they are multiplied*: Δw takes one product for each of the m·d
//!   weights. Table 2's m³ counts one for each weight and output.
//! * Thresholds (biases) are weights of a constant 1, kept by A.
//! * *Mini-batches* ([`Config`]): the paper opens Δ after every sample (a batch of 1).
//! * *Two parties.* The paper's table look-up is between two; more would need pairwise products
//!   (that is Table 2's Z²) and another algorithm for the sigmoid.
//!
//! # What it costs and reaches
//! On Iris (2 + 2 features, 5 hidden nodes, 3 classes, batches of 1, η = 1/2) an iteration takes
//! 10,150 encryptions, 1,905 rerandomisations and 3,810 partial decryptions, 14 messages and 833,168
//! bytes, and 0.6 s of one core ([`formula`], which tests compare with the count). After 4 epochs,
//! 480 iterations, the network is right on 97 % of the flowers it has not seen (mean of ten splits
//! in the clear, which is what the encrypted run computes); the encrypted run of
//! `examples/elgamal_net.rs` reached 98.3 % in training and 93.3 % of 30 in test.
//!
//! # Security
//! Both parties follow the protocol (semi-honest), as in the paper. Each look-up is hidden by the
//! decisional Diffie-Hellman assumption on Ristretto, each share by being uniform. What is *told*:
//!
//! * Both learn the weights after every iteration, hence all gradients of each batch.
//! * **With a batch of 1 both learn each other's features, exactly:** A divides Δw_jk = p_j·x_k by
//!   the threshold's gradient p_j (a test does it), and e·h by e gives the hidden activations.
//!   Without thresholds the ratio to a feature of one's own does the same. That is inherent in the
//!   paper's Algorithm 1, not in our gaps; GELU-Net says of it that "the partial update of
//!   plaintext parameters will involve global activation values, from which the data distribution
//!   of other users can be derived". Larger batches open sums, from which that division does not
//!   work; that they hide the samples is nowhere proven.
//! * The classes are known to both from the start.
//! * A party that deviates is not caught: neither keys nor tables are proven.
//! * Keys are wiped; shares and tables, which live for one sample, are not.

mod clear;
mod formula;
mod lookup;
mod product;
mod shares;
mod sigmoid;
mod tally;
mod train;
mod weights;

pub use clear::Clear;
pub use formula::{formula, table_2};
pub use shares::RING_BITS;
pub use sigmoid::{ACTIVATION_BITS, SUM_BITS, sigmoid};
pub use tally::Tally;
pub use train::Trainer;
pub use weights::{
    Config, FEATURE_BITS, FEATURE_BOUND, Gradients, MASTER_BITS, Sample, Shape, WEIGHT_BITS,
    WEIGHT_BOUND, Weights,
};

/// z_A and z_B lie within ± this many units of 2^−4: the paper's n.
pub(crate) const SUM_BOUND: i64 = 8 << SUM_BITS;
