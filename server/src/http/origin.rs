//! Which requests may become a socket at all.

use crate::{error::ApiError, state::AppState};
use axum::{
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Refuses a socket where sockets are off, and one that a web page of a foreign origin asks for. A native client
/// sends no `Origin`.
pub async fn guard(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if !state.config.sockets {
        return ApiError::UnknownRoute.into_response();
    }
    let is_allowed = request.headers().get_all(header::ORIGIN).iter().all(|origin| {
        state.config.allowed_origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
    });
    if !is_allowed {
        return ApiError::NotAllowed.into_response();
    }
    next.run(request).await
}
