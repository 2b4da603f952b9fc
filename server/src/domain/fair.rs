//! A lane's queue: fair among users. Each user has a queue of their own; the lane takes from them in turns by deficit
//! round robin, billed per event and per byte. So a user who sends much waits behind their own events, not everybody.

use super::publish::Job;
use kith_protocol::{UserId, limits};
use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// Jobs that wait in one lane, of all users. Users who have nothing waiting find room above it.
const JOBS_MAX: usize = 1_024;
/// Jobs of one user that wait in one lane; the connection that has another one waits for room.
const USER_JOBS_MAX: usize = 64;
/// Bytes of bodies of one user that wait in one lane. A single job may be larger.
const USER_BYTES_MAX: usize = 1024 * 1024;
/// Users with something waiting in one lane.
const USERS_MAX: usize = 16_384;
/// What an event costs beside the bytes of its body, in bytes: its share of a commit.
const EVENT_COST: usize = 1_024;
/// What a user may take each round, in bytes: about sixteen short messages, so that they share a batch.
const QUANTUM: usize = 20 * 1_024;

/// Why a job was not taken; it is handed back.
#[derive(Debug)]
pub enum Refused {
    /// There was no room in time.
    Full(Job),
    /// The lane has ended.
    Closed(Job),
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    /// What the user may still take in this round.
    deficit: usize,
    /// Whether this round's quantum has been added.
    is_served: bool,
}

#[derive(Debug, Default)]
struct State {
    users: HashMap<UserId, Waiting>,
    /// Users who had nothing waiting before. Each gets one turn before the round goes on, and then joins it.
    fresh: VecDeque<UserId>,
    /// The order in which users get their turns. One who has nothing waiting stays until the next turn, so that nobody
    /// becomes fresh again before everybody had a turn.
    round: VecDeque<UserId>,
    jobs: usize,
    is_closed: bool,
}

/// The queue of one lane.
#[derive(Debug, Default)]
pub struct FairQueue {
    state: Mutex<State>,
    pushed: Notify,
    room: Notify,
}

fn cost(job: &Job) -> usize {
    job.items.len() * EVENT_COST + job.bytes()
}

impl State {
    fn has_room(&self, user: UserId) -> bool {
        match self.users.get(&user) {
            None => self.users.len() < USERS_MAX,
            Some(own) if own.jobs.is_empty() => true,
            Some(own) => self.jobs < JOBS_MAX && own.jobs.len() < USER_JOBS_MAX && own.bytes < USER_BYTES_MAX,
        }
    }

    fn push(&mut self, job: Job) {
        let user = job.sender;
        let fresh = &mut self.fresh;
        let own = self.users.entry(user).or_insert_with(|| {
            fresh.push_back(user);
            Waiting::default()
        });
        own.bytes += job.bytes();
        own.jobs.push_back(job);
        self.jobs += 1;
    }

    /// The next batch: at most [`limits::BATCH_EVENTS_MAX`] events and [`limits::BATCH_BYTES_MAX`], but at least a job.
    fn take(&mut self) -> Vec<Job> {
        let mut batch: Vec<Job> = Vec::new();
        let (mut events, mut bytes) = (0, 0);
        loop {
            let is_fresh = !self.fresh.is_empty();
            let turns = if is_fresh { &mut self.fresh } else { &mut self.round };
            let Some(user) = turns.front().copied() else { break };
            let Some(own) = self.users.get_mut(&user).filter(|own| is_fresh || !own.jobs.is_empty()) else {
                turns.pop_front();
                self.users.remove(&user);
                continue;
            };
            if !own.is_served {
                own.deficit += QUANTUM;
                own.is_served = true;
            }
            while let Some(next) = own.jobs.front().filter(|next| cost(next) <= own.deficit) {
                events += next.items.len();
                bytes += next.bytes();
                let is_over = events > limits::BATCH_EVENTS_MAX || bytes > limits::BATCH_BYTES_MAX;
                if is_over && !batch.is_empty() {
                    // The turn goes on with the next batch.
                    return batch;
                }
                own.deficit -= cost(next);
                own.bytes -= next.bytes();
                self.jobs -= 1;
                batch.extend(own.jobs.pop_front());
            }
            own.is_served = false;
            turns.pop_front();
            self.round.push_back(user);
        }
        batch
    }
}

impl FairQueue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a job in; waits for room at most `within`.
    ///
    /// # Errors
    /// [`Refused`] with the job.
    pub async fn push(&self, job: Job, within: Duration) -> Result<(), Refused> {
        let user = job.sender;
        let mut job = Some(job);
        let pushing = async {
            loop {
                let mut room = std::pin::pin!(self.room.notified());
                room.as_mut().enable();
                {
                    let mut state = self.state();
                    if state.is_closed {
                        return false;
                    }
                    if state.has_room(user) {
                        if let Some(job) = job.take() {
                            state.push(job);
                        }
                        return true;
                    }
                }
                room.await;
            }
        };
        let pushed = timeout(within, pushing).await;
        match (pushed, job) {
            (Ok(true), _) | (_, None) => {
                self.pushed.notify_one();
                Ok(())
            }
            (Ok(false), Some(job)) => Err(Refused::Closed(job)),
            (Err(_), Some(job)) => Err(Refused::Full(job)),
        }
    }

    /// Waits for the next batch; `None` once the queue is closed and empty.
    pub async fn take(&self) -> Option<Vec<Job>> {
        loop {
            {
                let mut state = self.state();
                let batch = state.take();
                if !batch.is_empty() {
                    drop(state);
                    self.room.notify_waiters();
                    return Some(batch);
                }
                if state.is_closed {
                    return None;
                }
            }
            self.pushed.notified().await;
        }
    }

    /// Whether it takes no more jobs.
    pub fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Takes no more jobs; those that wait are still to be taken.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.room.notify_waiters();
        self.pushed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::publish::{Item, Reply};
    use kith_protocol::{ConversationId, EventId};
    use serde_json::json;
    use std::time::Instant;

    fn job(sender: UserId, events: usize, text: usize) -> Job {
        let item = || {
            let body = json!({"text": "x".repeat(text)});
            Item::parse(&json!({"id": EventId::mint(), "kind": "message", "body": body}), &Default::default())
                .unwrap()
        };
        Job {
            conversation: ConversationId::mint(),
            sender,
            items: (0..events).map(|_| item()).collect(),
            is_over_quota: false,
            since: Instant::now(),
            reply: Reply::new(drop),
        }
    }

    async fn fill(queue: &FairQueue, job: Job) -> bool {
        queue.push(job, Duration::ZERO).await.is_ok()
    }

    #[tokio::test]
    async fn w4_a_user_who_sends_much_does_not_delay_the_others() {
        let queue = FairQueue::default();
        let heavy = UserId::mint();
        let mut taken = 0;
        while fill(&queue, job(heavy, 100, 100)).await {
            taken += 1;
        }
        assert_eq!(taken, USER_JOBS_MAX, "a user fills their own queue alone");
        let light: Vec<UserId> = (0..50).map(|_| UserId::mint()).collect();
        for user in &light {
            assert!(fill(&queue, job(*user, 1, 100)).await, "others find room");
        }
        let batch = queue.take().await.unwrap();
        let of_light = batch.iter().filter(|job| job.sender != heavy).count();
        assert_eq!(of_light, light.len(), "everybody else is in the next batch");
        let mut rest = 0;
        while let Ok(Some(batch)) = timeout(Duration::ZERO, queue.take()).await {
            rest += batch.iter().filter(|job| job.sender == heavy).count();
        }
        let first = batch.iter().filter(|job| job.sender == heavy).count();
        assert_eq!(first + rest, USER_JOBS_MAX, "nothing is lost");
    }

    #[tokio::test]
    async fn w4_many_users_who_send_much_do_not_delay_whoever_begins() {
        let queue = FairQueue::default();
        let heavy: Vec<UserId> = (0..50).map(|_| UserId::mint()).collect();
        for _ in 0..40 {
            for user in &heavy {
                fill(&queue, job(*user, 1, 100)).await;
            }
        }
        let mut served = std::collections::HashSet::new();
        for number in 0..40 {
            let light = UserId::mint();
            assert!(fill(&queue, job(light, 1, 100)).await);
            let batch = queue.take().await.unwrap();
            // The heavy ones began as well, and have had a first turn by then.
            let is_first_turn = number < 8;
            assert!(is_first_turn || batch.iter().any(|job| job.sender == light), "in the next batch");
            served.extend(batch.iter().map(|job| job.sender));
            for job in batch.into_iter().filter(|job| heavy.contains(&job.sender)) {
                fill(&queue, job).await;
            }
        }
        assert!(heavy.iter().all(|user| served.contains(user)), "nobody is starved by those who begin");
    }

    #[tokio::test]
    async fn w4_events_and_bytes_are_billed_and_order_is_kept() {
        let queue = FairQueue::default();
        let (few, large) = (UserId::mint(), UserId::mint());
        for _ in 0..40 {
            assert!(fill(&queue, job(large, 1, 15_000)).await);
            assert!(fill(&queue, job(few, 1, 10)).await);
        }
        let sent: Vec<EventId> = queue.state().users[&few].jobs.iter().map(|job| job.items[0].id).collect();
        let batch = queue.take().await.unwrap();
        let place = |user: UserId, count: usize| {
            batch.iter().enumerate().filter(|(_, job)| job.sender == user).nth(count).map(|(at, _)| at)
        };
        assert!(place(few, 9) < place(large, 1), "ten small ones cost less than two large ones");
        let of_few: Vec<EventId> =
            batch.iter().filter(|job| job.sender == few).map(|job| job.items[0].id).collect();
        assert_eq!(of_few[..], sent[..of_few.len()]);
    }

    #[tokio::test]
    async fn w4_a_batch_has_its_limits_and_a_closed_queue_is_drained() {
        let queue = FairQueue::default();
        for _ in 0..10 {
            assert!(fill(&queue, job(UserId::mint(), 60, 10)).await);
        }
        queue.close();
        assert!(matches!(
            queue.push(job(UserId::mint(), 1, 1), Duration::ZERO).await,
            Err(Refused::Closed(_))
        ));
        let mut events = Vec::new();
        while let Some(batch) = queue.take().await {
            events.push(batch.iter().map(|job| job.items.len()).sum::<usize>());
        }
        assert_eq!(events, [240, 240, 120]);
    }

    #[tokio::test]
    async fn w4_whoever_waits_for_room_gets_it_when_the_lane_takes() {
        let queue = std::sync::Arc::new(FairQueue::default());
        let user = UserId::mint();
        while fill(&queue, job(user, 1, 10)).await {}
        let waiting = queue.push(job(user, 1, 10), Duration::from_secs(20));
        let taking = async {
            tokio::task::yield_now().await;
            queue.take().await.map(|batch| batch.len())
        };
        let (pushed, taken) = tokio::join!(waiting, taking);
        assert!(pushed.is_ok() && taken == Some(USER_JOBS_MAX));
    }
}
