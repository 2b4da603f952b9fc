//! `devices`: one row per installation that signed in.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use kith_protocol::{DeviceId, UserId};

/// A device that is signed in.
pub struct DeviceRow {
    /// Its id.
    pub id: Uuid,
    /// What it calls itself.
    pub name: String,
    /// When it signed in.
    pub created_at: DateTime<Utc>,
    /// When it was last seen.
    pub last_seen: DateTime<Utc>,
}

/// Whether the device is this user's, signed in, and the user not disabled.
pub async fn is_live(conn: &mut PgConnection, user: UserId, device: DeviceId) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (
               SELECT FROM devices JOIN users ON users.id = devices.user_id
               WHERE devices.id = $1 AND devices.user_id = $2
                 AND devices.revoked_at IS NULL AND users.disabled_at IS NULL
           ) AS "is_live!""#,
        device.as_uuid(),
        user.as_uuid(),
    )
    .fetch_one(conn)
    .await
}

/// Which of `devices` are signed out or belong to a disabled user.
pub async fn dead_among(conn: &mut PgConnection, devices: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT asked.id AS "id!"
           FROM unnest($1::uuid[]) AS asked (id)
           LEFT JOIN devices ON devices.id = asked.id
           LEFT JOIN users ON users.id = devices.user_id
           WHERE devices.id IS NULL OR devices.revoked_at IS NOT NULL OR users.disabled_at IS NOT NULL"#,
        devices,
    )
    .fetch_all(conn)
    .await
}

/// The user's devices that are signed in, last seen first.
pub async fn of_user(conn: &mut PgConnection, user: UserId) -> Result<Vec<DeviceRow>, sqlx::Error> {
    sqlx::query_as!(
        DeviceRow,
        "SELECT id, name, created_at, last_seen FROM devices
         WHERE user_id = $1 AND revoked_at IS NULL
         ORDER BY last_seen DESC, id
         LIMIT 100",
        user.as_uuid(),
    )
    .fetch_all(conn)
    .await
}

/// Adds a device.
pub async fn insert(
    conn: &mut PgConnection,
    id: DeviceId,
    user: UserId,
    name: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO devices (id, user_id, name) VALUES ($1, $2, $3)",
        id.as_uuid(),
        user.as_uuid(),
        name,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Signs a device of the user in again, if it is still signed in: it begins a new session.
pub async fn renew(
    conn: &mut PgConnection,
    id: DeviceId,
    user: UserId,
    name: &str,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE devices SET name = $3, created_at = now(), last_seen = now()
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL",
        id.as_uuid(),
        user.as_uuid(),
        name,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Notes that the device was there.
pub async fn touch(conn: &mut PgConnection, id: DeviceId) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE devices SET last_seen = now() WHERE id = $1", id.as_uuid()).execute(conn).await?;
    Ok(())
}

/// Signs a device of the user out. False when there is none that is signed in.
pub async fn revoke(conn: &mut PgConnection, user: UserId, id: DeviceId) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "UPDATE devices SET revoked_at = now() WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL",
        id.as_uuid(),
        user.as_uuid(),
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Signs all devices of the user out but `keep`; answers which.
pub async fn revoke_others(
    conn: &mut PgConnection,
    user: UserId,
    keep: Option<DeviceId>,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE devices SET revoked_at = now()
         WHERE user_id = $1 AND id IS DISTINCT FROM $2 AND revoked_at IS NULL
         RETURNING id",
        user.as_uuid(),
        keep.map(|id| id.as_uuid()),
    )
    .fetch_all(conn)
    .await
}

/// Signs the user's longest unseen devices out until at most `most` are left; answers which.
pub async fn revoke_beyond(
    conn: &mut PgConnection,
    user: UserId,
    newest: DeviceId,
    most: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE devices SET revoked_at = now()
         WHERE id IN (
             SELECT id FROM devices
             WHERE user_id = $1 AND revoked_at IS NULL
             ORDER BY id = $2 DESC, last_seen DESC, id
             OFFSET $3
         )
         RETURNING id",
        user.as_uuid(),
        newest.as_uuid(),
        most,
    )
    .fetch_all(conn)
    .await
}
