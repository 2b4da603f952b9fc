//! A lane: group commit without a timer (W4). While one commit is in flight the next batch fills.
//!
//! A lane waits for the database alone, and never longer than its deadline: announcing and publishing are the business of
//! [`super::announce`] and the hub.

use super::{
    access::AccessCache,
    announce::{self, Announcer, Answers},
    append::{self, Appended},
    batch::{self, Committed, Locking, Stored},
    epoch::Epoch,
    fair::FairQueue,
    publish::{Job, Results},
    pulse::Pulse,
    quota::Quota,
};
use crate::{
    db::{
        fault::Fault,
        lanes::{LaneConnection, discard, within},
    },
    error::ApiError,
    metrics::Metrics,
};
use futures_util::FutureExt;
use kith_protocol::{ConversationId, frame::AckStatus};
use sqlx::{Connection as _, Postgres, pool::PoolConnection};
use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// How long an acknowledgement gets to leave before a test ends the process behind it.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(100);

/// A lane before it runs.
pub struct Lane {
    /// Takes jobs from here.
    pub queue: Arc<FairQueue>,
    /// Writes here.
    pub connection: LaneConnection,
    /// Hands over what was committed.
    pub announcer: Announcer,
    /// Counts.
    pub metrics: Metrics,
    /// Says whether commits succeed.
    pub pulse: Arc<Pulse>,
    /// Which database it is: another incarnation makes the cache void.
    pub epoch: Epoch,
    /// Counts what users store.
    pub quota: Quota,
}

/// A lane at work.
struct Writing {
    lane: Lane,
    cache: AccessCache,
    /// The incarnation that the cache was read from.
    incarnation: u64,
}

/// Why a batch, or a part of it, was not committed.
struct Failure {
    fault: Fault,
    error: ApiError,
}

impl Failure {
    fn of(error: sqlx::Error) -> Self {
        Self { fault: Fault::of(&error), error: error.into() }
    }
}

impl Lane {
    /// Takes jobs until `shutdown`, then what is still in the queue.
    pub async fn run(self, shutdown: CancellationToken) {
        let incarnation = self.epoch.incarnation();
        let mut writing = Writing { lane: self, cache: AccessCache::default(), incarnation };
        let queue = Arc::clone(&writing.lane.queue);
        loop {
            let jobs = tokio::select! {
                biased;
                jobs = queue.take() => jobs,
                () = shutdown.cancelled(), if !queue.is_closed() => {
                    queue.close();
                    continue;
                }
            };
            let Some(jobs) = jobs else { return };
            writing.write_or_survive(jobs).await;
        }
    }
}

impl Writing {
    /// Writes a batch. One that panics is refused like one that failed: a lane serves a quarter of all conversations.
    async fn write_or_survive(&mut self, jobs: Vec<Job>) {
        let conversations: Vec<_> = jobs.iter().map(|job| job.conversation).collect();
        self.lane.pulse.begin();
        if AssertUnwindSafe(self.write(jobs)).catch_unwind().await.is_err() {
            self.cache.clear();
            self.lane.announcer.doubt(conversations);
            self.lane.pulse.fail();
        }
    }

    /// Commits a batch: what can, the short way, and the rest the long one.
    async fn write(&mut self, jobs: Vec<Job>) {
        self.renew_cache();
        let (short, mut long) = append::divide(&self.cache, jobs);
        if !short.is_empty() {
            long.extend(self.append(short).await);
        }
        if !long.is_empty() {
            self.write_long(long).await;
        }
    }

    /// What was read from another incarnation of the database says nothing of this one.
    fn renew_cache(&mut self) {
        let incarnation = self.lane.epoch.incarnation();
        if incarnation != self.incarnation {
            self.cache.clear();
            self.incarnation = incarnation;
        }
    }

    /// Appends to logs whose heads are remembered; answers what is left to do.
    async fn append(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let before = self.incarnation;
        let mut conn = match self.connection().await {
            Ok(conn) => conn,
            Err(failure) => {
                self.refuse(jobs, &failure);
                return Vec::new();
            }
        };
        if self.incarnation != before {
            self.lane.connection.keep(conn);
            return jobs;
        }
        let conversations: Vec<_> = jobs.iter().map(|job| job.conversation).collect();
        let appending = async { Ok(append::commit(&mut conn, &mut self.cache, jobs).await) };
        // Jobs that are given up half-way answer `unavailable` when they are dropped.
        let appended = within(self.lane.connection.within(), appending).await;
        let Appended { done, committed, left, failure } = match appended {
            Ok(appended) => appended,
            Err(error) => {
                self.lane.pulse.fail();
                self.end(conn, &Failure::of(error), conversations).await;
                return Vec::new();
            }
        };
        if !done.is_empty() {
            self.finish(done, committed).await;
        }
        let Some(failure) = failure.map(Failure::of) else {
            self.lane.connection.keep(conn);
            return left;
        };
        self.end(conn, &failure, left.iter().map(|job| job.conversation)).await;
        match failure.fault {
            Fault::Rows | Fault::Locks => left,
            Fault::Passing | Fault::Connection | Fault::Statement => {
                self.refuse(left, &failure);
                Vec::new()
            }
        }
    }

    /// Commits a batch. Where the rows of one conversation fail it, each is tried alone, so a poison row fails alone.
    /// Where the locks of another transaction do, the conversations that it holds are answered `busy`.
    async fn write_long(&mut self, jobs: Vec<Job>) {
        let failure = match self.commit(&jobs, Locking::Wait).await {
            Ok(committed) => return self.finish(jobs, committed).await,
            Err(failure) => failure,
        };
        let failure = match failure.fault {
            Fault::Locks => match self.commit(&jobs, Locking::Skip).await {
                Ok(committed) => return self.finish(jobs, committed).await,
                Err(failure) => failure,
            },
            _ => failure,
        };
        let conversations: HashSet<_> = jobs.iter().map(|job| job.conversation).collect();
        if failure.fault != Fault::Rows || conversations.len() == 1 {
            return self.refuse(jobs, &failure);
        }
        tracing::warn!(error = %failure.error, conversations = conversations.len(), "a batch failed; one by one");
        let mut jobs = jobs;
        for conversation in conversations {
            let (own, others) = jobs.into_iter().partition(|job| job.conversation == conversation);
            jobs = others;
            match self.commit(&own, Locking::Wait).await {
                Ok(committed) => self.finish(own, committed).await,
                Err(failure) if failure.fault == Fault::Rows => self.refuse(own, &failure),
                Err(failure) => {
                    // It concerns all: the rest would fail in the same way, one after the other.
                    jobs.extend(own);
                    return self.refuse(jobs, &failure);
                }
            }
        }
    }

    async fn commit(&mut self, jobs: &[Job], locking: Locking) -> Result<Committed, Failure> {
        let mut conn = self.connection().await?;
        let committing = batch::commit(&mut conn, &mut self.cache, jobs, locking);
        match within(self.lane.connection.within(), committing).await {
            Ok(committed) => {
                self.lane.connection.keep(conn);
                Ok(committed)
            }
            Err(error) => {
                let failure = Failure::of(error);
                self.end(conn, &failure, jobs.iter().map(|job| job.conversation)).await;
                Err(failure)
            }
        }
    }

    /// The lane's own connection. Another one than before may lead to another incarnation of the database.
    async fn connection(&mut self) -> Result<PoolConnection<Postgres>, Failure> {
        let limit = self.lane.connection.within();
        let mut taken = self.lane.connection.take().await.map_err(Failure::of)?;
        if taken.is_new {
            if let Err(error) = within(limit, self.lane.epoch.look_at(&mut taken.conn)).await {
                discard(taken.conn);
                return Err(Failure::of(error));
            }
            self.renew_cache();
        }
        Ok(taken.conn)
    }

    /// What becomes of the connection of a batch that failed, and of what the batch may have done. A connection that is
    /// broken, or leads to where nothing can be written, is thrown away once; then the commit may have taken place all the
    /// same (W6). Any other failure was reported by the server, which undoes the transaction.
    async fn end(
        &mut self,
        mut conn: PoolConnection<Postgres>,
        failure: &Failure,
        conversations: impl IntoIterator<Item = ConversationId>,
    ) {
        if failure.fault == Fault::Connection {
            discard(conn);
            self.lane.announcer.doubt(conversations);
            return;
        }
        // The rollback goes out with this, and with it the locks of the heads.
        match within(self.lane.connection.within(), conn.ping()).await {
            Ok(()) => self.lane.connection.keep(conn),
            Err(_) => discard(conn),
        }
    }

    /// After commit: publishes and answers.
    async fn finish(&mut self, jobs: Vec<Job>, committed: Committed) {
        let Committed { results, published, announce, erased } = committed;
        self.count(&jobs, &results, erased);
        self.lane.pulse.succeed();
        if !published.is_empty() {
            self.lane.metrics.committed(published.len());
        }
        let mut answers: Answers = jobs.into_iter().zip(results).collect();
        if kith_failpoint::is_due(kith_failpoint::places::PUBLISH_ACKNOWLEDGED) {
            announce::answer(&self.lane.metrics, std::mem::take(&mut answers));
            tokio::time::sleep(ACKNOWLEDGED_WITHIN).await;
            kith_failpoint::end();
        }
        if kith_failpoint::is_due(kith_failpoint::places::PUBLISH_UNACKNOWLEDGED) {
            self.lane.announcer.publish(announce, published, Vec::new());
            kith_failpoint::end();
        }
        self.lane.announcer.publish(announce, published, answers);
    }

    /// Counts what was stored and erased for the senders' quotas.
    fn count(&self, jobs: &[Job], results: &[Results], mut stored: Stored) {
        for (job, results) in jobs.iter().zip(results) {
            let Ok(results) = results else { continue };
            let kept = job.items.iter().zip(results).filter(|(_, result)| result.status == AckStatus::Ok);
            let bytes: usize = kept.map(|(item, _)| item.body_text.len()).sum();
            *stored.entry(job.sender).or_default() += i64::try_from(bytes).unwrap_or(i64::MAX);
        }
        self.lane.quota.count(stored);
    }

    fn refuse(&self, jobs: Vec<Job>, failure: &Failure) {
        match failure.fault {
            // The database answered; it is these rows.
            Fault::Rows => self.lane.pulse.succeed(),
            _ => self.lane.pulse.fail(),
        }
        for job in jobs {
            job.reply.give(Err(failure.error.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        db::{self, append::testing::chat_with},
        domain::publish::{Item, Reply},
        hub::Hub,
    };
    use kith_pgbox::testing::TestDb;
    use kith_protocol::{ErrorCode, EventId, UserId};
    use serde_json::json;
    use sqlx::{Executor as _, PgConnection, postgres::PgPoolOptions};
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Instant,
    };
    use tokio::{sync::oneshot, task::JoinHandle};
    use tokio_util::task::TaskTracker;

    /// A lane, somebody who writes, and conversations of theirs.
    struct Stage {
        database: TestDb,
        conn: PgConnection,
        queue: Arc<FairQueue>,
        pulse: Arc<Pulse>,
        opened: Arc<AtomicUsize>,
        ada: UserId,
        chats: Vec<ConversationId>,
        lane: Option<Lane>,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    }

    impl Stage {
        /// The lane's connections begin with `setting`.
        async fn set(setting: &'static str, chats: usize) -> Self {
            let database = crate::testing::database().await.unwrap();
            let mut conn = PgConnection::connect(database.url()).await.unwrap();
            let (ada, first) = (UserId::mint(), UserId::mint());
            let mut all = vec![ConversationId::direct(ada, first)];
            db::append::testing::chat(&mut conn, all[0], &[ada, first]).await;
            for _ in 1..chats {
                let other = UserId::mint();
                all.push(ConversationId::direct(ada, other));
                chat_with(&mut conn, all[all.len() - 1], ada, other).await;
            }
            let opened = Arc::new(AtomicUsize::new(0));
            let counting = Arc::clone(&opened);
            let pool = PgPoolOptions::new()
                .max_connections(3)
                .after_connect(move |conn, _| {
                    counting.fetch_add(1, Ordering::Relaxed);
                    Box::pin(async move { conn.execute(setting).await.map(drop) })
                })
                .connect_lazy(database.url())
                .unwrap();
            let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
            let hub = Hub::default();
            let other_pool = crate::connect(database.url(), 2).await.unwrap();
            let within = Duration::from_secs(20);
            let (announcer, announcing) = Announcer::new(
                hub.clone(),
                Metrics::default(),
                LaneConnection::new(other_pool.clone(), within),
            );
            tasks.spawn(announcing);
            let (queue, pulse): (Arc<FairQueue>, Arc<Pulse>) = Default::default();
            let lane = Lane {
                queue: Arc::clone(&queue),
                connection: LaneConnection::new(pool, within),
                announcer,
                metrics: Metrics::default(),
                pulse: Arc::clone(&pulse),
                quota: Quota::start(None, other_pool.clone(), &tasks, shutdown.clone()),
                epoch: Epoch::watch(other_pool, hub, &tasks, shutdown.clone()),
            };
            let lane = Some(lane);
            Self { database, conn, queue, pulse, opened, ada, chats: all, lane, tasks, shutdown }
        }

        /// A message to each conversation, in one batch if the lane is not at work.
        async fn write(&self) -> Vec<oneshot::Receiver<Results>> {
            let mut answers = Vec::new();
            for chat in &self.chats {
                let (reply, answer) = oneshot::channel();
                let value = json!({"id": EventId::mint(), "kind": "message", "body": {"text": "hello"}});
                let job = Job {
                    conversation: *chat,
                    sender: self.ada,
                    items: vec![Item::parse(&value, &Default::default()).unwrap()],
                    is_over_quota: false,
                    since: Instant::now(),
                    reply: Reply::new(move |results| drop(reply.send(results))),
                };
                self.queue.push(job, Duration::ZERO).await.unwrap();
                answers.push(answer);
            }
            answers
        }

        fn start(&mut self) -> JoinHandle<()> {
            tokio::spawn(self.lane.take().unwrap().run(self.shutdown.clone()))
        }

        /// Somebody else holds the first conversation's head.
        async fn hold_first(&self) -> PgConnection {
            let mut other = PgConnection::connect(self.database.url()).await.unwrap();
            other.execute("BEGIN").await.unwrap();
            let held = db::heads::lock(&mut other, &[self.chats[0].as_uuid()]).await.unwrap();
            assert_eq!(held.len(), 1);
            other
        }

        async fn end(self, lane: JoinHandle<()>) {
            self.shutdown.cancel();
            lane.await.unwrap();
            self.tasks.close();
            self.tasks.wait().await;
        }
    }

    async fn codes(answers: Vec<oneshot::Receiver<Results>>) -> Vec<Result<(), ErrorCode>> {
        let mut codes = Vec::new();
        for answer in answers {
            codes.push(match answer.await.unwrap() {
                Ok(results) => {
                    assert_eq!(results[0].status, AckStatus::Ok, "{results:?}");
                    Ok(())
                }
                Err(error) => Err(error.code()),
            });
        }
        codes
    }

    #[tokio::test]
    async fn w4_25006_a_connection_that_cannot_write_is_thrown_away_once_for_a_whole_batch() {
        let mut stage = Stage::set("SET default_transaction_read_only = on", 40).await;
        let answers = stage.write().await;
        let lane = stage.start();
        assert_eq!(codes(answers).await, vec![Err(ErrorCode::Unavailable); 40]);
        assert_eq!(stage.opened.load(Ordering::Relaxed), 1);
        assert!(stage.pulse.stalled_for(Instant::now()) > Duration::ZERO);
        let answers = stage.write().await;
        assert_eq!(codes(answers).await, vec![Err(ErrorCode::Unavailable); 40]);
        assert_eq!(stage.opened.load(Ordering::Relaxed), 2, "another one may lead elsewhere");
        stage.end(lane).await;
    }

    #[tokio::test]
    async fn w4_55p03_a_head_that_another_transaction_holds_delays_the_others_once() {
        let mut stage = Stage::set("SET lock_timeout = '200ms'", 12).await;
        let mut other = stage.hold_first().await;
        let answers = stage.write().await;
        let lane = stage.start();
        let mut expected = vec![Ok(()); 12];
        expected[0] = Err(ErrorCode::Busy);
        assert_eq!(codes(answers).await, expected);
        other.execute("ROLLBACK").await.unwrap();
        let answers = stage.write().await;
        assert_eq!(codes(answers).await, vec![Ok(()); 12]);
        assert_eq!(stage.opened.load(Ordering::Relaxed), 1);
        assert_eq!(db::append::testing::seqs(&mut stage.conn).await.len(), 11 + 12);
        stage.end(lane).await;
    }

    #[tokio::test]
    async fn w4_57014_a_statement_that_is_cancelled_refuses_its_batch_and_splits_nothing() {
        let mut stage = Stage::set("SET lock_timeout = 0; SET statement_timeout = '300ms'", 12).await;
        let mut other = stage.hold_first().await;
        let answers = stage.write().await;
        let lane = stage.start();
        let began = Instant::now();
        assert_eq!(codes(answers).await, vec![Err(ErrorCode::Unavailable); 12]);
        assert!(began.elapsed() < Duration::from_secs(3), "one statement, not one for each conversation");
        other.execute("ROLLBACK").await.unwrap();
        let answers = stage.write().await;
        assert_eq!(codes(answers).await, vec![Ok(()); 12]);
        assert_eq!(stage.opened.load(Ordering::Relaxed), 1, "the connection is as good as before");
        stage.end(lane).await;
    }
}
