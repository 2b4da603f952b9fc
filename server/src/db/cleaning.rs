//! What nobody can use any more, removed in steps of bounded length: devices, their refresh tokens, invitations.

use sqlx::PgConnection;
use uuid::Uuid;

/// A device that a step looks at.
pub struct DeviceRow {
    pub id: Uuid,
    /// Its tokens may be removed.
    pub are_tokens_over: bool,
    /// The device itself may be removed.
    pub is_over: bool,
}

/// The next `limit` devices after `after`, by id. The tokens of a device may go `tokens_days` after its sign-out. The device
/// and its tokens may go `forget_days` after its sign-out or, if it is still signed in, after it was last seen.
pub async fn devices(
    conn: &mut PgConnection,
    after: Uuid,
    limit: i64,
    forget_days: i32,
    tokens_days: i32,
) -> Result<Vec<DeviceRow>, sqlx::Error> {
    sqlx::query_as!(
        DeviceRow,
        r#"SELECT id,
                  coalesce(revoked_at < now() - make_interval(days => $4), false)
                      OR coalesce(revoked_at, last_seen) < now() - make_interval(days => $3) AS "are_tokens_over!",
                  coalesce(revoked_at, last_seen) < now() - make_interval(days => $3) AS "is_over!"
           FROM devices WHERE id > $1 ORDER BY id LIMIT $2"#,
        after,
        limit,
        forget_days,
        tokens_days,
    )
    .fetch_all(conn)
    .await
}

/// Removes at most `limit` tokens of those of these devices that have not signed in again. Returns how many it removed.
pub async fn remove_tokens(
    conn: &mut PgConnection,
    devices: &[Uuid],
    limit: i64,
    forget_days: i32,
    tokens_days: i32,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "DELETE FROM refresh_tokens WHERE hash = ANY (ARRAY(
             SELECT token.hash FROM devices CROSS JOIN LATERAL (
                 SELECT hash FROM refresh_tokens WHERE device_id = devices.id LIMIT $2
             ) AS token
             WHERE devices.id = ANY ($1)
               AND (coalesce(revoked_at, last_seen) < now() - make_interval(days => $3)
                    OR revoked_at < now() - make_interval(days => $4))
             LIMIT $2))",
        devices,
        limit,
        forget_days,
        tokens_days,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected())
}

/// Removes those of these devices that have no token left and have not signed in again.
pub async fn remove_devices(
    conn: &mut PgConnection,
    devices: &[Uuid],
    forget_days: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM devices
         WHERE id = ANY ($1) AND coalesce(revoked_at, last_seen) < now() - make_interval(days => $2)
           AND NOT EXISTS (SELECT FROM refresh_tokens WHERE device_id = devices.id)",
        devices,
        forget_days,
    )
    .execute(conn)
    .await?;
    Ok(())
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
