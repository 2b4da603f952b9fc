//! `/v1/conversations/{id}/messages`: pages of the log, and new messages.

use super::conversations::message;
use crate::{
    auth::Authed,
    domain::fetch,
    error::ApiError,
    http::extract::{JsonBody, LargeBody, Parameters, PathId},
    state::AppState,
};
use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use kith_protocol::{
    ConversationId, Seq,
    api::{MessagePosted, PostMessage},
    frame::{AckStatus, Direction, Page, Pull},
    limits,
};
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::PgConnection;

/// The query of `GET /v1/conversations/{id}/messages`: at most one of the three places.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MessagesQuery {
    /// Events older than this seq.
    before: Option<Seq>,
    /// Events newer than this seq.
    after: Option<Seq>,
    /// Events on both sides of this seq, itself included.
    around: Option<Seq>,
    /// Messages wanted, at most [`limits::PAGE_MESSAGES_MAX`].
    limit: Option<u32>,
}

/// `GET /v1/conversations/{id}/messages`
pub async fn page(
    State(state): State<AppState>,
    authed: Authed,
    PathId(conversation): PathId<ConversationId>,
    Parameters(query): Parameters<MessagesQuery>,
) -> Result<Json<Page>, ApiError> {
    let max = query.limit.unwrap_or(limits::PAGE_MESSAGES_MAX).min(limits::PAGE_MESSAGES_MAX);
    let pull = |from, direction, max| Pull { conversation, from, to: None, direction, max };
    let mut conn = state.pool.acquire().await?;
    let user = authed.user;
    let page = match (query.before, query.after, query.around) {
        (None, None, None) => fetch::page(&mut conn, user, &pull(None, Direction::Backward, max)).await?,
        (Some(seq), None, None) => {
            fetch::page(&mut conn, user, &pull(Some(seq.previous()), Direction::Backward, max)).await?
        }
        (None, Some(seq), None) => {
            fetch::page(&mut conn, user, &pull(Some(seq.next()), Direction::Forward, max)).await?
        }
        (None, None, Some(seq)) => {
            let older = pull(Some(seq), Direction::Backward, max.div_ceil(2));
            around(&mut conn, user, &older, pull(Some(seq.next()), Direction::Forward, max / 2)).await?
        }
        _ => return Err(ApiError::invalid("one of before, after and around")),
    };
    Ok(Json(page))
}

/// Both sides of a seq as one page; `end` when it reaches both edges.
async fn around(
    conn: &mut PgConnection,
    user: kith_protocol::UserId,
    older: &Pull,
    newer: Pull,
) -> Result<Page, ApiError> {
    let mut page = fetch::page(conn, user, older).await?;
    if newer.max == 0 || page.events.is_empty() {
        return Ok(page);
    }
    let rest = fetch::page(conn, user, &newer).await?;
    if !rest.events.is_empty() {
        page.high = rest.high;
        page.events.extend(rest.events);
        page.states.extend(rest.states);
    }
    page.end &= rest.end;
    Ok(page)
}

/// `POST /v1/conversations/{id}/messages`: 201, or 200 for an id that was posted before.
pub async fn post(
    State(state): State<AppState>,
    from: LargeBody,
    PathId(conversation): PathId<ConversationId>,
    JsonBody(body): JsonBody<PostMessage>,
) -> Result<impl IntoResponse, ApiError> {
    let results = state.publisher.publish(conversation, from.authed.user, vec![message(body)?]).await?;
    let result = results.into_iter().next().ok_or(ApiError::Internal)?;
    if let Some(code) = result.code {
        return Err(code.into());
    }
    let (Some(id), Some(seq), Some(ts)) = (result.id, result.seq, result.ts) else {
        return Err(ApiError::Internal);
    };
    let status = if result.status == AckStatus::Ok { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(MessagePosted { id, seq, ts })))
}
