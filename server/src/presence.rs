//! Who is online, away or busy (R5). In memory only.

/// Everybody's presence; a handle that is cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Presence;
