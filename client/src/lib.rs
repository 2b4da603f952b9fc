//! The Kith engine: a whole messenger, headless.

mod driver;
mod engine;
pub mod error;
pub mod events;
mod live;
mod mutation;
mod notices;
mod options;
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

pub use engine::Engine;
#[cfg(feature = "measure")]
pub use engine::measure;
pub use error::ClientError;
pub use events::EngineEvent;
pub use notices::EventStream;
pub use options::EngineOptions;
#[cfg(feature = "fuzz")]
#[doc(hidden)]
pub use store::search::judge::Searched;
pub use transport::tls::{https_client, is_about_certificate};
