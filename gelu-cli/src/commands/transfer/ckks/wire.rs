//! What the two parties say to each other.
//!
//! Keys take megabytes to gigabytes, and a frame of a channel is short: a message travels in parts. The receiver knows
//! from the plan how long each message can be, and holds no more.

use std::num::TryFromIntError;

use gelu_core::error::PeerMisbehaved;
use gelu_service::Limits;
use gelu_service::error::Goodbye;
use gelu_transfer::{BaseSettings, Settings, Sigmoid};
use serde::{Deserialize, Serialize};

/// What the exchange is called inside TLS; the number is its version.
pub(super) const ALPN: &[u8] = b"gelu-transfer/4";

/// From the data party.
#[derive(Serialize, Deserialize)]
pub(super) enum Up {
    /// What base is there? Nothing follows but [`Bye`](Self::Bye).
    Look,
    /// First of all, once.
    Open(Terms),
    /// Of keys, rows, a batch or heads.
    Part(Part),
    /// The data party leaves.
    Bye,
}

/// From the compute party.
#[derive(Serialize, Deserialize)]
pub(super) enum Down {
    /// The base that is here, if there is one.
    Base(Option<Card>),
    /// The settings are accepted.
    Accepted,
    /// They are not, and the exchange has ended.
    Refused(Refusal),
    /// Keys, rows or a batch have been read.
    Received,
    /// It still computes.
    Working,
    /// Of features or gradients.
    Part(Part),
    /// The exchange has ended.
    Goodbye(Goodbye),
}

/// A piece of a message.
#[derive(Serialize, Deserialize)]
pub(super) struct Part {
    /// Whether the message ends with it.
    last: bool,
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
}

/// What a base is to who asks for features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Card {
    pub(super) name: String,
    pub(super) inputs: u32,
    pub(super) features: u32,
    pub(super) squares: u8,
    /// What its inputs mean, and how they are scaled: a [`Schema`](gelu_nn::Schema) in its canonical form.
    pub(super) schema: Option<String>,
}

/// What is asked for: features of a base, a training, or one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Terms {
    /// Setup 1: features come from the compute party's base.
    pub(super) base: Option<BaseTerms>,
    pub(super) training: Option<TrainingTerms>,
}

/// [`Settings`], as they travel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct TrainingTerms {
    pub(super) rows: u32,
    pub(super) features: u32,
    pub(super) heads: u32,
    pub(super) batch: u32,
    pub(super) degree: u8,
    pub(super) range: f64,
    pub(super) rate: f64,
    pub(super) unattended: u8,
}

/// [`BaseSettings`], as they travel.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct BaseTerms {
    pub(super) rows: u32,
    pub(super) inputs: u32,
    pub(super) features: u32,
    pub(super) squares: u8,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// Why settings are not accepted: all that the data party must know to try again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Refusal {
    /// Another computation goes on.
    Busy,
    /// No plan can be made of them, or a larger one than this party takes.
    Settings(String),
    /// So many MiB are needed, and are not there.
    Memory(u64),
}

impl TrainingTerms {
    /// Those of some settings.
    ///
    /// # Errors
    /// When a number is too large to be one of a plan.
    pub(super) fn of(settings: &Settings) -> Result<Self, TryFromIntError> {
        let Settings { rows, features, heads, batch, ref sigmoid, rate, unattended } = *settings;
        Ok(Self {
            rows: rows.try_into()?,
            features: features.try_into()?,
            heads: heads.try_into()?,
            batch: batch.try_into()?,
            degree: sigmoid.degree().try_into()?,
            range: sigmoid.range(),
            rate,
            unattended: unattended.try_into()?,
        })
    }

    /// The settings that they name.
    ///
    /// # Errors
    /// For a polynomial that is not there.
    pub(super) fn settings(&self) -> gelu_transfer::Result<Settings> {
        Ok(Settings {
            rows: self.rows as usize,
            features: self.features as usize,
            heads: self.heads as usize,
            batch: self.batch as usize,
            sigmoid: Sigmoid::fit(self.degree.into(), self.range)?,
            rate: self.rate,
            unattended: self.unattended.into(),
        })
    }
}

impl BaseTerms {
    /// Those of some settings.
    ///
    /// # Errors
    /// When a number is too large to be one of a plan.
    pub(super) fn of(settings: &BaseSettings) -> Result<Self, TryFromIntError> {
        let BaseSettings { rows, inputs, features, squares, least, most } = *settings;
        Ok(Self {
            rows: rows.try_into()?,
            inputs: inputs.try_into()?,
            features: features.try_into()?,
            squares: squares.try_into()?,
            least,
            most,
        })
    }

    /// The settings that they name.
    pub(super) fn settings(&self) -> BaseSettings {
        BaseSettings {
            rows: self.rows as usize,
            inputs: self.inputs as usize,
            features: self.features as usize,
            squares: self.squares.into(),
            least: self.least,
            most: self.most,
        }
    }
}

/// A message in parts.
pub(super) fn parts(message: &[u8]) -> impl Iterator<Item = Part> {
    let count = message.len().div_ceil(PART_BYTES);
    let parts = message.chunks(PART_BYTES).enumerate();
    parts.map(move |(i, bytes)| Part { last: i + 1 == count, bytes: bytes.to_vec() })
}

/// A message that is being put together.
pub(super) struct Assembly {
    bytes: Vec<u8>,
    most: usize,
}

impl Assembly {
    /// Of up to `most` bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), most }
    }

    /// Takes a part; the whole message at its last one.
    ///
    /// # Errors
    /// For a part without bytes, and for more bytes than the message can have.
    pub(super) fn take(&mut self, part: Part) -> Result<Option<Vec<u8>>, PeerMisbehaved> {
        let length = self.bytes.len() + part.bytes.len();
        if part.bytes.is_empty() || length > self.most {
            let expected = format!("1 to {}", self.most);
            return Err(PeerMisbehaved::out_of_bounds("bytes of a message", length, expected));
        }
        if self.bytes.is_empty() {
            self.bytes = part.bytes;
        } else {
            self.bytes.extend(part.bytes);
        }
        Ok(part.last.then(|| std::mem::take(&mut self.bytes)))
    }
}

/// Those of `gelu serve`, with frames for a part.
pub(super) fn limits() -> Limits {
    Limits { frame_bytes: PART_BYTES + (1 << 20), ..Limits::default() }
}

/// Bytes that a message may have, where the plan expects so many without headers.
pub(super) fn most_bytes(expected: u64) -> usize {
    usize::try_from(expected + expected / 8 + (1 << 16)).unwrap_or(usize::MAX)
}

const PART_BYTES: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_whole_again_and_no_longer_than_it_may_be() {
        for length in [1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES] {
            let message: Vec<u8> = (0..251).cycle().take(length).collect();
            let mut assembly = Assembly::new(length);
            let mut whole = None;
            for part in parts(&message) {
                assert!(whole.is_none());
                whole = assembly.take(part).unwrap();
            }
            assert!(whole.unwrap() == message, "{length}");
            let mut shorter = Assembly::new(length - 1);
            assert!(parts(&message).any(|part| shorter.take(part).is_err()), "{length}");
        }
        let empty = Part { last: false, bytes: Vec::new() };
        assert!(Assembly::new(9).take(empty).is_err(), "or parts would never end");
    }

    #[test]
    fn terms_name_the_same_settings_again() {
        let sigmoid = Sigmoid::fit(3, 12.0).unwrap();
        let settings = Settings {
            rows: 2048,
            features: 384,
            heads: 1,
            batch: 1024,
            sigmoid,
            rate: 3.0,
            unattended: 4,
        };
        let base = BaseSettings {
            rows: 3072,
            inputs: 784,
            features: 384,
            squares: 2,
            least: -0.5,
            most: 1.0,
        };
        assert_eq!(TrainingTerms::of(&settings).unwrap().settings().unwrap(), settings);
        assert_eq!(BaseTerms::of(&base).unwrap().settings(), base);
        assert!(TrainingTerms::of(&Settings { unattended: 256, ..settings }).is_err());
        assert!(BaseTerms::of(&BaseSettings { squares: 256, ..base }).is_err());
    }
}
