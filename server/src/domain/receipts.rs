//! Receipts: delivered and read markers of many people, gathered as lanes gather messages (R1, R2).
//!
//! A batch fills for a moment, and while a statement is on its way. What a person's connections say of one conversation
//! becomes one marker: whoever reads a message says that it was delivered, too. The statement skips rows that somebody has locked; those
//! markers, and whatever is more than a marker, take the way of [`super::own`] and [`super::markers`].

use super::{heads, markers, own};
use crate::{
    db::{
        self,
        items::ItemRow,
        lanes::within,
        receipts::{ReceiptColumns, RisenRow},
    },
    error::ApiError,
    hub::Hub,
};
use futures_util::FutureExt;
use kith_protocol::{
    ConversationId, Seq, ServerFrame, UserId,
    frame::{OwnState, OwnStates},
};
use sqlx::PgPool;
use std::{
    collections::{BTreeMap, HashMap, VecDeque, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// Statements that are on their way at the same time. A person's markers go through one lane.
const LANES: usize = 2;
/// Jobs that wait for a lane; whoever comes when it is full waits, at most [`ENQUEUE_WITHIN`].
const LANE_QUEUE: usize = 2_048;
/// Jobs of one person that are not answered. A person's devices have one or two each.
const USER_JOBS_MAX: usize = 32;
/// Then the answer is `busy`.
const ENQUEUE_WITHIN: Duration = Duration::from_secs(5);
/// How long a batch fills after its first marker: nobody sees the difference, and the statements are fewer.
const GATHER: Duration = Duration::from_millis(10);
/// Markers of one statement.
pub const BATCH_MAX: usize = 128;

/// A marker that somebody moves.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
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
    /// Somebody has its row locked: it takes the slow path.
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
    /// Jobs of each person that are not answered.
    open: Arc<Mutex<HashMap<UserId, usize>>>,
    /// Nobody can tell from outside who shares a lane.
    hasher: RandomState,
}

impl Receipts {
    /// Starts the lanes, each of which waits for the database at most `limit`. They end, with their queues drained, after
    /// `shutdown`.
    pub fn start(
        pool: &PgPool,
        limit: Duration,
        hub: &Hub,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> Self {
        let lanes = (0..LANES).map(|_| {
            let (sender, receiver) = mpsc::channel(LANE_QUEUE);
            let lane = Lane { pool: pool.clone(), limit, hub: hub.clone(), waiting: Waiting::default() };
            tasks.spawn(lane.run(receiver, shutdown.clone()));
            sender
        });
        Self { lanes: lanes.collect(), open: Arc::default(), hasher: RandomState::new() }
    }

    /// A place for one more job of a person.
    fn open(&self, user: UserId) -> Result<Open, ApiError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.entry(user).or_default();
        if *own >= USER_JOBS_MAX {
            return Err(ApiError::Busy);
        }
        *own += 1;
        Ok(Open { user, all: Arc::clone(&self.open) })
    }

    /// Raises markers of a person: at most [`BATCH_MAX`], each conversation once, and one of them read. Answers in the same
    /// order.
    ///
    /// # Errors
    /// `busy` when the lane stays full or the person has [`USER_JOBS_MAX`] jobs there, `unavailable` during shutdown, or when
    /// the database fails.
    pub async fn raise(
        &self,
        user: UserId,
        connection: Option<u64>,
        receipts: Vec<Receipt>,
    ) -> Result<Vec<Outcome>, ApiError> {
        let _open = self.open(user)?;
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

/// A job that is not answered, until it is dropped.
struct Open {
    user: UserId,
    all: Arc<Mutex<HashMap<UserId, usize>>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut own) = all.entry(self.user) {
            *own.get_mut() -= 1;
            if *own.get() == 0 {
                own.remove();
            }
        }
    }
}

/// Jobs that wait for a statement, of each person in order; people take turns.
#[derive(Default)]
struct Waiting {
    jobs: HashMap<UserId, VecDeque<Job>>,
    /// Everybody who has jobs here, once.
    round: VecDeque<UserId>,
    /// Of all jobs together.
    markers: usize,
}

impl Waiting {
    fn push(&mut self, job: Job) {
        let own = self.jobs.entry(job.user).or_default();
        if own.is_empty() {
            self.round.push_back(job.user);
        }
        self.markers += job.receipts.len();
        own.push_back(job);
    }

    /// Takes the jobs of the next statement: a turn of each person, as far as there is room. A person's turn ends before a
    /// job that reads another conversation than those before it: each read raises the person's counter.
    fn take(&mut self) -> Vec<Job> {
        let (mut batch, mut count) = (Vec::new(), 0);
        let mut later = VecDeque::new();
        for user in std::mem::take(&mut self.round) {
            let Some(own) = self.jobs.get_mut(&user) else { continue };
            let (mut read, mut is_served) = (None, false);
            while let Some(next) = own.front() {
                let fits = batch.is_empty() || count + next.receipts.len() <= BATCH_MAX;
                let reads = next.receipts.iter().find(|it| it.read > Seq::ZERO).map(|it| it.conversation);
                if !fits || (read.is_some() && reads.is_some() && read != reads) {
                    break;
                }
                read = read.or(reads);
                count += next.receipts.len();
                is_served = true;
                batch.extend(own.pop_front());
            }
            match own.is_empty() {
                true => drop(self.jobs.remove(&user)),
                false if is_served => later.push_back(user),
                false => self.round.push_back(user),
            }
        }
        // The next statement begins with the people who found no room in this one.
        self.round.append(&mut later);
        self.markers -= count;
        batch
    }
}

/// The markers of a batch: each person and conversation once, with the most that was said of it.
fn merged(batch: &[Job]) -> BTreeMap<(Uuid, Uuid), (Seq, Seq)> {
    let mut markers: BTreeMap<(Uuid, Uuid), (Seq, Seq)> = BTreeMap::new();
    for (job, receipt) in batch.iter().flat_map(|job| job.receipts.iter().map(move |receipt| (job, receipt)))
    {
        let key = (job.user.as_uuid(), receipt.conversation.as_uuid());
        let (delivered, read) = markers.entry(key).or_default();
        (*delivered, *read) = ((*delivered).max(receipt.delivered), (*read).max(receipt.read));
    }
    markers
}

struct Lane {
    pool: PgPool,
    /// The longest that a batch waits for the database. What was raised by then and not told is seen with the next heads.
    limit: Duration,
    hub: Hub,
    waiting: Waiting,
}

impl Lane {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>, shutdown: CancellationToken) {
        loop {
            if self.waiting.round.is_empty() {
                tokio::select! {
                    biased;
                    job = jobs.recv() => match job {
                        Some(job) => self.waiting.push(job),
                        None => return,
                    },
                    () = shutdown.cancelled() => {
                        jobs.close();
                        continue;
                    }
                }
            }
            let until = Instant::now() + GATHER;
            while self.waiting.markers < BATCH_MAX
                && let Ok(Some(job)) = timeout_at(until, jobs.recv()).await
            {
                self.waiting.push(job);
            }
            let batch = self.waiting.take();
            // Jobs of a batch that panics answer `unavailable` when they are dropped; the lane serves half of all people.
            if AssertUnwindSafe(self.serve(batch)).catch_unwind().await.is_err() {
                tracing::error!("a batch of markers panicked");
            }
        }
    }

    async fn serve(&self, batch: Vec<Job>) {
        match within(self.limit, self.commit(&batch)).await {
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
        for ((user, conversation), (delivered, read)) in merged(batch) {
            columns.users.push(user);
            columns.conversations.push(conversation);
            columns.delivered.push(delivered.as_i64());
            columns.read.push(read.as_i64());
        }
        let mut conn = self.pool.acquire().await?;
        let rows = db::receipts::raise(&mut conn, &columns).await?;
        let found: HashMap<(Uuid, Uuid), (bool, Option<RisenRow>)> = rows
            .into_iter()
            .map(|row| ((row.user_id, row.conversation_id), (row.rises, row.risen.map(|json| json.0))))
            .collect();
        let behind = found.iter().filter_map(|((user, _), (_, risen))| {
            let risen = risen.as_ref().filter(|risen| risen.reads && risen.read_seq < risen.head)?;
            Some((*user, risen.key, risen.read_seq, risen.head))
        });
        let behind: Vec<_> = behind.collect();
        let unread = db::unread::count_each(&mut conn, &behind).await?;
        let mut told: HashMap<(Uuid, Uuid), Option<OwnStates>> = HashMap::new();
        // Whoever reads is answered by the own state, so these come first: nobody is told twice.
        let mut asked: Vec<(usize, Receipt)> = Vec::new();
        for (number, job) in batch.iter().enumerate() {
            asked.extend(job.receipts.iter().map(|receipt| (number, *receipt)));
        }
        asked.sort_by_key(|(_, receipt)| receipt.read == Seq::ZERO);
        for (number, receipt) in asked {
            let job = &batch[number];
            let key = (job.user.as_uuid(), receipt.conversation.as_uuid());
            let Some((true, Some(risen))) = found.get(&key) else { continue };
            if let Entry::Vacant(first) = told.entry(key) {
                let unread = unread.get(&(key.0, risen.key)).copied().unwrap_or_default();
                first.insert(self.tell(&mut conn, job, receipt.conversation, risen, unread).await);
            }
        }
        let outcome = |job: &Job, receipt: &Receipt| {
            let key = (job.user.as_uuid(), receipt.conversation.as_uuid());
            match found.get(&key) {
                None => Outcome::NotMember,
                Some((false, _)) => Outcome::Same,
                Some((true, None)) => Outcome::Locked,
                Some((true, Some(_))) => {
                    let own = told.get(&key).and_then(Option::as_ref).filter(|_| receipt.read > Seq::ZERO);
                    Outcome::Risen(own.cloned().map(Box::new))
                }
            }
        };
        Ok(batch
            .iter()
            .map(|job| job.receipts.iter().map(|receipt| outcome(job, receipt)).collect())
            .collect())
    }

    /// Tells the others of a marker, and the person's other connections of the own state.
    async fn tell(
        &self,
        conn: &mut sqlx::PgConnection,
        job: &Job,
        conversation: ConversationId,
        risen: &RisenRow,
        unread: i64,
    ) -> Option<OwnStates> {
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
            let own = own_of(conversation, risen, unread);
            let states = OwnStates { reply_to: None, user_seq: own.version, items: vec![own] };
            let frame: Arc<str> = ServerFrame::OwnState(states.clone()).encode().into();
            own::push(&self.hub, job.user, conversation, &frame, job.connection);
            states
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

#[cfg(test)]
mod tests {
    use super::*;

    fn job(user: UserId, receipts: &[(ConversationId, u64, u64)]) -> Job {
        let of = |&(conversation, delivered, read): &(ConversationId, u64, u64)| Receipt {
            conversation,
            delivered: Seq(delivered),
            read: Seq(read),
        };
        Job {
            user,
            connection: None,
            receipts: receipts.iter().map(of).collect(),
            reply: oneshot::channel().0,
        }
    }

    #[test]
    fn what_a_person_says_of_one_conversation_is_one_marker_and_a_second_read_waits() {
        let [ada, bo] = [UserId::mint(), UserId::mint()];
        let [one, two] = [ConversationId::mint(), ConversationId::mint()];
        let mut waiting = Waiting::default();
        for job in [
            job(ada, &[(one, 5, 0), (two, 2, 0)]),
            job(ada, &[(one, 0, 4)]),
            job(bo, &[(two, 0, 7)]),
            job(ada, &[(two, 0, 2)]),
            job(ada, &[(one, 9, 0)]),
        ] {
            waiting.push(job);
        }
        let first = waiting.take();
        let of = |user: UserId, conversation: ConversationId| (user.as_uuid(), conversation.as_uuid());
        let expected = [
            (of(ada, one), (Seq(5), Seq(4))),
            (of(ada, two), (Seq(2), Seq::ZERO)),
            (of(bo, two), (Seq::ZERO, Seq(7))),
        ];
        assert_eq!(merged(&first), expected.into());
        let second = waiting.take();
        let expected = [(of(ada, one), (Seq(9), Seq::ZERO)), (of(ada, two), (Seq::ZERO, Seq(2)))];
        assert_eq!(merged(&second), expected.into());
        assert!(waiting.round.is_empty() && waiting.jobs.is_empty() && waiting.markers == 0);
    }

    #[test]
    fn a_statement_has_so_many_markers_and_people_take_turns() {
        let many: Vec<_> = (0..BATCH_MAX as u64).map(|_| (ConversationId::mint(), 1, 0)).collect();
        let (heavy, mut waiting) = (UserId::mint(), Waiting::default());
        for _ in 0..3 {
            waiting.push(job(heavy, &many));
        }
        let light: Vec<UserId> = (0..50).map(|_| UserId::mint()).collect();
        for user in &light {
            waiting.push(job(*user, &[(ConversationId::mint(), 0, 1)]));
        }
        let users = |batch: Vec<Job>| batch.into_iter().map(|job| job.user).collect::<Vec<_>>();
        assert_eq!(users(waiting.take()), [heavy], "one large job goes alone");
        assert_eq!(users(waiting.take()), light, "nobody waits for a second one");
        assert_eq!((users(waiting.take()), users(waiting.take())), (vec![heavy], vec![heavy]));
        assert!(waiting.take().is_empty());
    }

    #[tokio::test]
    async fn one_person_leaves_room_in_a_lane_for_everybody_else() {
        let (sender, mut jobs) = mpsc::channel(LANE_QUEUE);
        let receipts =
            Receipts { lanes: vec![sender; LANES].into(), open: Arc::default(), hasher: RandomState::new() };
        let [heavy, light] = [UserId::mint(), UserId::mint()];
        let read =
            || vec![Receipt { conversation: ConversationId::mint(), delivered: Seq::ZERO, read: Seq(1) }];
        let asking = |user| {
            let receipts = receipts.clone();
            tokio::spawn(async move { receipts.raise(user, None, read()).await })
        };
        let mut asked: Vec<_> = (0..=USER_JOBS_MAX).map(|_| asking(heavy)).collect();
        let refused = asked.pop().unwrap().await.unwrap();
        assert!(matches!(refused, Err(ApiError::Busy)), "{refused:?}");
        let other = asking(light);
        for _ in 0..=USER_JOBS_MAX {
            jobs.recv().await.unwrap().reply.send(Ok(Vec::new())).unwrap();
        }
        other.await.unwrap().unwrap();
        for one in asked {
            one.await.unwrap().unwrap();
        }
        assert!(receipts.open.lock().unwrap().is_empty(), "what was answered counts no more");
    }
}
