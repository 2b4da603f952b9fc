//! One batch, one transaction (W2), in this order: lock the heads, look up known ids, check membership and policy
//! under the lock, number only what is new, insert, move the heads, commit.

use super::{
    access::{self, AccessCache},
    additions::Additions,
    annotations,
    effects::{self, Effect},
    log::{Known, Log},
    publish::{Job, Refusal, Results, refused, skipped},
};
use crate::{
    config::HourlyBudget,
    db::{self, events::EventColumns, heads::HeadColumns},
    error::ApiError,
    hub::Published,
};
use kith_failpoint::places;
use kith_protocol::{
    Chain, ConversationId, ErrorCode, Event, EventContent, EventId, Seq, TimestampMs, UserId,
    event::MemberChange,
    frame::{AckResult, AckStatus},
};
use sqlx::{Connection, PgConnection};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

/// What becomes of a conversation whose head another transaction holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// It is waited for, as long as PostgreSQL's `lock_timeout` allows.
    Wait,
    /// Its jobs are answered `busy`; the others of the batch are not delayed by it.
    Skip,
}

/// What an event takes in the database besides its body, about, in bytes.
pub const EVENT_BYTES: i64 = 128;
/// Bytes by user, of bodies and [`EVENT_BYTES`] for each event: stored, or erased if below 0.
pub type Stored = BTreeMap<UserId, i64>;

/// What a batch has led to.
#[derive(Default)]
pub struct Committed {
    pub results: Vec<Results>,
    pub published: Vec<Published>,
    /// Who gets heads before the events.
    pub announce: Vec<(UserId, ConversationId)>,
    pub erased: Stored,
}

pub use crate::clock::now_ms;

/// The logs of a batch.
struct Locked {
    logs: BTreeMap<ConversationId, Log>,
    /// Those that another transaction holds.
    busy: BTreeSet<ConversationId>,
}

/// Commits a batch, in which nobody adds more people than their `adding` allows.
///
/// # Errors
/// When the database fails. Nothing is known to be stored then, not even when it was the commit that failed.
pub async fn commit(
    conn: &mut PgConnection,
    cache: &mut AccessCache,
    jobs: &[Job],
    locking: Locking,
    adding: HourlyBudget,
) -> Result<Committed, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let Locked { mut logs, busy } = lock(&mut tx, cache, jobs, locking).await?;
    look_up(&mut tx, &mut logs, jobs).await?;
    annotations::load(&mut tx, &mut logs, jobs).await?;
    let mut additions = Additions::load(&mut tx, adding, &logs, jobs).await?;
    let mut columns = EventColumns::default();
    let mut published = Vec::new();
    let now = now_ms();
    let mut results = Vec::with_capacity(jobs.len());
    for job in jobs {
        let mut numbering =
            Numbering { columns: &mut columns, published: &mut published, additions: &mut additions, now };
        results.push(match logs.get_mut(&job.conversation) {
            Some(log) => Ok(numbering.take(log, job)),
            None if busy.contains(&job.conversation) => Err(ApiError::Busy),
            None => Ok(prefix(job, |_| Err(ErrorCode::NotMember.into()))),
        });
    }
    if columns.ids.is_empty() {
        tx.rollback().await?;
        return Ok(Committed { results, published, announce: Vec::new(), erased: Stored::new() });
    }
    db::events::insert(&mut tx, &columns).await?;
    let mut erased = Stored::new();
    let announce = effects::write(&mut tx, &mut logs, &mut erased).await?;
    additions.write(&mut tx).await?;
    annotations::write(&mut tx, &logs).await?;
    move_heads(&mut tx, &logs).await?;
    kith_failpoint::pass(places::PUBLISH_BEFORE_COMMIT);
    tx.commit().await?;
    kith_failpoint::pass(places::PUBLISH_AFTER_COMMIT);
    for (id, log) in logs {
        if log.effects.is_empty() {
            let head = log.head_snapshot();
            cache.remember(id, log.access, Some(head));
        } else {
            // Whoever may do what is read again with the next batch.
            cache.forget(id);
        }
    }
    Ok(Committed { results, published, announce, erased })
}

/// Locks the heads and brings the accesses up to the locked versions. The batch works from what it has loaded, whatever
/// the cache forgets meanwhile.
async fn lock(
    conn: &mut PgConnection,
    cache: &mut AccessCache,
    jobs: &[Job],
    locking: Locking,
) -> Result<Locked, sqlx::Error> {
    let ids: BTreeSet<Uuid> = jobs.iter().map(|job| job.conversation.as_uuid()).collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let (heads, mut busy) = match locking {
        Locking::Wait => (db::heads::lock(conn, &ids).await?, BTreeSet::new()),
        Locking::Skip => {
            let heads = db::heads::lock_free(conn, &ids).await?;
            let there = db::heads::existing(conn, &ids).await?;
            (heads, there.into_iter().map(ConversationId::from_uuid).collect())
        }
    };
    let mut accesses = HashMap::with_capacity(heads.len());
    let mut stale = Vec::new();
    for row in &heads {
        let id = ConversationId::from_uuid(row.conversation_id);
        busy.remove(&id);
        match cache.get(id, row.access_version) {
            Some(access) => {
                accesses.insert(id, access);
            }
            None => stale.push((row.conversation_key, id, row.access_version)),
        }
    }
    for (id, access) in access::load(conn, &stale).await? {
        cache.remember(id, access.clone(), None);
        accesses.insert(id, access);
    }
    let logs = heads.into_iter().filter_map(|row| {
        let id = ConversationId::from_uuid(row.conversation_id);
        Some((id, Log::new(id, row, accesses.remove(&id)?)))
    });
    Ok(Locked { logs: logs.collect(), busy })
}

/// Looks up which ids exist already, and what the events are about.
async fn look_up(
    conn: &mut PgConnection,
    logs: &mut BTreeMap<ConversationId, Log>,
    jobs: &[Job],
) -> Result<(), sqlx::Error> {
    let mut asked: BTreeSet<(i64, Uuid)> = BTreeSet::new();
    let mut by_key = HashMap::new();
    for job in jobs {
        let Some(log) = logs.get(&job.conversation) else { continue };
        by_key.insert(log.key, job.conversation);
        for item in &job.items {
            let reply_to = match &item.content {
                EventContent::Message(message) => message.reply_to,
                _ => None,
            };
            let named = [Some(item.id), item.content.target(), reply_to];
            asked.extend(named.into_iter().flatten().map(|id| (log.key, id.as_uuid())));
        }
    }
    let (keys, ids): (Vec<i64>, Vec<Uuid>) = asked.into_iter().unzip();
    if keys.is_empty() {
        return Ok(());
    }
    for row in db::events::known(conn, &keys, &ids).await? {
        let log = by_key.get(&row.conversation_key).and_then(|id| logs.get_mut(id));
        let Some(log) = log else { continue };
        let known = Known {
            seq: Seq::from_i64(row.seq),
            sender: UserId::from_uuid(row.sender),
            ts: TimestampMs::from_i64(row.ts),
            countable: row.countable.unsigned_abs(),
            chain: Chain::from_slice(&row.chain).unwrap_or(log.chain),
            is_message: row.kind == "message",
            is_redacted: row.is_redacted,
            hash: row.body_hash,
        };
        log.known.insert(EventId::from_uuid(row.id), known);
    }
    Ok(())
}

async fn move_heads(
    conn: &mut PgConnection,
    logs: &BTreeMap<ConversationId, Log>,
) -> Result<(), sqlx::Error> {
    let mut columns = HeadColumns::default();
    for log in logs.values().filter(|log| log.is_changed()) {
        columns.keys.push(log.key);
        columns.heads.push(log.head.as_i64());
        columns.countables.push(log.countable);
        columns.chains.push(log.chain.as_bytes().to_vec());
        columns.last_ts.push(log.last_ts);
        columns.access_versions.push(log.access_version);
    }
    db::heads::update(conn, &columns).await
}

/// An event as JSON. Its body, which it does not have here, is JSON already.
fn told(event: &Event, body: &str) -> String {
    let mut json = serde_json::to_string(event).unwrap_or_default();
    json.pop();
    json.reserve_exact(body.len() + 9);
    json.push_str(r#","body":"#);
    json.push_str(body);
    json.push('}');
    json
}

/// Answers a job's items in order: after the first error the rest is skipped; a duplicate never stops them (O4).
fn prefix(
    job: &Job,
    mut take: impl FnMut(&super::publish::Item) -> Result<AckResult, Refusal>,
) -> Vec<AckResult> {
    let mut failed = false;
    let mut results = Vec::with_capacity(job.items.len());
    for item in &job.items {
        if failed {
            results.push(skipped(Some(item.id)));
            continue;
        }
        results.push(take(item).unwrap_or_else(|refusal| {
            failed = true;
            refused(Some(item.id), refusal)
        }));
    }
    results
}

/// Whether somebody who has stored as much as they may can still add this. A deletion counts less than what it erases.
fn is_free(content: &EventContent) -> bool {
    match content {
        EventContent::Delete { .. } => true,
        EventContent::Member(member) => member.change == MemberChange::Left,
        _ => false,
    }
}

/// Numbers what is new, for the insert and for those who are told.
pub(super) struct Numbering<'a> {
    pub columns: &'a mut EventColumns,
    /// For those who are told.
    pub published: &'a mut Vec<Published>,
    /// The people whom these jobs would add.
    pub additions: &'a mut Additions,
    pub now: i64,
}

impl Numbering<'_> {
    /// Answers a job's items in order.
    pub(super) fn take(&mut self, log: &mut Log, job: &Job) -> Vec<AckResult> {
        prefix(job, |item| {
            if let Some(known) = log.known.get(&item.id) {
                return Ok(log.answer_known(known, job.sender, item)?);
            }
            if job.is_over_quota && !is_free(&item.content) {
                return Err(ErrorCode::NotAllowed.into());
            }
            let effect = log.authorise(job.sender, item, self.additions)?;
            if matches!(effect, Some(Effect::Added { .. })) {
                self.additions.count(job.sender)?;
            }
            let audience_before = log.access.audience.clone();
            let event = log.number(job.sender, item, self.now);
            if let Some(effect) = effect {
                log.apply(effect, event.seq);
            }
            let columns = &mut *self.columns;
            columns.keys.push(log.key);
            columns.seqs.push(event.seq.as_i64());
            columns.ids.push(event.id.as_uuid());
            columns.senders.push(event.sender.as_uuid());
            columns.ts.push(event.ts.as_i64());
            columns.written_at.push(item.written_at);
            columns.countables.push(log.countable);
            columns.chains.push(log.chain.as_bytes().to_vec());
            columns.kinds.push(event.kind.clone());
            columns.targets.push(event.target.map(|id| id.as_uuid()));
            columns.bodies.push(item.body_text.clone());
            columns.hashes.push(item.hash.to_vec());
            // Whoever goes by this event gets it as the last one; whoever comes by it gets it as the first (R6).
            let audience = match log.effects.last() {
                Some(Effect::Removed { seq, .. }) if *seq == event.seq => audience_before,
                _ => log.access.audience.clone(),
            };
            let result = AckResult {
                id: Some(event.id),
                status: AckStatus::Ok,
                seq: Some(event.seq),
                ts: Some(event.ts),
                countable: Some(event.countable),
                chain: Some(event.chain),
                code: None,
                retry_after_ms: None,
            };
            self.published.push(Published {
                conversation: job.conversation,
                seq: event.seq,
                json: told(&event, &item.body_text).into(),
                audience,
            });
            Ok(result)
        })
    }
}
