//! `notifications`: what the platform tells its users.

use chrono::{DateTime, Utc};
use kith_protocol::{DeviceId, EventId, TimestampMs, UserId, frame::Notification};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

/// A notification to be stored.
pub struct New<'a> {
    pub id: EventId,
    /// What it is about.
    pub kind: &'a str,
    pub title: &'a str,
    pub text: &'a str,
    pub data: &'a Value,
}

/// Stores a notification about a device, if the user has another one that is signed in. Returns when; `None` if not.
pub async fn insert_of_device(
    conn: &mut PgConnection,
    user: UserId,
    device: DeviceId,
    new: New<'_>,
) -> Result<Option<DateTime<Utc>>, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO notifications (id, user_id, kind, title, text, data)
         SELECT $1, $2, $4, $5, $6, $7
         WHERE EXISTS (SELECT FROM devices WHERE user_id = $2 AND id <> $3 AND revoked_at IS NULL)
         RETURNING created_at",
        new.id.as_uuid(),
        user.as_uuid(),
        device.as_uuid(),
        new.kind,
        new.title,
        new.text,
        new.data,
    )
    .fetch_optional(conn)
    .await
}

/// Deletes the user's oldest notifications, until `kept` are left.
pub async fn delete_beyond(conn: &mut PgConnection, user: UserId, kept: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM notifications
         WHERE id IN (SELECT id FROM notifications WHERE user_id = $1 ORDER BY created_at DESC, id DESC OFFSET $2)",
        user.as_uuid(),
        kept,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The newest of the user's notifications of the last 30 days that were not seen, oldest first, as a device is told: not
/// what is about itself, nor what came before its session began. The exception is a copy of another device that is still
/// signed in: its notice also reaches devices that sign in later, so that signing the original out does not hide the copy.
pub async fn unseen(
    conn: &mut PgConnection,
    device: DeviceId,
    limit: i64,
) -> Result<Vec<Notification>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT n.id, n.kind, n.title, n.text, n.data, n.link, n.created_at
         FROM devices d
         JOIN notifications n ON n.user_id = d.user_id AND n.acknowledged_at IS NULL
              AND n.created_at > now() - interval '30 days'
              AND n.data ->> 'device' IS DISTINCT FROM d.id::text
              AND d.id <> ALL (n.acknowledged_by)
         WHERE d.id = $1
           AND (n.created_at > d.created_at
                OR n.kind = 'new_device' AND n.data ->> 'copy' = 'true'
                   AND EXISTS (SELECT FROM devices copy
                               WHERE copy.id = (n.data ->> 'device')::uuid AND copy.revoked_at IS NULL))
         ORDER BY n.created_at DESC, n.id DESC
         LIMIT $2",
        device.as_uuid(),
        limit,
    )
    .fetch_all(conn)
    .await?;
    let one = rows.into_iter().rev().map(|row| Notification {
        id: EventId::from_uuid(row.id),
        kind: row.kind,
        title: row.title,
        text: row.text,
        data: row.data,
        link: row.link,
        at: TimestampMs::from_i64(row.created_at.timestamp_millis()),
        acknowledged: false,
    });
    Ok(one.collect())
}

/// Devices that may acknowledge one notice. The server repeats the notice to any further device.
const ACKNOWLEDGED_BY_MAX: i32 = 100;

/// Marks notifications of the user as seen by this device. As with [`unseen`], it counts only for what is not about the
/// device and came after its session began. A notice of a new device is acknowledged for this device alone: a thief with
/// a token of one device cannot hide from the others that a device has come.
pub async fn acknowledge(
    conn: &mut PgConnection,
    user: UserId,
    device: DeviceId,
    ids: &[EventId],
) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.as_uuid()).collect();
    sqlx::query!(
        // Each by its id, however many a user has.
        "UPDATE notifications
         SET acknowledged_at = CASE WHEN kind <> 'new_device' THEN coalesce(acknowledged_at, now()) END,
             acknowledged_by = CASE
                 WHEN kind = 'new_device' AND $3 <> ALL (acknowledged_by) AND cardinality(acknowledged_by) < $4
                 THEN acknowledged_by || $3::uuid
                 ELSE acknowledged_by
             END
         WHERE id = ANY (ARRAY(
             SELECT own.id FROM UNNEST($2::uuid[]) AS asked (id)
             CROSS JOIN LATERAL (
                 SELECT n.id FROM notifications n JOIN devices d ON d.id = $3
                 WHERE n.id = asked.id AND n.user_id = $1 AND d.user_id = $1
                   AND (n.kind = 'new_device' OR n.created_at > d.created_at)
                   AND n.data ->> 'device' IS DISTINCT FROM d.id::text
                 LIMIT 1
             ) AS own))",
        user.as_uuid(),
        &ids,
        device.as_uuid(),
        ACKNOWLEDGED_BY_MAX,
    )
    .execute(conn)
    .await?;
    Ok(())
}
