//! `/v1/users`: finding people.

use crate::{
    auth::Authed,
    db,
    error::ApiError,
    http::extract::{Parameters, PathId, rows_wanted},
    state::AppState,
};
use axum::{Json, extract::State};
use kith_protocol::{
    UserId,
    api::{List, Profile},
    limits,
};
use schemars::JsonSchema;
use serde::Deserialize;

const PAGE_DEFAULT: u32 = 50;

/// The query of `GET /v1/users`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UsersQuery {
    /// The beginning of a user name or of a word of a display name; any case.
    #[serde(default)]
    query: String,
    /// The last user name of the part before.
    #[serde(default)]
    after: String,
    /// Rows wanted, at most [`LIST_ITEMS_MAX`].
    limit: Option<u32>,
}

/// `GET /v1/users`
pub async fn list(
    State(state): State<AppState>,
    authed: Authed,
    Parameters(query): Parameters<UsersQuery>,
) -> Result<Json<List<Profile>>, ApiError> {
    let limit = rows_wanted(query.limit, PAGE_DEFAULT)?;
    let wanted = query.query.trim();
    if wanted.chars().count() > limits::DISPLAY_NAME_CHARS_MAX
        || [wanted, &query.after].iter().any(|t| t.contains('\0'))
    {
        return Err(ApiError::invalid("query has at most 64 characters"));
    }
    let prefix = wanted.to_lowercase();
    let mut conn = state.pool.acquire().await?;
    let rows = if prefix.is_empty() {
        db::users::list(&mut conn, authed.user, &query.after, i64::from(limit) + 1).await?
    } else {
        db::users::search(&mut conn, authed.user, &prefix, &query.after, i64::from(limit) + 1).await?
    };
    let mut items: Vec<Profile> = rows.into_iter().map(db::users::ProfileRow::public).collect();
    let has_more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| has_more).map(|last| last.username.clone());
    Ok(Json(List { items, next }))
}

/// `GET /v1/users/{id}`
pub async fn get(
    State(state): State<AppState>,
    authed: Authed,
    PathId(id): PathId<UserId>,
) -> Result<Json<Profile>, ApiError> {
    let mut conn = state.pool.acquire().await?;
    let mut found = db::users::profiles(&mut conn, authed.user, &[id.as_uuid()]).await?;
    found.pop().map(|row| Json(row.public())).ok_or(ApiError::TargetMissing)
}
