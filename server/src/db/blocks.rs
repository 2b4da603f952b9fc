//! `blocks`: whom a user has blocked. Other statements ask for one pair by `(SELECT true … LIMIT 1) IS NULL`: without
//! the limit, PostgreSQL may read everybody who has blocked one person.

use kith_protocol::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

/// Those of these pairs, given by column, of which either has blocked the other.
pub async fn between(
    conn: &mut PgConnection,
    ones: &[Uuid],
    others: &[Uuid],
) -> Result<Vec<(Uuid, Uuid)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT pair.one AS "one!", pair.other AS "other!"
           FROM UNNEST($1::uuid[], $2::uuid[]) AS pair (one, other)
           WHERE EXISTS (SELECT FROM blocks WHERE user_id = pair.one AND blocked_id = pair.other)
              OR EXISTS (SELECT FROM blocks WHERE user_id = pair.other AND blocked_id = pair.one)"#,
        ones,
        others,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.one, row.other)).collect())
}

/// Those of `others` whom `user` has blocked, or who have blocked `user`.
pub async fn around(
    conn: &mut PgConnection,
    user: UserId,
    others: &[Uuid],
) -> Result<Vec<Uuid>, sqlx::Error> {
    let ones = vec![user.as_uuid(); others.len()];
    let pairs = between(conn, &ones, others).await?;
    Ok(pairs.into_iter().map(|(_, other)| other).collect())
}

/// How many people the user has blocked.
pub async fn count(conn: &mut PgConnection, user: UserId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM blocks WHERE user_id = $1"#, user.as_uuid(),)
        .fetch_one(conn)
        .await
}

/// Adds a block. Returns whether there was none.
pub async fn insert(conn: &mut PgConnection, user: UserId, blocked: UserId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO blocks (user_id, blocked_id) VALUES ($1, $2) ON CONFLICT ON CONSTRAINT blocks_pkey DO NOTHING",
        user.as_uuid(),
        blocked.as_uuid(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Removes a block. Returns whether there was one.
pub async fn delete(conn: &mut PgConnection, user: UserId, blocked: UserId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "DELETE FROM blocks WHERE user_id = $1 AND blocked_id = $2",
        user.as_uuid(),
        blocked.as_uuid(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}
