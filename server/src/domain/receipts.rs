//! Receipts: delivered and read markers of many people, gathered as lanes gather messages (R1, R2).
//!
//! While one statement is on its way the next batch fills. The statement skips rows that somebody has locked; those
//! markers, and whatever is more than a marker, take the way of [`super::own`] and [`super::markers`].

use super::{heads, markers, own};
use crate::{
    db::{
        self,
        items::ItemRow,
        receipts::{ReceiptColumns, RisenRow},
    },
    error::ApiError,
    hub::Hub,
};
use kith_protocol::{
    ConversationId, Seq, ServerFrame, UserId,
    frame::{OwnState, OwnStates},
};
use sqlx::PgPool;
use std::{
    collections::{HashMap, HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// Statements that are on their way at the same time. A person's markers go through one lane.
const LANES: usize = 2;
/// Jobs that wait for a lane; whoever comes when it is full waits, at most [`ENQUEUE_WITHIN`].
const LANE_QUEUE: usize = 2_048;
/// Then the answer is `busy`.
const ENQUEUE_WITHIN: Duration = Duration::from_secs(5);
/// Markers of one statement.
pub const BATCH_MAX: usize = 128;

/// A marker that somebody moves.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    /// Where.
    pub conversation: ConversationId,
    /// Stored on some device up to here.
    pub delivered: Seq,
    /// Read up to here; 0 for not.
    pub read: Seq,
}

/// What became of a marker.
#[derive(Debug)]
pub enum Outcome {
    /// Whose it is is no active member.
    NotMember,
    /// It does not rise.
    Same,
    /// Somebody has its row locked: it takes the long way.
    Locked,
    /// It has risen, and everybody is told. With what its own state is now, if it was read.
    Risen(Option<Box<OwnStates>>),
}

/// Markers of one person, each conversation once, at most [`BATCH_MAX`].
#[derive(Debug)]
struct Job {
    user: UserId,
    /// The connection that knows already.
    connection: Option<u64>,
    receipts: Vec<Receipt>,
    reply: oneshot::Sender<Result<Vec<Outcome>, ApiError>>,
}

/// The lanes that raise markers; a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Receipts {
    lanes: Arc<[mpsc::Sender<Job>]>,
    /// Nobody can tell from outside who shares a lane.
    hasher: RandomState,
}

impl Receipts {
    /// Starts the lanes. They end, with their queues drained, after `shutdown`.
    pub fn start(pool: &PgPool, hub: &Hub, tasks: &TaskTracker, shutdown: &CancellationToken) -> Self {
        let lanes = (0..LANES).map(|_| {
            let (sender, receiver) = mpsc::channel(LANE_QUEUE);
            let lane = Lane { pool: pool.clone(), hub: hub.clone(), waiting: VecDeque::new() };
            tasks.spawn(lane.run(receiver, shutdown.clone()));
            sender
        });
        Self { lanes: lanes.collect(), hasher: RandomState::new() }
    }

    /// Raises markers of a person: at most [`BATCH_MAX`], each conversation once, and one of them read. Answers in the same
    /// order.
    ///
    /// # Errors
    /// `busy` when the lane stays full, `unavailable` during shutdown, or when the database fails.
    pub async fn raise(
        &self,
        user: UserId,
        connection: Option<u64>,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Outcome>, ApiError> {
        let lane = usize::try_from(self.hasher.hash_one(user) % LANES as u64).unwrap_or_default();
        let (reply, answer) = oneshot::channel();
        let job = Job { user, connection, receipts, reply };
        match self.lanes[lane].send_timeout(job, ENQUEUE_WITHIN).await {
            Ok(()) => answer.await.map_err(|_| ApiError::Unavailable)?,
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(ApiError::Busy),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(ApiError::Unavailable),
        }
    }
}

struct Lane {
    pool: PgPool,
    hub: Hub,
    /// What did not fit into the batch before.
    waiting: VecDeque<Job>,
}

impl Lane {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>, shutdown: CancellationToken) {
        loop {
            if self.waiting.is_empty() {
                tokio::select! {
                    biased;
                    job = jobs.recv() => match job {
                        Some(job) => self.waiting.push_back(job),
                        None => return,
                    },
                    () = shutdown.cancelled() => {
                        jobs.close();
                        continue;
                    }
                }
            }
            while self.waiting.len() < BATCH_MAX
                && let Ok(job) = jobs.try_recv()
            {
                self.waiting.push_back(job);
            }
            let batch = self.batch();
            self.serve(batch).await;
        }
    }

    /// Takes the jobs of the next statement: a person's second one waits for the first, for both may name one conversation
    /// and each read raises the person's counter.
    fn batch(&mut self) -> Vec<Job> {
        let (mut batch, mut people, mut count) = (Vec::new(), HashSet::new(), 0);
        let mut rest = VecDeque::new();
        while let Some(job) = self.waiting.pop_front() {
            let fits = count + job.receipts.len() <= BATCH_MAX || batch.is_empty();
            if !people.insert(job.user) || !fits {
                rest.push_back(job);
                continue;
            }
            count += job.receipts.len();
            batch.push(job);
        }
        self.waiting = rest;
        batch
    }

    async fn serve(&self, batch: Vec<Job>) {
        match self.commit(&batch).await {
            Ok(outcomes) => {
                for (job, outcomes) in batch.into_iter().zip(outcomes) {
                    // Whoever asked may have gone.
                    let _ = job.reply.send(Ok(outcomes));
                }
            }
            Err(error) => {
                let error = ApiError::from(error);
                for job in batch {
                    let _ = job.reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// Raises the markers of a batch and tells of them.
    async fn commit(&self, batch: &[Job]) -> Result<Vec<Vec<Outcome>>, sqlx::Error> {
        let mut columns = ReceiptColumns::default();
        for job in batch {
            for receipt in &job.receipts {
                columns.users.push(job.user.as_uuid());
                columns.conversations.push(receipt.conversation.as_uuid());
                columns.delivered.push(receipt.delivered.as_i64());
                columns.read.push(receipt.read.as_i64());
            }
        }
        let mut conn = self.pool.acquire().await?;
        let rows = db::receipts::raise(&mut conn, &columns).await?;
        let mut found: HashMap<(Uuid, Uuid), (bool, Option<RisenRow>)> = rows
            .into_iter()
            .map(|row| ((row.user_id, row.conversation_id), (row.rises, row.risen.map(|json| json.0))))
            .collect();
        let behind = found.iter().filter_map(|((user, _), (_, risen))| {
            let risen = risen.as_ref().filter(|risen| risen.reads && risen.read_seq < risen.head)?;
            Some((*user, risen.key, risen.read_seq, risen.head))
        });
        let behind: Vec<_> = behind.collect();
        let unread = db::unread::count_each(&mut conn, &behind).await?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for job in batch {
            let mut of_job = Vec::with_capacity(job.receipts.len());
            for receipt in &job.receipts {
                let outcome = match found.remove(&(job.user.as_uuid(), receipt.conversation.as_uuid())) {
                    None => Outcome::NotMember,
                    Some((false, _)) => Outcome::Same,
                    Some((true, None)) => Outcome::Locked,
                    Some((true, Some(risen))) => {
                        let unread =
                            unread.get(&(job.user.as_uuid(), risen.key)).copied().unwrap_or_default();
                        let conn = &mut *conn;
                        Outcome::Risen(self.tell(conn, job, receipt.conversation, risen, unread).await)
                    }
                };
                of_job.push(outcome);
            }
            outcomes.push(of_job);
        }
        Ok(outcomes)
    }

    /// Tells the others of a marker, and the person's other connections of the own state.
    async fn tell(
        &self,
        conn: &mut sqlx::PgConnection,
        job: &Job,
        conversation: ConversationId,
        risen: RisenRow,
        unread: i64,
    ) -> Option<Box<OwnStates>> {
        let marker = (job.user, Seq::from_i64(risen.delivered_seq), Seq::from_i64(risen.read_seq));
        match risen.peer {
            Some(peer) => markers::push(&self.hub, conversation, marker, vec![UserId::from_uuid(peer)]),
            None => {
                // It is written; whoever is not told now sees it with the next heads or markers.
                if let Err(error) = markers::tell(&self.hub, conn, conversation, marker).await {
                    tracing::warn!(%error, "could not tell a marker");
                }
            }
        }
        risen.reads.then(|| {
            let own = own_of(conversation, &risen, unread);
            let states = OwnStates { reply_to: None, user_seq: own.version, items: vec![own] };
            let frame: Arc<str> = ServerFrame::OwnState(states.clone()).encode().into();
            own::push(&self.hub, job.user, conversation, &frame, job.connection);
            Box::new(states)
        })
    }
}

/// The own state as it goes out.
fn own_of(conversation: ConversationId, risen: &RisenRow, unread: i64) -> OwnState {
    let row = ItemRow {
        key: risen.key,
        id: conversation.as_uuid(),
        kind: String::new(),
        title: None,
        context: None,
        is_active: true,
        head: risen.head,
        countable: 0,
        chain: Vec::new(),
        last_ts: 0,
        read_seq: risen.read_seq,
        last_unread: None,
        delivered_seq: risen.delivered_seq,
        unread_flag: risen.unread_flag,
        mute_until: risen.mute_until,
        pin: risen.pin,
        archive: risen.archive,
        hidden_at_seq: risen.hidden_at_seq,
        draft: risen.draft.clone(),
        draft_version: risen.draft_version,
        version: risen.version,
    };
    heads::own_state(&row, unread.max(0).unsigned_abs())
}
