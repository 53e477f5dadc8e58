//! Layers, models, data sets and the plaintext trainers.
