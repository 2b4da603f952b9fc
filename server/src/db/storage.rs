//! `user_storage`: how many bytes of bodies each user has in the log.

use kith_protocol::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

/// What somebody has stored.
pub async fn of(conn: &mut PgConnection, user: UserId) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!("SELECT bytes FROM user_storage WHERE user_id = $1", user.as_uuid())
        .fetch_optional(conn)
        .await
}

/// Adds what these people have stored since the last time, each named once. Returns what they have then. People who are
/// gone are left out. The rows are locked in ascending order.
pub async fn add(
    conn: &mut PgConnection,
    users: &[Uuid],
    bytes: &[i64],
) -> Result<Vec<(Uuid, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        "INSERT INTO user_storage AS s (user_id, bytes)
         SELECT u.id, n.bytes FROM UNNEST($1::uuid[], $2::bigint[]) AS n (id, bytes) JOIN users u ON u.id = n.id
         ORDER BY u.id
         ON CONFLICT ON CONSTRAINT user_storage_pkey DO UPDATE SET bytes = s.bytes + excluded.bytes
         RETURNING user_id, bytes",
        users,
        bytes,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.user_id, row.bytes)).collect())
}
