//! Limits of an ONNX file, checked on its bytes before any message is made of them.
//!
//! A message of two bytes becomes a structure of hundreds, so the size of a file does not bound the memory that
//! its messages take: their number does. The walk follows the messages of [`proto`](crate::proto) only, allocates
//! nothing, and leaves what is malformed to the parser, which reports it.

use gelu_core::linear::MAX_PARAMETERS;

use crate::error::{Error, Result};

/// The largest file: as many parameters as an architecture may have, as doubles, and their description.
pub const MAX_FILE_BYTES: u64 = 8 * MAX_PARAMETERS + (16 << 20);

/// The most messages and texts in a file.
pub const MAX_MESSAGES: u64 = 1 << 16;

/// Checks the limits of a file.
///
/// # Errors
/// [`Error::TooLarge`].
pub(crate) fn check(bytes: &[u8]) -> Result<()> {
    let too_large = |what, got, limit| match got <= limit {
        true => Ok(()),
        false => Err(Error::TooLarge { what, got, limit }),
    };
    too_large("bytes", bytes.len() as u64, MAX_FILE_BYTES)?;
    let mut messages = 0;
    let _ = count(Kind::Model, bytes, &mut messages);
    too_large("messages", messages, MAX_MESSAGES)
}

/// What a field holds, as far as the number of messages depends on it.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Node,
    Attribute,
    Tensor,
    Info,
    Type,
    TensorType,
    Shape,
    Leaf,
}

impl Kind {
    fn of_field(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, 7) => Self::Graph,
            (Self::Graph, 1) => Self::Node,
            (Self::Graph, 5) | (Self::Attribute, 5) => Self::Tensor,
            (Self::Graph, 11 | 12) => Self::Info,
            (Self::Node, 5) => Self::Attribute,
            (Self::Info, 2) => Self::Type,
            (Self::Type, 1) => Self::TensorType,
            (Self::TensorType, 2) => Self::Shape,
            (Self::Model, 8)
            | (Self::Node, 1 | 2)
            | (Self::Attribute, 9)
            | (Self::Tensor, 6)
            | (Self::Shape, 1) => Self::Leaf,
            _ => return None,
        })
    }
}

/// Adds up the messages inside of one, down to what is malformed, which ends the walk with `None`.
fn count(kind: Kind, mut bytes: &[u8], messages: &mut u64) -> Option<()> {
    while !bytes.is_empty() && *messages <= MAX_MESSAGES {
        let key = varint(&mut bytes)?;
        let length = match key & 7 {
            0 => {
                varint(&mut bytes)?;
                continue;
            }
            1 => 8,
            5 => 4,
            2 => usize::try_from(varint(&mut bytes)?).ok()?,
            _ => return None,
        };
        let (field, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        if let Some(inner) = kind.of_field(key >> 3).filter(|_| key & 7 == 2) {
            *messages += 1;
            count(inner, field, messages)?;
        }
    }
    Some(())
}

/// Takes a number of seven bits a byte, the lowest first, from the front.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{GraphProto, ModelProto, NodeProto};
    use prost::Message;

    #[test]
    fn many_small_messages_are_refused_before_they_are_made() {
        let limit = usize::try_from(MAX_MESSAGES).unwrap();
        let file = |nodes| {
            let graph =
                GraphProto { node: vec![NodeProto::default(); nodes], ..Default::default() };
            ModelProto { graph: Some(graph), ..Default::default() }.encode_to_vec()
        };
        check(&file(limit - 1)).unwrap();
        let refused = check(&file(limit)).unwrap_err();
        assert!(matches!(refused, Error::TooLarge { what: "messages", .. }), "{refused}");
    }

    #[test]
    fn what_is_malformed_is_left_to_the_parser() {
        for bytes in [&[0xff; 20][..], &[0x3a, 0xff, 1], &[7], &[]] {
            check(bytes).unwrap();
        }
    }
}
