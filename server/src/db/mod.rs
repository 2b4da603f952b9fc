//! The only place with SQL, a file per table. Functions take a connection; `domain` opens the transaction.

pub mod contacts;
pub mod conversations;
pub mod cursor;
pub mod devices;
pub mod epoch;
pub mod events;
pub mod generations;
pub mod heads;
pub mod invites;
pub mod items;
pub mod keys;
pub mod members;
pub mod notifications;
pub mod refresh_tokens;
pub mod users;

use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{str::FromStr, time::Duration};

/// Connects to the database that `url` names.
///
/// `lock_timeout` is 2 s (W1); `synchronous_commit` stays on whatever the database's default is (W10).
///
/// # Errors
/// When the URL is not one or nobody answers in 10 s.
pub async fn connect(url: &str, connections: u32) -> Result<PgPool, sqlx::Error> {
    let options = PgConnectOptions::from_str(url)?.application_name("kith-server").options([
        ("lock_timeout", "2s"),
        ("statement_timeout", "30s"),
        ("idle_in_transaction_session_timeout", "30s"),
        ("synchronous_commit", "on"),
    ]);
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .connect_with(options)
        .await
}
