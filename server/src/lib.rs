//! The Kith sync server as a library: [`migrate`](migrate()), then [`serve`].
//!
//! Requests go `router` → `http` and `ws` → `auth`, `domain` → `db`, `hub`; `error` and `config` are leaves. The log
//! of events is written in `domain::publish` alone, whoever asks and by whatever way. `bus` stands beside them: it tells
//! other instances what `hub` tells, and hands on what they tell.

pub mod auth;
pub mod bus;
pub mod cli;
pub mod clock;
pub mod config;
pub mod connections;
pub mod db;
pub mod departures;
pub mod devices;
pub mod domain;
pub mod error;
pub mod http;
pub mod hub;
pub mod metrics;
mod migrate;
pub mod networks;
pub mod permits;
pub mod presence;
pub mod rates;
pub mod readiness;
pub mod router;
mod serve;
pub mod settings;
pub mod shares;
pub mod state;
pub mod telemetry;
pub mod testing;
pub mod tls;
pub mod ws;

pub use config::Config;
pub use db::connect;
pub use migrate::{MigrateError, fingerprint as schema_fingerprint, migrate};
pub use serve::{Listeners, ServeError, serve};
