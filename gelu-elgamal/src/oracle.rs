//! Keys and published numbers for tests.

use std::sync::LazyLock;

use rand::SeedableRng;
use rand::rngs::ChaCha20Rng;

use crate::keys::SecretKey;

pub(crate) static KEY: LazyLock<SecretKey> = LazyLock::new(|| SecretKey::generate(&mut rng(1)));
pub(crate) static OTHER_KEY: LazyLock<SecretKey> =
    LazyLock::new(|| SecretKey::generate(&mut rng(2)));

/// Encodings of 0·G, 1·G, … (RFC 9496, appendix A.1).
pub(crate) const MULTIPLES: [&str; 6] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "e2f2ae0a6abc4e71a884a961c500515f58e30b6aa582dd8db6a65945e08d2d76",
    "6a493210f7499cd17fecb510ae0cea23a110e8d5b901f8acadd3095c73a3b919",
    "94741f5d5d52755ece4f23f044ee27d5d1ea1e2bd196b462166b16152a9d0259",
    "da80862773358b466ffadfe0b3293ab3d9fd53c5ea6c955358f568322daf6a57",
    "e882b131016b52c1d3337080187cf768423efccbb517bb495ab812c4160ff44e",
];

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
