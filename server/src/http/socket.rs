//! `GET /v1/socket`: from HTTP to frames.

use crate::{
    auth::{Authed, Signed},
    connections::Unstalled,
    error::ApiError,
    http::peer::PeerAddress,
    shares::{Place, Sharer},
    state::AppState,
    ws,
};
use axum::{
    Extension, RequestPartsExt,
    extract::{
        FromRequestParts, State,
        ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    http::request::Parts,
    response::Response,
};
use kith_protocol::{SUBPROTOCOL, limits};
use tokio::sync::OwnedSemaphorePermit;

/// Buffers of a socket (L5): an idle one costs its connection's state and little else.
const READ_BUFFER_BYTES: usize = 1024;
const WRITE_BUFFER_BYTES: usize = 4 * 1024;
/// A socket that takes nothing keeps at most this much unsent besides its queue.
const WRITE_BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Permission for this request, whose token is good, to query the database until the value is dropped: a place of its user,
/// then one of the permits that all share.
pub struct Permit {
    _place: Place,
    _permit: OwnedSemaphorePermit,
}

impl FromRequestParts<AppState> for Permit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        // A token may have to wait for its key, and no permit is held meanwhile.
        let Signed(authed) = parts.extract_with_state::<Signed, _>(state).await?;
        let place = state.shares.work(Sharer::User(authed.user)).await?;
        Ok(Self { _place: place, _permit: state.permits.take().await? })
    }
}

/// `GET /v1/socket`: the token is checked before the upgrade (S1).
pub async fn upgrade(
    State(state): State<AppState>,
    _permit: Permit,
    authed: Authed,
    peer: PeerAddress,
    unstalled: Option<Extension<Unstalled>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, ApiError> {
    let upgrade = upgrade.map_err(|_| ApiError::UpgradeRequired)?;
    let admitted = state.hub.admit(authed.user, peer.counted).ok_or(ApiError::Busy)?;
    if let Some(Extension(unstalled)) = unstalled {
        unstalled.lift();
    }
    let tasks = state.tasks.clone();
    Ok(upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(limits::INBOUND_FRAME_BYTES_MAX)
        .max_frame_size(limits::INBOUND_FRAME_BYTES_MAX)
        .on_upgrade(move |socket| tasks.track_future(ws::connection::run(state, authed, admitted, socket))))
}
