//! Beside the lanes: a task that announces conversations, so that no lane waits for it.
//!
//! A conversation that somebody gets to know by a commit is announced to them by heads before its first event. Until that
//! is done its events go through this task's queue, in order; those of all other conversations go out at once. What finds
//! no room in the queue, and whatever a commit of unknown outcome (W6) may have done, is settled by heads to the members.

use super::{
    heads,
    publish::{Job, Results},
};
use crate::{
    db::{
        self,
        lanes::{LaneConnection, discard, within},
    },
    hub::{Hub, Published},
    metrics::Metrics,
};
use futures_util::FutureExt as _;
use kith_protocol::{ConversationId, UserId};
use sqlx::{Connection as _, PgConnection};
use std::{
    collections::{BTreeSet, HashMap},
    ops::Bound,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until},
};
use uuid::Uuid;

/// Commits that wait to be announced. Those that find no room are settled.
const NOTICES_MAX: usize = 1_024;
/// Commits that are announced with the same statements.
const TOGETHER_MAX: usize = 64;
/// Between a commit of unknown outcome and the heads that settle it.
const SETTLE_AFTER: Duration = Duration::from_millis(500);
/// Conversations that wait to be settled. Above it their members learn of it by their next heads.
const UNSURE_MAX: usize = 65_536;
/// Conversations that are settled with the same statements.
const SETTLED_TOGETHER_MAX: usize = 256;

/// Jobs that are committed, with their answers.
pub type Answers = Vec<(Job, Results)>;

/// A commit that is announced before it is published; its answers stand behind its events.
#[derive(Debug)]
struct Notice {
    announce: Vec<(UserId, ConversationId)>,
    events: Vec<Published>,
    answers: Answers,
    held: Held,
}

/// Conversations that a notice holds back, until it is dropped.
#[derive(Debug)]
struct Held {
    conversations: BTreeSet<ConversationId>,
    state: Arc<Mutex<State>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.state).release(&self.conversations);
    }
}

#[derive(Debug, Default)]
struct State {
    /// Conversations in the queue, and in how many notices.
    held: HashMap<ConversationId, usize>,
    doubts: Doubts,
}

/// Conversations whose members are to hear where the logs stand. Those of one try are as many as were settled without a
/// fault, so that one whose data cannot be read does not hold up the others.
#[derive(Debug)]
struct Doubts {
    all: BTreeSet<ConversationId>,
    /// The last one that was tried.
    last: Option<ConversationId>,
    together: usize,
}

impl Default for Doubts {
    fn default() -> Self {
        Self { all: BTreeSet::new(), last: None, together: SETTLED_TOGETHER_MAX }
    }
}

impl Doubts {
    fn add(&mut self, conversations: impl IntoIterator<Item = ConversationId>) {
        for id in conversations {
            if self.all.len() < UNSURE_MAX {
                self.all.insert(id);
            }
        }
    }

    /// The next ones to try, behind those that were tried last, from the beginning again after the end. Until
    /// [`Self::settled`] they count as failed.
    fn next(&mut self) -> Vec<ConversationId> {
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut next: Vec<_> =
            self.all.range((behind, Bound::Unbounded)).take(self.together).copied().collect();
        if next.is_empty() {
            next = self.all.iter().take(self.together).copied().collect();
        }
        self.last = next.last().copied();
        self.together = (self.together / 2).max(1);
        next
    }

    /// The try worked. Those that are decided need no further one.
    fn settled(&mut self, decided: &[ConversationId]) {
        self.together = (self.together * 4).min(SETTLED_TOGETHER_MAX);
        for id in decided {
            self.all.remove(id);
        }
    }
}

impl State {
    fn release(&mut self, conversations: &BTreeSet<ConversationId>) {
        for id in conversations {
            if let Some(count) = self.held.get_mut(id) {
                *count -= 1;
                if *count == 0 {
                    self.held.remove(id);
                }
            }
        }
    }
}

/// What the lanes hand their commits to; cheap to clone.
#[derive(Debug, Clone)]
pub struct Announcer {
    notices: mpsc::Sender<Notice>,
    state: Arc<Mutex<State>>,
    doubted: Arc<Notify>,
    hub: Hub,
    metrics: Metrics,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Announcer {
    /// An announcer, and the task that does its work until every clone of it is dropped.
    pub fn new(
        hub: Hub,
        metrics: Metrics,
        connection: LaneConnection,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (notices, queue) = mpsc::channel(NOTICES_MAX);
        let (state, doubted) = (Arc::<Mutex<State>>::default(), Arc::new(Notify::new()));
        let task = Task {
            hub: hub.clone(),
            metrics: metrics.clone(),
            connection,
            state: state.clone(),
            doubted: doubted.clone(),
            settle_at: None,
        };
        (Self { notices, state, doubted, hub, metrics }, task.run(queue))
    }

    /// Publishes committed events and answers; those of conversations that are to be announced follow their heads. Never
    /// waits. All commits of a conversation come from one lane, so their order is that of these calls.
    pub fn publish(&self, announce: Vec<(UserId, ConversationId)>, events: Vec<Published>, answers: Answers) {
        let mut conversations: BTreeSet<ConversationId> = announce.iter().map(|(_, id)| *id).collect();
        {
            let mut state = lock(&self.state);
            if !state.held.is_empty() {
                let all = answers.iter().map(|(job, _)| job.conversation);
                conversations.extend(all.filter(|id| state.held.contains_key(id)));
            }
            for id in &conversations {
                *state.held.entry(*id).or_default() += 1;
            }
        }
        if conversations.is_empty() {
            self.hub.publish(&[], &events);
            answer(&self.metrics, answers);
            return;
        }
        let (later, now): (Vec<_>, Vec<_>) =
            events.into_iter().partition(|event| conversations.contains(&event.conversation));
        let (answers, answers_now): (Answers, Answers) =
            answers.into_iter().partition(|(job, _)| conversations.contains(&job.conversation));
        let held = Held { conversations, state: Arc::clone(&self.state) };
        if let Err(error) = self.notices.try_send(Notice { announce, events: later, answers, held }) {
            let (mpsc::error::TrySendError::Full(notice) | mpsc::error::TrySendError::Closed(notice)) = error;
            self.doubt(notice.held.conversations.iter().copied());
            answer(&self.metrics, notice.answers);
        }
        self.hub.publish(&[], &now);
        answer(&self.metrics, answers_now);
    }

    /// Has the members of these hear where the logs stand: nobody knows whether their newest events were told.
    pub fn doubt(&self, conversations: impl IntoIterator<Item = ConversationId>) {
        lock(&self.state).doubts.add(conversations);
        self.doubted.notify_one();
    }
}

/// Gives the answers, and counts them.
pub fn answer(metrics: &Metrics, answers: Answers) {
    for (job, results) in answers {
        if let Ok(results) = &results {
            metrics.answered(job.since, job.items.iter().map(|item| item.resubmitted), results);
        }
        job.reply.give(results);
    }
}

struct Task {
    hub: Hub,
    metrics: Metrics,
    connection: LaneConnection,
    state: Arc<Mutex<State>>,
    doubted: Arc<Notify>,
    /// When doubts are settled, however much there is to announce.
    settle_at: Option<Instant>,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Notice>) {
        let mut notices = Vec::with_capacity(TOGETHER_MAX);
        loop {
            if self.settle_at.is_some_and(|at| at <= Instant::now()) {
                self.settle_or_survive().await;
            }
            let settle_at = self.settle_at;
            tokio::select! {
                biased;
                count = queue.recv_many(&mut notices, TOGETHER_MAX) => {
                    if count == 0 {
                        return;
                    }
                    self.announce_or_survive(&mut notices).await;
                }
                () = self.doubted.notified() => {
                    self.settle_at.get_or_insert_with(|| Instant::now() + SETTLE_AFTER);
                }
                () = sleep_until(settle_at.unwrap_or_else(Instant::now)), if settle_at.is_some() => {}
            }
        }
    }

    /// Announces a batch. Heads settle one that panics: this task serves all conversations.
    async fn announce_or_survive(&mut self, notices: &mut Vec<Notice>) {
        let conversations: Vec<_> =
            notices.iter().flat_map(|notice| notice.held.conversations.iter().copied()).collect();
        if AssertUnwindSafe(self.announce(notices)).catch_unwind().await.is_err() {
            tracing::error!("a batch of announcements panicked");
            notices.clear();
            self.doubt(conversations);
        }
    }

    /// Settles doubts. What panics is tried again later, as if the database were away.
    async fn settle_or_survive(&mut self) {
        if AssertUnwindSafe(self.settle()).catch_unwind().await.is_err() {
            tracing::error!("settling what is in doubt panicked");
            self.settle_at = Some(Instant::now() + SETTLE_AFTER);
        }
    }

    /// Sends heads to those who are to have them, then the events, in order.
    async fn announce(&mut self, notices: &mut Vec<Notice>) {
        let pairs: BTreeSet<(UserId, ConversationId)> = notices
            .iter()
            .flat_map(|notice| notice.announce.iter().copied())
            .filter(|(user, _)| self.hub.is_connected(*user))
            .collect();
        let pairs: Vec<_> = pairs.into_iter().collect();
        if let Err(error) = self.tell(&pairs).await {
            tracing::warn!(%error, "could not announce a conversation");
            self.doubt(notices.iter().flat_map(|notice| notice.held.conversations.iter().copied()));
        }
        for notice in notices.drain(..) {
            self.hub.publish(&notice.announce, &notice.events);
            answer(&self.metrics, notice.answers);
        }
    }

    fn doubt(&mut self, conversations: impl IntoIterator<Item = ConversationId>) {
        lock(&self.state).doubts.add(conversations);
        self.settle_at.get_or_insert_with(|| Instant::now() + SETTLE_AFTER);
    }

    async fn tell(&mut self, pairs: &[(UserId, ConversationId)]) -> Result<(), sqlx::Error> {
        if pairs.is_empty() {
            return Ok(());
        }
        let mut conn = self.connection.take().await?.conn;
        match within(self.connection.within(), tell(&self.hub, &mut conn, pairs)).await {
            Ok(()) => {
                self.connection.keep(conn);
                Ok(())
            }
            Err(error) => {
                discard(conn);
                Err(error)
            }
        }
    }

    /// Tells whoever is connected where conversations stand whose commit failed: it may have taken place, with new
    /// members and with those who were removed by it. One whose head is still locked is not decided yet.
    async fn settle(&mut self) {
        self.settle_at = None;
        let ids: Vec<Uuid> = lock(&self.state).doubts.next().iter().map(|id| id.as_uuid()).collect();
        let settled = self.tell_heads(&ids).await;
        let mut state = lock(&self.state);
        match settled {
            Ok(settled) => {
                let decided: Vec<_> = settled.into_iter().map(ConversationId::from_uuid).collect();
                state.doubts.settled(&decided);
            }
            Err(error) => tracing::debug!(%error, "could not settle doubts"),
        }
        if !state.doubts.all.is_empty() {
            self.settle_at = Some(Instant::now() + SETTLE_AFTER);
        }
    }

    async fn tell_heads(&mut self, ids: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
        let mut conn = self.connection.take().await?.conn;
        match within(self.connection.within(), settle(&self.hub, &mut conn, ids)).await {
            Ok(settled) => {
                self.connection.keep(conn);
                Ok(settled)
            }
            Err(error) => {
                discard(conn);
                Err(error)
            }
        }
    }
}

/// Returns those that are decided.
async fn settle(hub: &Hub, conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    let mut tx = conn.begin().await?;
    let free = db::heads::lock_free(&mut tx, ids).await?;
    tx.rollback().await?;
    let free: BTreeSet<Uuid> = free.into_iter().map(|row| row.conversation_id).collect();
    let there: BTreeSet<Uuid> = db::heads::existing(conn, ids).await?.into_iter().collect();
    let decided: Vec<Uuid> =
        ids.iter().copied().filter(|id| free.contains(id) || !there.contains(id)).collect();
    let audience = db::heads::audience(conn, &decided).await?;
    let pairs: Vec<_> = audience
        .into_iter()
        .map(|row| (UserId::from_uuid(row.user_id), ConversationId::from_uuid(row.conversation_id)))
        .filter(|(user, _)| hub.is_connected(*user))
        .collect();
    tell(hub, conn, &pairs).await?;
    Ok(decided)
}

/// Sends heads of each conversation to its person, with a fixed number of statements for many.
pub async fn tell(
    hub: &Hub,
    conn: &mut PgConnection,
    pairs: &[(UserId, ConversationId)],
) -> Result<(), sqlx::Error> {
    for part in pairs.chunks(heads::ANNOUNCED_TOGETHER_MAX) {
        for (user, frame) in heads::announcements(conn, part).await? {
            hub.send(user, &Arc::from(frame.encode()), None);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
