//! The fast path of a batch (W1, W2): one statement appends messages to logs whose heads the lane remembers.
//!
//! The lane numbers events after the remembered head. The statement locks the heads. It appends only where head, chain and
//! access version are unchanged and no id exists. Every change of a log or of its access changes one of these values, so the
//! earlier decisions hold under the lock. If another instance moved only the head, the lane numbers again and retries once.
//! The slow path ([`super::batch`]) does the rest: members, titles, redaction, showing a hidden conversation, known ids.

use super::{
    access::{Access, AccessCache},
    additions::Additions,
    batch::{Committed, Numbering, now_ms},
    head_hints::HeadHints,
    log::Log,
    publish::Job,
};
use crate::config::HourlyBudget;
use crate::db::{
    self,
    append::{AppendedRow, Moves},
    events::EventColumns,
    heads::HeadRow,
};
use kith_failpoint::places;
use kith_protocol::{ConversationId, EventContent};
use sqlx::PgConnection;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// How often a log is tried before it is left for the slow path.
const TRIES: usize = 2;

/// Divides a batch into what may take the fast path and the rest. The jobs of one conversation stay together.
pub fn divide(cache: &AccessCache, jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let mut long: HashSet<ConversationId> = HashSet::new();
    for job in &jobs {
        let is_ready = cache
            .head_snapshot(job.conversation)
            .is_some_and(|(head, access)| head.head > 0 && access.hidden.is_empty());
        let is_plain = job.items.iter().all(|item| {
            !item.resubmitted
                && matches!(&item.content, EventContent::Message(message) if message.reply_to.is_none())
        });
        if !(is_ready && is_plain) {
            long.insert(job.conversation);
        }
    }
    jobs.into_iter().partition(|job| !long.contains(&job.conversation))
}

/// What became of the jobs of a call.
#[derive(Default)]
pub struct Appended {
    /// Those that are done.
    pub done: Vec<Job>,
    /// What these led to.
    pub committed: Committed,
    /// Those that are left for the slow path.
    pub left: Vec<Job>,
    /// Why the last statement failed. Nothing is known to be stored of `left` then.
    pub failure: Option<sqlx::Error>,
}

/// A log as it was remembered, or as the database last told.
type Remembered = (HeadRow, Arc<Access>);

/// Appends what [`divide`] gave. A log that stands elsewhere than remembered, for another instance writes to it as well,
/// is numbered anew from where it stands and tried once more.
pub async fn commit(
    conn: &mut PgConnection,
    cache: &mut AccessCache,
    hints: &HeadHints,
    jobs: Vec<Job>,
) -> Appended {
    let mut remembered: BTreeMap<ConversationId, Remembered> = BTreeMap::new();
    for job in &jobs {
        if let Some((head, access)) = cache.head_snapshot(job.conversation) {
            remembered.entry(job.conversation).or_insert_with(|| {
                let newer = hints.newer(job.conversation, head);
                (newer.unwrap_or_else(|| head.clone()), Arc::clone(access))
            });
        }
    }
    let mut appended = Appended::default();
    let mut todo = jobs;
    for _ in 0..TRIES {
        if remembered.is_empty() {
            break;
        }
        if let Err((jobs, error)) = attempt(conn, cache, &mut remembered, &mut appended, todo).await {
            appended.left.extend(jobs);
            appended.failure = Some(error);
            return appended;
        }
        todo = std::mem::take(&mut appended.left);
    }
    appended.left.extend(todo);
    appended
}

/// Tries each log once. Those that may be tried again stay in `remembered`, the jobs that are not done in `left`.
async fn attempt(
    conn: &mut PgConnection,
    cache: &mut AccessCache,
    remembered: &mut BTreeMap<ConversationId, Remembered>,
    appended: &mut Appended,
    jobs: Vec<Job>,
) -> Result<(), (Vec<Job>, sqlx::Error)> {
    let mut logs: BTreeMap<ConversationId, (HeadRow, Log)> = std::mem::take(remembered)
        .into_iter()
        .map(|(id, (head, access))| (id, (head.clone(), Log::new(id, head, access))))
        .collect();
    let (mut columns, mut published) = (EventColumns::default(), Vec::new());
    // Additions never take the short path.
    let (mut additions, now) = (Additions::none(HourlyBudget::ADDING), now_ms());
    let mut results = Vec::with_capacity(jobs.len());
    for job in &jobs {
        let mut numbering =
            Numbering { columns: &mut columns, published: &mut published, additions: &mut additions, now };
        results.push(logs.get_mut(&job.conversation).map(|(_, log)| numbering.take(log, job)));
    }
    let moves = moves(&logs);
    if moves.keys.is_empty() {
        // Everything was refused; the slow path says so under the lock.
        appended.left.extend(jobs);
        return Ok(());
    }
    kith_failpoint::pass(places::PUBLISH_BEFORE_COMMIT);
    let rows = match db::append::append(conn, &moves, &columns).await {
        Ok(rows) => rows,
        Err(error) => return Err((jobs, error)),
    };
    kith_failpoint::pass(places::PUBLISH_AFTER_COMMIT);
    let mut rows: HashMap<i64, AppendedRow> = rows.into_iter().map(|row| (row.key, row)).collect();
    let mut done = HashSet::new();
    for (id, (was, log)) in logs {
        match rows.remove(&log.key) {
            Some(row) if row.is_appended => {
                let head = log.head_snapshot();
                cache.remember(id, log.access, Some(head));
                done.insert(id);
            }
            Some(row) if !row.has_known && row.access_version == was.access_version => {
                let head = head_of(&was, row);
                cache.remember(id, log.access.clone(), Some(head.clone()));
                remembered.insert(id, (head, log.access));
            }
            _ => cache.forget(id),
        }
    }
    published.retain(|event| done.contains(&event.conversation));
    appended.committed.published.extend(published);
    for (job, results) in jobs.into_iter().zip(results) {
        match results {
            Some(results) if done.contains(&job.conversation) => {
                appended.done.push(job);
                appended.committed.results.push(Ok(results));
            }
            _ => appended.left.push(job),
        }
    }
    Ok(())
}

/// The head of a log that stands elsewhere than it `was`.
fn head_of(was: &HeadRow, row: AppendedRow) -> HeadRow {
    HeadRow {
        conversation_key: was.conversation_key,
        conversation_id: was.conversation_id,
        head: row.head,
        countable: row.countable,
        chain: row.chain,
        last_ts: row.last_ts,
        access_version: row.access_version,
    }
}

fn moves(logs: &BTreeMap<ConversationId, (HeadRow, Log)>) -> Moves {
    let mut moves = Moves::default();
    for (was, log) in logs.values().filter(|(_, log)| log.is_changed()) {
        moves.keys.push(log.key);
        moves.was_heads.push(was.head);
        moves.was_chains.push(was.chain.clone());
        moves.access_versions.push(was.access_version);
        moves.heads.push(log.head.as_i64());
        moves.countables.push(log.countable);
        moves.chains.push(log.chain.as_bytes().to_vec());
        moves.last_ts.push(log.last_ts);
    }
    moves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::publish::Reply;
    use crate::domain::{
        batch::{self, Locking},
        publish::{Item, Results},
    };
    use kith_protocol::{EventId, UserId, frame::AckStatus};
    use serde_json::json;
    use std::time::Instant;

    /// A direct conversation of two, and what writes to it.
    struct Chat {
        conn: PgConnection,
        cache: AccessCache,
        hints: HeadHints,
        id: ConversationId,
        ada: UserId,
    }

    impl Chat {
        async fn begun(database: &kith_pgbox::testing::TestDb) -> Self {
            use sqlx::Connection as _;
            let mut conn = PgConnection::connect(database.url()).await.unwrap();
            let (ada, bo) = (UserId::mint(), UserId::mint());
            let id = ConversationId::direct(ada, bo);
            db::append::testing::chat(&mut conn, id, &[ada, bo]).await;
            let mut chat = Self { conn, cache: AccessCache::default(), hints: HeadHints::default(), id, ada };
            let first = chat.job("first");
            chat.long(&[first]).await;
            chat
        }

        fn job(&self, text: &str) -> Job {
            self.job_of(json!({"id": EventId::mint(), "kind": "message", "body": {"text": text}}))
        }

        fn job_of(&self, value: serde_json::Value) -> Job {
            let items = vec![Item::parse(&value, &Default::default()).unwrap()];
            let reply = Reply::new(drop);
            Job {
                conversation: self.id,
                sender: self.ada,
                items,
                is_over_quota: false,
                since: Instant::now(),
                reply,
            }
        }

        fn again(&self, job: &Job) -> Job {
            let reply = Reply::new(drop);
            Job { items: job.items.clone(), reply, ..*job }
        }

        async fn long(&mut self, jobs: &[Job]) -> Committed {
            batch::commit(&mut self.conn, &mut self.cache, jobs, Locking::Wait, HourlyBudget::ADDING)
                .await
                .unwrap()
        }

        /// Appends one job; whether it took the fast path, and what is left.
        async fn short(&mut self, job: Job) -> (Vec<u64>, Vec<Job>) {
            let (short, long) = divide(&self.cache, vec![job]);
            assert!(long.is_empty(), "for the slow path already");
            let Appended { done, committed, left, failure } =
                commit(&mut self.conn, &mut self.cache, &self.hints, short).await;
            assert!(failure.is_none(), "{failure:?}");
            assert_eq!(done.len(), committed.results.len());
            let published: Vec<u64> = committed.published.iter().map(|event| event.seq.0).collect();
            assert_eq!(published.len(), done.len());
            (published, left)
        }

        async fn seqs(&mut self) -> Vec<i64> {
            db::append::testing::seqs(&mut self.conn).await
        }
    }

    #[tokio::test]
    async fn w2_a_log_that_stands_as_remembered_takes_messages_in_one_statement() {
        let database = crate::testing::database().await.unwrap();
        let mut chat = Chat::begun(&database).await;
        let jobs = vec![chat.job("two"), chat.job("three"), chat.job("four")];
        let Appended { done, committed, left, .. } =
            commit(&mut chat.conn, &mut chat.cache, &chat.hints, jobs).await;
        assert_eq!((done.len(), left.len()), (3, 0));
        let first = |results: &Results| results.as_ref().unwrap()[0].seq.unwrap().0;
        let seqs: Vec<_> = committed.results.iter().map(first).collect();
        assert_eq!(seqs, [2, 3, 4]);
        let five = chat.job("five");
        assert_eq!(chat.short(five).await.0, [5]);
        assert_eq!(chat.seqs().await, [1, 2, 3, 4, 5]);
    }

    #[tokio::test]
    async fn w3_a_known_id_is_left_for_the_long_way_and_stored_once() {
        let database = crate::testing::database().await.unwrap();
        let mut chat = Chat::begun(&database).await;
        let two = chat.job("two");
        let again = chat.again(&two);
        assert_eq!(chat.short(two).await.0, [2]);
        let (published, left) = chat.short(again).await;
        assert_eq!((published.len(), left.len()), (0, 1));
        assert!(chat.cache.head_snapshot(chat.id).is_none(), "what did not fit is forgotten");
        let results = chat.long(&left).await.results;
        let result = &results[0].as_ref().unwrap()[0];
        assert_eq!((result.status, result.seq.unwrap().0), (AckStatus::Duplicate, 2));
        assert_eq!(chat.seqs().await, [1, 2]);
    }

    #[tokio::test]
    async fn w1_what_another_instance_wrote_is_numbered_after_and_tried_once_more() {
        let database = crate::testing::database().await.unwrap();
        let mut chat = Chat::begun(&database).await;
        // Another instance with a memory of its own writes to the same log, in turns with this one.
        let mut other = AccessCache::default();
        for seq in [2, 4, 6] {
            let theirs = chat.job("theirs");
            batch::commit(&mut chat.conn, &mut other, &[theirs], Locking::Wait, HourlyBudget::ADDING)
                .await
                .unwrap();
            let ours = chat.job("ours");
            let (published, left) = chat.short(ours).await;
            assert_eq!((published, left.len()), (vec![seq + 1], 0), "without the slow path");
        }
        assert_eq!(chat.seqs().await, (1..=7).collect::<Vec<_>>());
        let (heads, chains) = db::append::testing::last_chain(&mut chat.conn).await;
        assert_eq!(heads, chains, "the chain goes on from what the other one wrote");
    }

    #[tokio::test]
    async fn w1_an_event_that_the_bus_brought_spares_the_second_statement() {
        let database = crate::testing::database().await.unwrap();
        let mut chat = Chat::begun(&database).await;
        let mut other = AccessCache::default();
        for is_heard in [true, false] {
            let theirs = chat.job("theirs");
            let committed =
                batch::commit(&mut chat.conn, &mut other, &[theirs], Locking::Wait, HourlyBudget::ADDING)
                    .await
                    .unwrap();
            if is_heard {
                let event = serde_json::from_str(&committed.published[0].json).unwrap();
                chat.hints.heard(chat.id, &event);
            }
            let (head, access) = chat.cache.head_snapshot(chat.id).unwrap();
            let head = chat.hints.newer(chat.id, head).unwrap_or_else(|| head.clone());
            let mut remembered = BTreeMap::from([(chat.id, (head, Arc::clone(access)))]);
            let (mut appended, ours) = (Appended::default(), chat.job("ours"));
            attempt(&mut chat.conn, &mut chat.cache, &mut remembered, &mut appended, vec![ours])
                .await
                .map_err(|(_, error)| error)
                .unwrap();
            assert_eq!((appended.done.len(), appended.left.len()), if is_heard { (1, 0) } else { (0, 1) });
        }
        // An old hint does not lead back.
        let last = chat.job("last");
        assert_eq!(chat.short(last).await.0, [5]);
    }

    #[tokio::test]
    async fn w1_a_change_of_access_by_another_instance_is_left_for_the_long_way() {
        let database = crate::testing::database().await.unwrap();
        let mut chat = Chat::begun(&database).await;
        db::append::testing::change_access(&mut chat.conn).await;
        let late = chat.job("late");
        let (published, left) = chat.short(late).await;
        assert_eq!((published.len(), left.len()), (0, 1));
        chat.long(&left).await;
        let fits = chat.job("fits");
        assert_eq!(chat.short(fits).await.0, [3]);
    }

    #[tokio::test]
    async fn members_are_members_however_little_the_cache_remembers() {
        let database = crate::testing::database().await.unwrap();
        let mut chat = Chat::begun(&database).await;
        let mut jobs = Vec::new();
        for _ in 0..8 {
            let (id, bo) = (chat.id, UserId::mint());
            chat.id = ConversationId::direct(chat.ada, bo);
            db::append::testing::chat_with(&mut chat.conn, chat.id, chat.ada, bo).await;
            jobs.push(chat.job("to somebody else"));
            chat.id = id;
        }
        // Room for one conversation: each that is read puts another one out.
        chat.cache = AccessCache::of_bytes(1_024);
        for result in chat.long(&jobs).await.results {
            assert_eq!(result.unwrap()[0].status, AckStatus::Ok);
        }
    }

    #[tokio::test]
    async fn w6_a_time_that_a_wrong_clock_gave_does_not_stay() {
        let database = crate::testing::database().await.unwrap();
        let mut chat = Chat::begun(&database).await;
        let (now, hour) = (now_ms(), 3_600_000);
        for (ahead, stays) in [(200_000, true), (hour, false)] {
            sqlx::query("UPDATE conversation_head SET last_ts = $1")
                .bind(now + ahead)
                .execute(&mut chat.conn)
                .await
                .unwrap();
            chat.cache = AccessCache::default();
            let job = chat.job("when");
            let ts = chat.long(&[job]).await.results[0].as_ref().unwrap()[0].ts.unwrap().as_i64();
            assert_eq!(ts == now + ahead, stays, "{ts} at {now}");
            assert!(stays || ts < now + hour / 2);
        }
    }

    #[tokio::test]
    async fn whatever_is_more_than_a_message_goes_the_long_way() {
        let database = crate::testing::database().await.unwrap();
        let chat = Chat::begun(&database).await;
        let id = EventId::mint;
        let target = id();
        for value in [
            json!({"id": id(), "kind": "message", "body": {"text": "a", "reply_to": target}}),
            json!({"id": id(), "kind": "message", "body": {"text": "a"}, "resubmitted": true}),
            json!({"id": id(), "kind": "reaction", "target": target, "body": {"emoji": "👍", "on": true}}),
            json!({"id": id(), "kind": "delete", "target": target, "body": {}}),
        ] {
            let (short, long) = divide(&chat.cache, vec![chat.job("plain"), chat.job_of(value)]);
            assert_eq!((short.len(), long.len()), (0, 2), "in order, with what came before it");
        }
        let (short, long) = divide(&AccessCache::default(), vec![chat.job("nobody remembers")]);
        assert_eq!((short.len(), long.len()), (0, 1));
    }
}
