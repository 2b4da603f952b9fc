//! Thin handlers: decode, call `domain`, encode.

pub mod accounts;
pub mod extract;
pub mod health;
pub mod limits;
pub mod me;
pub mod origin;
pub mod sessions;
pub mod users;
