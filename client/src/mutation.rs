//! Faults that are put in on purpose, one at a time, so that the simulation's judge is itself tested.
//!
//! They exist in test builds alone: everywhere else [`is`] is a constant, and nothing can switch one on.

macro_rules! mutations {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A fault in the store.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Mutation {
            $($(#[$doc])* $name,)*
        }

        #[cfg(test)]
        impl Mutation {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

mutations! {
    /// Heads that the log has overtaken bring back title, intervals and number of members (S3).
    OldHeadsUndo,
    /// A row that was on its way when the process ended is not queued again (O2).
    SendingStays,
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
