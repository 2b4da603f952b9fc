//! `/v1/sessions`: signing in and out, renewing, devices.

use crate::{
    auth::Authed,
    domain::sessions,
    error::ApiError,
    http::{
        extract::{JsonBody, PathId},
        peer::{CountedRefresh, CountedSignIn, PeerAddress},
    },
    state::AppState,
};
use axum::{Json, extract::State, http::StatusCode};
use kith_protocol::{
    DeviceId,
    api::{List, Refresh, RevokeSession, Session, SessionItem, SignIn},
};

/// `POST /v1/sessions`
pub async fn create(
    State(state): State<AppState>,
    _counted: CountedSignIn,
    peer: PeerAddress,
    JsonBody(request): JsonBody<SignIn>,
) -> Result<Json<Session>, ApiError> {
    sessions::sign_in(&state, request, peer.counted).await.map(Json)
}

/// `POST /v1/sessions/refresh`
pub async fn refresh(
    State(state): State<AppState>,
    _counted: CountedRefresh,
    peer: PeerAddress,
    JsonBody(request): JsonBody<Refresh>,
) -> Result<Json<Session>, ApiError> {
    sessions::refresh(&state, request, peer.counted).await.map(Json)
}

/// `GET /v1/sessions`
pub async fn list(
    State(state): State<AppState>,
    authed: Authed,
) -> Result<Json<List<SessionItem>>, ApiError> {
    let items = sessions::list(&state, authed.user, authed.device).await?;
    Ok(Json(List { items, next: None }))
}

/// `DELETE /v1/sessions/current`
pub async fn sign_out(State(state): State<AppState>, authed: Authed) -> Result<StatusCode, ApiError> {
    sessions::revoke(&state, authed.user, authed.device).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /v1/sessions`: all devices but the one that asks.
pub async fn revoke_others(
    State(state): State<AppState>,
    authed: Authed,
    JsonBody(request): JsonBody<RevokeSession>,
) -> Result<StatusCode, ApiError> {
    sessions::ask_password_again(&state, authed.user, authed.device, request.password).await?;
    sessions::revoke_others(&state, authed.user, authed.device).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /v1/sessions/{device}`
pub async fn revoke(
    State(state): State<AppState>,
    authed: Authed,
    PathId(device): PathId<DeviceId>,
    JsonBody(request): JsonBody<RevokeSession>,
) -> Result<StatusCode, ApiError> {
    sessions::ask_password_again(&state, authed.user, authed.device, request.password).await?;
    sessions::revoke(&state, authed.user, device).await?;
    Ok(StatusCode::NO_CONTENT)
}
