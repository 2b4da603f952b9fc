//! A timeline and what stands in it.

use super::PersonView;
use kith_protocol::{
    ErrorCode, EventId, Seq, TimestampMs,
    event::{MemberChange, Role},
};
use serde::{Deserialize, Serialize};

/// The state of an own message (its tick).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SendState {
    /// In the outbox, not tried yet (or waiting for the next try).
    Queued,
    /// On its way; the server has not confirmed it.
    Sending,
    /// The server has it.
    Sent,
    /// A device of somebody else has it.
    Delivered,
    /// Somebody else has read it (in a group: everybody else).
    Read,
    /// Refused; waits for the user.
    Failed { code: ErrorCode },
}

/// An entry of the timeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TimelineItem {
    Message(MessageView),
    /// Something happened to the conversation.
    Notice(NoticeView),
    /// Events between two stored ranges are not here; they are being fetched when online (C2).
    Gap(GapView),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct MessageView {
    pub id: EventId,
    /// Its place in the timeline: the seq, or above all seqs for what is not numbered yet.
    pub order: f64,
    /// Its seq, once numbered.
    pub seq: Option<Seq>,
    pub sender: PersonView,
    pub mine: bool,
    /// The text after edits; empty once deleted.
    pub text: String,
    /// Server time, or the local clock's while unconfirmed.
    pub ts: TimestampMs,
    pub edited: bool,
    pub deleted: bool,
    pub pinned: bool,
    pub reply_to: Option<QuoteView>,
    /// Emoji on it, in the order of their first use.
    pub reactions: Vec<ReactionView>,
    /// The tick; `None` for others' messages.
    pub send_state: Option<SendState>,
    /// An edit, deletion or reaction by oneself is still in the outbox.
    pub pending_change: bool,
    /// Somebody else wrote it and the server has lost it: a device of the sender brings it back (S7).
    pub lost: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct QuoteView {
    pub id: EventId,
    /// Who wrote it; `None` while it is not here.
    pub sender: Option<PersonView>,
    /// Its beginning, at most 200 characters; empty once deleted or while it is not here.
    pub text: String,
    pub deleted: bool,
}

/// An emoji on a message.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct ReactionView {
    pub emoji: String,
    pub count: u32,
    /// Who, at most 64 of them.
    pub people: Vec<PersonView>,
    pub mine: bool,
}

/// Something that happened to the conversation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct NoticeView {
    pub id: EventId,
    /// Its place in the timeline.
    pub order: f64,
    pub ts: TimestampMs,
    pub actor: PersonView,
    pub what: NoticeKind,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum NoticeKind {
    Member {
        user: PersonView,
        change: MemberChange,
        /// The role that they have.
        role: Option<Role>,
    },
    Title {
        text: String,
    },
    /// A kind of a later version: shown as a placeholder (C6).
    Unknown {
        name: String,
    },
}

/// A hole in what is stored here.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct GapView {
    /// Its place in the timeline.
    pub order: f64,
    /// The first missing seq.
    pub from: Seq,
    /// The last missing seq.
    pub to: Seq,
}

/// Where to read a timeline.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(tag = "at", rename_all = "snake_case")]
pub enum Anchor {
    /// The newest `limit` entries.
    Newest,
    /// `limit` entries before this place (exclusive).
    Before {
        /// An entry's `order`.
        order: f64,
    },
    /// `limit` entries from this place on (inclusive), towards newer ones.
    From {
        /// An entry's `order`.
        order: f64,
    },
    /// `limit` entries around a message.
    Around { id: EventId },
    /// `limit` entries around the first unread message, or the newest ones when all is read.
    FirstUnread,
}

/// A part of a timeline, oldest first.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct TimelineView {
    pub items: Vec<TimelineItem>,
    /// The conversation's first visible event is in it.
    pub at_start: bool,
    /// The newest entry is in it.
    pub at_end: bool,
    /// Older events exist on the server and are being fetched; `timeline_changed` follows.
    pub loading: bool,
    /// Where the "new messages" line goes: the first unread message of others.
    pub first_unread: Option<EventId>,
    /// Read up to here.
    pub read: Seq,
}
