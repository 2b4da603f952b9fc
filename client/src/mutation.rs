//! Faults that are put in on purpose, one at a time, so that the simulation's judge is itself tested.
//!
//! They exist in test builds alone: everywhere else [`is`] is a constant, and nothing can switch one on.

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A fault in the engine.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Mutation {
            $($(#[$doc])* $name,)*
        }

        #[cfg(test)]
        impl Mutation {
            /// All of them.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Whether it is in code that the store's twin does not share.
            pub(crate) const fn is_of_store(self) -> bool {
                matches!(
                    self,
                    Self::OldHeadsUndo
                        | Self::SendingStays
                        | Self::UnreadOffByOne
                        | Self::MarkerGoesBack
                        | Self::OlderStateCounts
                        | Self::RelationIsForgotten
                        | Self::DeleteIsForgotten
                        | Self::HistoryIsAnnounced
                        | Self::MuteIsIgnored
                )
            }
        }
    };
}

mutations! {
    /// The first part of answered heads ends the request (S2).
    FirstPartEndsRequest,
    /// After a restore, what was queued leaves before what is sent again: also a delete of it (S7).
    RelationOvertakes,
    /// A deletion that the server lost is not sent again when another device brings the message back (S7).
    LostDeletionIsForgotten,
    /// Heads that the log has overtaken bring back title, intervals and number of members (S3).
    OldHeadsUndo,
    /// An acknowledgement removes the outbox row, before the event is stored (O2).
    AckEndsRow,
    /// What was refused for good is tried again and again (O5).
    PermanentIsRetried,
    /// A good connection does not begin the backoff anew (S10).
    BackoffIsNeverReset,
    /// A run joins a range although one seq between them is missing (C2).
    RangeLeapsHole,
    /// Conversations that heads name as hidden are not hidden (S4).
    GoneIsIgnored,
    /// The last heads do not say how far own state is known (S4).
    UserSeqStays,
    /// A row that was on its way when the process ended is not queued again (O2).
    SendingStays,
    /// A power cut takes back the generation of a `welcome` (S8).
    WelcomeIsNotSynced,
    /// A power cut takes back that a row has left (O7).
    SendingIsNotSynced,
    /// Unread numbers are one too high (W7).
    UnreadOffByOne,
    /// The read marker is the one that came last (R1).
    MarkerGoesBack,
    /// Own state of an older version counts (S4).
    OlderStateCounts,
    /// A relation that was stored before its target has no effect (C4).
    RelationIsForgotten,
    /// A delete that was stored before its target has no effect (C4, W9).
    DeleteIsForgotten,
    /// What the first sync brings is announced.
    HistoryIsAnnounced,
    /// Muted conversations announce.
    MuteIsIgnored,
}

#[cfg(test)]
thread_local! {
    static ON: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Puts a fault into everything that this thread does, or none.
#[cfg(test)]
pub(crate) fn set(mutation: Option<Mutation>) {
    ON.set(mutation);
}

/// Whether a fault is in.
#[cfg(test)]
pub(crate) fn is(mutation: Mutation) -> bool {
    ON.get() == Some(mutation)
}

/// Whether a fault is in: never.
#[cfg(not(test))]
pub(crate) const fn is(_: Mutation) -> bool {
    false
}
