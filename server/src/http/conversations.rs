//! `/v1/conversations`: the list, one of them, starting, leaving.

use crate::{
    auth::Authed,
    db,
    domain::{fetch, heads, open, own, publish::Item},
    error::ApiError,
    http::extract::{JsonBody, LargeBody, Parameters, PathId, done, rows_wanted},
    state::AppState,
};
use axum::{Json, extract::State, http::StatusCode, response::IntoResponse};
use kith_protocol::{
    ConversationId, EventId, NewEvent, UserId,
    api::{Conversation, CreateConversation, List, MarkRead, PostMessage, Profile},
    event::{EventContent, MemberBody, MemberChange},
    frame::{AckStatus, ConversationKind, HeadsItem, StateChange},
};
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::PgConnection;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

const PAGE_DEFAULT: u32 = 50;

async fn with_profiles(
    conn: &mut PgConnection,
    user: UserId,
    items: Vec<HeadsItem>,
) -> Result<Vec<Conversation>, ApiError> {
    let of = |item: &HeadsItem| -> Vec<UserId> {
        item.members.iter().flatten().map(|member| member.user).collect()
    };
    let users: BTreeSet<Uuid> = items.iter().flat_map(of).map(|user| user.as_uuid()).collect();
    let users: Vec<Uuid> = users.into_iter().collect();
    let profiles: HashMap<UserId, Profile> = db::users::profiles(conn, user, &users)
        .await?
        .into_iter()
        .map(|row| row.public())
        .map(|profile| (profile.id, profile))
        .collect();
    let complete = |item: HeadsItem| {
        let profiles = of(&item).iter().filter_map(|user| profiles.get(user).cloned()).collect();
        Conversation { item, profiles }
    };
    Ok(items.into_iter().map(complete).collect())
}

/// The query of `GET /v1/conversations`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    /// `next` of the part before.
    after: Option<String>,
    /// Rows wanted, at most [`limits::LIST_ITEMS_MAX`].
    limit: Option<u32>,
}

/// `GET /v1/conversations`: the one with the newest event first.
pub async fn list(
    State(state): State<AppState>,
    authed: Authed,
    Parameters(query): Parameters<ListQuery>,
) -> Result<Json<List<Conversation>>, ApiError> {
    let after = query.after.as_deref().map(page_key).transpose()?;
    let limit = rows_wanted(query.limit, PAGE_DEFAULT)? as usize;
    let mut conn = state.pool.acquire().await?;
    let (mut items, next) = heads::page(&mut conn, authed.user, after, limit).await?;
    items.retain(|item| !item.own.hidden);
    let items = with_profiles(&mut conn, authed.user, items).await?;
    Ok(Json(List { items, next: next.map(|(ts, id)| format!("{ts}.{id}")) }))
}

fn page_key(text: &str) -> Result<heads::PageKey, ApiError> {
    let parts = text.split_once('.').and_then(|(ts, id)| Some((ts.parse().ok()?, id.parse().ok()?)));
    parts.ok_or_else(|| ApiError::invalid("not a page key"))
}

/// `GET /v1/conversations/{id}`
pub async fn get(
    State(state): State<AppState>,
    authed: Authed,
    PathId(id): PathId<ConversationId>,
) -> Result<Json<Conversation>, ApiError> {
    let mut conn = state.pool.acquire().await?;
    let items = heads::items_of(&mut conn, authed.user, &[id.as_uuid()]).await?;
    let conversation = with_profiles(&mut conn, authed.user, items).await?.into_iter().next();
    conversation.map(Json).ok_or(ApiError::NotMember)
}

/// Makes the event of a message that came over HTTP.
pub(super) fn message(post: PostMessage) -> Result<Item, ApiError> {
    let event = NewEvent {
        id: post.id.unwrap_or_else(EventId::mint),
        kind: "message".to_owned(),
        target: None,
        body: serde_json::json!({ "text": post.text }),
        written_at: None,
        resubmitted: None,
    };
    Item::check(event).map_err(ApiError::from)
}

/// `POST /v1/conversations`
pub async fn create(
    State(state): State<AppState>,
    from: LargeBody,
    JsonBody(body): JsonBody<CreateConversation>,
) -> Result<impl IntoResponse, ApiError> {
    let other = body.members.iter().copied().find(|user| *user != from.authed.user);
    let id = match (body.id, body.kind, other) {
        (Some(id), ..) => id,
        (None, ConversationKind::Direct, Some(other)) => ConversationId::direct(from.authed.user, other),
        (None, ..) => ConversationId::mint(),
    };
    let opening = open::Opening {
        id,
        kind: body.kind,
        members: body.members,
        title: body.title,
        context: body.context,
        first: body.first.map(message).transpose()?,
    };
    let opened = open::open(&state, from.authed.user, opening).await?;
    let status = if opened.is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(opened.item)))
}

/// `DELETE /v1/conversations/{id}`: leaves a group, hides a direct conversation until its next event.
pub async fn remove(
    State(state): State<AppState>,
    authed: Authed,
    PathId(id): PathId<ConversationId>,
) -> Result<impl IntoResponse, ApiError> {
    let row = fetch::of_member(&mut *state.pool.acquire().await?, authed.user, id).await?;
    if row.kind == ConversationKind::Direct.as_str() {
        let change = StateChange { hidden: Some(true), ..StateChange::of(id) };
        own::change(&state, authed.user, None, &change).await?;
        return Ok(done());
    }
    let content =
        EventContent::Member(MemberBody { user: authed.user, change: MemberChange::Left, role: None });
    let (kind, target, body) = content.to_wire();
    let event = NewEvent {
        id: EventId::mint(),
        kind: kind.to_owned(),
        target,
        body,
        written_at: None,
        resubmitted: None,
    };
    let results = state.publisher.publish(id, authed.user, vec![Item::check(event)?]).await?;
    match results.first().filter(|one| one.status == AckStatus::Error).and_then(|one| one.code) {
        Some(code) => Err(code.into()),
        None => Ok(done()),
    }
}

/// `PUT /v1/conversations/{id}/read`: the same as `state.read`.
pub async fn mark_read(
    State(state): State<AppState>,
    authed: Authed,
    PathId(id): PathId<ConversationId>,
    JsonBody(body): JsonBody<MarkRead>,
) -> Result<impl IntoResponse, ApiError> {
    let change = StateChange { read: Some(body.up_to), ..StateChange::of(id) };
    own::change(&state, authed.user, None, &change).await?;
    Ok(done())
}
