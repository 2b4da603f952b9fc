//! The schema: brought up to date under an advisory lock, and refused when it is newer than this server.

use crate::db::ADVISORY_LOCK;
use sqlx::{Connection, PgPool, migrate::Migrator};

static MIGRATOR: Migrator = sqlx::migrate!("../migrations");

/// Why the schema is not this server's.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A later server has migrated this database.
    #[error(
        "the database's schema ({found}) is newer than this server knows ({known}): \
         start the newer server, or restore a backup from before the upgrade"
    )]
    Newer {
        found: i64,
        /// The newest that this server has.
        known: i64,
    },
    #[error("a migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

/// The newest migration that this server has.
pub fn newest() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// How many migrations there are: all of them are missing in an empty database.
pub fn count() -> usize {
    MIGRATOR.iter().count()
}

/// Names what the migrations do, so that a prepared template can be told apart from another one.
pub fn fingerprint() -> String {
    MIGRATOR.iter().map(|migration| format!("{}:{:02x?};", migration.version, migration.checksum)).collect()
}

/// Runs the migrations that are missing. Servers that start together wait for each other. Where nothing is missing no lock
/// is taken: a pooler that lends connections by the transaction cannot hold one.
///
/// # Errors
/// [`MigrateError::Newer`] for a schema of a later server; nothing is changed then.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    // A connection of its own: the session lock must not outlive this function in a pool.
    let mut conn = sqlx::PgConnection::connect_with(&pool.connect_options()).await?;
    if is_current(&mut conn).await? {
        conn.close().await?;
        return Ok(());
    }
    sqlx::query!("SET lock_timeout = 0").execute(&mut conn).await?;
    // An index on a large table may take minutes.
    sqlx::query!("SET statement_timeout = 0").execute(&mut conn).await?;
    sqlx::query!("SELECT pg_advisory_lock($1)", ADVISORY_LOCK).execute(&mut conn).await?;
    let known = newest();
    if let Some(found) = applied(&mut conn).await?.filter(|found| *found > known) {
        return Err(MigrateError::Newer { found, known });
    }
    MIGRATOR.run_direct(None, &mut conn, false).await?;
    conn.close().await?;
    Ok(())
}

/// Whether the database has this server's migrations, as they are here, and no others.
async fn is_current(conn: &mut sqlx::PgConnection) -> Result<bool, sqlx::Error> {
    if applied(conn).await? != Some(newest()) {
        return Ok(false);
    }
    let there: Vec<(i64, Vec<u8>)> =
        sqlx::query_as("SELECT version, checksum FROM _sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(conn)
            .await?;
    let here = MIGRATOR.iter().map(|migration| (migration.version, migration.checksum.to_vec()));
    Ok(there.into_iter().eq(here))
}

/// The migrations that the database does not have, with their descriptions, in their order.
///
/// # Errors
/// [`MigrateError::Newer`] for a schema of a later server.
pub async fn missing(pool: &PgPool) -> Result<Vec<(i64, String)>, MigrateError> {
    let found = applied(&mut *pool.acquire().await?).await?;
    let known = newest();
    match found {
        Some(found) if found > known => Err(MigrateError::Newer { found, known }),
        found => Ok(MIGRATOR
            .iter()
            .filter(|migration| found.is_none_or(|found| migration.version > found))
            .map(|migration| (migration.version, migration.description.to_string()))
            .collect()),
    }
}

/// The newest migration that the database has, `None` for an empty one.
///
/// # Errors
/// When the database fails.
pub async fn applied(conn: &mut sqlx::PgConnection) -> Result<Option<i64>, sqlx::Error> {
    // The table is the migrator's own and does not exist before the first run, so these two are unchecked queries.
    let exists: bool = sqlx::query_scalar("SELECT to_regclass('_sqlx_migrations') IS NOT NULL")
        .fetch_one(&mut *conn)
        .await?;
    if !exists {
        return Ok(None);
    }
    sqlx::query_scalar("SELECT max(version) FROM _sqlx_migrations WHERE success").fetch_one(conn).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    #[tokio::test]
    async fn a_schema_that_is_up_to_date_needs_no_lock_and_one_that_was_changed_is_refused() {
        let database = crate::testing::database().await.unwrap();
        let pool = crate::connect(database.url(), 2).await.unwrap();
        let mut held = pool.acquire().await.unwrap();
        sqlx::query("SELECT pg_advisory_lock($1)").bind(ADVISORY_LOCK).execute(&mut *held).await.unwrap();
        timeout(Duration::from_secs(20), migrate(&pool)).await.expect("it waits for nobody").unwrap();
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(ADVISORY_LOCK).execute(&mut *held).await.unwrap();
        let another = "UPDATE _sqlx_migrations SET checksum = '\\x00' WHERE version = $1";
        sqlx::query(another).bind(newest()).execute(&mut *held).await.unwrap();
        assert!(matches!(migrate(&pool).await, Err(MigrateError::Migration(_))));
    }
}
