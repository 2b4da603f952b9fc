//! What PostgreSQL holds, and what follows from it, counted by brute force.

use anyhow::{Context, Result, ensure};
use kith_protocol::{Chain, ConversationId, EventId, Seq, UserId};
use serde_json::Value;
use sqlx::PgPool;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub seq: i64,
    pub id: EventId,
    pub sender: UserId,
    pub kind: String,
    pub target: Option<EventId>,
    pub countable: i64,
    pub chain: Vec<u8>,
    /// `None` once redacted.
    pub body: Option<Value>,
}

impl Fact {
    pub fn text(&self) -> Option<&str> {
        self.body.as_ref()?.get("text")?.as_str()
    }
}

/// Somebody in a conversation.
#[derive(Debug, Clone)]
pub struct Membership {
    pub user: UserId,
    pub is_active: bool,
    pub read: i64,
    /// Both ends inclusive; open at the end while a member.
    pub intervals: Vec<(i64, Option<i64>)>,
}

impl Membership {
    pub fn sees(&self, seq: i64) -> bool {
        self.intervals.iter().any(|(from, to)| *from <= seq && to.is_none_or(|to| seq <= to))
    }

    /// Sees all of it.
    pub fn is_whole(&self) -> bool {
        self.intervals == [(1, None)]
    }
}

#[derive(Debug, Default)]
pub struct Log {
    pub head: i64,
    pub facts: Vec<Fact>,
    pub members: Vec<Membership>,
}

/// What a message has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub text: String,
    pub is_deleted: bool,
    pub reactions: BTreeSet<(String, UserId)>,
}

impl Log {
    /// What every message has become, from all events.
    pub fn outcomes(&self) -> BTreeMap<EventId, Outcome> {
        let mut outcomes: BTreeMap<EventId, (UserId, Outcome)> = BTreeMap::new();
        for fact in &self.facts {
            if fact.kind == "message" {
                let text = fact.text().unwrap_or_default().to_owned();
                let outcome = Outcome { text, is_deleted: fact.body.is_none(), reactions: BTreeSet::new() };
                outcomes.insert(fact.id, (fact.sender, outcome));
            }
            let Some((sender, outcome)) = fact.target.and_then(|target| outcomes.get_mut(&target)) else {
                continue;
            };
            match fact.kind.as_str() {
                "edit" if fact.sender == *sender => {
                    outcome.text = fact.text().unwrap_or_default().to_owned();
                }
                "delete" => outcome.is_deleted = true,
                "reaction" => {
                    let body = fact.body.as_ref();
                    let of = |field| body.and_then(|body| body.get(field));
                    let emoji = of("emoji").and_then(Value::as_str).unwrap_or_default().to_owned();
                    if of("on").and_then(Value::as_bool).unwrap_or_default() {
                        outcome.reactions.insert((emoji, fact.sender));
                    } else {
                        outcome.reactions.remove(&(emoji, fact.sender));
                    }
                }
                _ => {}
            }
        }
        // Of what was deleted nothing is shown.
        let shown = |outcome: Outcome| match outcome.is_deleted {
            true => Outcome { text: String::new(), reactions: BTreeSet::new(), ..outcome },
            false => outcome,
        };
        outcomes.into_iter().map(|(id, (_, outcome))| (id, shown(outcome))).collect()
    }

    /// Others' messages above the read marker that were not deleted (W7).
    pub fn unread(&self, member: &Membership) -> usize {
        let counts = |fact: &&Fact| {
            fact.kind == "message"
                && fact.sender != member.user
                && fact.seq > member.read
                && fact.body.is_some()
        };
        self.facts.iter().filter(|fact| member.sees(fact.seq)).filter(counts).count()
    }

    /// I2: no hole, no repeat, a count that is right, a chain that is.
    pub fn check(&self, id: ConversationId) -> Result<()> {
        let (mut chain, mut countable) = (Chain::empty(id), 0);
        for (fact, seq) in self.facts.iter().zip(1..) {
            ensure!(fact.seq == seq, "{id}: {} stands where {seq} is due", fact.seq);
            chain = chain.then(id, Seq::from_i64(seq - 1), fact.id);
            ensure!(chain.as_bytes()[..] == fact.chain[..], "{id}: the chain breaks at {seq}");
            countable += i64::from(fact.kind == "message");
            ensure!(
                fact.countable == countable,
                "{id}: {} messages at {seq}, not {countable}",
                fact.countable
            );
        }
        let last = self.facts.last().map_or(0, |fact| fact.seq);
        ensure!(self.head == last, "{id}: the head is {}, the last event {last}", self.head);
        Ok(())
    }
}

type EventColumns = (Uuid, i64, Uuid, Uuid, String, Option<Uuid>, i64, Vec<u8>, Option<String>);
type MemberColumns = (Uuid, Uuid, bool, i64, Vec<i64>, Vec<Option<i64>>);

pub async fn read(database: &str) -> Result<BTreeMap<ConversationId, Log>> {
    let pool = PgPool::connect(database).await?;
    let mut logs: BTreeMap<ConversationId, Log> = BTreeMap::new();
    let heads: Vec<(Uuid, i64)> =
        sqlx::query_as("SELECT conversation_id, head FROM conversation_head").fetch_all(&pool).await?;
    for (id, head) in heads {
        logs.insert(ConversationId::from_uuid(id), Log { head, ..Log::default() });
    }
    let events: Vec<EventColumns> = sqlx::query_as(
        "SELECT c.id, e.seq, e.id, e.sender, e.kind, e.target, e.countable, e.chain, e.body
         FROM events e JOIN conversations c ON c.key = e.conversation_key ORDER BY e.conversation_key, e.seq",
    )
    .fetch_all(&pool)
    .await?;
    for (conversation, seq, id, sender, kind, target, countable, chain, body) in events {
        let log =
            logs.get_mut(&ConversationId::from_uuid(conversation)).context("an event without a head")?;
        let body = body.map(|text| serde_json::from_str(&text)).transpose()?;
        let (id, sender, target) =
            (EventId::from_uuid(id), UserId::from_uuid(sender), target.map(EventId::from_uuid));
        log.facts.push(Fact { seq, id, sender, kind, target, countable, chain, body });
    }
    let members: Vec<MemberColumns> = sqlx::query_as(
        "SELECT c.id, m.user_id, m.is_active, m.read_seq,
                array_agg(i.from_seq ORDER BY i.from_seq), array_agg(i.to_seq ORDER BY i.from_seq)
         FROM members m JOIN conversations c ON c.key = m.conversation_key
         JOIN member_intervals i USING (conversation_key, user_id) GROUP BY 1, 2, 3, 4",
    )
    .fetch_all(&pool)
    .await?;
    for (conversation, user, is_active, read, from, to) in members {
        let log =
            logs.get_mut(&ConversationId::from_uuid(conversation)).context("a member without a head")?;
        let intervals = from.into_iter().zip(to).collect();
        log.members.push(Membership { user: UserId::from_uuid(user), is_active, read, intervals });
    }
    pool.close().await;
    Ok(logs)
}
