//! All routes in one table.

use crate::{config::Config, error::ApiError, http, state::AppState, telemetry};
use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{delete, get, post, put},
};

/// The whole HTTP surface. The socket's route carries [`http::origin::guard`] as a layer of its own.
pub fn router(state: AppState) -> Router {
    Router::new()
        .route("/v1/accounts", post(http::accounts::create))
        .route("/v1/sessions", get(http::sessions::list).post(http::sessions::create))
        .route("/v1/sessions/refresh", post(http::sessions::refresh))
        .route("/v1/sessions/current", delete(http::sessions::sign_out))
        .route("/v1/sessions/{device}", delete(http::sessions::revoke))
        .route("/v1/me", get(http::me::get).patch(http::me::update))
        .route("/v1/me/password", put(http::me::change_password))
        .route("/v1/users", get(http::users::list))
        .route("/v1/users/{id}", get(http::users::get))
        .route("/healthz", get(http::health::alive))
        .route("/readyz", get(http::health::ready))
        .fallback(unknown_route)
        .method_not_allowed_fallback(unknown_route)
        .layer(DefaultBodyLimit::max(Config::BODY_BYTES_MAX))
        .layer(middleware::from_fn(telemetry::trace))
        .with_state(state)
}

async fn unknown_route() -> ApiError {
    ApiError::UnknownRoute
}
