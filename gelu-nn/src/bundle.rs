//! What a model file says beside architecture, weights and schema: where the model comes from, and how well its
//! fixed-point numbers follow the real ones.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::schema::rounded;

/// How a model was measured when its numbers became integers.
///
/// It is true of one set of weights at one precision, so a model that is trained further or given other scales no
/// longer has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Rows that it was measured on.
    pub rows: u64,
    /// Share of rows that the model in floating point gets right, where their classes are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_float: Option<f64>,
    /// The same of the integers of the encrypted protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_fixed: Option<f64>,
    /// Values that were cut off at a bound.
    pub saturated: u64,
}

/// The file that a model was imported from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Its name, without its folder.
    pub source: String,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// The version of the operators, for ONNX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opset: Option<u64>,
}

impl Calibration {
    /// Checks it, and keeps 12 significant digits, so that what is written and read is the same.
    pub(crate) fn checked(self) -> Result<Self> {
        let share = |share: Option<f64>| match share.map(rounded) {
            Some(x) if !(0.0..=1.0).contains(&x) => {
                Err(Error::Schema(format!("the calibration has an accuracy of {x}")))
            }
            share => Ok(share),
        };
        let (float, fixed) = (share(self.accuracy_float)?, share(self.accuracy_fixed)?);
        Ok(Self { accuracy_float: float, accuracy_fixed: fixed, ..self })
    }
}

impl Provenance {
    pub(crate) fn check(&self) -> Result<()> {
        let hexadecimal = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        match self.sha256.len() == 64 && self.sha256.bytes().all(hexadecimal) {
            true => Ok(()),
            false => {
                Err(Error::Schema(format!("the provenance has the SHA-256 {:?}", self.sha256)))
            }
        }
    }
}
