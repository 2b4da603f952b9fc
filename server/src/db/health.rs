//! How PostgreSQL itself is set up, for `kith-server doctor`.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

/// What matters to Kith of PostgreSQL's settings.
pub struct HealthRow {
    /// `150004` is 15.4.
    pub version: i32,
    /// `UTF8`.
    pub encoding: String,
    /// Whether what is committed is forced to the disk.
    pub fsync: String,
    /// Whether a page that was half written survives a loss of power.
    pub full_page_writes: String,
    /// Whether the role may do everything in the whole cluster.
    pub is_superuser: bool,
    /// Connections of all clients.
    pub max_connections: i32,
    pub now: DateTime<Utc>,
    /// Whether this connection is encrypted.
    pub is_tls: bool,
}

/// Asks PostgreSQL about itself.
pub async fn health(conn: &mut PgConnection) -> Result<HealthRow, sqlx::Error> {
    sqlx::query_as!(
        HealthRow,
        r#"SELECT current_setting('server_version_num')::int AS "version!",
                  current_setting('server_encoding') AS "encoding!",
                  current_setting('fsync') AS "fsync!",
                  current_setting('full_page_writes') AS "full_page_writes!",
                  COALESCE((SELECT rolsuper FROM pg_roles WHERE rolname = current_user), false) AS "is_superuser!",
                  current_setting('max_connections')::int AS "max_connections!",
                  clock_timestamp() AS "now!",
                  EXISTS (SELECT FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl) AS "is_tls!""#
    )
    .fetch_one(conn)
    .await
}
