//! `/v1/me`: one's own account.

use crate::{auth::Authed, domain::accounts, error::ApiError, http::extract::JsonBody, state::AppState};
use axum::{Json, extract::State, http::StatusCode};
use kith_protocol::api::{ChangePassword, Profile, UpdateProfile};

/// `GET /v1/me`
pub async fn get(State(state): State<AppState>, authed: Authed) -> Result<Json<Profile>, ApiError> {
    accounts::profile(&state, authed.user).await.map(Json)
}

/// `PATCH /v1/me`
pub async fn update(
    State(state): State<AppState>,
    authed: Authed,
    JsonBody(request): JsonBody<UpdateProfile>,
) -> Result<Json<Profile>, ApiError> {
    if let Some(name) = request.display_name {
        accounts::rename(&state, authed.user, &name).await?;
    }
    if let Some(shows) = request.show_presence {
        accounts::show_presence(&state, authed.user, shows).await?;
    }
    accounts::profile(&state, authed.user).await.map(Json)
}

/// `PUT /v1/me/password`
pub async fn change_password(
    State(state): State<AppState>,
    authed: Authed,
    JsonBody(request): JsonBody<ChangePassword>,
) -> Result<StatusCode, ApiError> {
    accounts::change_password(&state, authed.user, authed.device, request.current, request.new).await?;
    Ok(StatusCode::NO_CONTENT)
}
