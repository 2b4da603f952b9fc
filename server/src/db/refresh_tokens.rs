//! `refresh_tokens`: by hash alone.

use chrono::{DateTime, Utc};
use kith_protocol::DeviceId;
use sqlx::PgConnection;
use uuid::Uuid;

/// A refresh token with its device and user.
pub struct TokenRow {
    /// The device it was given to.
    pub device_id: Uuid,
    /// What that device calls itself.
    pub device_name: String,
    pub user_id: Uuid,
    /// The number of the device's newest token.
    pub newest_number: i64,
    /// The sign-in that its device descends from.
    pub family: Uuid,
    /// The device's last handshake was answered `device_forked` (S8).
    pub is_forked: bool,
    /// When it was exchanged.
    pub exchanged_at: Option<DateTime<Utc>>,
    /// The device was signed out or the user disabled.
    pub is_revoked: bool,
    /// Idle or old beyond what a session may be.
    pub is_over: bool,
    /// It was exchanged in the same way, its successor was not, and the time for a lost answer is not over (S11).
    pub is_replayable: bool,
}

/// Finds a token and locks its device, so that two exchanges of one device follow each other. `parts` says that the
/// token is to part a new device from its own.
pub async fn lock(
    conn: &mut PgConnection,
    hash: &[u8],
    idle_days: i32,
    absolute_days: i32,
    replay_s: f64,
    parts: bool,
) -> Result<Option<TokenRow>, sqlx::Error> {
    if parts {
        // Before the device's: whoever signs all devices out waits, and then sees the new one as well.
        sqlx::query!(
            "SELECT users.id FROM refresh_tokens AS token
             JOIN devices ON devices.id = token.device_id JOIN users ON users.id = devices.user_id
             WHERE token.hash = $1 FOR NO KEY UPDATE OF users",
            hash,
        )
        .fetch_optional(&mut *conn)
        .await?;
    }
    sqlx::query!(
        "SELECT devices.id FROM devices JOIN refresh_tokens ON refresh_tokens.device_id = devices.id
         WHERE refresh_tokens.hash = $1 FOR NO KEY UPDATE OF devices",
        hash,
    )
    .fetch_optional(&mut *conn)
    .await?;
    sqlx::query_as!(
        TokenRow,
        r#"SELECT token.device_id, devices.name AS device_name, devices.user_id, token.exchanged_at,
                  devices.tokens_issued AS newest_number, devices.family,
                  devices.forked_at IS NOT NULL AS "is_forked!",
                  devices.revoked_at IS NOT NULL OR users.disabled_at IS NOT NULL AS "is_revoked!",
                  token.issued_at < now() - make_interval(days => $2)
                      OR devices.created_at < now() - make_interval(days => $3) AS "is_over!",
                  token.exchanged_at IS NOT NULL
                      AND clock_timestamp() < token.exchanged_at + make_interval(secs => $4)
                      AND EXISTS (
                          SELECT FROM refresh_tokens AS next
                          WHERE next.hash = token.successor AND next.exchanged_at IS NULL
                            AND (next.device_id <> token.device_id) = $5
                      ) AS "is_replayable!"
           FROM refresh_tokens AS token
           JOIN devices ON devices.id = token.device_id
           JOIN users ON users.id = devices.user_id
           WHERE token.hash = $1"#,
        hash,
        idle_days,
        absolute_days,
        replay_s,
        parts,
    )
    .fetch_optional(conn)
    .await
}

/// Stores a token's hash.
pub async fn insert(conn: &mut PgConnection, hash: &[u8], device: DeviceId) -> Result<(), sqlx::Error> {
    sqlx::query!("INSERT INTO refresh_tokens (hash, device_id) VALUES ($1, $2)", hash, device.as_uuid())
        .execute(conn)
        .await?;
    Ok(())
}

/// Stores many: the hash and the device of each.
pub async fn insert_many(
    conn: &mut PgConnection,
    hashes: &[Vec<u8>],
    devices: &[Uuid],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO refresh_tokens (hash, device_id) SELECT * FROM UNNEST($1::bytea[], $2::uuid[])",
        hashes,
        devices,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Exchanged tokens of one device that the database keeps. A device that renews every ten minutes exchanges 4,320 in the
/// 30 days that a token is good for.
pub const EXCHANGED_MAX: i64 = 10_000;

/// Notes that a token was exchanged, and for which one. Then removes the device's tokens that were exchanged more than
/// `forget_after_days` ago, and all but the newest [`EXCHANGED_MAX`], some of them at a time.
pub async fn mark_exchanged(
    conn: &mut PgConnection,
    hash: &[u8],
    successor: &[u8],
    device: DeviceId,
    forget_after_days: i32,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE refresh_tokens SET exchanged_at = clock_timestamp(), successor = $2 WHERE hash = $1",
        hash,
        successor
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "DELETE FROM refresh_tokens WHERE hash = ANY (ARRAY(
             SELECT hash FROM refresh_tokens
             WHERE device_id = $1 AND exchanged_at < greatest(
                 now() - make_interval(days => $2),
                 (SELECT exchanged_at FROM refresh_tokens WHERE device_id = $1 AND exchanged_at IS NOT NULL
                  ORDER BY exchanged_at DESC OFFSET $3::bigint - 1 LIMIT 1))
             LIMIT 1000))",
        device.as_uuid(),
        forget_after_days,
        EXCHANGED_MAX,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends what all tokens of a device are good for; that one of them comes again is still noticed.
pub async fn exchange_all_of_device(conn: &mut PgConnection, device: DeviceId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE refresh_tokens SET exchanged_at = coalesce(exchanged_at, clock_timestamp()), successor = NULL
         WHERE device_id = $1",
        device.as_uuid(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends all tokens of a device.
pub async fn delete_of_device(conn: &mut PgConnection, device: DeviceId) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM refresh_tokens WHERE device_id = $1", device.as_uuid()).execute(conn).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Connection as _;

    #[tokio::test]
    async fn s11_of_a_device_that_exchanges_without_end_the_newest_tokens_are_known() {
        let database = crate::testing::database().await.unwrap();
        let mut conn = PgConnection::connect(database.url()).await.unwrap();
        let device = DeviceId::mint();
        sqlx::query(
            "WITH own AS (
                 INSERT INTO users (id, username, display_name, password_hash) VALUES ($1, 'ada', '', '')
             ), used AS (INSERT INTO devices (id, user_id, name) VALUES ($1, $1, 'desk'))
             INSERT INTO refresh_tokens (hash, device_id, exchanged_at)
             SELECT int4send(n), $1, now() - make_interval(secs => n)
             FROM generate_series(1, $2::integer + 4) AS n",
        )
        .bind(device.as_uuid())
        .bind(EXCHANGED_MAX)
        .execute(&mut conn)
        .await
        .unwrap();
        insert(&mut conn, b"old", device).await.unwrap();
        insert(&mut conn, b"new", device).await.unwrap();
        mark_exchanged(&mut conn, b"old", b"new", device, 30).await.unwrap();
        let sql =
            "SELECT count(*), count(exchanged_at), max(now() - exchanged_at) < make_interval(secs => $1)
                   FROM refresh_tokens";
        let (all, exchanged, are_newest): (i64, i64, bool) =
            sqlx::query_as(sql).bind(EXCHANGED_MAX as f64).fetch_one(&mut conn).await.unwrap();
        assert_eq!((all, exchanged, are_newest), (EXCHANGED_MAX + 1, EXCHANGED_MAX, true));
    }
}
