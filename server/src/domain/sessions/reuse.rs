//! The reuse of an exchanged refresh token: two clients hold it, so the server signs out the whole sign-in (S11).

use super::closing::close;
use crate::{auth::Told, db, error::ApiError, state::AppState};
use kith_protocol::{DeviceId, UserId};
use uuid::Uuid;

/// Signs out all devices of the family. Returns the error for the client.
pub(super) async fn of(
    state: &AppState,
    user: UserId,
    device: DeviceId,
    family: Uuid,
) -> Result<ApiError, ApiError> {
    let mut tx = db::begin(&state.pool).await?;
    let ended = db::devices::revoke_family(&mut tx, user, family).await?;
    tx.commit().await?;
    tracing::warn!(user.id = %user, device.id = %device, devices = ended.len(), "an exchanged refresh token came back");
    close(state, &ended);
    Ok(ApiError::DeviceRevoked)
}

/// Judges a token with this server's mark that the database does not hold. The server removes the oldest exchanged tokens of
/// a device; the number in the token still proves the reuse.
pub(super) async fn forgotten(state: &AppState, told: Told) -> Result<ApiError, ApiError> {
    let mut conn = state.pool.acquire().await?;
    let family = db::devices::family_of_used(&mut conn, told.device, told.user, told.number).await?;
    drop(conn);
    match family {
        Some(family) => of(state, told.user, told.device, family).await,
        None => Ok(ApiError::TokenInvalid),
    }
}
