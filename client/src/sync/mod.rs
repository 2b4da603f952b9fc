//! The sync rules as a state machine without I/O: no socket, no database, no clock.

pub(crate) mod ops;
