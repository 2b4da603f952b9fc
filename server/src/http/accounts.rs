//! `/v1/accounts`

use crate::{
    domain,
    error::ApiError,
    http::{extract::JsonBody, peer::CountedSignIn},
    state::AppState,
};
use axum::{Json, extract::State, http::StatusCode};
use kith_protocol::api::{AccountCreated, CreateAccount};

/// `POST /v1/accounts`
pub async fn create(
    State(state): State<AppState>,
    _counted: CountedSignIn,
    JsonBody(request): JsonBody<CreateAccount>,
) -> Result<(StatusCode, Json<AccountCreated>), ApiError> {
    let user = domain::accounts::sign_up(&state, request).await?;
    Ok((StatusCode::CREATED, Json(AccountCreated { user })))
}
