//! `users`, as far as conversations need them: tenant, own counter, last seen.

use kith_protocol::UserId;
use sqlx::PgConnection;
use std::collections::HashMap;
use uuid::Uuid;

/// Somebody who can be in a conversation.
#[derive(Debug)]
pub struct PersonRow {
    pub id: Uuid,
    pub tenant: String,
}

/// Those of `ids` who exist and are not disabled.
pub async fn people(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<PersonRow>, sqlx::Error> {
    sqlx::query_as!(
        PersonRow,
        "SELECT id, tenant FROM users WHERE id = ANY($1) AND disabled_at IS NULL",
        ids,
    )
    .fetch_all(conn)
    .await
}

/// Locks the rows of these users in ascending order (W1).
pub async fn lock(conn: &mut PgConnection, users: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT id FROM users WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", users)
        .fetch_all(conn)
        .await?;
    Ok(())
}

/// Raises the own counters of these users under their rows' locks, in ascending order (W1, S4). Returns the values.
pub async fn raise_user_seqs(
    conn: &mut PgConnection,
    users: &[Uuid],
) -> Result<HashMap<Uuid, i64>, sqlx::Error> {
    lock(conn, users).await?;
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

/// How long a user has to wait before opening one more conversation, in seconds; `None` if not at all. All instances
/// together take `at_once` of them, then one each `step_s` seconds.
pub async fn opening_wait(
    conn: &mut PgConnection,
    user: UserId,
    at_once: f64,
    step_s: f64,
) -> Result<Option<f64>, sqlx::Error> {
    let wait = sqlx::query_scalar!(
        r#"SELECT extract(epoch FROM opened_until - clock_timestamp())::float8 - ($2::float8 - 1) * $3::float8 AS wait
           FROM users WHERE id = $1"#,
        user.as_uuid(),
        at_once,
        step_s,
    )
    .fetch_one(conn)
    .await?;
    Ok(wait.filter(|wait| *wait > 0.0))
}

/// Counts a conversation that a user opens. The row is to be locked already.
pub async fn count_opening(conn: &mut PgConnection, user: UserId, step_s: f64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE users SET opened_until = GREATEST(opened_until, clock_timestamp()) + make_interval(secs => $2)
         WHERE id = $1",
        user.as_uuid(),
        step_s,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The users among `users`, each with the seconds until all of the budget for adding people is free again. The rows are
/// to be locked already.
pub async fn additions(conn: &mut PgConnection, users: &[Uuid]) -> Result<Vec<(Uuid, f64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT id, GREATEST(extract(epoch FROM added_until - clock_timestamp())::float8, 0) AS "ahead_s!"
           FROM users WHERE id = ANY($1)"#,
        users,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.id, row.ahead_s)).collect())
}

/// Uses up so many seconds of these users' budgets for adding people, each user once.
pub async fn count_additions(
    conn: &mut PgConnection,
    users: &[Uuid],
    seconds: &[f64],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE users
         SET added_until = GREATEST(added_until, clock_timestamp()) + make_interval(secs => n.seconds)
         FROM UNNEST($1::uuid[], $2::float8[]) AS n (id, seconds)
         WHERE users.id = n.id",
        users,
        seconds,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Whom a user may watch, and when they were last seen, to the minute, in ms since 1970.
pub struct WatchableRow {
    pub id: Uuid,
    /// Absent for somebody who was never seen.
    pub last_seen: Option<i64>,
}

/// Those of `asked` whom the user may watch. They share a conversation, show their presence, are not disabled, and neither
/// has blocked the other. Empty for a user who hides their own presence. A direct conversation without events is not
/// shared.
pub async fn watchable(
    conn: &mut PgConnection,
    user: UserId,
    asked: &[Uuid],
) -> Result<Vec<WatchableRow>, sqlx::Error> {
    sqlx::query_as!(
        WatchableRow,
        r#"SELECT u.id, (floor(extract(epoch FROM u.last_seen) / 60) * 60000)::bigint AS last_seen
           FROM users u
           WHERE u.id = ANY($2) AND u.shows_presence AND u.disabled_at IS NULL
             AND (SELECT shows_presence FROM users WHERE id = $1)
             AND (SELECT true FROM blocks WHERE user_id = u.id AND blocked_id = $1 LIMIT 1) IS NULL
             AND (SELECT true FROM blocks WHERE user_id = $1 AND blocked_id = u.id LIMIT 1) IS NULL
             AND (u.id = $1 OR u.id IN (
                 SELECT other.user_id
                 FROM members other
                 JOIN members own ON own.conversation_key = other.conversation_key
                 JOIN conversation_head h ON h.conversation_key = other.conversation_key
                 JOIN conversations c ON c.key = other.conversation_key
                 WHERE other.user_id = ANY($2) AND other.is_active AND own.user_id = $1 AND own.is_active
                   AND (c.kind <> 'direct' OR h.head > 0)))"#,
        user.as_uuid(),
        asked,
    )
    .fetch_all(conn)
    .await
}
