//! Conversations over real sockets and HTTP; the names carry the rules of the specification.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod annotations;
mod bad_frames;
mod blocks;
mod cursor;
mod deleted_people;
mod deletion;
mod delivery;
mod exchange;
#[cfg(unix)]
mod faults;
mod groups;
mod http;
mod instances;
mod lineage;
mod own_state;
mod pages;
mod partitions;
mod publish;
mod receipts;
mod sec_listener;
mod sec_matrix;
mod sec_rights;
mod socket;
mod support;
mod times;
mod versions;
