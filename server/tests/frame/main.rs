//! The server's frame over real HTTP: accounts, sessions, tokens, the command line.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod accounts;
mod command_line;
mod conversations;
mod http;
mod import;
mod metrics;
mod operations;
mod restored;
mod sec_errors;
mod sec_keys;
mod sec_sessions;
mod sec_sign_in;
mod sessions;
mod sockets;
mod strangers;
mod support;
mod tokens;
mod users;
