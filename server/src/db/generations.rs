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

/// The generations of a device of this user that is signed in.
pub async fn read(
    conn: &mut PgConnection,
    user: UserId,
    device: DeviceId,
) -> Result<Option<GenerationRow>, sqlx::Error> {
    sqlx::query_as!(
        GenerationRow,
        "SELECT generation_issued AS issued, generation_presented AS presented FROM devices
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL",
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
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "UPDATE devices
         SET generation_issued = LEAST(GREATEST(generation_issued, $3), 9223372036854775806) + 1,
             generation_presented = $3, last_seen = now()
         WHERE id = $1 AND user_id = $2 AND revoked_at IS NULL
           AND ($3 >= generation_issued OR $3 = generation_presented)
         RETURNING generation_issued",
        device.as_uuid(),
        user.as_uuid(),
        presented,
    )
    .fetch_optional(conn)
    .await
}
