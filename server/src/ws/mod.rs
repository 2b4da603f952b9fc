//! The socket: bytes to frames and back, and the choice of the domain function.

pub mod connection;
pub mod dispatch;
pub mod hello;
mod writer;
