//! The backend as others see it.

mod laws;
mod packed;
