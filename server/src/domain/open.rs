//! Starting a conversation: create it, or find it (section 12; direct ids follow from their two people).

use super::{
    additions, announce, heads,
    policy::{self, Start},
    publish::Item,
};
use crate::{
    config::Config,
    db::{self, conversations::NewConversation},
    error::ApiError,
    state::AppState,
};
use kith_protocol::{
    ConversationId, UserId,
    event::Role,
    frame::{AckStatus, Context, ConversationKind, HeadsItem},
    limits,
    text::check_title,
};
use sqlx::{Acquire, PgConnection};
use std::{collections::BTreeSet, time::Duration};
use uuid::Uuid;

/// What somebody wants to start.
pub struct Opening {
    pub id: ConversationId,
    pub kind: ConversationKind,
    /// The other members; naming the caller is harmless.
    pub members: Vec<UserId>,
    pub title: Option<String>,
    /// What it is about.
    pub context: Option<Context>,
    pub first: Option<Item>,
}

/// What came of it.
pub struct Opened {
    /// As the caller sees it.
    pub item: HeadsItem,
    /// Whether it is a new one.
    pub is_new: bool,
    pub user_seq: u64,
}

/// Creates the conversation or finds it, and publishes the first event.
///
/// # Errors
/// `invalid` for a form that does not fit, `target_missing` for unknown people and people with a block between them and
/// the caller, `not_allowed` by policy,
/// `id_conflict` if the id is used elsewhere, `rate_limited` for too many new ones, and whatever the first event meets.
pub async fn open(state: &AppState, user: UserId, opening: Opening) -> Result<Opened, ApiError> {
    let handle = state.clone();
    state.to_the_end(async move { open_and_tell(&handle, user, opening).await }).await
}

async fn open_and_tell(state: &AppState, user: UserId, opening: Opening) -> Result<Opened, ApiError> {
    let others: BTreeSet<UserId> = opening.members.iter().copied().filter(|one| *one != user).collect();
    let others: Vec<UserId> = others.into_iter().collect();
    check(user, &opening, &others)?;
    let mut conn = state.pool.acquire().await?;
    let is_new = match found(&mut conn, user, &opening).await? {
        true => false,
        false => create(&mut conn, &state.config, user, &opening, &others).await?,
    };
    if is_new {
        // It exists; whoever is not told now learns of it by the next heads.
        if let Err(error) = announce_start(state, &mut conn, user, &opening, &others).await {
            tracing::warn!(%error, "could not announce a conversation");
        }
    }
    // A lane needs connections of its own: none is held while waiting for it.
    drop(conn);
    if let Some(first) = opening.first {
        let results = state.publisher.publish(opening.id, user, vec![first]).await?;
        let failed = results.first().filter(|one| one.status == AckStatus::Error).and_then(|one| one.code);
        if let Some(code) = failed {
            return Err(code.into());
        }
    }
    let mut conn = state.pool.acquire().await?;
    let items = heads::items_of(&mut conn, user, &[opening.id.as_uuid()]).await?;
    let user_seq = db::contacts::user_seq(&mut conn, user).await?.unsigned_abs();
    let item = items.into_iter().next().ok_or(ApiError::NotMember)?;
    Ok(Opened { item, is_new, user_seq })
}

fn check(user: UserId, opening: &Opening, others: &[UserId]) -> Result<(), ApiError> {
    match opening.kind {
        ConversationKind::Direct => {
            let [other] = others else {
                return Err(ApiError::invalid("a direct conversation has one other member"));
            };
            if opening.id != ConversationId::direct(user, *other) {
                return Err(ApiError::invalid("not the id of these two people"));
            }
            if opening.title.as_ref().is_some_and(|title| !title.is_empty()) {
                return Err(ApiError::invalid("a direct conversation has no title"));
            }
        }
        ConversationKind::Group => {
            if opening.id.as_uuid().get_version_num() != 7 {
                return Err(ApiError::invalid("a group's id is a UUIDv7"));
            }
            if others.len() >= limits::GROUP_MEMBERS_MAX {
                return Err(ApiError::TooLarge);
            }
            check_title(opening.title.as_deref().unwrap_or_default())?;
        }
    }
    opening.context.as_ref().map_or(Ok(()), Context::check)?;
    Ok(())
}

/// Whether it exists and the caller is in it. Each of a group's owners opens it again after a restore, and the second
/// finds what the first one began.
async fn found(conn: &mut PgConnection, user: UserId, opening: &Opening) -> Result<bool, ApiError> {
    let Some(row) = db::conversations::find(conn, opening.id).await? else { return Ok(false) };
    let is_member = !db::members::active_among(conn, user, &[opening.id.as_uuid()]).await?.is_empty();
    if row.kind == opening.kind.as_str() && is_member { Ok(true) } else { Err(ApiError::IdConflict) }
}

/// Creates it; false if another one was faster and it is the caller's as well.
///
/// # Errors
/// Among others [`ApiError::RateLimited`] for somebody who has opened more, or named more people, than the budgets allow.
async fn create(
    conn: &mut PgConnection,
    config: &Config,
    user: UserId,
    opening: &Opening,
    others: &[UserId],
) -> Result<bool, ApiError> {
    let mut tx = conn.begin().await?;
    let everybody: BTreeSet<Uuid> = others.iter().chain([&user]).map(|one| one.as_uuid()).collect();
    let everybody: Vec<Uuid> = everybody.into_iter().collect();
    let people = db::contacts::people(&mut tx, &everybody).await?;
    let own = people.iter().find(|person| person.id == user.as_uuid()).ok_or(ApiError::DeviceRevoked)?;
    let tenant = own.tenant.clone();
    if people.len() != everybody.len() || people.iter().any(|person| person.tenant != tenant) {
        return Err(ApiError::TargetMissing);
    }
    if !policy::may_start(Start { tenant: &tenant, kind: opening.kind, user, others }) {
        return Err(ApiError::NotAllowed);
    }
    // Asked before anything is locked: a refusal keeps nobody waiting.
    may_open(&mut tx, config, user, opening, others).await?;
    let new = NewConversation {
        id: opening.id,
        kind: opening.kind,
        tenant: &tenant,
        title: opening.title.as_deref().filter(|title| !title.is_empty()),
        context: opening.context.as_ref(),
        created_by: user,
    };
    let Some(key) = db::conversations::insert(&mut tx, new).await? else {
        tx.rollback().await?;
        return if found(conn, user, opening).await? { Ok(false) } else { Err(ApiError::Unavailable) };
    };
    db::heads::insert(&mut tx, key, opening.id).await?;
    let versions = db::contacts::raise_user_seqs(&mut tx, &everybody).await?;
    // All rows of users are locked in order by now. A block is committed under its user's.
    may_open(&mut tx, config, user, opening, others).await?;
    db::contacts::count_opening(&mut tx, user, config.opening.step_s()).await?;
    if opening.kind == ConversationKind::Group && !others.is_empty() {
        additions::count_opening(&mut tx, config.adding, user, others.len()).await?;
    }
    let roles: Vec<String> = everybody
        .iter()
        .map(|one| match opening.kind {
            ConversationKind::Group if *one == user.as_uuid() => Role::Owner,
            ConversationKind::Group | ConversationKind::Direct => Role::Member,
        })
        .map(|role| role.as_str().to_owned())
        .collect();
    let versions: Vec<i64> =
        everybody.iter().map(|one| versions.get(one).copied().unwrap_or_default()).collect();
    db::members::insert_first(&mut tx, key, &everybody, &roles, &versions).await?;
    tx.commit().await?;
    Ok(true)
}

/// Whether blocks and the caller's budgets let a conversation begin.
async fn may_open(
    conn: &mut PgConnection,
    config: &Config,
    user: UserId,
    opening: &Opening,
    others: &[UserId],
) -> Result<(), ApiError> {
    let people: Vec<Uuid> = others.iter().map(|one| one.as_uuid()).collect();
    if !db::blocks::around(conn, user, &people).await?.is_empty() {
        return Err(ApiError::TargetMissing);
    }
    let (at_once, step_s) = (f64::from(config.opening.at_once), config.opening.step_s());
    if let Some(wait_s) = db::contacts::opening_wait(conn, user, at_once, step_s).await? {
        let wait = Duration::from_secs_f64(wait_s.max(0.001));
        let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
        return Err(ApiError::RateLimited { retry_after_ms });
    }
    if opening.kind == ConversationKind::Group && !others.is_empty() {
        additions::may_open(conn, config.adding, user).await?;
    }
    Ok(())
}

/// Tells connected members before the first event. A direct conversation without events is its creator's alone.
async fn announce_start(
    state: &AppState,
    conn: &mut PgConnection,
    user: UserId,
    opening: &Opening,
    others: &[UserId],
) -> Result<(), ApiError> {
    let others = if opening.kind == ConversationKind::Group { others } else { &[] };
    state.hub.announce_to_others(others.iter().chain([&user]).copied(), opening.id);
    let everybody = others.iter().chain([&user]).copied();
    let here: Vec<_> =
        everybody.filter(|one| state.hub.is_connected(*one)).map(|one| (one, opening.id)).collect();
    Ok(announce::tell(&state.hub, conn, &here).await?)
}
