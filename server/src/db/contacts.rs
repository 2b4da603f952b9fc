//! `users`, as far as conversations need them: tenant, own counter, last seen.

use kith_protocol::UserId;
use sqlx::PgConnection;
use std::collections::HashMap;
use uuid::Uuid;

/// Somebody who can be in a conversation.
pub struct PersonRow {
    /// The user.
    pub id: Uuid,
    /// Whose platform's.
    pub tenant: String,
    /// Milliseconds since 1970.
    pub last_seen: Option<i64>,
}

/// Those of `ids` who exist and are not disabled.
pub async fn people(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<PersonRow>, sqlx::Error> {
    sqlx::query_as!(
        PersonRow,
        r#"SELECT id, tenant, (extract(epoch FROM last_seen) * 1000)::bigint AS last_seen
           FROM users WHERE id = ANY($1) AND disabled_at IS NULL"#,
        ids,
    )
    .fetch_all(conn)
    .await
}

/// Raises the own counters of these users under their rows' locks, in ascending order (W1, S4); answers the values.
pub async fn raise_user_seqs(
    conn: &mut PgConnection,
    users: &[Uuid],
) -> Result<HashMap<Uuid, i64>, sqlx::Error> {
    sqlx::query!("SELECT id FROM users WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", users)
        .fetch_all(&mut *conn)
        .await?;
    let rows = sqlx::query!(
        "UPDATE users SET user_seq = user_seq + 1 WHERE id = ANY($1) RETURNING id, user_seq",
        users,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.user_seq)).collect())
}

/// Locks the user's row and reads the own counter.
pub async fn lock_user_seq(conn: &mut PgConnection, user: UserId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT user_seq FROM users WHERE id = $1 FOR NO KEY UPDATE", user.as_uuid())
        .fetch_one(conn)
        .await
}

/// Writes the own counter of a locked row.
pub async fn set_user_seq(conn: &mut PgConnection, user: UserId, value: i64) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE users SET user_seq = $2 WHERE id = $1", user.as_uuid(), value).execute(conn).await?;
    Ok(())
}

/// Reads the own counter.
pub async fn user_seq(conn: &mut PgConnection, user: UserId) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!("SELECT user_seq FROM users WHERE id = $1", user.as_uuid()).fetch_one(conn).await
}

/// Notes when the last connections of these users ended, ms since 1970. The rows are locked in ascending order (W1).
pub async fn note_last_seen(
    conn: &mut PgConnection,
    users: &[Uuid],
    times: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE users SET last_seen = to_timestamp(gone.at / 1000.0)
         FROM (SELECT users.id, left_at.at
               FROM users JOIN UNNEST($1::uuid[], $2::bigint[]) AS left_at (id, at) ON left_at.id = users.id
               ORDER BY users.id FOR NO KEY UPDATE OF users) AS gone
         WHERE users.id = gone.id",
        users,
        times,
    )
    .execute(conn)
    .await?;
    Ok(())
}
