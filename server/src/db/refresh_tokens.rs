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
    /// Its user.
    pub user_id: Uuid,
    /// The number of the device's newest token.
    pub newest_number: i64,
    /// The sign-in that its device descends from.
    pub family: Uuid,
    /// The device's last greeting was answered `device_forked` (S8).
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

/// Notes that a token was exchanged, and for which one. Forgets what this device exchanged long ago.
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
        "DELETE FROM refresh_tokens
         WHERE device_id = $1 AND exchanged_at < now() - make_interval(days => $2)",
        device.as_uuid(),
        forget_after_days,
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
