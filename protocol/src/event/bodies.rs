//! What events of each kind say. Unknown fields are refused (W5).

use super::{MemberChange, Role};
use crate::{EventId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of a `message`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MessageBody {
    /// 1 to 16,000 Unicode scalar values, without NUL.
    pub text: String,
    /// The message that this one answers, in the same conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<EventId>,
    /// People named in the text; needs `mentions.v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mentions: Option<Vec<UserId>>,
    /// Uploaded files, by reference; needs `files.v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachments: Option<Vec<Value>>,
    /// Where a forwarded message came from; needs `forward.v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forwarded: Option<Forwarded>,
}

/// The origin of a forwarded message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forwarded {
    /// Who wrote it first.
    pub from: UserId,
}

/// The body of an `edit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditBody {
    /// The new text, same limits as a message's.
    pub text: String,
}

/// The body of a `reaction`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReactionBody {
    /// One grapheme of at most 32 bytes.
    pub emoji: String,
    /// Set or taken back.
    pub on: bool,
}

/// The body of a `pin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinBody {
    /// Pinned or not.
    pub on: bool,
}

/// The body of a `member` event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberBody {
    /// About whom.
    pub user: UserId,
    /// What changed.
    pub change: MemberChange,
    /// With `added` (default `member`) and `role`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
}

/// The body of a `title`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TitleBody {
    /// 0 to 128 Unicode scalar values.
    pub text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EmptyBody {}
