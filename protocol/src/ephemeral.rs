//! Typing and presence: never stored, never numbered, gone by themselves.

use crate::{ConversationId, TimestampMs, UserId};
use serde::{Deserialize, Serialize};

/// How present somebody is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    /// At least one connected device.
    Online,
    /// Connected, but idle for five minutes.
    Away,
    /// Connected and not to be disturbed.
    Busy,
    /// No connected device.
    Offline,
}

/// `[conversation, user, on]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing(pub ConversationId, pub UserId, pub bool);

/// `[user, state, last_seen?]`; the third is absent while online or when the owner hides it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Who.
    pub user: UserId,
    /// How present.
    pub state: PresenceState,
    /// When the last device went, server time.
    pub last_seen: Option<TimestampMs>,
}

impl Serialize for Presence {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.last_seen {
            Some(at) => (self.user, self.state, at).serialize(serializer),
            None => (self.user, self.state).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Presence {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Presence;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("[user, state, last_seen?]")
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Presence, A::Error> {
                use serde::de::Error;
                let user = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let state = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                let last_seen = seq.next_element::<Option<TimestampMs>>()?.flatten();
                Ok(Presence { user, state, last_seen })
            }
        }
        deserializer.deserialize_seq(Visitor)
    }
}
