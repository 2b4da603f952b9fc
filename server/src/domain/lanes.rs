//! A lane: group commit without a timer (W4). While one commit is in flight the next batch fills.
//!
//! A lane waits for the database alone, and never longer than its deadline: announcing and publishing are the business of
//! [`super::announce`] and the hub.

use super::{
    access::AccessCache,
    announce::{self, Announcer, Answers},
    append::{self, Appended},
    batch::{self, Committed, EVENT_BYTES, Locking, Stored},
    epoch::Epoch,
    fair::FairQueue,
    head_hints::HeadHints,
    publish::{Job, Results},
    pulse::Pulse,
    quota::Quota,
};
use crate::{
    config::HourlyBudget,
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
    pub connection: LaneConnection,
    /// Hands over what was committed.
    pub announcer: Announcer,
    pub metrics: Metrics,
    /// Says whether commits succeed.
    pub pulse: Arc<Pulse>,
    /// Which database it is: another incarnation makes the cache void.
    pub epoch: Epoch,
    /// Where logs stand by the events of other instances.
    pub hints: HeadHints,
    /// Counts what users store.
    pub quota: Quota,
    /// How many people a user may add to groups.
    pub adding: HourlyBudget,
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

    /// Commits a batch: what can on the fast path, the rest on the slow one.
    async fn write(&mut self, jobs: Vec<Job>) {
        self.renew_cache();
        let (short, mut long) = append::divide(&self.cache, jobs);
        if !short.is_empty() {
            long.extend(self.append(short).await);
        }
        if !long.is_empty() {
            self.write_slow(long).await;
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

    /// Appends to logs whose heads are remembered. Returns what is left to do.
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
        let appending =
            async { Ok(append::commit(&mut conn, &mut self.cache, &self.lane.hints, jobs).await) };
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
    async fn write_slow(&mut self, jobs: Vec<Job>) {
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
        let adding = self.lane.adding;
        let committing = batch::commit(&mut conn, &mut self.cache, jobs, locking, adding);
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
            let bytes = |length: usize| i64::try_from(length).unwrap_or(i64::MAX).saturating_add(EVENT_BYTES);
            let bytes: i64 = kept.map(|(item, _)| bytes(item.body_text.len())).sum();
            *stored.entry(job.sender).or_default() += bytes;
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
mod tests;
