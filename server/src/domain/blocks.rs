//! Blocking: while one of two people has blocked the other, neither opens a conversation with the other, adds them to a
//! group, writes in their direct conversation, or learns of typing, markers and presence. A third person's group may hold
//! both.
//!
//! A block is committed under the lock of the direct conversation's head, whose access version it raises, and of the
//! blocker's row. Whoever sends holds the one, whoever opens or adds the other.

use crate::{
    db::{self, users::ProfileRow},
    error::ApiError,
    state::AppState,
};
use kith_protocol::{ConversationId, UserId, limits};
use sqlx::{Acquire, PgConnection};
use uuid::Uuid;

/// Attempts at a change. A second one is needed only if the direct conversation begins during the first.
const TRIES: usize = 2;

/// Blocks a person. A second call changes nothing.
///
/// # Errors
/// `invalid` for oneself, `target_missing` for an unknown person or one of another tenant, `too_large` above
/// [`limits::BLOCKS_MAX`].
pub async fn block(state: &AppState, user: UserId, other: UserId) -> Result<(), ApiError> {
    if user == other {
        return Err(ApiError::invalid("nobody blocks themselves"));
    }
    let handle = state.clone();
    let blocking = async move {
        let mut conn = handle.pool.acquire().await?;
        if db::users::profiles(&mut conn, user, &[other.as_uuid()]).await?.is_empty() {
            return Err(ApiError::TargetMissing);
        }
        if change(&mut conn, user, other, true).await? {
            // Ends presence between the two on all instances.
            handle.presence.part([user, other]);
            handle.hub.part_elsewhere([user, other]);
        }
        Ok(())
    };
    state.to_the_end(blocking).await
}

/// Removes a block. Without one, nothing changes, also for an unknown person.
///
/// # Errors
/// When the database fails.
pub async fn unblock(state: &AppState, user: UserId, other: UserId) -> Result<(), ApiError> {
    let handle = state.clone();
    let unblocking = async move {
        change(&mut *handle.pool.acquire().await?, user, other, false).await?;
        Ok(())
    };
    state.to_the_end(unblocking).await
}

/// The people whom the user has blocked, by id, after `after`.
///
/// # Errors
/// When the database fails.
pub async fn list(
    state: &AppState,
    user: UserId,
    after: Uuid,
    limit: i64,
) -> Result<Vec<ProfileRow>, ApiError> {
    Ok(db::users::blocked(&mut *state.pool.acquire().await?, user, after, limit).await?)
}

/// Writes or removes a block. Returns whether the row changed.
async fn change(
    conn: &mut PgConnection,
    user: UserId,
    other: UserId,
    is_blocked: bool,
) -> Result<bool, ApiError> {
    let direct = [ConversationId::direct(user, other).as_uuid()];
    for _ in 0..TRIES {
        let mut tx = conn.begin().await?;
        // The head first, then the user's row (W1).
        let heads = db::heads::lock(&mut tx, &direct).await?;
        db::contacts::lock(&mut tx, &[user.as_uuid()]).await?;
        // Opening the conversation holds this user's row until commit.
        if heads.is_empty() && !db::heads::existing(&mut tx, &direct).await?.is_empty() {
            tx.rollback().await?;
            continue;
        }
        let is_change = if is_blocked {
            let is_new = db::blocks::insert(&mut tx, user, other).await?;
            if is_new && db::blocks::count(&mut tx, user).await? > limits::BLOCKS_MAX {
                return Err(ApiError::TooLarge);
            }
            is_new
        } else {
            db::blocks::delete(&mut tx, user, other).await?
        };
        if is_change {
            for head in &heads {
                db::heads::raise_access_version(&mut tx, head.conversation_key).await?;
            }
        }
        tx.commit().await?;
        return Ok(is_change);
    }
    Err(ApiError::Unavailable)
}
