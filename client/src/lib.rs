//! The Kith engine: a whole messenger, headless.

#![warn(missing_docs)]

pub mod error;
pub mod events;
pub mod view;

pub use error::ClientError;
pub use events::EngineEvent;
