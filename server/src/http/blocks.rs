//! `/v1/blocks`: the people whom one has blocked. Each user reads and changes their own list alone.

use crate::{
    auth::Authed,
    db,
    domain::blocks,
    error::ApiError,
    http::extract::{Parameters, PathId, done, rows_wanted},
    state::AppState,
};
use axum::{Json, extract::State, response::IntoResponse};
use kith_protocol::{
    UserId,
    api::{List, Profile},
    limits::LIST_ITEMS_MAX,
};
use schemars::JsonSchema;
use serde::Deserialize;
use uuid::Uuid;

/// The query of `GET /v1/blocks`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlocksQuery {
    /// The last id of the part before.
    after: Option<Uuid>,
    /// Rows wanted, at most [`LIST_ITEMS_MAX`], which is the default.
    limit: Option<u32>,
}

/// `GET /v1/blocks`
pub async fn list(
    State(state): State<AppState>,
    authed: Authed,
    Parameters(query): Parameters<BlocksQuery>,
) -> Result<Json<List<Profile>>, ApiError> {
    let limit = rows_wanted(query.limit, LIST_ITEMS_MAX)?;
    let after = query.after.unwrap_or(Uuid::nil());
    let rows = blocks::list(&state, authed.user, after, i64::from(limit) + 1).await?;
    let mut items: Vec<Profile> = rows.into_iter().map(db::users::ProfileRow::public).collect();
    let has_more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| has_more).map(|last| last.id.to_string());
    Ok(Json(List { items, next }))
}

/// `PUT /v1/blocks/{user}`
pub async fn block(
    State(state): State<AppState>,
    authed: Authed,
    PathId(user): PathId<UserId>,
) -> Result<impl IntoResponse, ApiError> {
    blocks::block(&state, authed.user, user).await?;
    Ok(done())
}

/// `DELETE /v1/blocks/{user}`
pub async fn unblock(
    State(state): State<AppState>,
    authed: Authed,
    PathId(user): PathId<UserId>,
) -> Result<impl IntoResponse, ApiError> {
    blocks::unblock(&state, authed.user, user).await?;
    Ok(done())
}
