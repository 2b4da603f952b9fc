//! Publishing: from what a client hands in to numbered events (W1–W6, O4).
//!
//! Items are checked here by their form alone; what needs the log is decided by the lane under its lock.

use super::{
    announce::Announcer,
    capabilities::Abilities,
    epoch::Epoch,
    fair::{FairQueue, Refused},
    head_hints::HeadHints,
    lanes::Lane,
    pulse::Pulse,
    quota::Quota,
};
use crate::{
    config::Config,
    db::lanes::{self, LaneConnection},
    error::ApiError,
    hub::Hub,
    metrics::Metrics,
};
use kith_protocol::{
    ConversationId, ErrorCode, EventContent, EventId, NewEvent, UserId,
    event::body_hash,
    frame::{AckResult, AckStatus},
    limits,
};
use serde_json::Value;
use sqlx::PgPool;
use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How many lanes write at the same time, each with a connection of its own (W4).
const LANES: usize = 4;
/// Connections of the lanes and of the task that announces. They come on top of the pool's.
pub const CONNECTIONS: u32 = 5;
/// How long a job waits for room in its lane. Then the answer is `busy`.
const ENQUEUE_WITHIN: Duration = Duration::from_secs(5);

/// An event of the right form, not yet numbered.
#[derive(Debug, Clone)]
pub struct Item {
    /// The sender's id for it.
    pub id: EventId,
    pub content: EventContent,
    /// Its body as JSON, as it is stored and told.
    pub body_text: String,
    pub written_at: Option<i64>,
    /// What W3 compares.
    pub hash: [u8; 32],
    /// Its client brings it back: the server had lost it.
    pub resubmitted: bool,
}

impl Item {
    /// Reads and checks an item as it came. The id is given also of one that is refused, if it can be read.
    fn read(value: &Value, abilities: &Abilities) -> Result<Self, (Option<EventId>, ErrorCode)> {
        let id = value.get("id").and_then(Value::as_str).and_then(|text| EventId::parse(text).ok());
        let event: NewEvent = serde::Deserialize::deserialize(value).map_err(|_| (id, ErrorCode::Invalid))?;
        Self::checked(event, abilities).map_err(|code| (id, code))
    }

    /// Reads and checks an item by itself.
    ///
    /// # Errors
    /// `invalid` for a bad form, else as [`EventContent::parse`]; `unsupported` if it needs other abilities.
    pub fn parse(value: &Value, abilities: &Abilities) -> Result<Self, ErrorCode> {
        Self::read(value, abilities).map_err(|(_, code)| code)
    }

    /// Checks the content of an event that needs no ability.
    ///
    /// # Errors
    /// As [`EventContent::parse`]; `unsupported` if it needs one.
    pub fn check(event: NewEvent) -> Result<Self, ErrorCode> {
        Self::checked(event, &Abilities::default())
    }

    fn checked(event: NewEvent, abilities: &Abilities) -> Result<Self, ErrorCode> {
        let content = EventContent::parse(&event.kind, event.target, &event.body)?;
        abilities.check(&content)?;
        Ok(Self {
            id: event.id,
            resubmitted: event.resubmitted == Some(true),
            hash: body_hash(&event.kind, event.target, &event.body),
            body_text: event.body.to_string(),
            written_at: event.written_at.map(|at| at.as_i64()),
            content,
        })
    }
}

/// One result each item, or why the whole could not be tried; nothing is known to be stored then.
pub type Results = Result<Vec<AckResult>, ApiError>;

/// Where a job's answer goes. It is called once: with `unavailable`, if whoever had the job is gone without an answer.
pub struct Reply(Option<Box<dyn FnOnce(Results) + Send + Sync>>);

impl Reply {
    /// It must not block: lanes call it between two commits.
    pub fn new(answer: impl FnOnce(Results) + Send + Sync + 'static) -> Self {
        Self(Some(Box::new(answer)))
    }

    pub fn give(mut self, results: Results) {
        self.answer(results);
    }

    fn answer(&mut self, results: Results) {
        if let Some(answer) = self.0.take() {
            answer(results);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.answer(Err(ApiError::Unavailable));
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reply")
    }
}

/// Events of one sender for one conversation, in order.
#[derive(Debug)]
pub struct Job {
    pub conversation: ConversationId,
    /// Who, from the token alone.
    pub sender: UserId,
    pub items: Vec<Item>,
    /// Whether the sender has stored as much as they may.
    pub is_over_quota: bool,
    pub since: Instant,
    /// Where the answer goes.
    pub reply: Reply,
}

impl Job {
    pub fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.body_text.len()).sum()
    }
}

/// What a send asks for: the items of a good form, up to the first of a bad one.
#[derive(Default)]
struct Asked {
    items: Vec<Item>,
    /// The first item of a bad form.
    refused: Option<(Option<EventId>, ErrorCode)>,
    rest: Vec<Option<EventId>>,
}

impl Asked {
    fn read(values: &[Value], abilities: &Abilities) -> Self {
        let mut asked = Self::default();
        for value in values {
            if asked.refused.is_some() {
                let id = value.get("id").and_then(Value::as_str);
                asked.rest.push(id.and_then(|text| EventId::parse(text).ok()));
                continue;
            }
            match Item::read(value, abilities) {
                Ok(item) => asked.items.push(item),
                Err(refusal) => asked.refused = Some(refusal),
            }
        }
        asked
    }
}

/// The results of all items: of those that were tried, then of the first of a bad form and those behind it.
fn completed(
    mut results: Vec<AckResult>,
    refusal: Option<(Option<EventId>, ErrorCode)>,
    rest: Vec<Option<EventId>>,
) -> Vec<AckResult> {
    let failed = results.iter().any(|one| matches!(one.status, AckStatus::Error | AckStatus::Skipped));
    if let Some((id, code)) = refusal {
        results.push(if failed { skipped(id) } else { refused(id, code) });
    }
    results.extend(rest.into_iter().map(skipped));
    results
}

/// The result of an item that was not tried.
pub fn skipped(id: Option<EventId>) -> AckResult {
    AckResult {
        status: AckStatus::Skipped,
        code: Some(ErrorCode::Skipped),
        ..refused(id, ErrorCode::Skipped)
    }
}

/// Why an item was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// What clients branch on.
    pub code: ErrorCode,
    /// When to come back, for a code that says so.
    pub retry_after_ms: Option<u64>,
}

impl From<ErrorCode> for Refusal {
    fn from(code: ErrorCode) -> Self {
        Self { code, retry_after_ms: None }
    }
}

/// The result of an item that was refused.
pub fn refused(id: Option<EventId>, refusal: impl Into<Refusal>) -> AckResult {
    let Refusal { code, retry_after_ms } = refusal.into();
    AckResult {
        id,
        status: AckStatus::Error,
        seq: None,
        ts: None,
        countable: None,
        chain: None,
        code: Some(code),
        retry_after_ms,
    }
}

/// A lane as those see it who hand jobs in.
#[derive(Debug)]
struct LaneEnd {
    queue: Arc<FairQueue>,
    pulse: Arc<Pulse>,
}

/// The lanes that write the log; a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Publisher {
    lanes: Arc<[LaneEnd]>,
    /// Keyed anew by each process, so that nobody can choose conversations that share a lane.
    hasher: Arc<RandomState>,
    /// Where logs stand by the events of other instances.
    pub hints: HeadHints,
    /// What each user may have in the log.
    pub quota: Quota,
    /// The database's lineage (S6).
    pub epoch: Epoch,
}

impl Publisher {
    /// Starts the lanes. They end, with their queues drained, some time after `shutdown`.
    pub fn start(
        config: &Config,
        pool: PgPool,
        hub: Hub,
        metrics: Metrics,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let within = config.database_within;
        let lane_pool = lanes::pool(&pool, CONNECTIONS, within);
        let connection = || LaneConnection::new(lane_pool.clone(), within);
        let quota = Quota::start(config.user_storage_bytes, pool.clone(), tasks, shutdown.clone());
        let epoch = Epoch::watch(pool, hub.clone(), tasks, shutdown.clone());
        let (announcer, announcing) = Announcer::new(hub, metrics.clone(), connection());
        tasks.spawn(announcing);
        let hints = HeadHints::default();
        let lanes = (0..LANES)
            .map(|_| {
                let end = LaneEnd { queue: Arc::default(), pulse: Arc::default() };
                let lane = Lane {
                    queue: Arc::clone(&end.queue),
                    connection: connection(),
                    announcer: announcer.clone(),
                    metrics: metrics.clone(),
                    pulse: Arc::clone(&end.pulse),
                    epoch: epoch.clone(),
                    hints: hints.clone(),
                    quota: quota.clone(),
                    adding: config.adding,
                };
                tasks.spawn(lane.run(shutdown.clone()));
                end
            })
            .collect();
        Self { lanes, hasher: Arc::default(), hints, quota, epoch }
    }

    /// For how long the lane that has waited longest has had work and committed nothing.
    pub fn stalled_for(&self) -> Duration {
        let now = Instant::now();
        self.lanes.iter().map(|lane| lane.pulse.stalled_for(now)).max().unwrap_or_default()
    }

    /// Hands events in; they are numbered in the order of these calls. Waits while the lane is full. `answer` is called
    /// with one result each item in order, when they are committed or refused.
    ///
    /// # Errors
    /// `invalid` for no or too many items; `answer` is not called then.
    pub async fn send(
        &self,
        conversation: ConversationId,
        sender: UserId,
        values: &[Value],
        abilities: &Abilities,
        answer: impl FnOnce(Results) + Send + Sync + 'static,
    ) -> Result<(), ApiError> {
        if values.is_empty() || values.len() > limits::SEND_EVENTS_MAX {
            return Err(ApiError::invalid("a send has 1 to 256 events"));
        }
        let Asked { items, refused, rest } = Asked::read(values, abilities);
        let reply =
            Reply::new(move |results| answer(results.map(|results| completed(results, refused, rest))));
        if items.is_empty() {
            reply.give(Ok(Vec::new()));
        } else {
            self.enqueue(conversation, sender, items, reply).await;
        }
        Ok(())
    }

    /// Publishes checked items and waits.
    ///
    /// # Errors
    /// When the whole could not be tried: `busy` when the lane stays full, `unavailable` during shutdown, or when the
    /// database fails. Nothing is known to be stored then.
    pub async fn publish(&self, conversation: ConversationId, sender: UserId, items: Vec<Item>) -> Results {
        let (reply, answer) = oneshot::channel();
        // Whoever asked may have gone.
        let reply = Reply::new(move |results| drop(reply.send(results)));
        self.enqueue(conversation, sender, items, reply).await;
        answer.await.map_err(|_| ApiError::Unavailable)?
    }

    /// Leaves a job to its lane; one that stays full answers `busy`, one that has ended `unavailable`.
    async fn enqueue(&self, conversation: ConversationId, sender: UserId, items: Vec<Item>, reply: Reply) {
        let since = Instant::now();
        let is_over_quota = self.quota.is_used_up(sender).await;
        let job = Job { conversation, sender, items, is_over_quota, since, reply };
        let hash = self.hasher.hash_one(job.conversation);
        let lane = usize::try_from(hash % LANES as u64).unwrap_or_default();
        match self.lanes[lane].queue.push(job, ENQUEUE_WITHIN).await {
            Ok(()) => {}
            Err(Refused::Full(job)) => job.reply.give(Err(ApiError::Busy)),
            Err(Refused::Closed(job)) => job.reply.give(Err(ApiError::Unavailable)),
        }
    }
}
