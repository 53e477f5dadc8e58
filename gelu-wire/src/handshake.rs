//! The greeting, and everything else that two peers say to each other around the protocol proper.
//!
//! ```text
//!  client                                   server
//!    Hello { versions }            ──▶
//!    Choose(model)                 ──▶
//!                                  ◀──       Welcome { version, card }   or  Incompatible
//!    Message(Open), …              ──▶
//!                                  ◀──       Message(Opened), Waiting, Working, …
//!    Bye                           ──▶  or  ◀──  Goodbye
//! ```
//!
//! Each direction has its own type, so that a frame that goes the wrong way cannot even be read.
//! `Hello`, `Goodbye` and `Incompatible` never change their form, so that peers of any two versions can
//! still part with a clear word; variants are only ever appended.

use gelu_core::error::PeerIncompatible;
use gelu_core::ledger::Policy;
use gelu_core::message::{ClientMessage, PROTOCOL_VERSION, ServerMessage};
use gelu_core::text::printable;
use gelu_core::{Network, Precision};
use gelu_nn::schema::Hash;
use gelu_nn::{Schema, Sequential};
use serde::{Deserialize, Serialize};

use crate::error::{FrameError, Goodbye, Result};

/// The first bytes of every greeting.
pub const MAGIC: [u8; 8] = *b"gelu-net";
/// The protocol versions that this program speaks, lowest and highest.
pub const VERSIONS: (u16, u16) = (PROTOCOL_VERSION, PROTOCOL_VERSION);

/// The largest frame before the greeting is over, from a client.
pub const GREETING_BYTES: usize = 1 << 10;
/// The largest model card (the architecture as text is most of it).
pub const CARD_BYTES: usize = 1 << 20;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Up {
    /// First of all, once.
    Hello(Hello),
    /// To the machine.
    Message(ClientMessage),
    /// The client leaves.
    Bye,
    /// Right after the greeting, once: the name of the model that it has come for; empty for the only one.
    Choose(String),
}

impl Up {
    /// Its name, for logs and errors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "Hello",
            Self::Message(message) => message.name(),
            Self::Bye => "Bye",
            Self::Choose(_) => "Choose",
        }
    }
}

/// What a server says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Down {
    /// The answer to [`Up::Hello`].
    Welcome(Box<Welcome>),
    /// To the machine.
    Message(ServerMessage),
    /// So many clients hold or await the lease before this one.
    Waiting {
        /// The holder included: 1 is next.
        position: u32,
    },
    /// The server still computes.
    Working,
    /// The session has ended.
    Goodbye(Goodbye),
    /// The session has ended, because the peers do not fit together.
    Incompatible(Incompatible),
}

/// The client's greeting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// The lowest and the highest protocol version that the client speaks.
    pub versions: (u16, u16),
}

/// The server's greeting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    /// The protocol version from here on: the highest that both speak.
    pub version: u16,
    /// What is served.
    pub card: ModelCard,
}

/// What a server tells everybody about its model and its terms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// The model's name.
    pub name: String,
    /// The version that was current at the greeting.
    pub version: u64,
    /// A name of what that version holds: the same for the same weights and meaning, as long as the server keeps its books.
    /// It says nothing of them: whoever knows most of the weights cannot search for the rest by it.
    pub id: String,
    /// The architecture, as `gelu_nn::Sequential` reads it.
    pub architecture: String,
    /// The scales and bounds.
    pub precision: Precision,
    /// The cryptosystem's identifier.
    pub backend: String,
    /// The smallest and the largest key accepted, in bits.
    pub key_bits: (u32, u32),
    /// What happens at the ledger's bound.
    pub policy: Policy,
    /// The account that this session's queries are booked on.
    pub account: String,
    /// How queries can be asked; the first is the one that the operator prefers.
    pub modes: Vec<Mode>,
    /// Whether a blind query may ask for scores, and not for the class alone.
    pub scores: bool,
    /// Tickets for blind queries that a session may hold.
    pub tickets: u32,
    /// The ledger's verdict on open inference, one sentence.
    pub inference: String,
    /// The same on blind inference, or why it cannot be.
    pub blind: String,
    /// The ledger's verdict on training, one sentence.
    pub training: String,
    /// The most samples of a lease that the operator grants.
    pub lease_samples: u64,
    /// What the model's inputs and classes mean, if that is known.
    pub schema: Option<CardSchema>,
}

/// How a query is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The client sees the weighted sums of every layer.
    Open,
    /// Nobody sees them: see [`gelu_core::blind`].
    Blind,
}

impl Mode {
    /// Its name in commands and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Blind => "blind",
        }
    }
}

impl core::fmt::Display for Mode {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.name())
    }
}

/// A schema on a card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardSchema {
    /// Its canonical form, as `gelu_nn::Schema` reads it.
    pub json: String,
    /// Its hash, by which partners see that they mean the same.
    pub hash: Hash,
}

impl From<&Schema> for CardSchema {
    fn from(schema: &Schema) -> Self {
        Self { json: schema.to_json(), hash: schema.hash() }
    }
}

impl CardSchema {
    /// Reads and checks it.
    ///
    /// # Errors
    /// [`Error::Model`](crate::Error::Model) for what is no schema, or another one than the hash says.
    pub fn read(&self) -> Result<Schema> {
        let schema = Schema::from_json(&self.json)?;
        match schema.hash() == self.hash {
            true => Ok(schema),
            false => Err(gelu_nn::Error::Schema(format!(
                "the server's card has one with the hash {}, and says {}",
                schema.hash(),
                self.hash
            ))
            .into()),
        }
    }
}

/// Why two honest peers do not fit together, as the server sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Incompatible {
    /// The server speaks only these protocol versions.
    Versions(u16, u16),
    /// The server uses another cryptosystem.
    Backend(String),
    /// The server accepts other key sizes.
    KeySize {
        /// The client's.
        got: u32,
        /// The server's.
        accepted: String,
    },
    /// The server has no such model for this account.
    Model {
        /// What the client asked for.
        wanted: String,
        /// The names of those that it may use.
        served: String,
    },
}

/// What a card says of its model, read and checked.
#[derive(Debug)]
pub struct Described {
    /// The architecture.
    pub architecture: Sequential,
    /// The network as the protocol runs it.
    pub network: Network,
    /// What its inputs and classes mean, if that is known.
    pub schema: Option<Schema>,
}

impl ModelCard {
    /// Reads and checks the architecture, the precision and the schema.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) for a precision that is none, [`Error::Model`](crate::Error::Model) for an
    /// architecture or a schema that is none, or a schema of another network.
    pub fn describe(&self) -> Result<Described> {
        self.precision.validate()?;
        let architecture = Sequential::from_json(&self.architecture)?;
        let schema = self.schema.as_ref().map(CardSchema::read).transpose()?;
        if let Some(schema) = &schema {
            schema.check_fit(&architecture)?;
        }
        Ok(Described { network: architecture.network(), architecture, schema })
    }

    /// With words that can be shown as they are, whatever the server sent.
    pub fn printable(self) -> Self {
        let Self { name, id, backend, account, inference, blind, training, .. } = &self;
        let [name, id, backend, account, inference, blind, training] =
            [name, id, backend, account, inference, blind, training].map(|text| printable(text));
        Self { name, id, backend, account, inference, blind, training, ..self }
    }
}

impl Hello {
    /// Our greeting.
    pub fn ours() -> Self {
        Self { magic: MAGIC, versions: VERSIONS }
    }

    /// The highest version that both speak.
    ///
    /// # Errors
    /// [`FrameError::NoGreeting`] for another protocol's greeting or an empty range;
    /// [`PeerIncompatible::Version`] when the ranges do not overlap.
    pub fn agree(&self) -> Result<u16> {
        let (low, high) = self.versions;
        if self.magic != MAGIC || low > high {
            return Err(FrameError::NoGreeting.into());
        }
        let version = high.min(VERSIONS.1);
        if version < low.max(VERSIONS.0) {
            let (ours, theirs) = (VERSIONS, self.versions);
            return Err(PeerIncompatible::Version { ours, theirs }.into());
        }
        Ok(version)
    }
}

impl Incompatible {
    /// What the server tells the client of its own error.
    pub fn tell(error: &PeerIncompatible, backend: &str) -> Self {
        match error {
            PeerIncompatible::Version { .. } => Self::Versions(VERSIONS.0, VERSIONS.1),
            PeerIncompatible::KeySize { got, accepted } => {
                Self::KeySize { got: *got, accepted: accepted.clone() }
            }
            PeerIncompatible::Model { wanted, served } => {
                Self::Model { wanted: wanted.clone(), served: served.clone() }
            }
            _ => Self::Backend(backend.to_owned()),
        }
    }

    /// The same error, seen by a client with `backend`.
    pub fn heard(self, backend: &str) -> PeerIncompatible {
        match self {
            Self::Versions(low, high) => {
                PeerIncompatible::Version { ours: VERSIONS, theirs: (low, high) }
            }
            Self::Backend(theirs) => PeerIncompatible::Backend { ours: backend.into(), theirs },
            Self::KeySize { got, accepted } => PeerIncompatible::KeySize { got, accepted },
            Self::Model { wanted, served } => PeerIncompatible::Model { wanted, served },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use gelu_nn::Dataset;

    #[test]
    fn the_highest_common_version_is_agreed() {
        let (low, high) = VERSIONS;
        for (versions, agreed) in [
            ((low, high), high),
            ((0, high), high),
            ((low, high + 5), high),
            ((0, u16::MAX), high),
            // Ranges that touch in one version, at either end.
            ((0, low), low),
            ((high, u16::MAX), high),
        ] {
            assert_eq!(Hello { versions, ..Hello::ours() }.agree().unwrap(), agreed);
        }
        for versions in [(high + 1, high + 2), (0, low - 1)] {
            let error = Hello { versions, ..Hello::ours() }.agree().unwrap_err();
            assert!(matches!(error, Error::PeerIncompatible(_)), "{error}");
        }
    }

    #[test]
    fn another_protocol_s_greeting_is_none() {
        let mut one_bit = MAGIC;
        one_bit[7] ^= 1;
        let magic = [*b"ssh-2.0-", one_bit].map(|magic| Hello { magic, ..Hello::ours() });
        let (low, _) = VERSIONS;
        let empty = [(low, low - 1), (u16::MAX, 0)];
        let empty = empty.map(|versions| Hello { versions, ..Hello::ours() });
        for hello in magic.into_iter().chain(empty) {
            assert!(
                matches!(hello.agree(), Err(Error::Frame(FrameError::NoGreeting))),
                "{hello:?}"
            );
        }
        assert_eq!(Hello::ours(), Hello { magic: *b"gelu-net", versions: VERSIONS });
    }

    /// What the client hears is what the server means, with the two sides exchanged.
    #[test]
    fn an_incompatibility_says_the_same_on_both_sides() {
        let theirs = (VERSIONS.1 + 1, VERSIONS.1 + 2);
        let size = || PeerIncompatible::KeySize { got: 512, accepted: "2048 to 4096".into() };
        let backend = |ours: &str, theirs: &str| PeerIncompatible::Backend {
            ours: ours.into(),
            theirs: theirs.into(),
        };
        let versions = |ours, theirs| PeerIncompatible::Version { ours, theirs };
        for (meant, told, heard) in [
            (
                versions(VERSIONS, theirs),
                Incompatible::Versions(VERSIONS.0, VERSIONS.1),
                versions(VERSIONS, VERSIONS),
            ),
            (size(), Incompatible::KeySize { got: 512, accepted: "2048 to 4096".into() }, size()),
            (
                backend("server", "client"),
                Incompatible::Backend("server".into()),
                backend("client", "server"),
            ),
        ] {
            let said = Incompatible::tell(&meant, "server");
            assert_eq!(said, told);
            assert_eq!(said.heard("client"), heard);
        }
        // A server of another time: its versions, not ours, are theirs.
        assert_eq!(Incompatible::Versions(7, 9).heard("client"), versions(VERSIONS, (7, 9)));
    }

    #[test]
    fn a_schema_is_the_one_that_its_hash_says() {
        let (_, schema) = Dataset::load_with_schema("iris", std::path::Path::new("")).unwrap();
        let card = CardSchema::from(&schema);
        assert_eq!(card.read().unwrap(), schema);
        let other = CardSchema { json: card.json.replace("setosa", "rose"), ..card.clone() };
        let error = other.read().unwrap_err().to_string();
        assert!(error.contains(&card.hash.to_string()), "{error}");
        let torn = CardSchema { json: card.json.replace("\"version\":1", "\"version\":9"), ..card };
        assert!(torn.read().is_err());
    }

    /// All words of a card but the architecture and the schema, which are parsed and not shown as they are.
    #[test]
    fn the_words_of_a_card_are_made_fit_to_be_shown() {
        let words = |name: &str| ModelCard {
            name: name.into(),
            version: 1,
            id: name.into(),
            architecture: "a\n".into(),
            precision: Precision::TRAINING,
            backend: name.into(),
            key_bits: (1, 2),
            policy: Policy::Enforce,
            account: name.into(),
            modes: vec![Mode::Open, Mode::Blind],
            scores: false,
            tickets: 4,
            inference: name.into(),
            blind: name.into(),
            training: name.into(),
            lease_samples: 3,
            schema: None,
        };
        assert_eq!(words("\u{1b}[2J\n").printable(), words("\\u{1b}[2J\\n"));
    }
}
