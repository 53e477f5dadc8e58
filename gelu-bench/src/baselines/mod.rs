//! The systems without a client in between, on this project's models: what GELU-Net is compared with.
//!
//! `gelu-fhe-baseline` evaluates circuits and plans and knows no models; here a trained network becomes
//! one, and a query is run from its pixels to its scores, every message as bytes.
//!
//! | module | system | feature |
//! |---|---|---|
//! | `bootstrapped` | CryptoNets on today's TFHE: one image at a time, any activation | `tfhe` |
//! | `batched` | CryptoNets as its authors meant it: 8,192 images in the slots of BFV | always |
//! | `packed` | the same networks with one image in the slots of CKKS | always |

pub mod batched;
#[cfg(feature = "tfhe")]
pub mod bootstrapped;
pub mod packed;
