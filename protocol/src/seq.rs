//! Positions and times: whole numbers below 2^53, so that every JSON reader keeps them exact.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// One above the greatest number on the wire.
pub const WIRE_INTEGER_LIMIT: u64 = 1 << 53;

/// Reads a counter.
pub(crate) fn counter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if value < WIRE_INTEGER_LIMIT {
        Ok(value)
    } else {
        Err(serde::de::Error::custom("number is not below 2^53"))
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize)]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS), ts(type = "number"))]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// Returns the number as PostgreSQL and SQLite store it. Wire numbers are below 2^53, so it always fits.
            pub const fn as_i64(self) -> i64 {
                self.0 as i64
            }

            /// Reads a stored number; a negative one counts as 0.
            pub const fn from_i64(value: i64) -> Self {
                if value < 0 { Self(0) } else { Self(value as u64) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                counter(deserializer).map(Self)
            }
        }
    };
}

number!(
    /// The position of an event in its conversation: 1, 2, 3 … without holes. 0 stands for "before the first".
    Seq
);
number!(
    /// Milliseconds since 1970-01-01T00:00:00Z.
    TimestampMs
);

impl Seq {
    /// Before the first event.
    pub const ZERO: Self = Self(0);

    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The position before this one; 0 stays 0.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}
