//! A request's id and span.

use crate::{error::ApiError, telemetry};
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use std::{panic::AssertUnwindSafe, time::Instant};
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives each request an id and a span, and turns a panic into a 500 that names the id.
pub async fn trace(request: Request, next: Next) -> Response {
    let id = uuid::Uuid::now_v7().simple().to_string();
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let span = tracing::info_span!("request", id, method = %request.method(), route);
    let started = Instant::now();
    let served = telemetry::serve(id.clone(), async move {
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
    async fn sec_089_a_panic_answers_500_unavailable_with_the_request_id() {
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
