//! Faults that are put in on purpose, one at a time, so that the simulation's judge is itself tested.
//!
//! They need the feature `mutants`: without it [`is`] is a constant, and nothing can switch one on.

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A fault in the sync rules.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Mutation {
            $($(#[$doc])* $name,)*
        }

        impl Mutation {
            pub const ALL: &[Self] = &[$(Self::$name,)*];
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
    /// A power cut takes back the generation of a `welcome` (S8).
    WelcomeIsNotSynced,
    /// A power cut takes back that a row has left (O7).
    SendingIsNotSynced,
}

#[cfg(feature = "mutants")]
thread_local! {
    static ON: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Puts a fault into everything that this thread does, or none.
#[cfg(feature = "mutants")]
pub fn set(mutation: Option<Mutation>) {
    ON.set(mutation);
}

/// Whether a fault is in.
#[cfg(feature = "mutants")]
pub fn is(mutation: Mutation) -> bool {
    ON.get() == Some(mutation)
}

/// Whether a fault is in: never.
#[cfg(not(feature = "mutants"))]
pub const fn is(_: Mutation) -> bool {
    false
}
