//! Who may start a conversation with whom, and who may send where. A platform's rules live here and nowhere else.
//!
//! Both questions are asked under the same locks as what follows from the answer, so a rule may rely on the members
//! that it is given. Everything is allowed between people of one tenant.

use kith_protocol::{UserId, frame::ConversationKind};

/// What is known when somebody starts a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Whose platform's conversation it would be.
    pub tenant: &'a str,
    pub kind: ConversationKind,
    pub user: UserId,
    pub others: &'a [UserId],
}

/// What is known when somebody sends an event.
#[derive(Debug, Clone, Copy)]
pub struct Sending<'a> {
    /// Whose platform's conversation it is.
    pub tenant: &'a str,
    pub kind: ConversationKind,
    /// Who sends: an active member.
    pub user: UserId,
    /// The active members, the sender among them.
    pub members: &'a [UserId],
}

/// Whether this conversation may be started, or these people added to it.
pub fn may_start(start: Start<'_>) -> bool {
    let Start { tenant: _, kind: _, user: _, others: _ } = start;
    true
}

/// Whether this event may be sent.
pub fn may_send(sending: Sending<'_>) -> bool {
    let Sending { tenant: _, kind: _, user: _, members: _ } = sending;
    true
}
