//! What was computed and sent, counted.

/// Operations and traffic of a party, or of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Encryptions: three multiplications by a scalar with a table each.
    pub encryptions: u64,
    /// Rerandomisations: two multiplications with a table, two additions.
    pub rerandomisations: u64,
    /// Partial decryptions: one multiplication without a table each; two make a whole one.
    pub partial_decryptions: u64,
    /// Small discrete logarithms.
    pub decodings: u64,
    /// Messages: what one party says before the other speaks.
    pub messages: u64,
    /// Group elements sent.
    pub elements: u64,
    /// Bytes sent.
    pub bytes: u64,
}

impl core::ops::Add for Tally {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            encryptions: self.encryptions + other.encryptions,
            rerandomisations: self.rerandomisations + other.rerandomisations,
            partial_decryptions: self.partial_decryptions + other.partial_decryptions,
            decodings: self.decodings + other.decodings,
            messages: self.messages + other.messages,
            elements: self.elements + other.elements,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl core::fmt::Display for Tally {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "{} encryptions, {} rerandomisations, {} partial decryptions, {} decodings; \
             {} messages, {} group elements, {} bytes",
            self.encryptions,
            self.rerandomisations,
            self.partial_decryptions,
            self.decodings,
            self.messages,
            self.elements,
            self.bytes
        )
    }
}
