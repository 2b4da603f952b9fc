//! Faults that are put in on purpose, one at a time, so that the simulation's judge is itself tested.

/// A fault in the rules of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A known id is numbered once more (W3).
    KnownIsNumbered,
    /// The read marker is the one that came last (R1).
    ReadMarkerFalls,
    /// A delete leaves the texts of earlier edits (W9).
    EditsStay,
    /// A page says of its messages what they were when written (W9).
    StatesAreOld,
    /// Unread counts deleted messages (W7).
    DeletedIsUnread,
    /// A removed member is sent the events that follow (R6).
    RemovedReads,
    /// Whoever is in a conversation may edit every message (section 12).
    AllMayEdit,
    /// A change of own state is answered and forgotten (O3).
    StateIsForgotten,
}

impl Mutation {
    pub const ALL: &[Self] = &[
        Self::KnownIsNumbered,
        Self::ReadMarkerFalls,
        Self::EditsStay,
        Self::StatesAreOld,
        Self::DeletedIsUnread,
        Self::RemovedReads,
        Self::AllMayEdit,
        Self::StateIsForgotten,
    ];
}
