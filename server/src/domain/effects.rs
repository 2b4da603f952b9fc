//! What events do besides standing in the log: members, titles, redaction, in the same transaction.

use super::{
    batch::{EVENT_BYTES, Stored},
    log::Log,
};
use crate::db::{self, members::MemberColumns};
use kith_protocol::{ConversationId, EventId, Seq, UserId, event::Role};
use sqlx::PgConnection;
use std::{
    collections::{BTreeMap, BTreeSet},
    mem::discriminant,
};
use uuid::Uuid;

/// What an event does.
#[derive(Debug, Clone)]
pub enum Effect {
    /// A message and its edits lose their payload (W9).
    Redacted {
        target: EventId,
    },
    /// Somebody sees the log from `seq` on.
    Added {
        user: UserId,
        role: Role,
        /// The event that adds.
        seq: Seq,
    },
    /// Somebody sees the log up to `seq`.
    Removed {
        user: UserId,
        /// The event that removes.
        seq: Seq,
    },
    Role {
        user: UserId,
        role: Role,
    },
    /// The group has another title.
    Titled {
        text: String,
    },
}

/// Writes the effects of all logs; answers who gets heads before the events, and adds up what was `erased`.
pub async fn write(
    conn: &mut PgConnection,
    logs: &mut BTreeMap<ConversationId, Log>,
    erased: &mut Stored,
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
        let version = |user: &Uuid| versions.get(user).copied().unwrap_or_default();
        let mut changes_access = !log.access.hidden.is_empty();
        if changes_access {
            let hidden: Vec<Uuid> = log.access.hidden.iter().map(|user| user.as_uuid()).collect();
            let versions: Vec<i64> = hidden.iter().map(version).collect();
            db::members::unhide(conn, log.key, &hidden, &versions).await?;
        }
        for run in runs(&log.effects) {
            write_run(conn, log.key, run, version, erased).await?;
        }
        changes_access |= log
            .effects
            .iter()
            .any(|effect| !matches!(effect, Effect::Redacted { .. } | Effect::Titled { .. }));
        if changes_access {
            log.access_version += 1;
        }
    }
    Ok(announce.into_iter().collect())
}

impl Effect {
    /// Whom a change of membership is about.
    fn user(&self) -> Option<UserId> {
        match self {
            Self::Added { user, .. } | Self::Removed { user, .. } | Self::Role { user, .. } => Some(*user),
            Self::Redacted { .. } | Self::Titled { .. } => None,
        }
    }
}

/// Divides effects into runs that are written with the same statements: neighbours of one kind, each person once.
fn runs(effects: &[Effect]) -> Vec<&[Effect]> {
    let (mut runs, mut begin, mut users) = (Vec::new(), 0, BTreeSet::new());
    for (at, effect) in effects.iter().enumerate() {
        let is_other = at > begin && discriminant(effect) != discriminant(&effects[begin]);
        let is_again = effect.user().is_some_and(|user| users.contains(&user));
        if is_other || is_again {
            runs.push(&effects[begin..at]);
            (begin, users) = (at, BTreeSet::new());
        }
        users.extend(effect.user());
    }
    if begin < effects.len() {
        runs.push(&effects[begin..]);
    }
    runs
}

/// Writes a run, with a number of statements that does not depend on its length.
async fn write_run(
    conn: &mut PgConnection,
    key: i64,
    run: &[Effect],
    version: impl Fn(&Uuid) -> i64,
    erased: &mut Stored,
) -> Result<(), sqlx::Error> {
    let mut columns = MemberColumns::default();
    let (mut targets, mut title) = (Vec::new(), None);
    for effect in run {
        let (user, role, seq) = match effect {
            Effect::Redacted { target } => {
                targets.push(target.as_uuid());
                continue;
            }
            Effect::Titled { text } => {
                title = Some(text);
                continue;
            }
            Effect::Added { user, role, seq } => (user, *role, *seq),
            Effect::Removed { user, seq } => (user, Role::Member, *seq),
            Effect::Role { user, role } => (user, *role, Seq::ZERO),
        };
        columns.users.push(user.as_uuid());
        columns.roles.push(role.as_str().to_owned());
        columns.seqs.push(seq.as_i64());
        columns.versions.push(version(&user.as_uuid()));
    }
    match run.first() {
        Some(Effect::Redacted { .. }) => {
            for (sender, events, bytes) in db::events::redact(conn, key, &targets).await? {
                // As much as was counted for them (`super::lanes`): the deletion itself counts, and yet makes room.
                *erased.entry(UserId::from_uuid(sender)).or_default() -= bytes + events * EVENT_BYTES;
            }
            Ok(())
        }
        Some(Effect::Added { .. }) => db::members::add(conn, key, &columns).await,
        Some(Effect::Removed { .. }) => db::members::remove(conn, key, &columns).await,
        Some(Effect::Role { .. }) => db::members::set_roles(conn, key, &columns).await,
        // Only the last title of a run stays.
        Some(Effect::Titled { .. }) => match title {
            Some(text) => db::conversations::set_title(conn, key, text).await,
            None => Ok(()),
        },
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_on_one_person_keep_their_order_and_others_go_together() {
        let (ada, bo) = (UserId::mint(), UserId::mint());
        let added = |user, seq| Effect::Added { user, role: Role::Member, seq: Seq(seq) };
        let removed = |user, seq| Effect::Removed { user, seq: Seq(seq) };
        let title = || Effect::Titled { text: String::new() };
        let all =
            [added(ada, 1), added(bo, 2), added(ada, 3), removed(ada, 4), removed(bo, 5), title(), title()];
        let lengths: Vec<usize> = runs(&all).iter().map(|run| run.len()).collect();
        assert_eq!(lengths, [2, 1, 2, 2]);
        assert!(runs(&[]).is_empty());
    }
}
