//! The Paillier cryptosystem as an AdditiveHE backend.
