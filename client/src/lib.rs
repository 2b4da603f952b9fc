//! The Kith engine: a whole messenger, headless.

#![warn(missing_docs)]

mod driver;
pub mod error;
pub mod events;
mod sync;
pub mod view;

pub use error::ClientError;
pub use events::EngineEvent;
