//! End to end: engines, and the real window, against a real server.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why and ends")]

mod account;
mod blocks;
mod cases;
mod days;
mod delivery;
mod diagnostics;
mod differential;
mod edges;
mod layers;
mod members;
mod offline;
mod polling;
mod receipts;
mod reconnect;
mod restore;
mod tls;
mod torture;
mod versions;
mod window_boundary;
mod window_desktop;
mod window_hostile;
#[cfg(target_os = "linux")]
mod window_input;
mod window_keys;
#[cfg(target_os = "linux")]
mod window_rendering;
mod window_talk;
#[cfg(target_os = "linux")]
mod window_updates;
