//! Sockets of devices that were signed out, here or by another process.

use crate::{db, error::ApiError, state::AppState};
use kith_protocol::{DeviceId, error::close};
use std::collections::HashSet;
use uuid::Uuid;

/// Closes the sockets of devices that were signed out.
pub(crate) fn close(state: &AppState, devices: &[Uuid]) {
    for device in devices {
        state.hub.close_device(DeviceId::from_uuid(*device), close::REVOKED);
    }
}

/// Sign-outs of so many seconds are looked at each time: twenty looks, and longer than a transaction takes.
const REVOKED_WITHIN_S: f64 = 60.0;
/// At most so many; the rest is found by [`close_dead`].
const REVOKED_MAX: i64 = 10_000;

/// Closes the sockets of devices that another process signed out lately, or whose user it disabled.
///
/// # Errors
/// When the database fails; the next round finds them.
pub async fn close_revoked(state: &AppState) -> Result<(), ApiError> {
    if state.hub.connected_devices().is_empty() {
        return Ok(());
    }
    let mut conn = state.pool.acquire().await?;
    let gone = db::devices::revoked_since(&mut conn, REVOKED_WITHIN_S, REVOKED_MAX).await?;
    if !gone.is_empty() {
        let gone: HashSet<DeviceId> = gone.into_iter().map(DeviceId::from_uuid).collect();
        state.hub.close_devices_here(&gone, close::REVOKED);
    }
    Ok(())
}

/// Closes the sockets of all devices that are signed out or unknown, whenever that was: what [`close_revoked`] missed, and
/// what is from before a restore. A device that is unknown shows its refresh token first.
///
/// # Errors
/// When the database fails; sockets stay open until the next look.
pub async fn close_dead(state: &AppState) -> Result<(), ApiError> {
    let devices: Vec<Uuid> = state.hub.connected_devices().iter().map(DeviceId::as_uuid).collect();
    for part in devices.chunks(5_000) {
        for dead in db::devices::dead_among(&mut *state.pool.acquire().await?, part).await? {
            let code = if dead.is_known { close::REVOKED } else { close::TOKEN_EXPIRED };
            state.hub.close_device_here(DeviceId::from_uuid(dead.id), code);
        }
    }
    Ok(())
}
