//! Where the randomness of both parties comes from, unless a seed was asked for.

use rand::SeedableRng;
use rand::rngs::{ChaCha20Rng, SysRng};

use crate::error::{Error, Result};

/// Randomness from the operating system; in a simulation, from its seed.
pub(crate) fn fresh_rng() -> Result<ChaCha20Rng> {
    #[cfg(feature = "simulation")]
    if let Some(rng) = crate::simulation::seeded() {
        return Ok(rng);
    }
    let rng = ChaCha20Rng::try_from_rng(&mut SysRng);
    rng.map_err(|e| Error::Bug(format!("the operating system has no randomness: {e}")))
}
