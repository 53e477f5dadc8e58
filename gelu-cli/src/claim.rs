//! A sentence that was checked.

use serde::{Deserialize, Serialize};

/// A sentence that was checked, and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The sentence, with its numbers.
    pub text: String,
    /// What the check said.
    pub holds: bool,
}

impl Claim {
    /// What was checked and what the check said.
    pub fn new(text: impl Into<String>, holds: bool) -> Self {
        Self { text: text.into(), holds }
    }
}
