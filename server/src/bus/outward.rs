//! What this instance tells: gathered from the hub's queue, as much as is there in one message to each receiver.

use super::{
    Shared,
    peers::ALIVE_EVERY,
    route::{self, Receiver},
    wire::{self, Item, MESSAGE_BYTES, Message},
};
use crate::{
    domain::batch::now_ms,
    hub::{OUTWARD_MAX, Outward, Topic},
    presence::Presence,
};
use async_nats::{Client, connection::State};
use kith_protocol::{DeviceId, UserId};
use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

/// A message that the network does not take in this time is lost.
const SENT_WITHIN: Duration = Duration::from_millis(500);
/// After the shutdown has begun, lanes go on committing for a while; this is how long they may be silent.
const LAST_WORDS_WITHIN: Duration = Duration::from_millis(500);
/// People of one message about who is there.
const EVERYBODY_PART: usize = 2_000;
/// Such messages between two signs of life: a list of any length leaves room for what happens meanwhile.
const PARTS_AT_ONCE: usize = 8;
/// Whoever is asked who is there answers after a time up to this, so that not all do at the same moment.
const TELL_WITHIN: Duration = Duration::from_millis(750);
/// And not again before this.
const TELL_PAUSE: Duration = Duration::from_secs(5);
/// An instance that has not said who is there is asked again after this.
const ASK_EVERY: Duration = Duration::from_secs(8);

/// What is told again after something was lost: markers, own state, profiles, sign-outs, newer sockets. When there is more,
/// the oldest go; clients see those facts with their next heads.
const FACTS_MAX: usize = 8_192;
/// What was said longer ago was heard, or its loss noticed.
const HEARD_AFTER: Duration = Duration::from_secs(60);

/// What a fact is about; only the newest is told again.
#[derive(Debug, PartialEq, Eq, Hash)]
enum About {
    Topic(Topic),
    Device(DeviceId),
    Pair([UserId; 2]),
}

/// Facts that only a message carries: the database does not tell that they are new.
#[derive(Debug, Default)]
struct Facts(HashMap<About, (Instant, Outward)>);

impl Facts {
    fn keep(&mut self, outward: &Outward, now: Instant) {
        let about = match outward {
            Outward::Frame { topic: Some(topic), .. } => About::Topic(*topic),
            Outward::Closed { device, .. } | Outward::Replaced { device, .. } => About::Device(*device),
            Outward::Parted { pair } => About::Pair(*pair),
            Outward::Frame { .. } | Outward::Log { .. } | Outward::Presence { .. } => return,
        };
        if self.0.len() >= FACTS_MAX {
            let mut times: Vec<Instant> = self.0.values().map(|(at, _)| *at).collect();
            let (_, middle, _) = times.select_nth_unstable(FACTS_MAX / 2);
            let middle = *middle;
            self.0.retain(|_, (at, _)| *at > middle);
        }
        self.0.insert(about, (now, outward.clone()));
    }

    fn forget_heard(&mut self, now: Instant) {
        self.0.retain(|_, (at, _)| now.saturating_duration_since(*at) < HEARD_AFTER);
    }

    fn all(&self) -> Vec<Outward> {
        self.0.values().map(|(_, outward)| outward.clone()).collect()
    }

    /// What concerns people who have come to other instances: it may have been told before this was known.
    fn of_newcomers(&self, newcomers: &HashSet<(UserId, Uuid)>) -> BTreeMap<Receiver, Vec<Outward>> {
        let mut by_user: HashMap<UserId, Vec<Uuid>> = HashMap::new();
        for (user, instance) in newcomers {
            by_user.entry(*user).or_default().push(*instance);
        }
        let mut all: BTreeMap<Receiver, Vec<Outward>> = BTreeMap::new();
        for (_, outward) in self.0.values() {
            let Outward::Frame { users, .. } = outward else { continue };
            let of = |user| by_user.get(user).into_iter().flatten().copied();
            for instance in users.iter().flat_map(of).collect::<HashSet<Uuid>>() {
                all.entry(Some(instance)).or_default().push(outward.clone());
            }
        }
        all
    }
}

/// The numbers of messages: one sequence to all instances, and one to each.
#[derive(Debug, Default)]
struct Numbers {
    /// Messages of all sequences.
    count: u64,
    all: u64,
    own: BTreeMap<Uuid, u64>,
}

impl Numbers {
    /// The number of the next message, after some that were lost. A sequence to an instance that was forgotten goes on with a
    /// number that it had not reached, so that the instance notices.
    fn next(&mut self, to: Receiver, lost: u64) -> u64 {
        let before = self.count;
        self.count += 1 + lost;
        let last = match to {
            None => &mut self.all,
            Some(to) => self.own.entry(to).or_insert(before),
        };
        *last += 1 + lost;
        *last
    }
}

/// When to say who is there: however many ask, and however often, once in [`TELL_PAUSE`].
#[derive(Debug, Default)]
struct Telling {
    due: Option<Instant>,
    last: Option<Instant>,
}

impl Telling {
    /// Somebody asks. Instances that are asked together answer apart: `share` is between 0 and 1, by chance.
    fn ask(&mut self, now: Instant, share: f64) {
        let soon = now + TELL_WITHIN.mul_f64(share);
        let due = self.last.map_or(soon, |last| soon.max(last + TELL_PAUSE));
        self.due.get_or_insert(due);
    }

    /// Whether it is time; once each time.
    fn take_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.take_if(|due| *due <= now).is_some();
        if is_due {
            self.last = Some(now);
        }
        is_due
    }
}

/// The instances that are to be asked now who is there: each once in [`ASK_EVERY`].
fn take_due(asks: &mut HashMap<Uuid, Option<Instant>>, now: Instant) -> Vec<Uuid> {
    let is_due = |at: &Option<Instant>| at.is_none_or(|at| now.saturating_duration_since(at) > ASK_EVERY);
    let due = asks.iter_mut().filter(|(_, at)| is_due(at)).map(|(id, at)| {
        *at = Some(now);
        *id
    });
    due.collect()
}

struct Speaker {
    shared: Shared,
    client: Client,
    numbers: Numbers,
    facts: Facts,
    telling: Telling,
    /// What is left of saying it.
    parts: VecDeque<Item>,
}

/// Tells the others until the shutdown, and what is committed after it.
pub(super) async fn run(shared: Shared, client: Client, mut outward: mpsc::Receiver<Outward>) {
    let shutdown = shared.state.shutdown.clone();
    let (facts, parts) = (Facts::default(), VecDeque::new());
    let numbers = Numbers::default();
    let mut speaker = Speaker { shared, client, numbers, facts, telling: Telling::default(), parts };
    let mut alive = interval(ALIVE_EVERY);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            first = outward.recv() => match first {
                Some(first) => speaker.tell(first, &mut outward).await,
                None => break,
            },
            _ = alive.tick() => speaker.alive().await,
            () = shutdown.cancelled() => break,
        }
    }
    while let Ok(Some(first)) = timeout(LAST_WORDS_WITHIN, outward.recv()).await {
        speaker.tell(first, &mut outward).await;
    }
    if timeout(SENT_WITHIN, speaker.client.flush()).await.is_err() {
        tracing::debug!("could not send the farewell");
    }
}

impl Speaker {
    /// Tells something and whatever else is in the queue.
    async fn tell(&mut self, first: Outward, outward: &mut mpsc::Receiver<Outward>) {
        let mut next = Some(first);
        let rest = std::iter::from_fn(|| next.take().or_else(|| outward.try_recv().ok()));
        let mut all: Vec<Outward> = Vec::new();
        for one in rest.take(OUTWARD_MAX) {
            self.facts.keep(&one, Instant::now());
            all.push(one);
        }
        self.say_all(all).await;
    }

    /// To those whom it concerns.
    async fn say_all(&mut self, all: Vec<Outward>) {
        let presence = &self.shared.state.presence;
        let divided = route::divide(all, &self.shared.unknown(), |users| presence.instances_of(users));
        for (to, all) in divided {
            self.say_to(to, all).await;
        }
    }

    /// In as few messages as may be.
    async fn say_to(&mut self, to: Receiver, all: Vec<Outward>) {
        let (mut items, mut bytes) = (Vec::new(), 0);
        for one in all {
            for (item, length) in wire::items(one) {
                if bytes > 0 && bytes + length > MESSAGE_BYTES {
                    self.say(to, std::mem::take(&mut items)).await;
                    bytes = 0;
                }
                bytes += length;
                items.push(item);
            }
        }
        if !items.is_empty() {
            self.say(to, items).await;
        }
    }

    /// Says that this instance lives, and who is there if somebody wants to know.
    async fn alive(&mut self) {
        let (is_connected, now) = (self.client.connection_state() == State::Connected, Instant::now());
        if self.shared.tells.swap(false, Ordering::Relaxed) {
            self.telling.ask(now, rand::random());
        }
        if is_connected && self.telling.take_due(now) {
            self.parts = everybody(&self.shared.state.presence);
            self.say_all(self.facts.all()).await;
        }
        for part in self.parts.drain(..self.parts.len().min(PARTS_AT_ONCE)).collect::<Vec<_>>() {
            self.say(None, vec![part]).await;
        }
        if is_connected {
            self.facts.forget_heard(now);
            self.tell_newcomers().await;
        }
        self.forget_gone();
        let of = take_due(&mut self.shared.asks(), now);
        let items = if of.is_empty() { Vec::new() } else { vec![Item::WhoIsThere { of }] };
        let sent = self.numbers.own.clone();
        self.send(None, items, sent).await;
    }

    /// Tells recent facts again where people have come whom they concern.
    async fn tell_newcomers(&mut self) {
        let newcomers = std::mem::take(&mut *self.shared.newcomers());
        if newcomers.is_empty() {
            return;
        }
        for (to, all) in self.facts.of_newcomers(&newcomers) {
            self.say_to(to, all).await;
        }
    }

    /// Ends the sequences to instances that have gone.
    fn forget_gone(&mut self) {
        let (presence, unknown) = (&self.shared.state.presence, self.shared.unknown());
        self.numbers.own.retain(|id, _| unknown.contains(id) || presence.knows(*id));
    }

    async fn say(&mut self, to: Receiver, items: Vec<Item>) {
        self.send(to, items, BTreeMap::new()).await;
    }

    /// Sends a message, or counts it as lost.
    async fn send(&mut self, to: Receiver, items: Vec<Item>, sent: BTreeMap<Uuid, u64>) {
        // Whom it concerned is not known: all notice, by the next sign of life at the latest.
        let relay = self.shared.state.hub.relay().filter(|_| to.is_none());
        let number = self.numbers.next(to, relay.map_or(0, |relay| relay.take_overflowed()));
        let bus = &self.shared.state.metrics.bus;
        if self.client.connection_state() != State::Connected {
            bus.message("unsent");
            return;
        }
        let incarnation = self.shared.state.publisher.epoch.word();
        let message = Message { from: self.shared.me, to, number, at: now_ms(), incarnation, sent, items };
        let bytes = wire::encode(&self.shared.state.tokens, &message);
        let subject = to.map_or_else(|| self.shared.subject.clone(), |to| self.shared.subject_of(to));
        let sending = self.client.publish(subject, bytes.into());
        let is_sent = matches!(timeout(SENT_WITHIN, sending).await, Ok(Ok(())));
        bus.message(match (is_sent, to) {
            (false, _) => "unsent",
            (true, None) => "out",
            (true, Some(_)) => "out_own",
        });
    }
}

/// Everybody who is connected here, in parts.
fn everybody(presence: &Presence) -> VecDeque<Item> {
    let (version, all) = presence.everybody_here();
    let mut parts: Vec<_> = all.chunks(EVERYBODY_PART).map(|part| part.iter().copied().collect()).collect();
    if parts.is_empty() {
        parts.push(Default::default());
    }
    let count = u32::try_from(parts.len()).unwrap_or(u32::MAX);
    (0..).zip(parts).map(|(part, users)| Item::Everybody { version, part, parts: count, users }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::{ConversationId, UserId};

    fn own(user: UserId, conversation: ConversationId, json: &str) -> Outward {
        Outward::Frame { topic: Some(Topic::Own(conversation, user)), users: vec![user], json: json.into() }
    }

    #[test]
    fn l4_whoever_asks_and_however_often_hears_who_is_there_once_in_a_while() {
        let (mut telling, now) = (Telling::default(), Instant::now());
        let mut told = Vec::new();
        for ms in (0..60_000).step_by(500) {
            let at = now + Duration::from_millis(ms);
            (0..100).for_each(|share| telling.ask(at, f64::from(share) / 100.0));
            told.extend(telling.take_due(at).then_some(at));
        }
        assert!(told[0] <= now + TELL_WITHIN, "the first answer does not wait");
        assert!(told.windows(2).all(|two| two[1] - two[0] >= TELL_PAUSE));
        let most = 60 / TELL_PAUSE.as_secs() as usize + 1;
        assert!((2..=most).contains(&told.len()), "{}", told.len());
        let (mut one, mut other) = (Telling::default(), Telling::default());
        one.ask(now, 0.0);
        other.ask(now, 0.9);
        assert!(one.take_due(now) && !other.take_due(now), "not all at the same time");
    }

    #[test]
    fn l4_an_instance_is_asked_who_is_there_once_in_a_while_until_it_has_said_so() {
        let (silent, now) = (Uuid::new_v4(), Instant::now());
        let mut asks = HashMap::from([(silent, None)]);
        let asked =
            (0..120).filter(|n| !take_due(&mut asks, now + Duration::from_millis(500) * *n).is_empty());
        let most = 60 / ASK_EVERY.as_secs() as usize + 1;
        let count = asked.count();
        assert!((2..=most).contains(&count), "{count}");
    }

    #[test]
    fn l4_of_each_fact_the_newest_is_told_again_and_what_expires_by_itself_is_not() {
        let (mut facts, now) = (Facts::default(), Instant::now());
        let (user, conversation) = (UserId::mint(), ConversationId::mint());
        facts.keep(&own(user, conversation, "1"), now);
        facts.keep(&own(user, conversation, "2"), now);
        facts.keep(&Outward::Frame { topic: None, users: vec![user], json: "typing".into() }, now);
        facts.keep(&Outward::Log { announce: Vec::new(), events: Vec::new() }, now);
        let all = facts.all();
        assert!(matches!(&all[..], [Outward::Frame { json, .. }] if &**json == "2"), "{all:?}");
        facts.forget_heard(now + HEARD_AFTER);
        assert!(facts.all().is_empty());
    }

    #[test]
    fn l4_facts_are_told_again_where_people_have_come_whom_they_concern() {
        let (mut facts, now) = (Facts::default(), Instant::now());
        let ([ada, bo, cy], there) = ([UserId::mint(), UserId::mint(), UserId::mint()], Uuid::new_v4());
        for user in [ada, bo] {
            facts.keep(&own(user, ConversationId::mint(), &user.to_string()), now);
        }
        let told = facts.of_newcomers(&HashSet::from([(bo, there), (cy, there)]));
        assert_eq!(told.keys().collect::<Vec<_>>(), [&Some(there)]);
        let of_bo = |all: &Vec<Outward>| matches!(&all[..], [Outward::Frame { users, .. }] if users == &[bo]);
        assert!(told.values().all(of_bo), "{told:?}");
    }

    #[test]
    fn l4_a_sequence_that_is_begun_again_does_not_look_like_the_one_before() {
        let (mut numbers, one) = (Numbers::default(), Uuid::new_v4());
        assert_eq!([numbers.next(None, 0), numbers.next(None, 2)], [1, 4]);
        let first = numbers.next(Some(one), 0);
        let last = numbers.next(Some(one), 0);
        assert_eq!(last, first + 1);
        numbers.own.clear();
        numbers.next(None, 0);
        assert!(numbers.next(Some(one), 0) > last + 1, "the instance notices that something is missing");
    }

    #[test]
    fn l4_of_too_many_facts_the_older_half_goes() {
        let (mut facts, now) = (Facts::default(), Instant::now());
        let user = UserId::mint();
        for at in 0..=FACTS_MAX as u64 {
            facts.keep(&own(user, ConversationId::mint(), ""), now + Duration::from_millis(at));
            assert!(facts.0.len() <= FACTS_MAX);
        }
        let oldest = facts.0.values().map(|(at, _)| *at).min().unwrap();
        assert!(oldest > now + Duration::from_millis(FACTS_MAX as u64 / 2));
    }
}
