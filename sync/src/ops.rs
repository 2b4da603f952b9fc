//! The seam between the sync machine and the store: plain data in both directions.
//!
//! The machine decides *what* is to be written and never how; the store carries out every [`StoreOp`] of one call of
//! `Store::apply` in one transaction and answers with one [`Stored`]. Applying the same op twice changes nothing (C3),
//! but for counting.

use super::terms::Terms;
use crate::mutation::{self, Mutation};
use kith_protocol::{
    Chain, ConversationId, DeviceId, ErrorCode, Event, EventId, NewEvent, Seq, TimestampMs, UserId,
    api::Profile,
    frame::{HeadsItem, MemberItem, Notification, Open, OwnState, Page, StateChange},
};

/// What the store knows when the machine starts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LocalState {
    /// The last `welcome`'s, 0 on a new device.
    pub generation: u64,
    /// The last `welcome`'s.
    pub epoch: Option<String>,
    /// The last `welcome`'s.
    pub terms: Terms,
    /// How far own state is known.
    pub user_seq: u64,
    /// Every conversation that is stored, hidden ones included.
    pub conversations: Vec<LocalConversation>,
    /// The outbox, ascending by item. What was `sending` when the process ended is `Queued` (O2).
    pub outbox: Vec<OutboxEntry>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LocalConversation {
    pub conversation: ConversationId,
    /// The contiguous ranges of its log, ascending (C2).
    pub ranges: Vec<LocalRange>,
    /// The newest seq that the server was known to have.
    pub head: Seq,
    /// The intervals of one's membership (R6).
    pub visible: Vec<(Seq, Option<Seq>)>,
    /// The newest event's time, for the order of catching up.
    pub last_ts: TimestampMs,
    /// The `delivered` marker that the server was known to have.
    pub delivered: Seq,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalRange {
    pub low: Seq,
    pub high: Seq,
    /// The chain's value before `low`.
    pub chain_before: Chain,
    /// The chain's value at `high`.
    pub chain_high: Chain,
}

/// An outbox row without its content: enough to decide whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The row, ascending in the order of writing.
    pub item: i64,
    pub conversation: ConversationId,
    pub what: OutboxWhat,
    /// The message that it is, or that an edit, a reaction or a pin is about: those are held back by what was refused for
    /// want of its target and has the same message.
    pub message: Option<EventId>,
    /// About how long its content is as JSON, so that a `send` stays below the frame's limit.
    pub bytes: u32,
    pub state: EntryState,
    pub tries: u32,
    /// When the user wrote it, or last said that it is to go, by the local clock.
    pub written_at: TimestampMs,
}

/// What an outbox row does, as far as the order of sending depends on it (O5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxWhat {
    /// Creates the conversation: everything else of it waits.
    Open,
    /// A message: parked, it holds the later events of its conversation.
    Message,
    /// An edit, reaction, pin or delete: parked, it holds nothing.
    Relation,
    /// A member, title or settings event: parked, it holds nothing.
    Group,
    /// Own state: goes beside the events and waits for none but an `Open`.
    State,
}

/// How an outbox row stands when the machine learns of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryState {
    Queued,
    /// Accepted at this seq; the row ends when the event is stored (O2).
    Acked(Seq),
    Parked(ErrorCode),
}

/// What the user's doing changed in the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutboxUpdate {
    /// New rows, and rows that changed (a retry makes a parked one `Queued`).
    pub changed: Vec<OutboxEntry>,
    /// Rows that the user cancelled or took back.
    pub removed: Vec<i64>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum OutboxOp {
    Event(NewEvent),
    /// A conversation to be created or found; without a first message, which follows as a row of its own.
    Open(Open),
    State(StateChange),
}

/// An outbox row with its content, as it is being sent.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxItem {
    pub item: i64,
    pub conversation: ConversationId,
    /// What to send. A draft's `base` is the version on which the text stands at this moment (R4).
    pub op: OutboxOp,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StoreOp {
    /// A `welcome`: to be presented in the next `hello`.
    Welcome {
        generation: u64,
        /// Of the server's database.
        epoch: String,
        /// What the server offers, and its limits.
        terms: Terms,
    },
    /// The device was replaced after a fork (S8): generation and `user_seq` start at 0 for the new one.
    Device {
        device: DeviceId,
    },
    /// A part of the heads. Own state in them is the server's (read and delivered markers max-merge; what waits in
    /// the outbox stays in view).
    Heads {
        /// Every conversation comes, in this and further parts. What is here and not there stays.
        full: bool,
        /// They begin a connection: what they say counts even where it is older (another lineage). Later heads are a
        /// snapshot that what is pushed may have overtaken.
        handshake: bool,
        last: bool,
        /// Own state is as of here, and complete with the last part. What was pushed meanwhile may be newer.
        user_seq: u64,
        items: Vec<HeadsItem>,
        /// Hidden by the user.
        gone: Vec<ConversationId>,
    },
    /// Events that continue the newest range, or begin one; their chain has been checked. Rows that are known are
    /// dropped. Outbox rows with these ids end.
    Append {
        conversation: ConversationId,
        /// The chain's value before the first.
        chain_before: Chain,
        /// Ascending, without holes between them, at least one.
        events: Vec<Event>,
    },
    /// A page, of any place in the log: ranges that it touches become one. Its chain has been checked. Outbox rows
    /// with its ids end.
    Page(Page),
    /// The server's log is of another lineage (S7). `chains` are its values at some seqs. What is stored is kept up to
    /// the greatest of them at which both are equal and below which none differs (0 if none). Ranges end there. Own
    /// events above it go back to the outbox with the same ids ([`Stored::queued`]); others' are forgotten.
    /// [`Stored::rewound`] answers what is left.
    Rewind {
        conversation: ConversationId,
        /// `(seq, chain)` of the server.
        chains: Vec<(Seq, Chain)>,
    },
    /// The server does not know these conversations any more: it was set back to before they began (I12). Who may
    /// begins them again, with the same ids: both of a direct conversation, the owner of a group. Their logs follow by
    /// [`Self::Rewind`] once the server knows them.
    Lost {
        conversations: Vec<ConversationId>,
    },
    /// These rows leave now: they become `sending`, their tries rise by one, and [`Stored::sending`] answers their
    /// content. A row that the user has taken back meanwhile is left out.
    Sending {
        items: Vec<i64>,
    },
    /// These rows were not answered, were skipped, or what was acknowledged was lost: they become `queued`.
    Queued {
        items: Vec<i64>,
    },
    Retry {
        items: Vec<i64>,
        at: TimestampMs,
        code: ErrorCode,
    },
    Parked {
        items: Vec<i64>,
        code: ErrorCode,
    },
    /// The server has numbered the row's event. The row becomes `acked(seq)`, or ends if that event is stored.
    Acked {
        item: i64,
        id: EventId,
        seq: Seq,
        ts: TimestampMs,
    },
    /// These rows got their answer and end: opens and own state (O2).
    Done {
        items: Vec<i64>,
    },
    /// Own state that changed (S4). A version below the stored one is known and dropped; markers max-merge;
    /// what waits in the outbox stays in view.
    OwnState {
        /// Own state is complete up to here; `None` if it is not known to be complete.
        user_seq: Option<u64>,
        items: Vec<OwnState>,
    },
    /// A draft was written on an older version (R4): the rows end, both texts are kept for the user to choose.
    DraftConflict {
        items: Vec<i64>,
        current: Box<OwnState>,
    },
    /// Members' markers; each max-merges.
    Markers {
        conversation: ConversationId,
        /// `(user, delivered, read)`
        markers: Vec<(UserId, Seq, Seq)>,
    },
    /// Profiles; a lower version than the stored one is dropped.
    Profiles(Vec<Profile>),
    Members {
        conversation: ConversationId,
        /// The list includes all events up to this seq. Stored events above it apply after the list.
        as_of: Option<Seq>,
        items: Vec<MemberItem>,
        /// The first part: what the list held before is to go when the last part is stored.
        first: bool,
        last: bool,
    },
    Notifications(Vec<Notification>),
    /// Something happened that diagnostics tell of. The one op that is not to be applied twice.
    Count {
        counter: Counter,
        by: u64,
    },
    /// Compares a conversation's rows with its ranges and chain, at most 500 of each range. Rows that are missing or
    /// damaged are given up, with what follows them in their range: [`Stored::repaired`] answers what is left, and the
    /// server has them.
    Verify {
        conversation: ConversationId,
        /// Which part of a long range.
        salt: u64,
    },
}

impl StoreOp {
    /// Whether a power cut may not take it back. It may take back what the server sends again. It may not take back what
    /// the server has concluded from this device, or what would make this device repeat itself:
    /// - the generation and the device, which a server compares (S8): an older one looks like a copied profile;
    /// - that a row has left (O7): the user could change in place what others have read;
    /// - that a row of own state has ended: sent again, it would undo a later change of another device;
    /// - that a row was refused, or put into the outbox here (O1).
    pub fn is_durable(&self) -> bool {
        match self {
            Self::Welcome { .. } => !mutation::is(Mutation::WelcomeIsNotSynced),
            Self::Sending { .. } => !mutation::is(Mutation::SendingIsNotSynced),
            Self::Device { .. }
            | Self::Done { .. }
            | Self::Parked { .. }
            | Self::Rewind { .. }
            | Self::Lost { .. }
            | Self::DraftConflict { .. } => true,
            // A row that is not known to have been acknowledged, or to wait, is sent again with its id. Without the
            // newest `user_seq` the server sends own state again.
            Self::Heads { .. }
            | Self::Append { .. }
            | Self::Page(_)
            | Self::Queued { .. }
            | Self::Retry { .. }
            | Self::Acked { .. }
            | Self::OwnState { .. }
            | Self::Markers { .. }
            | Self::Profiles(_)
            | Self::Members { .. }
            | Self::Count { .. }
            | Self::Verify { .. }
            | Self::Notifications(_) => false,
        }
    }
}

/// What the store answers after the commit.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stored {
    /// What the user changed in transactions before this one, of which the machine was not told yet.
    pub earlier: Vec<OutboxUpdate>,
    /// The content of the rows of [`StoreOp::Sending`], in its order.
    pub sending: Vec<OutboxItem>,
    /// Outbox rows that are no more: their event is stored, or a rewind ended them or gave them another number.
    pub ended: Vec<i64>,
    /// Outbox rows that came back (a rewind).
    pub queued: Vec<OutboxEntry>,
    /// What is left of conversations that were rewound.
    pub rewound: Vec<LocalConversation>,
    /// What is left of conversations in which rows were damaged.
    pub repaired: Vec<LocalConversation>,
    /// A run of events was not stored, for one of them is stored at another place, or another one at its place: the
    /// log is of another lineage (S7). What is stored, and the place that contradicts.
    pub forked: Vec<(LocalConversation, Seq)>,
    /// People who are named and whose profile is unknown, or older than a heads item says.
    pub profiles_wanted: Vec<UserId>,
    /// Conversations whose members are not known (heads list up to eight).
    pub members_wanted: Vec<ConversationId>,
}

/// What diagnostics count, with what people see of it as its description there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    GapPulls,
    FullHeads,
    Duplicates,
    Forks,
    Orphans,
    Checks,
    Repairs,
    DriverRestarts,
    WriterRestarts,
}

impl Counter {
    pub const ALL: [Self; 9] = [
        Self::GapPulls,
        Self::FullHeads,
        Self::Duplicates,
        Self::Forks,
        Self::Orphans,
        Self::Checks,
        Self::Repairs,
        Self::DriverRestarts,
        Self::WriterRestarts,
    ];

    /// As it is stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GapPulls => "gap_pulls",
            Self::FullHeads => "full_heads",
            Self::Duplicates => "duplicates",
            Self::Forks => "forks",
            Self::Orphans => "orphans",
            Self::Checks => "checks",
            Self::Repairs => "repairs",
            Self::DriverRestarts => "driver_restarts",
            Self::WriterRestarts => "writer_restarts",
        }
    }
}

#[cfg(test)]
mod tests;
