//! The messages of the protocol, named by what they carry.
//!
//! Messages are plain data; ciphertexts travel as blocks of fixed-width residues and are validated
//! by the machine that receives them. The wire form is postcard: positional, so variants and
//! fields are only ever appended. To add a message, add a variant here, its name below, and the
//! state that waits for it in [`client`](crate::client) or [`server`](crate::server).

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use crate::blind::Answer;
use crate::error::{PeerMisbehaved, Result};
use crate::mask::Masked;
use crate::update::Revealed;

/// The protocol version that these messages belong to.
pub const PROTOCOL_VERSION: u16 = 9;

/// From client to server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// The client's public key; first of all, once.
    Open {
        /// Identifier of the cryptosystem.
        backend: String,
        /// The key as bytes.
        #[serde(with = "serde_bytes")]
        public_key: Vec<u8>,
    },
    /// ⟦A⟧: the encrypted inputs of a stage (Algorithm 1, line 4).
    EncryptedActivations {
        /// The stage.
        stage: u32,
        /// Samples of the mini-batch.
        batch: u32,
        /// The block of ciphertexts.
        #[serde(with = "serde_bytes")]
        ciphertexts: Vec<u8>,
        /// The name of the layout that the client chose.
        layout: String,
    },
    /// ⟦D⟧: the encrypted errors of a stage (Algorithm 2, line 5).
    EncryptedErrors {
        /// The stage.
        stage: u32,
        /// The block of ciphertexts.
        #[serde(with = "serde_bytes")]
        ciphertexts: Vec<u8>,
        /// The name of the layout that the client chose.
        layout: String,
    },
    /// Asks for the next turn to train.
    RequestLease {
        /// Samples of a mini-batch.
        batch: u32,
        /// Mini-batches that the client would like.
        steps: u32,
        /// Mini-batches below which its data does not let it go.
        least: u32,
    },
    /// U + R in the open (Algorithm 3; the client knows the learning rate).
    MaskedUpdate(Masked),
    /// ⟦G + R·2^g⟧ under the server's key (Algorithm 3; the rate is the server's secret).
    EncryptedMaskedUpdate {
        /// The block of packed ciphertexts.
        #[serde(with = "serde_bytes")]
        ciphertexts: Vec<u8>,
    },
    /// The sum of the true updates of the lease (Algorithm 5).
    FinalUpdate(Revealed),
    /// Gives the lease back between two steps: nothing is revealed, nothing committed.
    ReturnLease,
    /// The client's public key, for a session of [blind](crate::blind) queries; first of all, once.
    OpenBlind {
        /// Identifier of the cryptosystem.
        backend: String,
        /// The key as bytes.
        #[serde(with = "serde_bytes")]
        public_key: Vec<u8>,
        /// The client's half of the session's name.
        nonce: [u8; 32],
        /// What the client wants to know of its queries.
        answer: Answer,
    },
    /// The answer to the base transfers.
    TransferAnswer {
        /// As the two-party protocol writes it.
        #[serde(with = "serde_bytes")]
        answer: Vec<u8>,
    },
    /// ⟦r⟧ of every stage, for new tickets.
    EncryptedMasks {
        /// How many tickets.
        tickets: u32,
        /// One for each stage.
        stages: Vec<EncryptedStage>,
    },
    /// The bits of c = W·r − s of one ticket, each as a choice of a transfer.
    TransferRequest {
        /// One for each stage that has circuits.
        stages: Vec<ByteBuf>,
    },
    /// x − r of the first stage: a query, which spends its tickets.
    HiddenInputs {
        /// One for each sample.
        tickets: Vec<u64>,
        /// Sample after sample.
        #[serde(with = "serde_bytes")]
        numbers: Vec<u8>,
    },
    /// (A + ρ) − r: what came out of a stage, for the next one.
    HiddenActivations {
        /// The stage that takes them.
        stage: u32,
        /// Sample after sample.
        #[serde(with = "serde_bytes")]
        numbers: Vec<u8>,
    },
}

/// The ciphertexts of a stage, in the layout that the client chose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncryptedStage {
    /// The layout's name.
    pub layout: String,
    /// The block of ciphertexts.
    #[serde(with = "serde_bytes")]
    pub ciphertexts: Vec<u8>,
}

/// From server to client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ServerMessage {
    /// The key is accepted.
    Opened,
    /// ⟦Z~⟧, sealed (Algorithm 1, line 5).
    WeightedSums {
        /// The stage.
        stage: u32,
        /// The block of ciphertexts.
        #[serde(with = "serde_bytes")]
        ciphertexts: Vec<u8>,
    },
    /// ⟦Q~⟧, sealed (Algorithm 2, line 6).
    PropagatedErrors {
        /// The stage.
        stage: u32,
        /// The block of ciphertexts.
        #[serde(with = "serde_bytes")]
        ciphertexts: Vec<u8>,
    },
    /// The client may train.
    LeaseGranted(Lease),
    /// The masked weights have moved.
    UpdateApplied,
    /// The lease has become a new version of the model.
    Committed {
        /// The new version.
        version: u64,
    },
    /// The ledger, the policy or the numbers say no. The session goes on.
    Refused {
        /// One sentence for the operator of the client.
        reason: String,
    },
    /// The lease is over without a trace.
    LeaseReturned,
    /// The key is accepted for a session of [blind](crate::blind) queries.
    TransferOffer {
        /// The server's half of the session's name.
        nonce: [u8; 32],
        /// The base transfers, as the two-party protocol writes them.
        #[serde(with = "serde_bytes")]
        offer: Vec<u8>,
    },
    /// ⟦W·r − s⟧ of every stage, sealed.
    EncryptedShares {
        /// The version of the model whose W it is.
        version: u64,
        /// The number of the first new ticket; the others follow.
        first: u64,
        /// The block of ciphertexts of each stage.
        stages: Vec<ByteBuf>,
    },
    /// The garbled circuits of one ticket.
    GarbledTicket {
        /// One for each stage that has circuits.
        stages: Vec<ByteBuf>,
    },
    /// The tickets of a query were for a version that is not served any more: all of them are void.
    TicketsExpired {
        /// The version now.
        version: u64,
    },
    /// Labels of the bits of z = W·(x − r) + s + b.
    ShareLabels {
        /// The stage.
        stage: u32,
        /// Of each sample.
        samples: Vec<ByteBuf>,
    },
    /// The server's shares of the scores: the end of a query for [`Answer::Scores`].
    ScoreShares {
        /// Sample after sample.
        #[serde(with = "serde_bytes")]
        numbers: Vec<u8>,
    },
    /// Labels of the scores' shares, and what hides the class: the end of a query for [`Answer::Class`].
    ClassLabels {
        /// Of each sample.
        samples: Vec<ByteBuf>,
        /// ρ of each sample.
        #[serde(with = "serde_bytes")]
        rho: Vec<u8>,
    },
}

/// The terms of a lease.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    /// The version of the model on which the lease starts.
    pub version: u64,
    /// Mini-batches granted (`d_max`, drawn between the client's least and the ledger's bound).
    pub steps: u32,
    /// Samples of a mini-batch.
    pub batch: u32,
    /// The learning rate, in the open or under encryption.
    pub rate: LeaseRate,
}

/// The two update modes (`docs/src/protocol.md`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum LeaseRate {
    /// The client applies the rate itself.
    Public(f64),
    /// 1/eta = 2^g, encrypted under the server's key.
    ///
    /// Nothing proves that this is what the ciphertext holds. The client multiplies its masks by it, so a
    /// server that sends ⟦0⟧ has none and reads every update: the secret rate asks the client to trust
    /// the server with its data.
    Secret {
        /// The server's public key.
        #[serde(with = "serde_bytes")]
        public_key: Vec<u8>,
        /// ⟦2^g⟧.
        #[serde(with = "serde_bytes")]
        inverse_rate: Vec<u8>,
        /// The largest g that the server may have chosen.
        g_max: u32,
    },
}

impl ClientMessage {
    /// The variant's name, for errors and accounts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "Open",
            Self::EncryptedActivations { .. } => "EncryptedActivations",
            Self::EncryptedErrors { .. } => "EncryptedErrors",
            Self::RequestLease { .. } => "RequestLease",
            Self::MaskedUpdate(_) => "MaskedUpdate",
            Self::EncryptedMaskedUpdate { .. } => "EncryptedMaskedUpdate",
            Self::FinalUpdate(_) => "FinalUpdate",
            Self::ReturnLease => "ReturnLease",
            Self::OpenBlind { .. } => "OpenBlind",
            Self::TransferAnswer { .. } => "TransferAnswer",
            Self::EncryptedMasks { .. } => "EncryptedMasks",
            Self::TransferRequest { .. } => "TransferRequest",
            Self::HiddenInputs { .. } => "HiddenInputs",
            Self::HiddenActivations { .. } => "HiddenActivations",
        }
    }
}

impl ServerMessage {
    /// The variant's name, for errors and accounts.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Opened => "Opened",
            Self::WeightedSums { .. } => "WeightedSums",
            Self::PropagatedErrors { .. } => "PropagatedErrors",
            Self::LeaseGranted(_) => "LeaseGranted",
            Self::UpdateApplied => "UpdateApplied",
            Self::Committed { .. } => "Committed",
            Self::Refused { .. } => "Refused",
            Self::LeaseReturned => "LeaseReturned",
            Self::TransferOffer { .. } => "TransferOffer",
            Self::EncryptedShares { .. } => "EncryptedShares",
            Self::GarbledTicket { .. } => "GarbledTicket",
            Self::TicketsExpired { .. } => "TicketsExpired",
            Self::ShareLabels { .. } => "ShareLabels",
            Self::ScoreShares { .. } => "ScoreShares",
            Self::ClassLabels { .. } => "ClassLabels",
        }
    }
}

/// A message that crosses the wire.
pub trait Wire: Serialize + for<'de> Deserialize<'de> {
    /// The message as bytes.
    fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain data always serialises")
    }

    /// Reads exactly one message.
    ///
    /// # Errors
    /// [`PeerMisbehaved::Undecodable`] for anything else, bytes left over included.
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        match postcard::take_from_bytes(bytes) {
            Ok((message, [])) => Ok(message),
            _ => Err(PeerMisbehaved::Undecodable.into()),
        }
    }
}

impl Wire for ClientMessage {}
impl Wire for ServerMessage {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Layer, Parameters};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_read_is_written_again(
            bytes in prop::collection::vec(any::<u8>(), 0..200)
        ) {
            if let Ok(message) = ClientMessage::from_bytes(&bytes) {
                prop_assert_eq!(ClientMessage::from_bytes(&message.to_bytes()).unwrap(), message);
            }
            if let Ok(message) = ServerMessage::from_bytes(&bytes) {
                let again = ServerMessage::from_bytes(&message.to_bytes()).unwrap();
                prop_assert_eq!(again.name(), message.name());
            }
        }

        #[test]
        fn parameters_round_trip(weights: Vec<i128>, biases: Vec<i128>) {
            let parameters = Parameters { layers: vec![Layer { weights, biases }] };
            let message = ClientMessage::FinalUpdate(parameters.into());
            prop_assert_eq!(ClientMessage::from_bytes(&message.to_bytes()).unwrap(), message);
        }
    }

    #[test]
    fn cut_or_lengthened_messages_are_refused() {
        let message = ServerMessage::WeightedSums { stage: 3, ciphertexts: vec![7; 40] };
        let bytes = message.to_bytes();
        for end in 0..bytes.len() {
            assert!(ServerMessage::from_bytes(&bytes[..end]).is_err(), "cut to {end}");
        }
        assert!(ServerMessage::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }
}
