//! Never compiled: see the description in `Cargo.toml`.
