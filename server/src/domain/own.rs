//! Own state: markers, flags and drafts, a row per user and conversation, versioned by the user's counter (S4, R1, R4).

use super::{
    fetch, heads, markers,
    receipts::{Outcome, Receipt},
};
use crate::{
    db,
    db::items::ItemRow,
    db::members::OwnColumns,
    error::ApiError,
    hub::{Hub, Topic},
    state::AppState,
};
use kith_failpoint::places;
use kith_protocol::{
    ConversationId, Seq, ServerFrame, UserId,
    frame::{DraftChange, OwnState, OwnStates, StateChange},
    limits,
};
use sqlx::{Acquire, PgConnection};
use std::sync::Arc;

/// Changes own state; the user's other connections are told, and the members of what was read.
///
/// # Errors
/// [`ApiError::NotMember`] for anybody but an active member, [`ApiError::StateConflict`] for a stale draft,
/// `invalid` and `too_large` for a draft of a bad form.
pub async fn change(
    state: &AppState,
    user: UserId,
    connection: Option<u64>,
    change: &StateChange,
) -> Result<OwnStates, ApiError> {
    check(change)?;
    if let Some(read) = only_read(change) {
        let receipt = Receipt { conversation: change.conversation, delivered: Seq::ZERO, read };
        match state.receipts.raise(user, connection, vec![receipt]).await?.pop() {
            Some(Outcome::Risen(Some(own))) => return Ok(*own),
            Some(Outcome::NotMember) => return Err(ApiError::NotMember),
            // It does not rise, or somebody has the row: the slow path says what holds.
            Some(Outcome::Risen(None) | Outcome::Same | Outcome::Locked) | None => {}
        }
    }
    let (handle, change) = (state.clone(), change.clone());
    state.to_the_end(async move { write_and_tell(&handle, user, connection, &change).await }).await
}

/// The marker of a change that is nothing but one.
fn only_read(change: &StateChange) -> Option<Seq> {
    let only = StateChange {
        read: change.read,
        unread_flag: None,
        mute: None,
        pin: None,
        archive: None,
        hidden: None,
        draft: None,
        ..change.clone()
    };
    change.read.filter(|read| *read > Seq::ZERO && only == *change)
}

/// Sends a person's own state to their other connections, on all instances.
pub(super) fn push(
    hub: &Hub,
    user: UserId,
    conversation: ConversationId,
    frame: &Arc<str>,
    except: Option<u64>,
) {
    hub.send(user, frame, except);
    hub.tell_others(Some(Topic::Own(conversation, user)), || vec![user], frame);
}

async fn write_and_tell(
    state: &AppState,
    user: UserId,
    connection: Option<u64>,
    change: &StateChange,
) -> Result<OwnStates, ApiError> {
    let mut conn = state.pool.acquire().await?;
    let written = write(&mut conn, user, change).await?;
    if written.is_changed {
        let frame: Arc<str> = ServerFrame::OwnState(written.own.clone()).encode().into();
        push(&state.hub, user, change.conversation, &frame, connection);
    }
    if written.marker_rose {
        let marker = (user, written.delivered, written.read);
        // It is written; whoever is not told now sees it with the next heads or markers.
        if let Err(error) = markers::tell(&state.hub, &mut conn, change.conversation, marker).await {
            tracing::warn!(%error, "could not tell a marker");
        }
    }
    Ok(written.own)
}

fn check(change: &StateChange) -> Result<(), ApiError> {
    if let Some(draft) = &change.draft {
        if draft.text.chars().nth(limits::DRAFT_CHARS_MAX).is_some() {
            return Err(ApiError::TooLarge);
        }
        if draft.text.contains('\0') {
            return Err(ApiError::invalid("a draft has no NUL"));
        }
    }
    Ok(())
}

struct Written {
    own: OwnStates,
    is_changed: bool,
    marker_rose: bool,
    delivered: Seq,
    read: Seq,
}

async fn write(conn: &mut PgConnection, user: UserId, change: &StateChange) -> Result<Written, ApiError> {
    let mut tx = conn.begin().await?;
    if change.hidden.is_some() {
        // Whoever sends must know of it, so the head's lock comes first, before the user's row (W1).
        db::heads::lock(&mut tx, &[change.conversation.as_uuid()]).await?;
    }
    let user_seq = db::contacts::lock_user_seq(&mut tx, user).await?;
    let reader = fetch::reader(&mut tx, user, change.conversation).await?;
    let mut row = reader.item;
    if !row.is_active {
        return Err(ApiError::NotMember);
    }
    let before = (row.read_seq, row.delivered_seq);
    let is_changed = apply(&mut tx, user, &mut row, change).await?;
    let version = if is_changed { user_seq + 1 } else { user_seq };
    if is_changed {
        row.version = version;
        let own = OwnColumns {
            read_seq: row.read_seq,
            delivered_seq: row.delivered_seq,
            unread_flag: row.unread_flag,
            mute_until: row.mute_until,
            pin: row.pin,
            archive: row.archive,
            hidden_at_seq: row.hidden_at_seq,
            draft: row.draft.clone(),
            draft_version: row.draft_version,
            version,
        };
        db::members::set_own(&mut tx, row.key, user, &own).await?;
        db::contacts::set_user_seq(&mut tx, user, version).await?;
        if change.hidden.is_some() {
            db::heads::raise_access_version(&mut tx, row.key).await?;
        }
    }
    let own = outward(&mut tx, user, &row).await?;
    tx.commit().await?;
    kith_failpoint::pass(places::STATE_AFTER_COMMIT);
    Ok(Written {
        marker_rose: before != (row.read_seq, row.delivered_seq),
        delivered: own.delivered,
        read: own.read,
        own: OwnStates { reply_to: None, user_seq: version.unsigned_abs(), items: vec![own] },
        is_changed,
    })
}

async fn outward(conn: &mut PgConnection, user: UserId, row: &ItemRow) -> Result<OwnState, sqlx::Error> {
    let unread = heads::unread(conn, user, std::slice::from_ref(row)).await?;
    Ok(heads::own_state(row, unread.get(&row.key).copied().unwrap_or_default()))
}

/// Applies a change to the row; whether that made a difference.
async fn apply(
    conn: &mut PgConnection,
    user: UserId,
    row: &mut ItemRow,
    change: &StateChange,
) -> Result<bool, ApiError> {
    // First: what a conflict shows as the current state is what stays.
    let mut changed = match &change.draft {
        Some(draft) => apply_draft(conn, user, row, draft).await?,
        None => false,
    };
    if let Some(read) = change.read {
        let read = read.as_i64().min(row.head);
        if read > row.read_seq {
            row.read_seq = read;
            row.delivered_seq = row.delivered_seq.max(read);
            row.unread_flag = false;
            changed = true;
        }
    }
    let mut set = |field: &mut bool, value: Option<bool>| {
        if let Some(value) = value.filter(|value| value != field) {
            *field = value;
            changed = true;
        }
    };
    set(&mut row.unread_flag, change.unread_flag);
    set(&mut row.pin, change.pin);
    set(&mut row.archive, change.archive);
    if let Some(mute) = change.mute.map(|mute| mute.as_i64()).filter(|mute| *mute != row.mute_until) {
        row.mute_until = mute;
        changed = true;
    }
    if let Some(hidden) = change.hidden.filter(|hidden| *hidden != row.is_hidden()) {
        row.hidden_at_seq = hidden.then_some(row.head);
        changed = true;
    }
    Ok(changed)
}

/// A draft counts only on the version that it was written on (R4). The same text again is no conflict.
async fn apply_draft(
    conn: &mut PgConnection,
    user: UserId,
    row: &mut ItemRow,
    draft: &DraftChange,
) -> Result<bool, ApiError> {
    let text = Some(draft.text.clone()).filter(|text| !text.is_empty());
    if text == row.draft {
        return Ok(false);
    }
    let version = if row.draft.is_some() { row.draft_version.unsigned_abs() } else { 0 };
    if draft.base != version {
        return Err(ApiError::StateConflict(Box::new(outward(conn, user, row).await?)));
    }
    if let Some(text) = &text {
        let others = db::members::draft_bytes(conn, user, row.key).await?;
        let bytes = usize::try_from(others).unwrap_or_default().saturating_add(text.len());
        let grows = row.draft.as_ref().is_none_or(|before| before.len() < text.len());
        if grows && bytes > limits::DRAFTS_BYTES_MAX {
            return Err(ApiError::TooLarge);
        }
    }
    row.draft = text;
    row.draft_version += 1;
    Ok(true)
}
