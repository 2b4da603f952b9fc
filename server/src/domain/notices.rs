//! The server's own notifications: a user learns of each further device.

use crate::{
    db::{self, notifications::New},
    state::AppState,
};
use kith_protocol::{
    DeviceId, EventId, ServerFrame, TimestampMs, UserId,
    frame::{Notification, Notifications},
};
use serde_json::json;
use sqlx::PgConnection;
use std::sync::Arc;

/// The kind of a notification of a new device.
const NEW_DEVICE: &str = "new_device";
/// Notifications kept for a user; older ones are deleted.
const KEPT_MAX: i64 = 50;
/// Notifications that a handshake brings, the newest.
const SHOWN_MAX: i64 = 20;

/// Stores that a device has come. `None` for a user's only one: nobody else is there to see it.
///
/// # Errors
/// When the database fails.
pub async fn new_device(
    conn: &mut PgConnection,
    user: UserId,
    device: DeviceId,
    name: &str,
    is_copy: bool,
) -> Result<Option<Notification>, sqlx::Error> {
    let data = json!({"device": device, "name": name, "copy": is_copy});
    let (id, title, text) = (EventId::mint(), "New device".to_owned(), format!("{name} signed in"));
    let new = New { id, kind: NEW_DEVICE, title: &title, text: &text, data: &data };
    let Some(at) = db::notifications::insert_of_device(conn, user, device, new).await? else {
        return Ok(None);
    };
    db::notifications::delete_beyond(conn, user, KEPT_MAX).await?;
    let at = TimestampMs::from_i64(at.timestamp_millis());
    let kind = NEW_DEVICE.to_owned();
    Ok(Some(Notification { id, kind, title, text, data: Some(data), link: None, at, acknowledged: false }))
}

/// Sends a notification to the user's connections, here and on other instances.
pub fn tell(state: &AppState, user: UserId, notification: Notification) {
    let frame = ServerFrame::Notification(Notifications { items: vec![notification] });
    let json: Arc<str> = frame.encode().into();
    state.hub.send(user, &json, None);
    state.hub.tell_others(None, || vec![user], &json);
}

/// Notifications for a handshake, oldest first: those since the session began that the user has not acknowledged.
///
/// # Errors
/// When the database fails.
pub async fn unseen(conn: &mut PgConnection, device: DeviceId) -> Result<Vec<Notification>, sqlx::Error> {
    db::notifications::unseen(conn, device, SHOWN_MAX).await
}
