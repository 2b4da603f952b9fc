//! The hash chain over a conversation's log (W8): equal chains at equal seqs mean equal logs.

use crate::{ConversationId, EventId, Seq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::fmt;

/// A chain value: 8 bytes, on the wire 16 lower-case hex digits.
///
/// `chain(s)` is the first 8 bytes of SHA-256(`chain(s−1)` ‖ `id(s)`), where `chain(0)` is the conversation id's 16
/// bytes. An empty conversation shows the first 8 bytes of its id where a value has to be shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
pub struct Chain(pub [u8; 8]);

#[cfg(feature = "schema")]
impl schemars::JsonSchema for Chain {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Chain".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[0-9a-f]{16}$" })
    }
}

impl Chain {
    /// The value shown for seq 0.
    pub fn empty(conversation: ConversationId) -> Self {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&conversation.as_bytes()[..8]);
        Self(bytes)
    }

    /// The value at `previous + 1`, where `self` is the value at `previous`.
    #[must_use]
    pub fn then(self, conversation: ConversationId, previous: Seq, id: EventId) -> Self {
        let mut hash = Sha256::new();
        if previous == Seq::ZERO {
            hash.update(conversation.as_bytes());
        } else {
            hash.update(self.0);
        }
        hash.update(id.as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&hash.finalize()[..8]);
        Self(bytes)
    }

    /// As stored in a database.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Reads a stored value; `None` if it is not 8 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Parses 16 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 16 || !digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        u64::from_str_radix(text, 16).ok().map(|value| Self(value.to_be_bytes()))
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Chain {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Chain;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("16 lower-case hex digits")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Chain, E> {
                Chain::parse(text).ok_or_else(|| E::custom("not a chain value"))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_starts_from_all_sixteen_bytes_of_the_conversation() {
        let conversation = ConversationId::parse("018f0000-0000-7000-8000-000000000001").unwrap();
        let id = EventId::parse("018f0000-0000-7000-8000-0000000000aa").unwrap();
        let mut input = conversation.as_bytes().to_vec();
        input.extend_from_slice(id.as_bytes());
        let expected: [u8; 8] = Sha256::digest(&input)[..8].try_into().unwrap();
        let one = Chain::empty(conversation).then(conversation, Seq::ZERO, id);
        assert_eq!(one, Chain(expected));
        assert_eq!(Chain::parse(&one.to_string()), Some(one));
        assert_ne!(one.then(conversation, Seq(1), id), one);
    }
}
