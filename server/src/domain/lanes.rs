//! A lane: group commit without a timer (W4). While one commit is in flight the next batch fills.

use super::{
    access::AccessCache,
    append,
    batch::{self, Committed},
    heads,
    publish::Job,
};
use crate::{db, error::ApiError, hub::Hub, metrics::Metrics};
use futures_util::FutureExt;
use kith_protocol::{ConversationId, UserId};
use kith_protocol::{frame::AckResult, limits};
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How soon after a failure the members are told where their logs stand.
const SETTLE_AFTER: Duration = Duration::from_millis(500);
/// How long an acknowledgement gets to leave before a test ends the process behind it.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(100);

struct Lane {
    pool: PgPool,
    hub: Hub,
    metrics: Metrics,
    connection: Option<PoolConnection<Postgres>>,
    cache: AccessCache,
    /// Conversations whose last commit failed: it may have taken place all the same, unpublished (W6).
    unsure: BTreeSet<ConversationId>,
    /// When they are looked at, however busy the lane is.
    settle_at: Option<Instant>,
}

/// Takes jobs until `shutdown`, then what is still in the queue.
pub async fn run(
    pool: PgPool,
    hub: Hub,
    metrics: Metrics,
    mut jobs: mpsc::Receiver<Job>,
    shutdown: CancellationToken,
) {
    let mut lane = Lane {
        pool,
        hub,
        metrics,
        connection: None,
        cache: AccessCache::default(),
        unsure: BTreeSet::new(),
        settle_at: None,
    };
    let mut left_over = None;
    loop {
        if lane.settle_at.is_some_and(|at| at <= Instant::now()) {
            lane.settle().await;
        }
        let settle_at = lane.settle_at;
        let first = match left_over.take() {
            Some(job) => Some(job),
            None => tokio::select! {
                biased;
                job = jobs.recv() => job,
                () = sleep_until(settle_at.unwrap_or_else(Instant::now)), if settle_at.is_some() => continue,
                () = shutdown.cancelled(), if !jobs.is_closed() => {
                    jobs.close();
                    continue;
                }
            },
        };
        let Some(first) = first else { return };
        let (mut events, mut bytes) = (first.items.len(), first.bytes());
        let mut batch = vec![first];
        while let Ok(job) = jobs.try_recv() {
            events += job.items.len();
            bytes += job.bytes();
            if events > limits::BATCH_EVENTS_MAX || bytes > limits::BATCH_BYTES_MAX {
                left_over = Some(job);
                break;
            }
            batch.push(job);
        }
        lane.write_or_survive(batch).await;
    }
}

impl Lane {
    /// Writes a batch. One that panics is refused like one that failed: a lane serves a quarter of all conversations.
    async fn write_or_survive(&mut self, jobs: Vec<Job>) {
        let conversations: Vec<_> = jobs.iter().map(|job| job.conversation).collect();
        if AssertUnwindSafe(self.write(jobs)).catch_unwind().await.is_err() {
            self.connection = None;
            self.cache = AccessCache::default();
            self.doubt(conversations);
        }
    }

    /// Notes that nobody knows whether the newest events of these were told.
    fn doubt(&mut self, conversations: impl IntoIterator<Item = ConversationId>) {
        self.unsure.extend(conversations);
        self.settle_at.get_or_insert_with(|| Instant::now() + SETTLE_AFTER);
    }

    /// Commits a batch: what can, the short way, and the rest the long one.
    async fn write(&mut self, jobs: Vec<Job>) {
        let (short, mut long) = append::divide(&self.cache, jobs);
        if !short.is_empty() {
            long.extend(self.append(short).await);
        }
        if !long.is_empty() {
            self.write_long(long).await;
        }
    }

    /// Appends to logs whose heads are remembered; answers what is left to do.
    async fn append(&mut self, jobs: Vec<Job>) -> Vec<Job> {
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => {
                refuse(jobs, &error.into());
                return Vec::new();
            }
        };
        match append::commit(&mut connection, &mut self.cache, jobs).await {
            Ok((jobs, committed, left)) => {
                self.connection = Some(connection);
                self.finish(jobs, committed).await;
                left
            }
            Err((jobs, error)) => {
                let error = self.failed(connection, &jobs, error);
                if is_about_rows(&error) {
                    return jobs;
                }
                refuse(jobs, &error);
                Vec::new()
            }
        }
    }

    /// Commits a batch; one that fails is tried again conversation by conversation, so a poison row fails alone.
    async fn write_long(&mut self, jobs: Vec<Job>) {
        let conversations: HashSet<_> = jobs.iter().map(|job| job.conversation).collect();
        match self.commit(&jobs).await {
            Ok(committed) => self.finish(jobs, committed).await,
            Err(error) if conversations.len() == 1 || !is_about_rows(&error) => refuse(jobs, &error),
            Err(error) => {
                tracing::warn!(%error, conversations = conversations.len(), "a batch failed; one by one");
                let mut jobs = jobs;
                for conversation in conversations {
                    let (own, others) = jobs.into_iter().partition(|job| job.conversation == conversation);
                    jobs = others;
                    self.write_one(own).await;
                }
            }
        }
    }

    async fn write_one(&mut self, jobs: Vec<Job>) {
        match self.commit(&jobs).await {
            Ok(committed) => self.finish(jobs, committed).await,
            Err(error) => refuse(jobs, &error),
        }
    }

    async fn commit(&mut self, jobs: &[Job]) -> Result<Committed, ApiError> {
        let mut connection = self.connection().await?;
        match batch::commit(&mut connection, &mut self.cache, jobs).await {
            Ok(committed) => {
                self.connection = Some(connection);
                Ok(committed)
            }
            Err(error) => Err(self.failed(connection, jobs, error)),
        }
    }

    /// The lane's own connection.
    async fn connection(&mut self) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        match self.connection.take() {
            Some(connection) => Ok(connection),
            None => self.pool.acquire().await,
        }
    }

    /// A connection that failed once is not trusted again, and what became of these conversations is not known.
    fn failed(&mut self, connection: PoolConnection<Postgres>, jobs: &[Job], error: sqlx::Error) -> ApiError {
        drop(connection.detach());
        self.doubt(jobs.iter().map(|job| job.conversation));
        error.into()
    }

    /// After commit: announces what started, answers, publishes.
    async fn finish(&mut self, jobs: Vec<Job>, committed: Committed) {
        if !committed.announce.is_empty() {
            self.announce(&committed).await;
        }
        let Committed { results, published, announce } = committed;
        if !published.is_empty() {
            self.metrics.committed(published.len());
        }
        if kith_failpoint::is_due(kith_failpoint::places::PUBLISH_ACKNOWLEDGED) {
            self.acknowledge(jobs, results);
            tokio::time::sleep(ACKNOWLEDGED_WITHIN).await;
            kith_failpoint::end();
        }
        self.hub.publish(&announce, &published);
        kith_failpoint::pass(kith_failpoint::places::PUBLISH_UNACKNOWLEDGED);
        self.acknowledge(jobs, results);
    }

    fn acknowledge(&self, jobs: Vec<Job>, results: Vec<Vec<AckResult>>) {
        for (job, results) in jobs.into_iter().zip(results) {
            self.metrics.answered(job.since, job.items.iter().map(|item| item.resubmitted), &results);
            job.reply.give(Ok(results));
        }
    }

    /// Tells whoever is connected where conversations stand whose commit failed: it may have taken place, with new
    /// members and with those who were removed by it.
    async fn settle(&mut self) {
        self.settle_at = None;
        match self.tell_heads().await {
            Ok(()) => self.unsure.clear(),
            Err(error) => {
                tracing::debug!(%error, "the database is not back yet");
                self.settle_at = Some(Instant::now() + SETTLE_AFTER);
            }
        }
    }

    async fn tell_heads(&self) -> Result<(), sqlx::Error> {
        let ids: Vec<_> = self.unsure.iter().map(|id| id.as_uuid()).collect();
        let mut connection = self.pool.acquire().await?;
        let mut told: BTreeMap<UserId, Vec<Uuid>> = BTreeMap::new();
        for row in db::heads::audience(&mut connection, &ids).await? {
            told.entry(UserId::from_uuid(row.user_id)).or_default().push(row.conversation_id);
        }
        for (user, conversations) in told.into_iter().filter(|(user, _)| self.hub.is_connected(*user)) {
            for part in conversations.chunks(limits::HEADS_ITEMS_MAX) {
                let frame = heads::announcement(&mut connection, user, part).await?;
                self.hub.send(user, &Arc::from(frame.encode()), None);
            }
        }
        Ok(())
    }

    async fn announce(&mut self, committed: &Committed) {
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "could not announce a conversation");
                self.doubt(committed.announce.iter().map(|(_, conversation)| *conversation));
                return;
            }
        };
        for (user, conversation) in &committed.announce {
            if !self.hub.is_connected(*user) {
                continue;
            }
            match heads::announcement(&mut connection, *user, &[conversation.as_uuid()]).await {
                Ok(frame) => self.hub.send(*user, &Arc::from(frame.encode()), None),
                Err(error) => {
                    tracing::warn!(%error, "could not announce a conversation");
                    self.doubt([*conversation]);
                }
            }
        }
        self.connection = Some(connection);
    }
}

/// Whether another conversation's rows may be to blame, rather than the database as a whole.
fn is_about_rows(error: &ApiError) -> bool {
    let ApiError::Database(error) = error else { return false };
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| !code.starts_with("57P") && !code.starts_with("08") && !code.starts_with("53"))
}

fn refuse(jobs: Vec<Job>, error: &ApiError) {
    for job in jobs {
        job.reply.give(Err(error.clone()));
    }
}
