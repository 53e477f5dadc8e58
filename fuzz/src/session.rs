//! Whole sessions: a format for them, and the law of every machine.
//!
//! A session under test is not fed noise from its first byte: that would be refused at the door.
//! Instead an honest peer leads it into some state, and the fuzzer speaks from there on:
//!
//! ```text
//! byte 0    what the session is for: the `Script` of its parties
//! byte 1    how many honest messages come first
//! rest      frames of the fuzzer: length (2 bytes, little-endian), then so many bytes
//! ```

use gelu_core::Result;
use gelu_core::error::{Error, PeerMisbehaved};
use gelu_core::message::{ClientMessage, ServerMessage, Wire};

/// A machine, and the user or process that it works for.
pub trait Party {
    /// Its messages.
    type Says: Wire;
    /// Those of its peer.
    type Hears: Wire;

    /// The next message, if any.
    fn say(&mut self) -> Option<Self::Says>;

    /// Hands a message to the machine, then does what its user or process does.
    ///
    /// # Errors
    /// Those of the machine.
    fn hear(&mut self, message: Self::Hears) -> Result<()>;
}

/// Parts of one input of the fuzzer: the kind of the session, the number of honest messages, the frames.
pub fn parse(data: &[u8]) -> Option<(u8, usize, Vec<&[u8]>)> {
    let [kind, honest, rest @ ..] = data else { return None };
    let (mut frames, mut rest) = (Vec::new(), rest);
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (frame, tail) = tail.split_at(tail.len().min(u16::from_le_bytes(*length).into()));
        frames.push(frame);
        rest = tail;
    }
    Some((*kind, usize::from(*honest), frames))
}

/// An input of the fuzzer from its parts: for seeds.
pub fn write(kind: u8, honest: u8, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut data = vec![kind, honest];
    for frame in frames {
        data.extend(u16::try_from(frame.len()).expect("short frames").to_le_bytes());
        data.extend_from_slice(frame);
    }
    data
}

/// What both say in an honest session, in order.
pub fn messages<C, S>((mut client, mut server): (C, S)) -> (Vec<ClientMessage>, Vec<ServerMessage>)
where
    C: Party<Says = ClientMessage, Hears = ServerMessage>,
    S: Party<Says = ServerMessage, Hears = ClientMessage>,
{
    let (mut up, mut down) = (Vec::new(), Vec::new());
    loop {
        while let Some(message) = client.say() {
            up.push(message.clone());
            server.hear(message).expect("both are honest");
        }
        let before = down.len();
        while let Some(message) = server.say() {
            down.push(message.clone());
            client.hear(message).expect("both are honest");
        }
        if down.len() == before {
            return (up, down);
        }
    }
}

/// Law: whatever a peer says after so many honest messages, a machine goes on, or fails cleanly: it
/// blames no one but the peer, says nothing more, and hears nothing more.
pub fn survives<A: Party>(
    mut machine: A,
    mut peer: impl Party<Says = A::Hears, Hears = A::Says>,
    honest: usize,
    frames: &[&[u8]],
) {
    let mut heard = 0;
    'honest: loop {
        let mut idle = true;
        while let Some(message) = machine.say() {
            idle = false;
            peer.hear(message).expect("both are honest");
        }
        while let Some(message) = peer.say() {
            if heard == honest {
                break 'honest;
            }
            (heard, idle) = (heard + 1, false);
            machine.hear(message).expect("both are honest");
        }
        if idle {
            break;
        }
    }
    for frame in frames {
        while machine.say().is_some() {}
        let Ok(message) = A::Hears::from_bytes(frame) else { return };
        let Err(error) = machine.hear(message) else { continue };
        assert!(!matches!(error, Error::ApiMisuse(_)), "the peer caused {error:?}");
        assert!(machine.say().is_none(), "it speaks after {error:?}");
        let again = machine.hear(A::Hears::from_bytes(frame).expect("read before"));
        let expects_nothing = matches!(
            again,
            Err(Error::PeerMisbehaved(PeerMisbehaved::UnexpectedMessage {
                expected: "nothing",
                ..
            }))
        );
        assert!(expects_nothing, "it goes on after {error:?}");
        return;
    }
    while machine.say().is_some() {}
}
