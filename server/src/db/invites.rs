//! `invites`: codes that let somebody make an account, by hash alone.

use kith_protocol::UserId;
use sqlx::PgConnection;

/// Stores a code's hash.
pub async fn insert(conn: &mut PgConnection, hash: &[u8], valid_days: i32) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO invites (hash, expires_at) VALUES ($1, now() + make_interval(days => $2))",
        hash,
        valid_days,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whether a code may still be used.
pub async fn is_good(conn: &mut PgConnection, hash: &[u8]) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM invites WHERE hash = $1 AND used_at IS NULL AND expires_at > now()
           ) AS "is_good!""#,
        hash,
    )
    .fetch_one(conn)
    .await
}

/// Uses a code up. The row lock lets only one of two at the same time through.
pub async fn take(conn: &mut PgConnection, hash: &[u8], user: UserId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE invites SET used_at = now(), used_by = $2
         WHERE hash = $1 AND used_at IS NULL AND expires_at > now()",
        hash,
        user.as_uuid(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Whether nobody was ever invited and nobody has an account.
pub async fn is_first(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT NOT EXISTS (SELECT FROM users) AND NOT EXISTS (SELECT FROM invites) AS "is_first!""#
    )
    .fetch_one(conn)
    .await
}
