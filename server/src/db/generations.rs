//! `devices`, as far as copies of a profile are told apart (S8).

use kith_protocol::{DeviceId, UserId};
use sqlx::PgConnection;

pub struct GenerationRow {
    /// The one last issued.
    pub issued: i64,
    /// The one last presented; its `welcome` may have been lost.
    pub presented: i64,
    /// The last handshake was answered `device_forked`.
    pub is_forked: bool,
    /// The user may have notifications that this device was not told of.
    pub has_notices: bool,
    /// The user does not show their presence.
    pub hides_presence: bool,
}

/// A generation that was issued.
pub struct IssuedRow {
    pub issued: i64,
    /// The user may have notifications that this device was not told of.
    pub has_notices: bool,
    /// The user does not show their presence.
    pub hides_presence: bool,
}

/// The generations of a device of this user that is signed in.
pub async fn read(
    conn: &mut PgConnection,
    user: UserId,
    device: DeviceId,
) -> Result<Option<GenerationRow>, sqlx::Error> {
    sqlx::query_as!(
        GenerationRow,
        r#"SELECT generation_issued AS issued, generation_presented AS presented,
                  forked_at IS NOT NULL AS "is_forked!",
                  EXISTS (SELECT FROM notifications n
                          WHERE n.user_id = devices.user_id AND n.acknowledged_at IS NULL
                            AND n.created_at > now() - interval '30 days') AS "has_notices!",
                  NOT (SELECT shows_presence FROM users WHERE id = $2) AS "hides_presence!"
           FROM devices
           WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL"#,
        device.as_uuid(),
        user.as_uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Issues the next generation to a device that is signed in and presents a valid one: not below the one last issued, or
/// the one last presented. `None` for any other. Of two copies at once the second meets what the first changed.
pub async fn rotate(
    conn: &mut PgConnection,
    user: UserId,
    device: DeviceId,
    presented: i64,
) -> Result<Option<IssuedRow>, sqlx::Error> {
    sqlx::query_as!(
        IssuedRow,
        r#"UPDATE devices
         SET generation_issued = LEAST(GREATEST(generation_issued, $3), 9223372036854775806) + 1,
             generation_presented = $3, last_seen = now(), forked_at = NULL
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL
           AND ($3 >= generation_issued OR $3 = generation_presented)
         RETURNING generation_issued AS issued,
             EXISTS (SELECT FROM notifications n
                          WHERE n.user_id = devices.user_id AND n.acknowledged_at IS NULL
                            AND n.created_at > now() - interval '30 days') AS "has_notices!",
             NOT (SELECT shows_presence FROM users WHERE id = $2) AS "hides_presence!""#,
        device.as_uuid(),
        user.as_uuid(),
        presented,
    )
    .fetch_optional(conn)
    .await
}

/// Notes whether the device's last handshake was answered `device_forked`.
pub async fn set_forked(
    conn: &mut PgConnection,
    device: DeviceId,
    is_forked: bool,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE devices SET forked_at = CASE WHEN $2 THEN now() END WHERE id = $1",
        device.as_uuid(),
        is_forked,
    )
    .execute(conn)
    .await?;
    Ok(())
}
