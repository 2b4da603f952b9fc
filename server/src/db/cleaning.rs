//! What nobody can use any more, removed in steps of bounded length: devices, their refresh tokens, invitations.

use sqlx::PgConnection;
use uuid::Uuid;

/// Looks at the next `limit` devices after `after`, by id. Removes those that were signed out or last seen
/// `forget_days` ago, and the tokens of those that were signed out `tokens_days` ago. Answers the last device that was
/// looked at; `None` when there is none.
pub async fn devices(
    conn: &mut PgConnection,
    after: Uuid,
    limit: i64,
    forget_days: i32,
    tokens_days: i32,
) -> Result<Option<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "WITH step AS MATERIALIZED (
             SELECT id, revoked_at, last_seen FROM devices WHERE id > $1 ORDER BY id LIMIT $2
         ), tokens AS (
             DELETE FROM refresh_tokens WHERE device_id = ANY (ARRAY(
                 SELECT id FROM step WHERE revoked_at < now() - make_interval(days => $4)))
         ), gone AS (
             DELETE FROM devices WHERE id = ANY (ARRAY(
                 SELECT id FROM step WHERE coalesce(revoked_at, last_seen) < now() - make_interval(days => $3)))
         )
         SELECT id FROM step ORDER BY id DESC LIMIT 1",
        after,
        limit,
        forget_days,
        tokens_days,
    )
    .fetch_optional(conn)
    .await
}

/// Looks at the next `limit` invitations after `after`, by hash, and removes those that ended `forget_days` ago. Answers
/// the last one that was looked at; `None` when there is none.
pub async fn invites(
    conn: &mut PgConnection,
    after: &[u8],
    limit: i64,
    forget_days: i32,
) -> Result<Option<Vec<u8>>, sqlx::Error> {
    sqlx::query_scalar!(
        "WITH step AS MATERIALIZED (
             SELECT hash, expires_at FROM invites WHERE hash > $1 ORDER BY hash LIMIT $2
         ), gone AS (
             DELETE FROM invites WHERE hash = ANY (ARRAY(
                 SELECT hash FROM step WHERE expires_at < now() - make_interval(days => $3)))
         )
         SELECT hash FROM step ORDER BY hash DESC LIMIT 1",
        after,
        limit,
        forget_days,
    )
    .fetch_optional(conn)
    .await
}
