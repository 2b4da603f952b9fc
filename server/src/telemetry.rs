//! Logs and request ids. Never a body, a token or a name.

use crate::error::ApiError;
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use std::{io::IsTerminal, panic::AssertUnwindSafe, time::Instant};
use tracing::Instrument;
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

tokio::task_local! {
    static CURRENT_REQUEST: String;
}

/// The id of the request that the current task serves.
pub fn request_id() -> Option<String> {
    CURRENT_REQUEST.try_with(Clone::clone).ok()
}

/// Starts the log on standard error: lines for a terminal, JSON otherwise. `RUST_LOG` filters it.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let registry = tracing_subscriber::registry().with(filter);
    let started = if std::io::stderr().is_terminal() {
        registry.with(fmt::layer().with_writer(std::io::stderr)).try_init()
    } else {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
    };
    // Only a second start in one process fails, and then the first log serves.
    drop(started);
}

/// Gives each request an id and a span, and turns a panic into a 500 that names the id.
pub async fn trace(request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let span = tracing::info_span!("request", id, method = %request.method(), route);
    let started = Instant::now();
    let served = CURRENT_REQUEST.scope(id.clone(), async move {
        let response = match AssertUnwindSafe(next.run(request)).catch_unwind().await {
            Ok(response) => response,
            Err(_) => {
                tracing::error!("a handler panicked");
                ApiError::Internal.into_response()
            }
        };
        let (status, ms) = (response.status().as_u16(), started.elapsed().as_millis());
        tracing::debug!(status, ms, "answered");
        response
    });
    let mut response = served.instrument(span).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, body::Body, middleware, routing::get};
    use tower::ServiceExt;

    async fn panics() {
        panic!("a bug");
    }

    #[tokio::test]
    async fn a_panic_answers_500_unavailable_with_the_request_id() {
        let app = Router::new().route("/", get(panics)).layer(middleware::from_fn(trace));
        let response = app.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), 500);
        let id = response.headers()[REQUEST_ID].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(response.into_body(), 1_000).await.unwrap();
        let body: kith_protocol::api::ErrorBody = serde_json::from_slice(&body).unwrap();
        assert_eq!(body.code, kith_protocol::ErrorCode::Unavailable);
        assert!(body.message.contains(&id) && !body.message.contains("a bug"), "{}", body.message);
    }
}
