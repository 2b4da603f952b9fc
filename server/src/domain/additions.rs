//! Adding people to groups: who may be added, and how many by one user in an hour.
//!
//! Without this budget, a user could evade the one for opening conversations: open a small group and add many people later,
//! or open several large ones.
//! It is read and written under the lock of the user's row, so all instances share it.

use super::{
    log::Log,
    publish::{Item, Job, Refusal},
};
use crate::{
    config::HourlyBudget,
    db::{self, contacts::PersonRow},
    error::ApiError,
};
use kith_protocol::{
    ConversationId, ErrorCode, EventContent, UserId,
    event::{MemberBody, MemberChange},
    limits,
};
use sqlx::PgConnection;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::Duration,
};
use uuid::Uuid;

/// What one user has used up.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    /// Seconds until all of the budget is free again, before this batch.
    before_s: f64,
    /// People added in this batch.
    added: u32,
}

/// The people whom a batch would add, and the budgets of those who add them. Both are empty for a batch that adds nobody.
#[derive(Debug)]
pub struct Additions {
    budget: HourlyBudget,
    people: HashMap<UserId, PersonRow>,
    /// Those who add, and whom they cannot: one has blocked the other.
    blocked: HashSet<(UserId, UserId)>,
    used: HashMap<UserId, Used>,
    /// Groups and people who were in them too often to be added once more.
    often: HashSet<(i64, UserId)>,
}

impl Additions {
    /// For a batch that adds nobody.
    pub fn none(budget: HourlyBudget) -> Self {
        Self {
            budget,
            people: HashMap::new(),
            blocked: HashSet::new(),
            used: HashMap::new(),
            often: HashSet::new(),
        }
    }

    /// Locks and reads what a batch needs. The heads are locked and the known ids looked up already. Besides those who add,
    /// all users whom the batch's effects lock later are locked here: user rows are locked in ascending order (W1).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn load(
        conn: &mut PgConnection,
        budget: HourlyBudget,
        logs: &BTreeMap<ConversationId, Log>,
        jobs: &[Job],
    ) -> Result<Self, sqlx::Error> {
        let mut pairs: BTreeSet<(Uuid, Uuid)> = BTreeSet::new();
        let mut affected: BTreeSet<Uuid> = BTreeSet::new();
        let mut places: BTreeSet<(i64, Uuid)> = BTreeSet::new();
        for job in jobs {
            let Some(log) = logs.get(&job.conversation) else { continue };
            for (item, member) in job.items.iter().filter_map(|item| Some((item, change(item)?))) {
                affected.insert(member.user.as_uuid());
                if member.change == MemberChange::Added && !log.known.contains_key(&item.id) {
                    pairs.insert((job.sender.as_uuid(), member.user.as_uuid()));
                    places.insert((log.key, member.user.as_uuid()));
                }
            }
        }
        if pairs.is_empty() {
            return Ok(Self::none(budget));
        }
        let (senders, added): (Vec<Uuid>, Vec<Uuid>) = pairs.into_iter().unzip();
        affected.extend(&senders);
        affected.extend(logs.values().flat_map(|log| &log.access.hidden).map(|user| user.as_uuid()));
        let affected: Vec<Uuid> = affected.into_iter().collect();
        db::contacts::lock(conn, &affected).await?;
        let people = db::contacts::people(conn, &added).await?;
        let blocked = db::blocks::between(conn, &senders, &added).await?;
        let used = db::contacts::additions(conn, &senders).await?;
        let (keys, users): (Vec<i64>, Vec<Uuid>) = places.into_iter().unzip();
        let max = i64::try_from(limits::MEMBER_INTERVALS_MAX).unwrap_or(i64::MAX);
        let often = db::members::with_intervals(conn, &keys, &users, max).await?;
        Ok(Self {
            budget,
            people: people.into_iter().map(|row| (UserId::from_uuid(row.id), row)).collect(),
            blocked: blocked
                .into_iter()
                .map(|(sender, user)| (UserId::from_uuid(sender), UserId::from_uuid(user)))
                .collect(),
            often: often.into_iter().map(|(key, user)| (key, UserId::from_uuid(user))).collect(),
            used: used
                .into_iter()
                .map(|(user, before_s)| (UserId::from_uuid(user), Used { before_s, added: 0 }))
                .collect(),
        })
    }

    /// Somebody who exists and whom the batch would add.
    pub fn person(&self, user: UserId) -> Option<&PersonRow> {
        self.people.get(&user)
    }

    /// Whether one of the two has blocked the other.
    pub fn is_blocked(&self, sender: UserId, user: UserId) -> bool {
        self.blocked.contains(&(sender, user))
    }

    /// Whether somebody was in a group [`limits::MEMBER_INTERVALS_MAX`] times or more.
    pub fn has_been_here_often(&self, key: i64, user: UserId) -> bool {
        self.often.contains(&(key, user))
    }

    /// Counts a person whom `sender` adds.
    ///
    /// # Errors
    /// `rate_limited` for one more than the budget allows.
    pub fn count(&mut self, sender: UserId) -> Result<(), Refusal> {
        let used = self.used.entry(sender).or_default();
        let step_s = self.budget.step_s();
        let free_in_s = used.before_s + step_s * f64::from(used.added);
        let wait_s = free_in_s - step_s * (f64::from(self.budget.at_once) - 1.0);
        if wait_s > 0.0 {
            let wait = Duration::from_secs_f64(wait_s.max(0.001));
            let retry_after_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            return Err(Refusal { code: ErrorCode::RateLimited, retry_after_ms: Some(retry_after_ms) });
        }
        used.added += 1;
        Ok(())
    }

    /// Writes what was counted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn write(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let step_s = self.budget.step_s();
        let (users, seconds): (Vec<Uuid>, Vec<f64>) = self
            .used
            .iter()
            .filter(|(_, used)| used.added > 0)
            .map(|(user, used)| (user.as_uuid(), step_s * f64::from(used.added)))
            .unzip();
        if users.is_empty() { Ok(()) } else { db::contacts::count_additions(conn, &users, &seconds).await }
    }
}

/// Whether `user` may open a group with others. One of any size may be opened while something of the budget is free; what
/// it takes beyond that is waited for later.
///
/// # Errors
/// [`ApiError::RateLimited`] where nothing is free.
pub async fn may_open(conn: &mut PgConnection, budget: HourlyBudget, user: UserId) -> Result<(), ApiError> {
    let users = [user.as_uuid()];
    let before_s = db::contacts::additions(conn, &users).await?.first().map_or(0.0, |(_, ahead_s)| *ahead_s);
    let used = HashMap::from([(user, Used { before_s, added: 0 })]);
    let mut counted = Additions { used, ..Additions::none(budget) };
    counted.count(user).map_err(|refusal| ApiError::RateLimited {
        retry_after_ms: refusal.retry_after_ms.unwrap_or_default().max(1),
    })
}

/// Counts the members of a group that `user` opens. The user's row is to be locked already.
///
/// # Errors
/// When the database fails.
pub async fn count_opening(
    conn: &mut PgConnection,
    budget: HourlyBudget,
    user: UserId,
    members: usize,
) -> Result<(), sqlx::Error> {
    let seconds = budget.step_s() * members as f64;
    db::contacts::count_additions(conn, &[user.as_uuid()], &[seconds]).await
}

fn change(item: &Item) -> Option<&MemberBody> {
    match &item.content {
        EventContent::Member(member) => Some(member),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_beyond_the_budget_wait_until_one_is_free() {
        let sender = UserId::mint();
        let budget = HourlyBudget { at_once: 3, per_hour: 60 };
        let used = HashMap::from([(sender, Used { before_s: 90.0, added: 0 })]);
        let mut additions = Additions { used, ..Additions::none(budget) };
        assert!(additions.count(sender).is_ok(), "one and a half of three are in use");
        let refused = additions.count(sender).unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (ErrorCode::RateLimited, Some(30_000)));
        let other = UserId::mint();
        assert_eq!((0..4).filter(|_| additions.count(other).is_ok()).count(), 3, "each user has a budget");
    }
}
