//! A lane: group commit without a timer (W4). While one commit is in flight the next batch fills.

use super::{
    access::AccessCache,
    batch::{self, Committed},
    heads,
    publish::Job,
};
use crate::{db, error::ApiError, hub::Hub};
use kith_protocol::{ConversationId, Seq, UserId};
use kith_protocol::{frame::AckResult, limits};
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

/// How soon after a failure the members are told where their logs stand.
const SETTLE_AFTER: Duration = Duration::from_millis(500);
/// How long an acknowledgement gets to leave before a test ends the process behind it.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_millis(100);

struct Lane {
    pool: PgPool,
    hub: Hub,
    connection: Option<PoolConnection<Postgres>>,
    cache: AccessCache,
    /// Conversations whose last commit failed: it may have taken place all the same, unpublished (W6).
    unsure: BTreeSet<ConversationId>,
}

/// Takes jobs until `shutdown`, then what is still in the queue.
pub async fn run(pool: PgPool, hub: Hub, mut jobs: mpsc::Receiver<Job>, shutdown: CancellationToken) {
    let mut lane =
        Lane { pool, hub, connection: None, cache: AccessCache::default(), unsure: BTreeSet::new() };
    let mut left_over = None;
    loop {
        let first = match left_over.take() {
            Some(job) => Some(job),
            None => tokio::select! {
                biased;
                job = jobs.recv() => job,
                () = sleep(SETTLE_AFTER), if !lane.unsure.is_empty() => {
                    lane.settle().await;
                    continue;
                }
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
        lane.write(batch).await;
    }
}

impl Lane {
    /// Commits a batch; one that fails is tried again conversation by conversation, so a poison row fails alone.
    async fn write(&mut self, jobs: Vec<Job>) {
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
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.pool.acquire().await?,
        };
        let committed = batch::commit(&mut connection, &mut self.cache, jobs).await;
        match committed {
            Ok(committed) => {
                self.connection = Some(connection);
                Ok(committed)
            }
            Err(error) => {
                // A connection that failed once is not trusted again.
                drop(connection.detach());
                self.unsure.extend(jobs.iter().map(|job| job.conversation));
                Err(error.into())
            }
        }
    }

    /// After commit: announces what started, answers, publishes.
    async fn finish(&mut self, jobs: Vec<Job>, committed: Committed) {
        if !committed.announce.is_empty() {
            self.announce(&committed).await;
        }
        let Committed { results, published, .. } = committed;
        if kith_failpoint::is_due(kith_failpoint::places::PUBLISH_ACKNOWLEDGED) {
            acknowledge(jobs, results);
            tokio::time::sleep(ACKNOWLEDGED_WITHIN).await;
            kith_failpoint::end();
        }
        self.hub.publish(&published);
        kith_failpoint::pass(kith_failpoint::places::PUBLISH_UNACKNOWLEDGED);
        acknowledge(jobs, results);
    }

    /// Hints at the heads of conversations whose commit failed, so that whoever is connected pulls what may be there.
    async fn settle(&mut self) {
        match self.hints().await {
            Ok(hints) => {
                self.unsure.clear();
                for (user, conversation, head) in hints {
                    self.hub.hint(user, conversation, head);
                }
            }
            Err(error) => tracing::debug!(%error, "the database is not back yet"),
        }
    }

    async fn hints(&self) -> Result<Vec<(UserId, ConversationId, Seq)>, sqlx::Error> {
        let ids: Vec<_> = self.unsure.iter().map(|id| id.as_uuid()).collect();
        let rows = db::heads::audience(&mut *self.pool.acquire().await?, &ids).await?;
        let hint = |row: db::heads::AudienceRow| {
            let conversation = ConversationId::from_uuid(row.conversation_id);
            (UserId::from_uuid(row.user_id), conversation, Seq::from_i64(row.head))
        };
        Ok(rows.into_iter().map(hint).collect())
    }

    async fn announce(&mut self, committed: &Committed) {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match self.pool.acquire().await {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(%error, "could not announce a conversation");
                    return;
                }
            },
        };
        for (user, conversation) in &committed.announce {
            if !self.hub.is_connected(*user) {
                continue;
            }
            match heads::announcement(&mut connection, *user, &[conversation.as_uuid()]).await {
                Ok(frame) => self.hub.send(*user, &Arc::from(frame.encode()), None),
                Err(error) => tracing::warn!(%error, "could not announce a conversation"),
            }
        }
        self.connection = Some(connection);
    }
}

fn acknowledge(jobs: Vec<Job>, results: Vec<Vec<AckResult>>) {
    for (job, results) in jobs.into_iter().zip(results) {
        // Whoever asked may have gone.
        let _ = job.reply.send(Ok(results));
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
        // Whoever asked may have gone meanwhile.
        let _ = job.reply.send(Err(error.clone()));
    }
}
