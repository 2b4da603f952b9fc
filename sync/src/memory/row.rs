//! A row of the twin's outbox.

use crate::ops::{OutboxOp, OutboxWhat};
use kith_protocol::{ConversationId, ErrorCode, EventId, Seq, TimestampMs};

#[derive(Debug, Clone, PartialEq)]
pub enum RowState {
    Queued,
    Sending,
    Acked(Seq),
    Parked(ErrorCode),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub written_at: TimestampMs,
    pub conversation: ConversationId,
    pub op: OutboxOp,
    pub state: RowState,
    pub tries: u32,
}

pub fn what(op: &OutboxOp) -> OutboxWhat {
    match op {
        OutboxOp::Open(_) => OutboxWhat::Open,
        OutboxOp::State(_) => OutboxWhat::State,
        OutboxOp::Event(event) if event.kind == "message" => OutboxWhat::Message,
        OutboxOp::Event(event) if matches!(event.kind.as_str(), "member" | "title" | "settings") => {
            OutboxWhat::Group
        }
        OutboxOp::Event(_) => OutboxWhat::Relation,
    }
}

impl Row {
    /// It was refused for want of this event.
    pub(super) fn lacks(&self, id: EventId) -> bool {
        let is_missed = self.state == RowState::Parked(ErrorCode::TargetMissing);
        is_missed && self.about() == Some(id)
    }

    /// What it changes or answers.
    pub fn about(&self) -> Option<EventId> {
        let OutboxOp::Event(event) = &self.op else { return None };
        let answered = || event.body["reply_to"].as_str().and_then(|id| EventId::parse(id).ok());
        event.target.or_else(answered)
    }

    /// The message that it is, or that an edit, a reaction or a pin is about.
    pub fn waits_with(&self) -> Option<EventId> {
        let OutboxOp::Event(event) = &self.op else { return None };
        if event.kind == "message" {
            return Some(event.id);
        }
        event.target.filter(|_| matches!(event.kind.as_str(), "edit" | "reaction" | "pin"))
    }

    pub fn is(&self, id: EventId) -> bool {
        matches!(&self.op, OutboxOp::Event(event) if event.id == id)
    }
}
