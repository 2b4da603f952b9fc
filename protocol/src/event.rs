//! Events: every fact that is stored, numbered and synced.
//!
//! On the wire and in the stores an event keeps its `kind` and `body` as they came, so that a kind of a later version
//! passes through unharmed (C6). [`EventContent`] is the typed reading of the kinds that this version knows.

mod bodies;
mod canonical;
mod rules;

use bodies::EmptyBody;
pub use bodies::{EditBody, Forwarded, MemberBody, MessageBody, PinBody, ReactionBody, TitleBody};
pub use canonical::{body_hash, canonical_json};
pub use rules::{check_emoji, check_text};

use crate::{Chain, ErrorCode, EventId, Seq, TimestampMs, UserId, limits, text::check_title};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An event as its sender hands it in. Unknown fields are refused (W5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    /// Minted by the sender, UUIDv7.
    pub id: EventId,
    /// `message`, `edit`, … (section 10).
    pub kind: String,
    /// The message that an edit, reaction, pin or delete is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<EventId>,
    /// By kind, see [`EventContent`].
    pub body: Value,
    /// The sender's clock when it was written. Orders nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<TimestampMs>,
    /// Sent again after the server lost it (S7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resubmitted: Option<bool>,
}

/// An event with its place in the conversation's log, as the server gives it out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Event {
    /// Its place, from 1, without holes.
    pub seq: Seq,
    /// The sender's id for it.
    pub id: EventId,
    /// What happened.
    pub kind: String,
    /// Who did it.
    pub sender: UserId,
    /// The server's time; never falls within a conversation (W6).
    pub ts: TimestampMs,
    /// The sender's clock. Orders nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<TimestampMs>,
    /// How many messages the log holds up to and including this event (W7).
    pub countable: u64,
    /// The hash chain's value here (W8).
    pub chain: Chain,
    /// The message that an edit, reaction, pin or delete is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<EventId>,
    /// By kind; absent once redacted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The payload was erased; the position stays (W9).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

/// A role in a conversation. A direct conversation has two owners of nothing: both are `member`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Made the group, or was given it.
    Owner,
    /// May add and remove people and delete others' messages.
    Admin,
    /// May write.
    Member,
}

impl Role {
    /// The wire form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Member => "member",
        }
    }

    /// Parses the wire form.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "owner" => Some(Self::Owner),
            "admin" => Some(Self::Admin),
            "member" => Some(Self::Member),
            _ => None,
        }
    }

    /// Owner or admin.
    pub const fn may_manage(self) -> bool {
        matches!(self, Self::Owner | Self::Admin)
    }
}

/// What a `member` event changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum MemberChange {
    /// By owner or admin.
    Added,
    /// By owner or admin.
    Removed,
    /// By the user.
    Left,
    /// By owner or admin; `role` says which.
    Role,
}

/// The typed reading of `kind`, `target` and `body`.
#[derive(Debug, Clone, PartialEq)]
pub enum EventContent {
    /// Somebody wrote something. The only countable kind.
    Message(MessageBody),
    /// The author changed the text of `target`.
    Edit {
        /// Which message.
        target: EventId,
        /// The new text.
        text: String,
    },
    /// `target` was deleted.
    Delete {
        /// Which message.
        target: EventId,
    },
    /// An emoji was put on `target` or taken back.
    Reaction {
        /// Which message.
        target: EventId,
        /// Which emoji, and whether it is on.
        reaction: ReactionBody,
    },
    /// `target` was pinned or unpinned for everybody.
    Pin {
        /// Which message.
        target: EventId,
        /// Pinned or not.
        on: bool,
    },
    /// Membership changed.
    Member(MemberBody),
    /// The group's title changed.
    Title(TitleBody),
    /// The group's settings changed; keys are the platform's.
    Settings(serde_json::Map<String, Value>),
}

impl EventContent {
    /// Reads and checks an event's content.
    ///
    /// # Errors
    /// `unsupported` for an unknown kind, `too_large` for a text or body over its limit, `invalid` for anything else
    /// that is not of the form of section 10 (NUL, an empty text, unknown fields, a missing or superfluous target …).
    pub fn parse(kind: &str, target: Option<EventId>, body: &Value) -> Result<Self, ErrorCode> {
        let targeted = matches!(kind, "edit" | "delete" | "reaction" | "pin");
        let target_of = || target.ok_or(ErrorCode::Invalid);
        if !targeted && target.is_some() && matches!(kind, "message" | "member" | "title" | "settings") {
            return Err(ErrorCode::Invalid);
        }
        let content = match kind {
            "message" => {
                let message: MessageBody = read(body)?;
                check_text(&message.text)?;
                if message.mentions.as_ref().is_some_and(|users| users.len() > limits::MENTIONS_MAX) {
                    return Err(ErrorCode::TooLarge);
                }
                Self::Message(message)
            }
            "edit" => {
                let edit: EditBody = read(body)?;
                check_text(&edit.text)?;
                Self::Edit { target: target_of()?, text: edit.text }
            }
            "delete" => {
                read::<EmptyBody>(body)?;
                Self::Delete { target: target_of()? }
            }
            "reaction" => {
                let reaction: ReactionBody = read(body)?;
                check_emoji(&reaction.emoji)?;
                Self::Reaction { target: target_of()?, reaction }
            }
            "pin" => Self::Pin { target: target_of()?, on: read::<PinBody>(body)?.on },
            "member" => {
                let member: MemberBody = read(body)?;
                let fits = match member.change {
                    MemberChange::Role => member.role.is_some(),
                    MemberChange::Added => true,
                    MemberChange::Removed | MemberChange::Left => member.role.is_none(),
                };
                if !fits {
                    return Err(ErrorCode::Invalid);
                }
                Self::Member(member)
            }
            "title" => {
                let title: TitleBody = read(body)?;
                check_title(&title.text)?;
                Self::Title(title)
            }
            "settings" => match body {
                Value::Object(map) => Self::Settings(map.clone()),
                _ => return Err(ErrorCode::Invalid),
            },
            _ => return Err(ErrorCode::Unsupported),
        };
        if canonical_json(body).len() > limits::EVENT_BODY_BYTES_MAX {
            return Err(ErrorCode::TooLarge);
        }
        if rules::has_nul(body) {
            return Err(ErrorCode::Invalid);
        }
        Ok(content)
    }

    /// Reads an event that the server has stored. A later version may have added fields to a kind that this version knows:
    /// they are ignored, for the rest of the event still applies (C6).
    ///
    /// # Errors
    /// As [`EventContent::parse`], but for unknown fields.
    pub fn parse_stored(kind: &str, target: Option<EventId>, body: &Value) -> Result<Self, ErrorCode> {
        let is_known = |field: &str| known_fields(kind).is_none_or(|known| known.contains(&field));
        match body {
            Value::Object(fields) if !fields.keys().all(|field| is_known(field)) => {
                let known = fields.iter().filter(|(field, _)| is_known(field));
                let known = known.map(|(field, value)| (field.clone(), value.clone())).collect();
                Self::parse(kind, target, &Value::Object(known))
            }
            _ => Self::parse(kind, target, body),
        }
    }

    /// Whether it counts for unread numbers and pages (W7).
    pub const fn is_countable(&self) -> bool {
        matches!(self, Self::Message(_))
    }

    /// The message that it is about, if its kind has one.
    pub const fn target(&self) -> Option<EventId> {
        match self {
            Self::Edit { target, .. }
            | Self::Delete { target }
            | Self::Reaction { target, .. }
            | Self::Pin { target, .. } => Some(*target),
            Self::Message(_) | Self::Member(_) | Self::Title(_) | Self::Settings(_) => None,
        }
    }

    /// The wire form: kind, target and body.
    pub fn to_wire(&self) -> (&'static str, Option<EventId>, Value) {
        let body = match self {
            Self::Message(message) => to_value(message),
            Self::Edit { text, .. } => serde_json::json!({ "text": text }),
            Self::Delete { .. } => serde_json::json!({}),
            Self::Reaction { reaction, .. } => to_value(reaction),
            Self::Pin { on, .. } => serde_json::json!({ "on": on }),
            Self::Member(member) => to_value(member),
            Self::Title(title) => to_value(title),
            Self::Settings(map) => Value::Object(map.clone()),
        };
        (self.kind(), self.target(), body)
    }

    /// The kind's name.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::Edit { .. } => "edit",
            Self::Delete { .. } => "delete",
            Self::Reaction { .. } => "reaction",
            Self::Pin { .. } => "pin",
            Self::Member(_) => "member",
            Self::Title(_) => "title",
            Self::Settings(_) => "settings",
        }
    }
}

/// The fields that this version knows of a kind's body; `None` if it takes any.
fn known_fields(kind: &str) -> Option<&'static [&'static str]> {
    Some(match kind {
        "message" => &["text", "reply_to", "mentions", "attachments", "forwarded"],
        "edit" | "title" => &["text"],
        "delete" => &[],
        "reaction" => &["emoji", "on"],
        "pin" => &["on"],
        "member" => &["user", "change", "role"],
        _ => return None,
    })
}

fn to_value<T: Serialize>(body: &T) -> Value {
    // Plain structs of strings, bools and ids: serialisation into a value has no way to fail.
    serde_json::to_value(body).unwrap_or(Value::Null)
}

fn read<T: for<'de> Deserialize<'de>>(body: &Value) -> Result<T, ErrorCode> {
    T::deserialize(body).map_err(|_| ErrorCode::Invalid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(kind: &str, body: Value) -> Result<EventContent, ErrorCode> {
        EventContent::parse(kind, None, &body)
    }

    #[test]
    fn w5_texts_outside_the_limits_are_refused() {
        assert!(parse("message", json!({"text": "é".repeat(16_000)})).is_ok());
        assert_eq!(parse("message", json!({"text": "é".repeat(16_001)})), Err(ErrorCode::TooLarge));
        assert_eq!(parse("message", json!({"text": ""})), Err(ErrorCode::Invalid));
        assert_eq!(parse("message", json!({"text": "a\0b"})), Err(ErrorCode::Invalid));
        assert_eq!(parse("message", json!({"text": "a", "html": "b"})), Err(ErrorCode::Invalid));
        assert_eq!(parse("message", json!("text")), Err(ErrorCode::Invalid));
        assert_eq!(parse("poll", json!({})), Err(ErrorCode::Unsupported));
    }

    #[test]
    fn targets_are_demanded_and_refused_by_kind() {
        let id = EventId::mint();
        assert_eq!(parse("edit", json!({"text": "x"})), Err(ErrorCode::Invalid));
        assert!(EventContent::parse("edit", Some(id), &json!({"text": "x"})).is_ok());
        assert_eq!(EventContent::parse("message", Some(id), &json!({"text": "x"})), Err(ErrorCode::Invalid));
        assert!(EventContent::parse("delete", Some(id), &json!({})).is_ok());
        assert_eq!(EventContent::parse("delete", Some(id), &json!({"x": 1})), Err(ErrorCode::Invalid));
    }

    #[test]
    fn c6_fields_of_a_later_version_are_refused_from_a_sender_and_ignored_in_the_log() {
        let target = EventId::mint();
        let user = uuid::Uuid::now_v7();
        let full = [
            (
                "message",
                None,
                json!({"text": "a", "reply_to": target, "mentions": [user], "attachments": [], "forwarded": {"from": user}}),
            ),
            ("edit", Some(target), json!({"text": "a"})),
            ("delete", Some(target), json!({})),
            ("reaction", Some(target), json!({"emoji": "👍", "on": true})),
            ("pin", Some(target), json!({"on": true})),
            ("member", None, json!({"user": user, "change": "added", "role": "admin"})),
            ("title", None, json!({"text": "Tea"})),
        ];
        for (kind, target, body) in full {
            let read = EventContent::parse(kind, target, &body).unwrap();
            let mut later = body.clone();
            later["later"] = json!(1);
            assert_eq!(EventContent::parse(kind, target, &later), Err(ErrorCode::Invalid), "{kind}");
            assert_eq!(EventContent::parse_stored(kind, target, &later), Ok(read.clone()), "{kind}");
            assert_eq!(EventContent::parse_stored(kind, target, &body), Ok(read), "{kind}");
        }
        let settings = json!({"platform": 1});
        let read = EventContent::parse("settings", None, &settings);
        assert_eq!(EventContent::parse_stored("settings", None, &settings), read);
    }

    #[test]
    fn content_survives_the_wire() {
        let target = EventId::mint();
        for content in [
            EventContent::Message(MessageBody {
                text: "hi".into(),
                reply_to: Some(target),
                ..Default::default()
            }),
            EventContent::Edit { target, text: "ho".into() },
            EventContent::Delete { target },
            EventContent::Reaction { target, reaction: ReactionBody { emoji: "👍".into(), on: true } },
            EventContent::Pin { target, on: true },
            EventContent::Member(MemberBody { user: UserId::mint(), change: MemberChange::Left, role: None }),
            EventContent::Title(TitleBody { text: String::new() }),
        ] {
            let (kind, target, body) = content.to_wire();
            assert_eq!(EventContent::parse(kind, target, &body), Ok(content));
        }
    }
}
