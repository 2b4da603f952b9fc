//! The wire of Kith: plain data that both sides speak.
//!
//! This crate does no I/O and has no async. It knows the shapes of the protocol and the rules that follow from a
//! shape alone (an id's version, a text's length, how a chain value is made). What a request *means* is the
//! server's business, and what to do with an answer the client's.
//!
//! The specification is `README.md` beside this crate; rules are cited by their numbers (W2, C1, O5 …).

#![warn(missing_docs)]

pub mod api;
pub mod capability;
pub mod chain;
pub mod ephemeral;
pub mod error;
pub mod event;
pub mod frame;
pub mod ids;
pub mod limits;
pub mod seq;
pub mod text;

pub use chain::Chain;
pub use error::ErrorCode;
pub use event::{Event, EventContent, NewEvent};
pub use frame::{ClientFrame, ServerFrame};
pub use ids::{ConversationId, DeviceId, EventId, UserId};
pub use seq::{Seq, TimestampMs};

/// The protocol's version, sent in `hello` and `welcome`.
pub const PROTOCOL_VERSION: u32 = 1;
/// The WebSocket subprotocol of this version.
pub const SUBPROTOCOL: &str = "kith.v1";

#[cfg(test)]
mod snapshots;
