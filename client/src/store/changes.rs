//! What a transaction changed, gathered while it runs and told after the commit.

use super::{Db, conversations, list, messages, people};
use crate::{
    ClientError,
    driver::Applied,
    events::{EngineEvent, Problem},
};
use kith_protocol::{ConversationId, EventId, Seq, UserId};
use kith_sync::ops::{LocalConversation, OutboxItem, OutboxUpdate, Stored};
use std::collections::{BTreeMap, BTreeSet};

/// Rows named one by one in a notice; above, the whole list is to be read again.
const ROWS_NAMED_MAX: usize = 64;

/// What changed, each thing once.
#[derive(Default)]
pub(crate) struct Changes {
    rows: BTreeSet<ConversationId>,
    timelines: BTreeSet<ConversationId>,
    read: BTreeSet<ConversationId>,
    arrived: BTreeMap<ConversationId, Arrived>,
    problems: Vec<Problem>,
    notices: Vec<EngineEvent>,
    /// The outbox as a place looks different.
    pub(super) outbox_changed: bool,
    /// A message was deleted, or left with its row: what arrived may not be there any more.
    pub(super) took_away: bool,
    pub(super) people_changed: bool,
    /// For the machine: what the user's doing changed.
    pub(crate) update: OutboxUpdate,
    pub(super) earlier: Vec<OutboxUpdate>,
    pub(super) sending: Vec<OutboxItem>,
    pub(super) ended: Vec<i64>,
    pub(super) rewound: Vec<LocalConversation>,
    pub(super) repaired: Vec<LocalConversation>,
    pub(super) forked: Vec<(LocalConversation, Seq)>,
    pub(super) profiles_wanted: BTreeSet<UserId>,
    pub(super) members_wanted: BTreeSet<ConversationId>,
}

/// Messages that arrived together, oldest first.
#[derive(Default)]
struct Arrived(Vec<EventId>);

impl Arrived {
    /// Words it, without what was deleted in the same transaction; `is_whole` if nothing was.
    fn notice(
        &self,
        db: &Db<'_>,
        conversation: ConversationId,
        is_whole: bool,
    ) -> Result<Option<EngineEvent>, ClientError> {
        let Some(cid) = conversations::cid(db, conversation)? else { return Ok(None) };
        let (mut newest, mut count) = (None, 0);
        for id in self.0.iter().rev() {
            if is_whole && newest.is_some() {
                count += 1;
            } else if let Some(message) = messages::get(db, cid, *id)?.filter(|message| !message.is_deleted) {
                newest.get_or_insert(message);
                count += 1;
            }
        }
        let Some(message) = newest else { return Ok(None) };
        Ok(Some(EngineEvent::MessageArrived {
            conversation,
            title: list::title_of(db, conversation)?,
            message: message.id,
            sender_id: message.sender,
            sender: people::get(db, message.sender)?.display_name,
            text: messages::one_line(&message.text),
            count,
        }))
    }
}

impl Changes {
    /// A row of the list.
    pub(super) fn row(&mut self, conversation: ConversationId) {
        self.rows.insert(conversation);
    }

    /// A timeline; its conversation's row shows the last line of it.
    pub(super) fn timeline(&mut self, conversation: ConversationId) {
        self.timelines.insert(conversation);
        self.rows.insert(conversation);
    }

    /// The read marker advanced.
    pub(super) fn read(&mut self, conversation: ConversationId) {
        self.read.insert(conversation);
        self.timeline(conversation);
    }

    /// A message of somebody else, newer than those before it.
    pub(super) fn arrived(&mut self, conversation: ConversationId, message: EventId) {
        self.arrived.entry(conversation).or_default().0.push(message);
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Words the notices, as the database stands at the end of the transaction.
    pub(super) fn complete(&mut self, db: &Db<'_>) -> Result<(), ClientError> {
        if !self.rows.is_empty() || self.people_changed {
            let all = self.people_changed || self.rows.len() > ROWS_NAMED_MAX;
            let conversations = if all { Vec::new() } else { self.rows.iter().copied().collect() };
            self.notices.push(EngineEvent::ConversationsChanged { conversations });
        }
        self.notices
            .extend(self.timelines.iter().map(|&conversation| EngineEvent::TimelineChanged { conversation }));
        for (&conversation, arrived) in &self.arrived {
            self.notices.extend(arrived.notice(db, conversation, !self.took_away)?);
        }
        self.notices.extend(self.read.iter().map(|&conversation| EngineEvent::MessagesRead { conversation }));
        if self.outbox_changed {
            self.notices.push(EngineEvent::OutboxChanged);
        }
        self.notices.extend(self.problems.drain(..).map(|problem| EngineEvent::Problem { problem }));
        Ok(())
    }

    pub(crate) fn take_notices(&mut self) -> Vec<EngineEvent> {
        std::mem::take(&mut self.notices)
    }

    /// What the machine is answered, and the notices.
    pub(super) fn into_applied(self) -> Applied {
        let stored = Stored {
            earlier: self.earlier,
            sending: self.sending,
            ended: self.ended.into_iter().chain(self.update.removed).collect(),
            // What the store itself put into the outbox while it applied (a rewind, a draft without a rival).
            queued: self.update.changed,
            rewound: self.rewound,
            repaired: self.repaired,
            forked: self.forked,
            profiles_wanted: self.profiles_wanted.into_iter().collect(),
            members_wanted: self.members_wanted.into_iter().collect(),
        };
        Applied { stored, notices: self.notices }
    }
}
