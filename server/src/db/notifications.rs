//! `notifications`: what the platform tells its users.

use kith_protocol::{EventId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

/// Marks notifications of the user as seen.
pub async fn acknowledge(conn: &mut PgConnection, user: UserId, ids: &[EventId]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
    sqlx::query!(
        "UPDATE notifications SET acknowledged_at = coalesce(acknowledged_at, now())
         WHERE user_id = $1 AND id = ANY($2)",
        user.as_uuid(),
        &ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}
