//! People and whether they are there.

use kith_protocol::{TimestampMs, UserId, ephemeral::PresenceState};
use serde::{Deserialize, Serialize};

/// What a person is called whose profile has not come yet.
pub const UNKNOWN_NAME: &str = "…";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct PersonView {
    pub id: UserId,
    pub username: String,
    /// What to call them.
    pub display_name: String,
    /// Their role on the platform.
    pub role: Option<String>,
    /// A reference to their picture.
    pub avatar: Option<String>,
}

/// How present a person is, as far as known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct PresenceView {
    pub user: UserId,
    pub state: PresenceState,
    /// When they were last there.
    pub last_seen: Option<TimestampMs>,
}
