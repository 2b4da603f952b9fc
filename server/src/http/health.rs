//! Whether the process lives, and whether it can serve.

use crate::{error::ApiError, migrate, state::AppState};
use axum::extract::State;
use std::time::Duration;
use tokio::time::timeout;

const READY_WITHIN: Duration = Duration::from_secs(2);
/// `GET /healthz`: the process answers.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database answers and has this server's schema, and every lane that has work commits. Without its bus
/// a server serves on, a second later than otherwise, and says so: if all of them were taken out of service for it, nobody
/// would be served.
pub async fn ready(State(state): State<AppState>) -> Result<&'static str, ApiError> {
    if state.draining.is_cancelled() || state.shutdown.is_cancelled() {
        return Err(ApiError::Unavailable);
    }
    if state.publisher.stalled_for() >= state.config.database_within {
        tracing::warn!("a lane has work and has committed nothing for long");
        return Err(ApiError::Unavailable);
    }
    let check = async {
        let mut conn = state.pool.acquire().await?;
        migrate::applied(&mut conn).await
    };
    let has_schema = async {
        matches!(timeout(READY_WITHIN, check).await, Ok(Ok(Some(version))) if version == migrate::newest())
    };
    if !state.readiness.or_ask(has_schema).await {
        return Err(ApiError::Unavailable);
    }
    let is_without_bus = state.config.bus.is_some() && state.metrics.bus.connected.get() == 0;
    Ok(if is_without_bus { "ready\nthe bus is away\n" } else { "ready\n" })
}
