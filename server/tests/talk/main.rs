//! Conversations over real sockets and HTTP; the names carry the rules of the specification.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod support;

mod publish;
