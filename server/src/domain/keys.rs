//! The keys that sign access tokens and mark refresh tokens: the operator rotates them.

use crate::{auth, db, error::ApiError};
use sqlx::PgPool;
use std::time::Duration;

/// What becomes of the keys until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OldKeys {
    /// They go on verifying until the last token that they signed has ended.
    Outlive,
    /// They are removed, the one that marks refresh tokens as well: somebody else may have them, and could sign in as
    /// anybody. All access tokens end; devices stay signed in, for their refresh tokens are known by hash.
    Drop,
}

/// Makes another key sign access tokens, and removes old ones. Returns how many were removed. The key that marks refresh
/// tokens changes only when the old ones are dropped: answers that were lost just then are not given again. Running servers learn of it
/// when they next read the keys, within seconds.
///
/// # Errors
/// When the database fails; nothing has changed then.
pub async fn rotate(pool: &PgPool, old: OldKeys) -> Result<u64, ApiError> {
    let kept_for = match old {
        OldKeys::Outlive => auth::KEY_OUTLIVES,
        OldKeys::Drop => Duration::ZERO,
    };
    let mut tx = db::begin(pool).await?;
    db::keys::rotate(&mut tx, "access").await?;
    if old == OldKeys::Drop {
        db::keys::rotate(&mut tx, "refresh").await?;
    }
    let dropped = db::keys::drop_retired(&mut tx, kept_for.as_secs_f64()).await?;
    tx.commit().await?;
    Ok(dropped)
}
