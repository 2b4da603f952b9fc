//! Identifiers: lower-case hyphenated UUIDs that cannot be mixed up.

use serde::{Deserialize, Deserializer, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

/// The namespace of direct conversations' ids (UUIDv5).
pub const DIRECT_NAMESPACE: Uuid = Uuid::from_u128(0x6b69_7468_0001_5000_8000_6469_7265_6374);

/// An id was not a lower-case hyphenated UUID of the version that its kind demands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid id")]
pub struct InvalidId;

fn parse_canonical(text: &str) -> Result<Uuid, InvalidId> {
    let id = Uuid::try_parse(text).map_err(|_| InvalidId)?;
    let mut buffer = Uuid::encode_buffer();
    if id.hyphenated().encode_lower(&mut buffer) == text { Ok(id) } else { Err(InvalidId) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "string"))]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Wraps a UUID that is known to be of the right kind (a database row, for instance).
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// Returns the UUID inside.
            pub const fn as_uuid(&self) -> Uuid {
                self.0
            }

            /// Returns the 16 bytes of the UUID.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::parse(text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("a lower-case hyphenated UUID")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        $name::parse(text).map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
}

id!(
    /// A user of one server.
    UserId
);
id!(
    /// One installation of one user.
    DeviceId
);
id!(
    /// A conversation: UUIDv7 for groups, UUIDv5 of the two users for direct ones.
    ConversationId
);
id!(
    /// An event, minted by its sender: always UUIDv7.
    EventId
);

macro_rules! parse_any {
    ($($name:ident),*) => {$(
        impl $name {
            /// Parses the canonical text form.
            ///
            /// # Errors
            /// [`InvalidId`] for anything but a lower-case hyphenated UUID.
            pub fn parse(text: &str) -> Result<Self, InvalidId> {
                parse_canonical(text).map(Self)
            }
        }
    )*};
}
parse_any!(UserId, DeviceId, ConversationId);

impl UserId {
    /// Mints a user's id (UUIDv7).
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }
}

impl DeviceId {
    /// Mints a device's id (UUIDv7).
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }
}

impl ConversationId {
    /// Whether it is a group's: minted, not made from two people.
    pub fn is_group(self) -> bool {
        self.as_uuid().get_version_num() == 7
    }

    /// Mints a group conversation's id (UUIDv7).
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of the direct conversation of two people: the same whoever asks.
    ///
    /// UUIDv5 of [`DIRECT_NAMESPACE`] over `a:b`, the smaller id (as lower-case text) first, so two people who
    /// start the same chat offline start the same conversation.
    pub fn direct(one: UserId, other: UserId) -> Self {
        let (a, b) = if one.0 <= other.0 { (one, other) } else { (other, one) };
        Self(Uuid::new_v5(&DIRECT_NAMESPACE, format!("{a}:{b}").as_bytes()))
    }
}

impl EventId {
    /// Mints an event's id (UUIDv7).
    pub fn mint() -> Self {
        Self(Uuid::now_v7())
    }

    /// Parses the canonical text form of a UUIDv7.
    ///
    /// # Errors
    /// [`InvalidId`] for anything but a lower-case hyphenated UUID of version 7.
    pub fn parse(text: &str) -> Result<Self, InvalidId> {
        let id = parse_canonical(text)?;
        if id.get_version_num() == 7 { Ok(Self(id)) } else { Err(InvalidId) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn direct_id_is_the_same_from_both_sides() {
        let (a, b) = (UserId::mint(), UserId::mint());
        assert_eq!(ConversationId::direct(a, b), ConversationId::direct(b, a));
        assert_eq!(ConversationId::direct(a, b).as_uuid().get_version_num(), 5);
    }

    #[test]
    fn only_canonical_ids_of_the_right_version_parse() {
        let id = EventId::mint();
        assert_eq!(EventId::parse(&id.to_string()), Ok(id));
        assert_eq!(EventId::parse(&id.to_string().to_uppercase()), Err(InvalidId));
        assert_eq!(EventId::parse(&id.as_uuid().simple().to_string()), Err(InvalidId));
        assert_eq!(EventId::parse(&Uuid::new_v4().to_string()), Err(InvalidId));
        assert!(UserId::parse(&Uuid::new_v4().to_string()).is_ok());
    }
}
