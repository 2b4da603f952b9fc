//! Lanes whose database fails: what is answered, and which connections are kept.

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
        let (announcer, announcing) =
            Announcer::new(hub.clone(), Metrics::default(), LaneConnection::new(other_pool.clone(), within));
        tasks.spawn(announcing);
        let (queue, pulse): (Arc<FairQueue>, Arc<Pulse>) = Default::default();
        let lane = Lane {
            queue: Arc::clone(&queue),
            connection: LaneConnection::new(pool, within),
            announcer,
            metrics: Metrics::default(),
            pulse: Arc::clone(&pulse),
            hints: HeadHints::default(),
            quota: Quota::start(None, other_pool.clone(), &tasks, shutdown.clone()),
            adding: crate::config::HourlyBudget::ADDING,
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
