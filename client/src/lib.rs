//! The Kith engine: a whole messenger, headless.

#![warn(missing_docs)]

mod driver;
mod engine;
pub mod error;
pub mod events;
pub mod secrets;
mod session;
mod store;
mod sync;
pub mod view;

pub use engine::{Engine, EngineOptions, EventStream};
pub use error::ClientError;
pub use events::EngineEvent;
