//! `notifications`: what the platform tells its users.

use kith_protocol::{EventId, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

/// Marks notifications of the user as seen.
pub async fn acknowledge(conn: &mut PgConnection, user: UserId, ids: &[EventId]) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
    sqlx::query!(
        // Each by its id, however many a user has.
        "UPDATE notifications SET acknowledged_at = coalesce(acknowledged_at, now())
         WHERE id = ANY (ARRAY(
             SELECT own.id FROM UNNEST($2::uuid[]) AS asked (id)
             CROSS JOIN LATERAL (
                 SELECT id FROM notifications WHERE id = asked.id AND user_id = $1 LIMIT 1
             ) AS own))",
        user.as_uuid(),
        &ids,
    )
    .execute(conn)
    .await?;
    Ok(())
}
