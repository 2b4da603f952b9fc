//! What users do to a store, in the words that both stores understand, and where a simulated client keeps its data.

use crate::{driver::Applied, events::EngineEvent, store::disk::Disk};
use kith_protocol::{
    ConversationId, ErrorCode, EventContent, EventId, NewEvent, Seq, TimestampMs, UserId,
    event::{MemberBody, MessageBody, ReactionBody, TitleBody},
    frame::{Open, StateChange},
};
use kith_sync::{
    memory::{MemoryStore, Row, RowState},
    ops::{LocalState, OutboxOp, OutboxUpdate, StoreOp},
};

/// One thing that a user does.
#[derive(Debug, Clone)]
pub(crate) enum Doing {
    Open(Open),
    Write {
        conversation: ConversationId,
        id: EventId,
        text: String,
        reply_to: Option<EventId>,
    },
    Edit {
        conversation: ConversationId,
        id: EventId,
        target: EventId,
        text: String,
    },
    Delete {
        conversation: ConversationId,
        id: EventId,
        target: EventId,
    },
    React {
        conversation: ConversationId,
        id: EventId,
        target: EventId,
        emoji: &'static str,
        on: bool,
    },
    Pin {
        conversation: ConversationId,
        id: EventId,
        target: EventId,
        on: bool,
    },
    Title {
        conversation: ConversationId,
        id: EventId,
        text: String,
    },
    Member {
        conversation: ConversationId,
        id: EventId,
        body: MemberBody,
    },
    Own(StateChange),
    /// Takes an outbox row back.
    Cancel(i64),
    /// Says of a parked outbox row that it is to go after all (O5).
    Retry(i64),
}

/// The emoji there are.
pub(crate) const EMOJI: [&str; 2] = ["+", "-"];

impl Doing {
    /// The event that it is, in which conversation.
    fn event(&self) -> Option<(ConversationId, EventId, EventContent)> {
        let (conversation, id, content) = match self {
            Self::Write { conversation, id, text, reply_to } => {
                let body = MessageBody { text: text.clone(), reply_to: *reply_to, ..MessageBody::default() };
                (conversation, id, EventContent::Message(body))
            }
            Self::Edit { conversation, id, target, text } => {
                (conversation, id, EventContent::Edit { target: *target, text: text.clone() })
            }
            Self::Delete { conversation, id, target } => {
                (conversation, id, EventContent::Delete { target: *target })
            }
            Self::React { conversation, id, target, emoji, on } => {
                let reaction = ReactionBody { emoji: (*emoji).to_owned(), on: *on };
                (conversation, id, EventContent::Reaction { target: *target, reaction })
            }
            Self::Pin { conversation, id, target, on } => {
                (conversation, id, EventContent::Pin { target: *target, on: *on })
            }
            Self::Title { conversation, id, text } => {
                (conversation, id, EventContent::Title(TitleBody { text: text.clone() }))
            }
            Self::Member { conversation, id, body } => (conversation, id, EventContent::Member(body.clone())),
            Self::Open(_) | Self::Own(_) | Self::Cancel(_) | Self::Retry(_) => return None,
        };
        Some((*conversation, *id, content))
    }
}

/// What heads and the log both say of a conversation, and up to which seq it is known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Facts {
    pub as_of: Seq,
    pub title: Option<String>,
    pub visible: Vec<(Seq, Option<Seq>)>,
    pub member_count: u32,
}

/// What never decreases in a conversation's own state.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnMarks {
    pub version: u64,
    pub read: Seq,
}

/// Where a client keeps its data.
#[derive(Debug)]
pub(crate) enum SimStore {
    /// The store's twin, and what of it a power cut would leave, where one is near.
    Memory {
        now: Box<MemoryStore>,
        synced: Option<Box<MemoryStore>>,
    },
    Disk(Box<Disk>),
}

impl SimStore {
    pub(crate) fn memory(me: UserId) -> Self {
        let now = Box::new(MemoryStore { me: Some(me), ..MemoryStore::default() });
        Self::Memory { now, synced: None }
    }

    pub(crate) fn disk(me: UserId) -> Self {
        Self::Disk(Box::new(Disk::new(me)))
    }

    /// The same profile once more (S8).
    pub(crate) fn copied(&self) -> Self {
        match self {
            Self::Memory { now, .. } => Self::Memory { now: now.clone(), synced: None },
            Self::Disk(disk) => Self::Disk(Box::new(disk.copied())),
        }
    }

    pub(crate) fn load(&mut self, wall: TimestampMs) -> LocalState {
        match self {
            Self::Memory { now, .. } => now.load(),
            Self::Disk(disk) => disk.load(wall),
        }
    }

    pub(crate) fn apply(&mut self, ops: Vec<StoreOp>, wall: TimestampMs) -> Applied {
        match self {
            Self::Memory { now, synced } => {
                let is_durable = ops.iter().any(StoreOp::is_durable);
                now.wall = Some(wall);
                let stored = now.apply(ops);
                if is_durable && let Some(synced) = synced {
                    synced.clone_from(now);
                }
                Applied { stored, notices: Vec::new() }
            }
            Self::Disk(disk) => disk.apply(ops, wall),
        }
    }

    /// Carries out what the user does, as durably as is promised (O1); `None` if the store refuses it.
    pub(crate) fn act(&mut self, doing: Doing, wall: TimestampMs) -> Option<OutboxUpdate> {
        match self {
            Self::Memory { now, synced } => {
                now.wall = Some(wall);
                let update = now.act(doing);
                if let Some(synced) = synced {
                    synced.clone_from(now);
                }
                update
            }
            Self::Disk(disk) => disk.act(doing, wall),
        }
    }

    /// From here on it is known what a power cut would leave.
    pub(crate) fn watch_power(&mut self) {
        match self {
            Self::Memory { now, synced } => *synced = Some(now.clone()),
            Self::Disk(disk) => disk.watch_power(),
        }
    }

    /// The power fails: what was committed and not synced is lost.
    pub(crate) fn lose_power(&mut self) {
        match self {
            Self::Memory { now, synced } => *now = synced.take().unwrap_or_else(|| now.clone()),
            Self::Disk(disk) => disk.lose_power(),
        }
    }

    /// All that is stored, as the twin holds it.
    pub(crate) fn image(&self) -> MemoryStore {
        match self {
            Self::Memory { now, .. } => (**now).clone(),
            Self::Disk(disk) => disk.image(),
        }
    }

    /// The outbox, by row.
    pub(crate) fn outbox(&self) -> Vec<(i64, Row)> {
        match self {
            Self::Memory { now, .. } => now.outbox.iter().map(|(item, row)| (*item, row.clone())).collect(),
            Self::Disk(disk) => disk.outbox(),
        }
    }

    /// Which conversation a row belongs to.
    pub(crate) fn conversation_of(&self, item: i64) -> Option<ConversationId> {
        match self {
            Self::Memory { now, .. } => now.outbox.get(&item).map(|row| row.conversation),
            Self::Disk(disk) => disk.conversation_of(item),
        }
    }

    /// The ranges of a conversation; `None` if it is not here.
    pub(crate) fn ranges(&self, conversation: ConversationId) -> Option<Vec<kith_sync::ops::LocalRange>> {
        match self {
            Self::Memory { now, .. } => {
                now.conversations.get(&conversation).map(|kept| kept.ranges.all().to_vec())
            }
            Self::Disk(disk) => disk.ranges(conversation),
        }
    }

    /// What heads and the log both say of a conversation.
    pub(crate) fn facts(&self, conversation: ConversationId) -> Option<Facts> {
        match self {
            Self::Memory { now, .. } => now.conversations.get(&conversation).map(|kept| Facts {
                as_of: kept.metadata_seq,
                title: kept.title.clone(),
                visible: kept.visible.clone(),
                member_count: kept.member_count,
            }),
            Self::Disk(disk) => disk.facts(conversation),
        }
    }

    /// Version and read marker of a conversation's own state.
    pub(crate) fn own_marks(&self, conversation: ConversationId) -> Option<OwnMarks> {
        match self {
            Self::Memory { now, .. } => {
                let own = now.conversations.get(&conversation)?.own.as_ref()?;
                Some(OwnMarks { version: own.version, read: own.read })
            }
            Self::Disk(disk) => disk.own_marks(conversation),
        }
    }

    /// What would survive a power cut, in the memory store while a power cut is planned.
    pub(crate) fn durable(&self) -> Option<&MemoryStore> {
        match self {
            Self::Memory { synced, .. } => synced.as_deref(),
            Self::Disk(_) => None,
        }
    }

    /// The newest messages of a conversation, and who wrote them.
    pub(crate) fn messages(&self, conversation: ConversationId) -> Vec<(EventId, UserId)> {
        match self {
            Self::Memory { now, .. } => now.messages(conversation),
            Self::Disk(disk) => disk.messages(conversation),
        }
    }

    pub(crate) fn as_disk(&self) -> Option<&Disk> {
        match self {
            Self::Memory { .. } => None,
            Self::Disk(disk) => Some(disk),
        }
    }
}

/// How many messages a notice announces, and where.
pub(crate) fn announced(notice: &EngineEvent) -> Option<(ConversationId, u64)> {
    match notice {
        EngineEvent::MessageArrived { conversation, count, .. } => Some((*conversation, u64::from(*count))),
        _ => None,
    }
}

/// As many of the newest messages are there to be edited, deleted and so on.
pub(crate) const TARGETS: usize = 8;

/// What users do and see there.
trait Twin {
    fn act(&mut self, doing: Doing) -> Option<OutboxUpdate>;
    fn parked(&self, id: EventId) -> Option<(i64, ErrorCode)>;
    fn messages(&self, conversation: ConversationId) -> Vec<(EventId, UserId)>;
}

impl Twin for MemoryStore {
    /// Every operation is one outbox row here; that an untried message changes in place is the real store's (O7).
    fn act(&mut self, doing: Doing) -> Option<OutboxUpdate> {
        let mut update = OutboxUpdate::default();
        let event = doing.event();
        match doing {
            Doing::Cancel(item) => {
                let row = self.outbox.get(&item)?;
                let (conversation, is_open) = (row.conversation, matches!(row.op, OutboxOp::Open(_)));
                // What was to be written into a conversation goes with it, unless somebody else has begun it.
                let known = self.conversations.get(&conversation);
                let is_known = known.is_some_and(|kept| kept.kind.is_some() || !kept.events.is_empty());
                let is_gone = |other: i64, row: &Row| {
                    other == item || (is_open && !is_known && row.conversation == conversation)
                };
                let gone = self.outbox.iter().filter(|(other, row)| is_gone(**other, row));
                update.removed = gone.map(|(item, _)| *item).collect();
                self.outbox.retain(|other, row| !is_gone(*other, row));
                return Some(update);
            }
            Doing::Retry(item) => {
                let wall = self.wall;
                let row = self.outbox.get_mut(&item)?;
                (row.state, row.written_at) = (RowState::Queued, wall.unwrap_or(row.written_at));
                update.changed.push(self.entry(item));
                return Some(update);
            }
            Doing::Open(open) => {
                update.changed.push(self.push(open.conversation, OutboxOp::Open(open)));
            }
            Doing::Own(change) => {
                update.changed.push(self.push(change.conversation, OutboxOp::State(change)));
            }
            _ => {
                let (conversation, id, content) = event?;
                let (kind, target, body) = content.to_wire();
                let kind = kind.to_owned();
                let event = NewEvent { id, kind, target, body, written_at: None, resubmitted: None };
                let target = event.target.filter(|_| event.kind == "delete");
                update.changed.push(self.push(conversation, OutboxOp::Event(event)));
                if let Some((item, code)) = target.and_then(|target| self.parked(target)) {
                    let (ended, again) = self.end_if_deleted(item, code);
                    update.changed.retain(|entry| !ended.contains(&entry.item));
                    update.changed.extend(again);
                    update.removed = ended;
                }
            }
        }
        Some(update)
    }

    /// The row of a refused message.
    fn parked(&self, id: EventId) -> Option<(i64, ErrorCode)> {
        let (item, row) = self.outbox.iter().find(|(_, row)| row.is(id))?;
        if let RowState::Parked(code) = row.state { Some((*item, code)) } else { None }
    }

    fn messages(&self, conversation: ConversationId) -> Vec<(EventId, UserId)> {
        let me = self.me;
        let unsent = self.outbox.values().rev().filter_map(|row| match &row.op {
            OutboxOp::Event(event) if event.kind == "message" && row.conversation == conversation => {
                Some((event.id, me?))
            }
            _ => None,
        });
        let kept = self.conversations.get(&conversation);
        let stored = kept.into_iter().flat_map(|kept| kept.events.values().rev());
        let stored = stored.filter(|event| event.kind == "message" && !event.redacted);
        unsent.chain(stored.map(|event| (event.id, event.sender))).take(TARGETS).collect()
    }
}
