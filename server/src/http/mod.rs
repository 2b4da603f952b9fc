//! Thin handlers: decode, call `domain`, encode.

pub mod accounts;
pub mod blocks;
pub mod conversations;
pub mod deadline;
pub mod exchange;
pub mod extract;
pub mod health;
pub mod info;
pub mod me;
pub mod messages;
pub mod origin;
pub mod peer;
pub mod sessions;
pub mod socket;
pub mod trace;
pub mod users;
