//! Law: a key file is read as the key that it holds, or refused.
#![no_main]
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use gelu_paillier::{SecretKey, StoredKey};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let path = std::env::temp_dir().join(format!("gelu-fuzz-key-{}", std::process::id()));
    fs::write(&path, data).expect("a temporary file");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("our own file");
    let _ = SecretKey::load(&path);
    fs::remove_file(&path).expect("our own file");
});
