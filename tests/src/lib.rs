//! The test kit: a real server on a database of its own, real people with real engines, waiting for facts.
//!
//! Nothing here sleeps for a fixed time: [`until`] asks again and again until a fact holds or its deadline has passed.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why and ends")]

pub mod certificates;
pub mod client;
pub mod hostile;
pub mod proxy;
pub mod releases;
pub mod secrets;
pub mod server;
pub mod torture;
pub mod until;
pub mod window;

pub use client::Client;
pub use proxy::Proxy;
pub use secrets::TestSecrets;
pub use server::TestServer;
pub use until::until;
