//! Three instances under load, while NATS is killed and comes back and one instance after the other is restarted.

use super::{Instance, Nats, member::Member, until, until_together};
use kith_protocol::{ConversationId, DeviceId, UserId};
use kith_server::{auth::Tokens, connect, testing};
use sqlx::PgPool;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use uuid::Uuid;

const INSTANCES: usize = 3;
const PEOPLE: usize = 12;
/// Messages of each person and phase.
const MESSAGES: usize = 40;
/// After its acknowledgement, with NATS or without (L4).
const PUSHED_WITHIN: Duration = Duration::from_secs(2);

async fn person(pool: &PgPool, tokens: &Tokens, number: usize) -> Member {
    let (user, device) = (UserId::mint(), DeviceId::mint());
    let name = format!("person{number}");
    sqlx::query("INSERT INTO users (id, username, display_name, password_hash) VALUES ($1, $2, $2, '')")
        .bind(user.as_uuid())
        .bind(name)
        .execute(pool)
        .await
        .unwrap();
    sqlx::query("INSERT INTO devices (id, user_id, name) VALUES ($1, $2, 'a test')")
        .bind(device.as_uuid())
        .bind(user.as_uuid())
        .execute(pool)
        .await
        .unwrap();
    Member::new(user, device, tokens.sign(user, device).unwrap())
}

/// Everything that is stored, by conversation: the ids by seq.
async fn stored(pool: &PgPool) -> BTreeMap<Uuid, BTreeMap<u64, String>> {
    let rows: Vec<(Uuid, i64, Uuid)> = sqlx::query_as(
        "SELECT c.id, e.seq, e.id FROM events e JOIN conversations c ON c.key = e.conversation_key",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut logs: BTreeMap<Uuid, BTreeMap<u64, String>> = BTreeMap::new();
    for (conversation, seq, id) in rows {
        logs.entry(conversation).or_default().insert(seq.unsigned_abs(), id.to_string());
    }
    logs
}

struct Crowd {
    people: Vec<Member>,
    pairs: Vec<(usize, usize, ConversationId)>,
    group: ConversationId,
}

impl Crowd {
    /// Neighbours sit at different instances, and all are in a group.
    async fn gather(pool: &PgPool, instance: &Instance) -> Self {
        let tokens = Tokens::load(pool, Duration::from_secs(600), None).await.unwrap();
        let mut people = Vec::new();
        for number in 0..PEOPLE {
            people.push(person(pool, &tokens, number).await);
        }
        let http = reqwest::Client::new();
        let open = async |who: usize, body: serde_json::Value| {
            let url = format!("http://{}/v1/conversations", instance.address);
            let answer = http.post(url).bearer_auth(&people[who].token).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), 201);
            let item: serde_json::Value = answer.json().await.unwrap();
            ConversationId::parse(item["conversation"].as_str().unwrap()).unwrap()
        };
        let mut pairs = Vec::new();
        for (a, b) in (0..PEOPLE).step_by(2).map(|at| (at, at + 1)) {
            let body = serde_json::json!({"kind": "direct", "members": [people[b].user]});
            pairs.push((a, b, open(a, body).await));
        }
        let everybody: Vec<UserId> = people.iter().map(|one| one.user).collect();
        let group = serde_json::json!({"kind": "group", "members": everybody, "title": "all"});
        let group = open(0, group).await;
        Self { people, pairs, group }
    }

    /// Everybody has something to say.
    fn write(&self, phase: &str) {
        for at in 0..MESSAGES {
            for (a, b, pair) in &self.pairs {
                self.people[*a].write(*pair, &format!("{phase} {at}"));
                self.people[*b].write(*pair, &format!("{phase} {at}, answered"));
            }
            self.people[at % PEOPLE].write(self.group, &format!("{phase} {at}, to all"));
        }
    }

    /// All has been acknowledged, and is everywhere in the same order, each once.
    async fn judge(&self, pool: &PgPool, phase: &str) {
        until(&format!("{phase}: all is acknowledged"), async || self.people.iter().all(Member::is_done))
            .await;
        let began = Instant::now();
        let logs = stored(pool).await;
        let acknowledged: usize = self.people.iter().map(|one| one.seen().acknowledged.len()).sum();
        assert_eq!(logs.values().map(BTreeMap::len).sum::<usize>(), acknowledged, "stored as acknowledged");
        for (at, person) in self.people.iter().enumerate() {
            let (_, _, pair) = self.pairs[at / 2];
            for conversation in [pair, self.group] {
                let log = &logs[&conversation.as_uuid()];
                assert!(log.keys().copied().eq(1..=log.len() as u64), "dense");
                until(&format!("{phase}: person {at} has all {} of {conversation}", log.len()), async || {
                    person.seen().logs.get(&conversation) == Some(log)
                })
                .await;
            }
        }
        println!(
            "{phase}: everything is everywhere {} ms after the last acknowledgement",
            began.elapsed().as_millis()
        );
        let sum = |number: fn(&super::member::Seen) -> u64| -> u64 {
            self.people.iter().map(|one| number(&one.seen())).sum()
        };
        let (doubled, disordered) = (sum(|seen| seen.doubled), sum(|seen| seen.disordered));
        let (fetched, reconnects) = (sum(|seen| seen.fetched), sum(|seen| seen.reconnects));
        let lags = self.lags();
        println!(
            "{phase}: lost 0, doubled {doubled}, behind a later one {disordered}, reconnects {reconnects}, fetched \
             after them {fetched}, {} pushes after ms p50 {:.1}, p99 {:.1}, most {:.1}",
            lags.len(),
            share(&lags, 0.5),
            share(&lags, 0.99),
            share(&lags, 1.0),
        );
        assert_eq!(doubled, 0, "{phase}: pushed twice on one connection");
        assert!(lags.len() > PEOPLE * MESSAGES, "{phase}: only {} pushes were seen", lags.len());
        let late = lags.iter().filter(|lag| **lag > PUSHED_WITHIN).count();
        assert_eq!(late, 0, "{phase}: of {} pushes these came later than {PUSHED_WITHIN:?}", lags.len());
    }

    /// How long after their acknowledgement events were pushed; begins anew.
    fn lags(&self) -> Vec<Duration> {
        let mut all = Vec::new();
        for author in &self.people {
            let acknowledged = std::mem::take(&mut author.seen().acknowledged_anew);
            for (id, at) in acknowledged {
                let pushed = self.people.iter().filter_map(|one| one.seen().pushed.get(&id).copied());
                all.extend(pushed.map(|pushed| pushed.saturating_duration_since(at)));
            }
        }
        all.sort_unstable();
        all
    }
}

/// The value below which so much of them lies, in milliseconds.
fn share(sorted: &[Duration], share: f64) -> f64 {
    let index = (sorted.len() as f64 * share) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).map_or(0.0, |lag| lag.as_secs_f64() * 1_000.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l4_i1_i2_nothing_is_lost_doubled_or_moved_while_nats_and_the_instances_are_restarted() {
    let Some(mut nats) = Nats::start().await else { return };
    let database = testing::database().await.unwrap();
    let pool = connect(database.url(), 4).await.unwrap();
    let mut instances = Vec::new();
    for _ in 0..INSTANCES {
        instances.push(Instance::start(database.url(), &nats).await);
    }
    until_together(&instances).await;
    let crowd = Crowd::gather(&pool, &instances[0]).await;
    let addresses: Vec<_> = instances.iter().map(|instance| instance.address).collect();
    let mut running = JoinSet::new();
    for (at, person) in crowd.people.iter().enumerate() {
        running.spawn(person.clone().run(addresses.clone(), at));
    }
    crowd.write("all is well");
    crowd.judge(&pool, "all is well").await;
    let repaired = async |instances: &[Instance]| {
        let mut sum = 0;
        for instance in instances {
            sum += instance.metric("kith_bus_repaired_total").await;
        }
        sum
    };
    println!("repaired so far: {}", repaired(&instances).await);

    crowd.write("NATS goes");
    let half = PEOPLE * MESSAGES / 2;
    let progress = || crowd.people.iter().map(|one| one.outbox.lock().unwrap().len()).sum::<usize>();
    until("half is written", async || progress() < half).await;
    nats.kill().await;
    crowd.judge(&pool, "NATS goes").await;
    let without = repaired(&instances).await;
    assert!(without > 0, "without NATS events were read from the database");
    println!("repaired so far: {without}");

    crowd.write("NATS comes back");
    until("half is written", async || progress() < half).await;
    nats.up().await;
    crowd.judge(&pool, "NATS comes back").await;
    until_together(&instances).await;
    let before = repaired(&instances).await;
    crowd.write("all is well again");
    crowd.judge(&pool, "all is well again").await;
    println!("repaired so far: {before} + {}", repaired(&instances).await - before);

    crowd.write("instances are restarted");
    for instance in &mut instances {
        instance.restart().await;
    }
    crowd.judge(&pool, "instances are restarted").await;
    until_together(&instances).await;
    assert!(crowd.people.iter().any(|one| one.seen().reconnects > 0), "somebody had to move");
    running.shutdown().await;
}
