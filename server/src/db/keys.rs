//! `server_keys`: what signs access tokens and derives refresh tokens.

use rand::RngExt;
use sqlx::PgConnection;

pub struct KeyRow {
    /// Its name, in every token that it signs.
    pub kid: String,
    /// `access` or `refresh`.
    pub purpose: String,
    /// 32 random bytes.
    pub secret: Vec<u8>,
    /// It signs no more.
    pub is_retired: bool,
}

/// Lets one instance at a time make what a new database needs, until the end of the transaction.
pub async fn lock(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", super::ADVISORY_LOCK).execute(conn).await?;
    Ok(())
}

/// Makes the first keys. Instances that start together wait for each other here.
pub async fn ensure(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    lock(conn).await?;
    for purpose in ["access", "refresh"] {
        insert_missing(conn, purpose).await?;
    }
    Ok(())
}

/// Makes the key that works for a purpose, if none does.
async fn insert_missing(conn: &mut PgConnection, purpose: &str) -> Result<(), sqlx::Error> {
    let secret: [u8; 32] = rand::rng().random();
    let kid = uuid::Uuid::new_v4().simple().to_string();
    sqlx::query!(
        "INSERT INTO server_keys (kid, purpose, secret)
         SELECT $1, $2, $3
         WHERE NOT EXISTS (SELECT FROM server_keys WHERE purpose = $2 AND retired_at IS NULL)",
        kid,
        purpose,
        secret.as_slice(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Retires the key that works for a purpose and makes the next one, in a transaction of the caller's. Rotations and
/// starts of servers wait for each other here.
pub async fn rotate(conn: &mut PgConnection, purpose: &str) -> Result<(), sqlx::Error> {
    lock(conn).await?;
    sqlx::query!(
        "UPDATE server_keys SET retired_at = now() WHERE purpose = $1 AND retired_at IS NULL",
        purpose,
    )
    .execute(&mut *conn)
    .await?;
    insert_missing(conn, purpose).await
}

/// Removes retired keys: those that retired at least so many seconds ago. Returns how many.
pub async fn drop_retired(conn: &mut PgConnection, since_s: f64) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "DELETE FROM server_keys
         WHERE retired_at <= now() - make_interval(secs => $1)",
        since_s,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// The keys whose work may still be valid, oldest first: access keys until the last token they signed has ended, which
/// is so many seconds after they retired.
pub async fn live(conn: &mut PgConnection, tokens_live_s: f64) -> Result<Vec<KeyRow>, sqlx::Error> {
    sqlx::query_as!(
        KeyRow,
        r#"SELECT kid, purpose, secret, retired_at IS NOT NULL AS "is_retired!"
           FROM server_keys
           WHERE retired_at IS NULL OR (purpose = 'access' AND retired_at > now() - make_interval(secs => $1))
           ORDER BY created_at, kid
           LIMIT 100"#,
        tokens_live_s,
    )
    .fetch_all(conn)
    .await
}
