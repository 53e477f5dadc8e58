//! A secret with each other owner, and whether all saw the same keys.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow};
use gelu_nn::Schema;
use gelu_nn::schema::{MaskedSums, PairSeed};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::rand::SystemRandom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::problem::problem;

/// Fresh X25519 keys: one for each other owner, each used once. They cannot be copied or written down.
pub(super) struct Keys {
    me: String,
    owners: Vec<String>,
    secret: BTreeMap<String, EphemeralPrivateKey>,
    public: BTreeMap<String, String>,
}

/// What an owner tells first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Public {
    /// The hash of its schema.
    pub(super) schema: String,
    /// All owners, in order.
    pub(super) owners: Vec<String>,
    /// Its key for each other owner, in hexadecimal.
    keys: BTreeMap<String, String>,
}

/// What all owners told first, as a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session([u8; 32]);

/// What an owner tells second.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sealed {
    session: String,
    sums: String,
}

impl Keys {
    /// New ones, by the random numbers of the system.
    pub(super) fn generate(owners: &[String], me: &str) -> Result<Self> {
        let (mut secret, mut public) = (BTreeMap::new(), BTreeMap::new());
        for owner in owners.iter().filter(|owner| *owner != me) {
            let key = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new());
            let key = key.map_err(|_| anyhow!("the system has no random numbers"))?;
            let shown =
                key.compute_public_key().map_err(|_| anyhow!("a key has no public part"))?;
            public.insert(owner.clone(), base16ct::lower::encode_string(shown.as_ref()));
            secret.insert(owner.clone(), key);
        }
        Ok(Self { me: me.into(), owners: owners.to_vec(), secret, public })
    }

    /// What the other owners are told.
    pub(super) fn public(&self, schema: &Schema) -> Public {
        Public {
            schema: schema.hash().to_string(),
            owners: self.owners.clone(),
            keys: self.public.clone(),
        }
    }

    /// The seed with each other owner: SHA-256 of a label, the session, both names' places and the X25519 secret.
    ///
    /// # Errors
    /// An owner's key that is none, or is not there.
    pub(super) fn agree(
        self,
        public: &BTreeMap<String, Public>,
        session: &Session,
    ) -> Result<Vec<PairSeed>> {
        let place = |name: &String| self.owners.iter().position(|owner| owner == name);
        let seed = |(owner, secret): (String, EphemeralPrivateKey)| {
            let theirs = public.get(&owner).and_then(|message| message.keys.get(&self.me));
            let theirs = theirs.and_then(|key| base16ct::lower::decode_vec(key).ok());
            let theirs = UnparsedPublicKey::new(&X25519, theirs.unwrap_or_default());
            let adds = self.me < owner;
            let (first, second) = if adds { (&self.me, &owner) } else { (&owner, &self.me) };
            let derive = |shared: &[u8]| {
                let hash = Sha256::new()
                    .chain_update("gelu schema sum: seed")
                    .chain_update(session.0)
                    .chain_update((place(first).unwrap_or_default() as u64).to_le_bytes())
                    .chain_update((place(second).unwrap_or_default() as u64).to_le_bytes())
                    .chain_update(shared);
                Zeroizing::new(<[u8; 32]>::from(hash.finalize()))
            };
            let seed = agree_ephemeral(secret, &theirs, derive).map_err(|_| {
                problem(
                    format!("{owner} has no valid key for {}", self.me),
                    "ask that owner, and begin anew with an empty folder",
                )
            })?;
            Ok(PairSeed { seed, adds })
        };
        self.secret.into_iter().map(seed).collect()
    }
}

impl Session {
    /// Of all owners' messages.
    pub(super) fn of(public: &BTreeMap<String, Public>) -> Self {
        let text = serde_json::to_string(public).expect("names and words only");
        Self(Sha256::digest(text).into())
    }

    /// 160 bits of it, in groups that can be read out. Two sets of keys with the same code take 2⁸⁰ tries.
    pub(super) fn code(&self) -> String {
        let digits = base16ct::lower::encode_string(&self.0[..20]);
        let groups = digits.as_bytes().chunks(4).map(|group| String::from_utf8_lossy(group));
        groups.collect::<Vec<_>>().join(" ")
    }

    fn name(&self) -> String {
        base16ct::lower::encode_string(&self.0)
    }

    /// The message with an owner's sums.
    pub(super) fn sealed(&self, sums: &MaskedSums) -> Sealed {
        let sums = base16ct::lower::encode_string(&sums.to_bytes());
        Sealed { session: self.name(), sums }
    }

    /// The sums of an owner's message.
    ///
    /// # Errors
    /// A message under other keys, or that holds no such sums.
    pub(super) fn open(&self, owner: &str, sealed: &Sealed, schema: &Schema) -> Result<MaskedSums> {
        if sealed.session != self.name() {
            return Err(problem(
                format!("{owner} sent sums under other keys than those that are here"),
                "begin anew with an empty folder; if that happens again, somebody changes its files",
            ));
        }
        let bytes = base16ct::lower::decode_vec(&sealed.sums);
        let bytes = bytes.map_err(|_| anyhow!("the sums of {owner} are not hexadecimal"))?;
        MaskedSums::from_bytes(&bytes, schema).map_err(|error| anyhow!("{owner}: {error}"))
    }
}
