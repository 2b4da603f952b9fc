//! A made-up history, the same for everybody and in each run: conversations of uneven size, texts of 80 to 200 bytes of
//! 20,000 words, of which few are frequent and most are rare.

use kith_protocol::{
    Chain, ConversationId, Event, EventId, Seq, TimestampMs, UserId,
    api::Profile,
    event::Role,
    frame::{ConversationKind, HeadsItem, HeadsMember, OwnState},
};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

/// Messages of one transaction.
const BATCH: usize = 500;
/// Messages that come of one conversation at a time, at most: a page.
const RUN: usize = 50;
const WORDS: usize = 20_000;
const PEOPLE: usize = 200;
/// Members of a group, oneself included.
const MEMBERS: usize = 5;
/// Every so many-th conversation has unread messages.
const UNREAD_EVERY: usize = 20;
const UNREAD: u64 = 10;
/// The first message's time, ms, and what lies between two.
const BEGAN: u64 = 1_700_000_000_000;
const STEP: u64 = 60_000;

/// Messages of one conversation that follow each other.
#[derive(Debug, Clone)]
pub struct Run {
    pub conversation: ConversationId,
    pub chain_before: Chain,
    pub events: Vec<Event>,
}

/// What is stored in one transaction.
#[derive(Debug, Clone)]
pub struct Batch {
    pub runs: Vec<Run>,
}

impl Batch {
    pub fn len(&self) -> usize {
        self.runs.iter().map(|run| run.events.len()).sum()
    }
}

struct Conversation {
    id: ConversationId,
    members: Vec<UserId>,
    head: Seq,
    chain: Chain,
    last_ts: u64,
    /// The last message's text.
    last: String,
}

pub struct History {
    pub me: Profile,
    people: Vec<Profile>,
    conversations: Vec<Conversation>,
    words: Vec<String>,
    dice: StdRng,
    made: usize,
    wanted: usize,
}

impl History {
    pub fn new(conversations: usize, messages: usize) -> Self {
        let mut dice = StdRng::seed_from_u64(7);
        let me = person(0);
        let people: Vec<_> = (1..=PEOPLE).map(person).collect();
        let words = words(&mut dice);
        let conversations: Vec<_> =
            (0..conversations).map(|number| conversation(&mut dice, &me, &people, number)).collect();
        Self { me, people, conversations, words, dice, made: 0, wanted: messages }
    }

    pub fn left(&self) -> usize {
        self.wanted - self.made
    }

    pub fn profiles(&self) -> Vec<Profile> {
        self.people.iter().chain([&self.me]).cloned().collect()
    }

    /// Where every conversation stands; nothing is read before the end, and nearly everything then.
    pub fn heads(&self, is_read: bool) -> Vec<HeadsItem> {
        (0..self.conversations.len()).map(|number| self.heads_item(number, is_read)).collect()
    }

    /// The conversations, with their last message's text, that with the newest first.
    pub fn list(&self) -> Vec<(ConversationId, &str)> {
        let mut list: Vec<_> = self.conversations.iter().collect();
        list.sort_by_key(|one| std::cmp::Reverse((one.last_ts, one.id)));
        list.into_iter().map(|one| (one.id, one.last.as_str())).collect()
    }

    /// Unread messages in all.
    pub fn unread(&self) -> u64 {
        let unread = |(number, one): (usize, &Conversation)| one.head.0 - read(number, one).0;
        self.conversations.iter().enumerate().map(unread).sum()
    }

    /// The word of a rank; low ranks are frequent.
    pub fn word(&self, rank: usize) -> &str {
        &self.words[rank.min(WORDS - 1)]
    }

    /// The next messages, in transactions.
    pub fn slice(&mut self, messages: usize) -> Vec<Batch> {
        let mut batches = Vec::new();
        let end = (self.made + messages).min(self.wanted);
        while self.made < end {
            let mut runs = Vec::new();
            let until = (self.made + BATCH).min(end);
            while self.made < until {
                let length = self.dice.random_range(1..=RUN).min(until - self.made);
                runs.push(self.run(length));
            }
            batches.push(Batch { runs });
        }
        batches
    }

    fn run(&mut self, length: usize) -> Run {
        // The first fifth gets four times what it would get by chance.
        let all = self.conversations.len();
        let within = if self.dice.random_bool(0.75) { all.div_ceil(5) } else { all };
        let number = self.dice.random_range(0..within);
        // Every conversation has something.
        let number = if self.made < all { self.made } else { number };
        let length = if self.made < all { 1 } else { length };
        let chain_before = self.conversations[number].chain;
        let events = (0..length).map(|_| self.event(number)).collect();
        Run { conversation: self.conversations[number].id, chain_before, events }
    }

    fn event(&mut self, number: usize) -> Event {
        let text = self.text();
        let ts = BEGAN + self.made as u64 * STEP;
        self.made += 1;
        let id = uuid::Builder::from_unix_timestamp_millis(ts, &self.dice.random::<[u8; 10]>());
        let id = EventId::from_uuid(id.into_uuid());
        let conversation = &mut self.conversations[number];
        let sender = conversation.members[self.dice.random_range(0..conversation.members.len())];
        conversation.chain = conversation.chain.then(conversation.id, conversation.head, id);
        conversation.head = conversation.head.next();
        (conversation.last_ts, conversation.last) = (ts, text.clone());
        Event {
            seq: conversation.head,
            id,
            kind: "message".to_owned(),
            sender,
            ts: TimestampMs(ts),
            written_at: Some(TimestampMs(ts - 40)),
            countable: conversation.head.0,
            chain: conversation.chain,
            target: None,
            body: Some(serde_json::json!({ "text": text })),
            redacted: false,
        }
    }

    fn text(&mut self) -> String {
        let length = self.dice.random_range(80..=200);
        let mut text = String::with_capacity(length + 12);
        while text.len() < length {
            if !text.is_empty() {
                text.push(' ');
            }
            // As in a language: half of all words are among the first two hundred.
            let rank = (WORDS as f64).powf(self.dice.random::<f64>().powf(0.85)) as usize;
            text.push_str(&self.words[rank.min(WORDS - 1)]);
        }
        // No longer than a line of the list.
        text.truncate(length);
        text.truncate(text.trim_end().len());
        text
    }

    fn heads_item(&self, number: usize, is_read: bool) -> HeadsItem {
        let one = &self.conversations[number];
        let member = |&user: &UserId| HeadsMember { user, role: Role::Member, profile_version: 1 };
        let is_group = one.members.len() > 2;
        let read = if is_read { read(number, one) } else { Seq::ZERO };
        HeadsItem {
            own: OwnState {
                conversation: one.id,
                unread: one.head.0 - read.0,
                read,
                delivered: read,
                unread_flag: false,
                mute: TimestampMs(0),
                pin: false,
                archive: false,
                hidden: false,
                draft: None,
                version: 1,
            },
            kind: if is_group { ConversationKind::Group } else { ConversationKind::Direct },
            head: one.head,
            chain: one.chain,
            countable: one.head.0,
            last_ts: TimestampMs(one.last_ts),
            floor: Seq(1),
            visible: vec![(Seq(1), None)],
            members: Some(one.members.iter().map(member).collect()),
            member_count: one.members.len() as u32,
            title: is_group.then(|| format!("Group {number}")),
            context: None,
        }
    }
}

fn read(number: usize, one: &Conversation) -> Seq {
    if number % UNREAD_EVERY == 1 { Seq(one.head.0.saturating_sub(UNREAD)) } else { one.head }
}

fn person(number: usize) -> Profile {
    Profile {
        id: UserId::from_uuid(uuid::Uuid::from_u128(
            0x018f_0000_0000_7000_8000_0000_0000_0000 + number as u128,
        )),
        username: format!("person{number}"),
        display_name: format!("Person {number}"),
        role: None,
        avatar: None,
        email: None,
        show_presence: None,
        version: 1,
    }
}

fn conversation(dice: &mut StdRng, me: &Profile, people: &[Profile], number: usize) -> Conversation {
    let mut members = vec![me.id];
    // The first ones are direct, one with each person; the rest are groups.
    let id = match people.get(number) {
        Some(peer) => {
            members.push(peer.id);
            ConversationId::direct(me.id, peer.id)
        }
        None => {
            while members.len() < MEMBERS {
                let other = people[dice.random_range(0..people.len())].id;
                if !members.contains(&other) {
                    members.push(other);
                }
            }
            let id = uuid::Builder::from_unix_timestamp_millis(BEGAN, &dice.random::<[u8; 10]>());
            ConversationId::from_uuid(id.into_uuid())
        }
    };
    Conversation { id, members, head: Seq::ZERO, chain: Chain::empty(id), last_ts: 0, last: String::new() }
}

/// Words of two to ten letters that begin like each other as those of a language do.
fn words(dice: &mut StdRng) -> Vec<String> {
    const PARTS: [&str; 32] = [
        "an", "be", "ca", "de", "en", "fo", "ga", "he", "in", "jo", "ka", "le", "ma", "ne", "on", "pa",
        "qui", "re", "se", "te", "un", "va", "wo", "xe", "ya", "zo", "st", "tr", "ing", "ion", "al", "er",
    ];
    let mut known = std::collections::HashSet::new();
    let mut words = Vec::with_capacity(WORDS);
    while words.len() < WORDS {
        // Frequent words are short.
        let parts =
            1 + usize::from(words.len() > 20) + usize::from(words.len() > 300) + dice.random_range(0..2);
        let word: String = (0..parts).map(|_| PARTS[dice.random_range(0..PARTS.len())]).collect();
        if known.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}
