//! `devices`, as far as copies of a profile are told apart (S8).

use kith_protocol::{DeviceId, UserId};
use sqlx::PgConnection;

/// A device's generations.
pub struct GenerationRow {
    /// The one last issued.
    pub issued: i64,
    /// The one last presented; its `welcome` may have been lost.
    pub presented: i64,
}

/// Reads and locks the generations of a device of this user that is signed in.
pub async fn lock(
    conn: &mut PgConnection,
    user: UserId,
    device: DeviceId,
) -> Result<Option<GenerationRow>, sqlx::Error> {
    sqlx::query_as!(
        GenerationRow,
        "SELECT generation_issued AS issued, generation_presented AS presented FROM devices
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL FOR NO KEY UPDATE",
        device.as_uuid(),
        user.as_uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Writes them.
pub async fn set(
    conn: &mut PgConnection,
    device: DeviceId,
    issued: i64,
    presented: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE devices SET generation_issued = $2, generation_presented = $3, last_seen = now() WHERE id = $1",
        device.as_uuid(),
        issued,
        presented,
    )
    .execute(conn)
    .await?;
    Ok(())
}
