//! What events do besides standing in the log: members, titles, redaction, in the same transaction.

use super::log::Log;
use crate::db;
use kith_protocol::{ConversationId, EventId, Seq, UserId, event::Role};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What an event does.
#[derive(Debug, Clone)]
pub enum Effect {
    /// A message and its edits lose their payload (W9).
    Redacted {
        /// The message.
        target: EventId,
    },
    /// Somebody sees the log from `seq` on.
    Added {
        /// Who.
        user: UserId,
        /// As what.
        role: Role,
        /// The event that adds.
        seq: Seq,
    },
    /// Somebody sees the log up to `seq`.
    Removed {
        /// Who.
        user: UserId,
        /// The event that removes.
        seq: Seq,
    },
    /// Somebody's role changed.
    Role {
        /// Whose.
        user: UserId,
        /// To what.
        role: Role,
    },
    /// The group has another title.
    Titled {
        /// Empty for none.
        text: String,
    },
}

/// Writes the effects of all logs; answers who gets heads before the events.
pub async fn write(
    conn: &mut PgConnection,
    logs: &mut BTreeMap<ConversationId, Log>,
) -> Result<Vec<(UserId, ConversationId)>, sqlx::Error> {
    let mut announce = BTreeSet::new();
    let mut affected: BTreeSet<Uuid> = BTreeSet::new();
    for log in logs.values().filter(|log| log.is_changed()) {
        announce.extend(log.shown_to().into_iter().map(|user| (user, log.id)));
        affected.extend(log.access.hidden.iter().map(|user| user.as_uuid()));
        for effect in &log.effects {
            if let Effect::Added { user, .. } = effect {
                announce.insert((*user, log.id));
            }
            if let Effect::Added { user, .. } | Effect::Removed { user, .. } = effect {
                affected.insert(user.as_uuid());
            }
        }
    }
    // Heads are locked already; user rows follow, ascending (W1).
    let users: Vec<Uuid> = affected.into_iter().collect();
    let versions = if users.is_empty() {
        Default::default()
    } else {
        db::contacts::raise_user_seqs(conn, &users).await?
    };
    for log in logs.values_mut().filter(|log| log.is_changed()) {
        let version = |user: &UserId| versions.get(&user.as_uuid()).copied().unwrap_or_default();
        let mut changes_access = !log.access.hidden.is_empty();
        for user in &log.access.hidden {
            db::members::unhide(conn, log.key, *user, version(user)).await?;
        }
        for effect in &log.effects {
            match effect {
                Effect::Redacted { target } => db::events::redact(conn, log.key, *target).await?,
                Effect::Added { user, role, seq } => {
                    db::members::add(conn, log.key, *user, *role, seq.as_i64(), version(user)).await?;
                }
                Effect::Removed { user, seq } => {
                    db::members::remove(conn, log.key, *user, seq.as_i64(), version(user)).await?;
                }
                Effect::Role { user, role } => db::members::set_role(conn, log.key, *user, *role).await?,
                Effect::Titled { text } => db::conversations::set_title(conn, log.key, text).await?,
            }
            changes_access |= !matches!(effect, Effect::Redacted { .. } | Effect::Titled { .. });
        }
        if changes_access {
            log.access_version += 1;
        }
    }
    Ok(announce.into_iter().collect())
}
