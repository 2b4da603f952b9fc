//! The Kith engine: a whole messenger, headless.

mod driver;
mod engine;
pub mod error;
pub mod events;
mod mutation;
mod profile;
mod restarts;
pub mod secrets;
mod session;
#[cfg(test)]
mod sim;
mod store;
mod tokens;
mod transport;
pub mod view;

#[cfg(feature = "measure")]
pub use engine::measure;
pub use engine::{Engine, EngineOptions, EventStream};
pub use error::ClientError;
pub use events::EngineEvent;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub use store::search::judge::Searched;
pub use transport::tls::{https_client, is_about_certificate};
