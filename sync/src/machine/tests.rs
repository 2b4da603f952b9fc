//! Single rules, by name. What they are worth together, the simulation shows.

mod checking;
mod cursor;
mod delays;
mod lineage;
mod links;
mod logs;
mod offline;
mod outbox;
mod refused;
mod versions;

use super::*;
use crate::{
    Input,
    ops::{
        EntryState, LocalConversation, LocalRange, OutboxEntry, OutboxItem, OutboxOp, OutboxUpdate,
        OutboxWhat, Stored,
    },
};
use kith_protocol::{
    Chain, Event, NewEvent, Seq, ServerFrame,
    frame::{self, ConversationKind, Heads, HeadsItem, OwnState, Page, Welcome, WelcomeLimits},
};

/// A machine, the time, and a chat's log to make frames from.
struct Bench {
    machine: Machine,
    now: u64,
    me: UserId,
    peer: UserId,
}

fn conversation(n: u128) -> ConversationId {
    ConversationId::from_uuid(uuid::Uuid::from_u128(n))
}

/// The log of a conversation, all by `sender`.
fn log(conversation: ConversationId, sender: UserId, len: u64) -> Vec<Event> {
    let (mut chain, mut events) = (Chain::empty(conversation), Vec::new());
    for seq in 1..=len {
        let id = EventId::from_uuid(uuid::Uuid::from_u128(
            (conversation.as_uuid().as_u128() << 64) + u128::from(seq),
        ));
        chain = chain.then(conversation, Seq(seq - 1), id);
        events.push(Event {
            seq: Seq(seq),
            id,
            kind: "message".to_owned(),
            sender,
            ts: TimestampMs(seq),
            written_at: None,
            countable: seq,
            chain,
            target: None,
            body: Some(serde_json::json!({ "text": "x" })),
            redacted: false,
        });
    }
    events
}

fn chain_at(id: ConversationId, events: &[Event], seq: u64) -> Chain {
    if seq == 0 { Chain::empty(id) } else { events[seq as usize - 1].chain }
}

fn item(id: ConversationId, events: &[Event], last_ts: u64) -> HeadsItem {
    let head = events.len() as u64;
    HeadsItem {
        own: own(id, 0),
        kind: ConversationKind::Group,
        head: Seq(head),
        chain: chain_at(id, events, head),
        countable: head,
        last_ts: TimestampMs(last_ts),
        floor: Seq(1),
        visible: vec![(Seq(1), None)],
        members: None,
        member_count: 2,
        title: None,
        context: None,
    }
}

fn own(conversation: ConversationId, version: u64) -> OwnState {
    OwnState {
        conversation,
        unread: 0,
        read: Seq(0),
        delivered: Seq(0),
        unread_flag: false,
        mute: TimestampMs(0),
        pin: false,
        archive: false,
        hidden: false,
        draft: None,
        version,
    }
}

fn heads(items: Vec<HeadsItem>) -> Heads {
    Heads { reply_to: None, full: true, more: false, user_seq: 0, cursor: None, items, gone: Vec::new() }
}

fn page(id: ConversationId, events: &[Event], low: u64, high: u64, reply_to: Option<u64>) -> ServerFrame {
    ServerFrame::Page(Page {
        reply_to,
        conversation: id,
        chain_before: chain_at(id, events, low - 1),
        low: Seq(low),
        high: Seq(high),
        head: Seq(events.len() as u64),
        events: events[low as usize - 1..high as usize].to_vec(),
        states: BTreeMap::new(),
        as_of: Seq(events.len() as u64),
        end: true,
    })
}

/// What is stored of a conversation: `low` to `high` of its log.
fn kept(id: ConversationId, events: &[Event], low: u64, high: u64) -> LocalConversation {
    LocalConversation {
        conversation: id,
        ranges: vec![LocalRange {
            low: Seq(low),
            high: Seq(high),
            chain_before: chain_at(id, events, low - 1),
            chain_high: chain_at(id, events, high),
        }],
        head: Seq(high),
        visible: vec![(Seq(1), None)],
        last_ts: TimestampMs(1),
        delivered: Seq(high),
    }
}

fn entry(item: i64, conversation: ConversationId, what: OutboxWhat) -> OutboxEntry {
    OutboxEntry {
        item,
        conversation,
        what,
        message: None,
        bytes: 100,
        state: EntryState::Queued,
        tries: 0,
        written_at: TimestampMs(0),
    }
}

impl Bench {
    fn new(local: LocalState) -> Self {
        let (me, peer) = (UserId::mint(), UserId::mint());
        let device = DeviceId::from_uuid(uuid::Uuid::from_u128(1));
        let options =
            MachineOptions { user: me, device, app: "tests/1".to_owned(), seed: 1, pace: Pace::OF_TESTS };
        let mut bench = Self { machine: Machine::new(options, local), now: 0, me, peer };
        let actions = bench.feed(Input::Start);
        assert!(actions.contains(&Action::Connect));
        bench
    }

    fn live(local: LocalState, items: Vec<HeadsItem>) -> (Self, Vec<Action>) {
        let mut bench = Self::new(local);
        let actions = bench.handshake(heads(items));
        (bench, actions)
    }

    fn handshake(&mut self, heads: Heads) -> Vec<Action> {
        let hello = self.feed(Input::Connected);
        assert!(matches!(&hello[0], Action::Send(ClientFrame::Hello(_), Some(_))), "{hello:?}");
        let mut actions = self.frame(self.welcome(self.me));
        actions.extend(self.frame(ServerFrame::Heads(heads)));
        actions
    }

    fn welcome(&self, user: UserId) -> ServerFrame {
        ServerFrame::Welcome(Box::new(Welcome {
            reply_to: Some(self.machine.last_request),
            connection: String::new(),
            server: String::new(),
            user,
            device: self.machine.options.device,
            generation: 1,
            epoch: "e".to_owned(),
            now: TimestampMs(0),
            protocol: 1,
            capabilities: Vec::new(),
            limits: WelcomeLimits::default(),
            token_ms: 1,
        }))
    }

    fn feed(&mut self, input: Input) -> Vec<Action> {
        self.machine.handle(input, Now { mono: self.now, wall: TimestampMs(1_000_000 + self.now) })
    }

    fn frame(&mut self, frame: ServerFrame) -> Vec<Action> {
        self.feed(Input::Frame(frame))
    }

    fn events(&mut self, conversation: ConversationId, events: &[Event]) -> Vec<Action> {
        self.frame(ServerFrame::Events(frame::Events { conversation, events: events.to_vec() }))
    }

    fn after(&mut self, ms: u64) -> Vec<Action> {
        self.now += ms;
        self.feed(Input::Timer)
    }

    fn queue(&mut self, entries: Vec<OutboxEntry>) -> Vec<Action> {
        self.feed(Input::Outbox(OutboxUpdate { changed: entries, removed: Vec::new() }))
    }

    /// The store has marked these rows and answers their content.
    fn stored(&mut self, sending: Vec<OutboxItem>) -> Vec<Action> {
        self.feed(Input::Stored(Stored { sending, ..Stored::default() }))
    }
}

fn message(item: i64, conversation: ConversationId) -> OutboxItem {
    let id = EventId::from_uuid(uuid::Uuid::from_u128(0x900 + item.unsigned_abs() as u128));
    let body = serde_json::json!({ "text": "x" });
    let event =
        NewEvent { id, kind: "message".to_owned(), target: None, body, written_at: None, resubmitted: None };
    OutboxItem { item, conversation, op: OutboxOp::Event(event) }
}

/// The rows that are to be marked as leaving.
fn leaving(actions: &[Action]) -> Vec<i64> {
    let items = actions.iter().filter_map(|action| match action {
        Action::Store(StoreOp::Sending { items }) => Some(items.clone()),
        _ => None,
    });
    items.flatten().collect()
}

/// The frames that go out, with their numbers.
fn sent(actions: &[Action]) -> Vec<(&ClientFrame, Option<u64>)> {
    let frames = actions.iter().filter_map(|action| match action {
        Action::Send(frame, request) => Some((frame, *request)),
        _ => None,
    });
    frames.collect()
}

fn pulls(actions: &[Action]) -> Vec<(frame::Pull, u64)> {
    let pulls = sent(actions).into_iter().filter_map(|(frame, request)| match frame {
        ClientFrame::Pull(pull) => Some((pull.clone(), request.unwrap())),
        _ => None,
    });
    pulls.collect()
}
