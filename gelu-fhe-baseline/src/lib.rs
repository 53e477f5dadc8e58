//! CryptoNets-style inference on fully homomorphic encryption, the system GELU-Net is compared with.
