//! The Kith engine.
