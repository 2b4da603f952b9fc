//! The reference server: the rules of the log and of own state, without storage, tokens and queues.

mod answers;

use crate::sync::backoff::Jitter;
use kith_protocol::{
    Chain, ClientFrame, ConversationId, DeviceId, ErrorCode, Event, NewEvent, Seq, ServerFrame, TimestampMs,
    UserId,
    frame::{
        Ack, AckResult, AckStatus, Chains, ConversationKind, ErrorFrame, Events, Heads, HeadsItem, Hello,
        Hint, Members, Open, OwnState, Profiles, Send, Welcome, WelcomeLimits,
    },
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(crate) struct Conversation {
    kind: ConversationKind,
    pub members: BTreeSet<UserId>,
    pub log: Vec<Event>,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    user: UserId,
    device: DeviceId,
    greeted: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Server {
    pub conversations: BTreeMap<ConversationId, Conversation>,
    pub states: BTreeMap<(UserId, ConversationId), OwnState>,
    user_seqs: BTreeMap<UserId, u64>,
    connections: BTreeMap<u64, Connection>,
    /// Issued and presented (S8).
    generations: BTreeMap<DeviceId, (u64, u64)>,
    last_generation: u64,
    /// Frames that leave.
    pub out: Vec<(u64, ServerFrame)>,
    /// Whether sends may meet a failure of the server.
    pub chaos: bool,
    pub now: u64,
}

impl Server {
    pub(crate) fn connect(&mut self, connection: u64, user: UserId, device: DeviceId) {
        self.connections.insert(connection, Connection { user, device, greeted: false });
    }

    pub(crate) fn disconnect(&mut self, connection: u64) {
        self.connections.remove(&connection);
    }

    pub(crate) fn handle(
        &mut self,
        connection: u64,
        frame: ClientFrame,
        request: Option<u64>,
        rng: &mut Jitter,
    ) {
        let Some(Connection { user, device, greeted }) = self.connections.get(&connection).copied() else {
            return;
        };
        let is_hello = matches!(frame, ClientFrame::Hello(_));
        if is_hello == greeted {
            return; // repeated, or before its hello (which was lost)
        }
        let answer = match frame {
            ClientFrame::Hello(hello) => {
                self.hello(connection, user, device, &hello, request, rng);
                return;
            }
            ClientFrame::Send(send) => self.send(user, &send, rng),
            ClientFrame::Open(open) => self.open(user, &open),
            ClientFrame::Pull(pull) => self.pull(user, &pull),
            ClientFrame::State(change) => self.state(user, &change),
            ClientFrame::Delivered(delivered) => {
                for (conversation, seq) in delivered.markers {
                    let state = self.states.get_mut(&(user, conversation)).expect("a known conversation");
                    state.delivered = state.delivered.max(seq);
                }
                Ok(ack())
            }
            ClientFrame::Heads(_) => Ok(ServerFrame::Heads(self.heads(user, true))),
            ClientFrame::Probe(probe) => {
                let log = &self.conversations[&probe.conversation].log;
                let chain = |seq: &Seq| Some((*seq, log.get(seq.0.checked_sub(1)? as usize)?.chain));
                let chains = probe.seqs.iter().filter_map(chain).collect();
                let head = Seq(log.len() as u64);
                Ok(ServerFrame::Chains(Chains {
                    reply_to: None,
                    conversation: probe.conversation,
                    head,
                    chains,
                }))
            }
            ClientFrame::Members(members) => Ok(ServerFrame::Members(Members {
                reply_to: None,
                conversation: members.conversation,
                items: Vec::new(),
                next: None,
            })),
            ClientFrame::Profiles(_) => {
                Ok(ServerFrame::Profiles(Profiles { reply_to: None, items: Vec::new() }))
            }
            ClientFrame::Auth(_)
            | ClientFrame::Markers(_)
            | ClientFrame::Focus(_)
            | ClientFrame::Typing(_)
            | ClientFrame::PresenceWatch(_)
            | ClientFrame::PresenceSet(_)
            | ClientFrame::NotificationAck(_) => Ok(ack()),
        };
        if request.is_some() {
            let frame = answer.unwrap_or_else(|(code, current)| {
                let retry_after_ms = code.is_retryable().then(|| rng.up_to(3_000));
                ServerFrame::Error(ErrorFrame {
                    reply_to: None,
                    code,
                    message: String::new(),
                    retry_after_ms,
                    current,
                })
            });
            self.out.push((connection, answering(frame, request)));
        }
    }

    fn hello(
        &mut self,
        connection: u64,
        user: UserId,
        device: DeviceId,
        hello: &Hello,
        request: Option<u64>,
        rng: &mut Jitter,
    ) {
        let (issued, presented) = self.generations.get(&device).copied().unwrap_or((0, 0));
        assert!(
            hello.generation == issued || hello.generation == presented,
            "S8: generation {}",
            hello.generation
        );
        self.last_generation += 1;
        self.generations.insert(device, (self.last_generation, hello.generation));
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.greeted = true;
        }
        let welcome = Welcome {
            reply_to: request,
            connection: connection.to_string(),
            server: "model/1".to_owned(),
            user,
            device,
            generation: self.last_generation,
            epoch: "one".to_owned(),
            now: TimestampMs(self.now),
            protocol: 1,
            capabilities: Vec::new(),
            limits: WelcomeLimits::default(),
            token_ms: 600_000,
        };
        self.out.push((connection, ServerFrame::Welcome(Box::new(welcome))));
        let mut heads = self.heads(user, true);
        if heads.items.len() > 1 && rng.up_to(1) == 0 {
            let rest = heads.items.split_off(1);
            self.out.push((connection, ServerFrame::Heads(Heads { more: true, ..heads.clone() })));
            heads.items = rest;
        }
        self.out.push((connection, ServerFrame::Heads(heads)));
    }

    fn heads(&self, user: UserId, full: bool) -> Heads {
        let mine = self.conversations.iter().filter(|(_, conversation)| conversation.members.contains(&user));
        Heads {
            reply_to: None,
            full,
            more: false,
            user_seq: self.user_seqs.get(&user).copied().unwrap_or(0),
            cursor: None,
            items: mine.map(|(id, _)| self.item(user, *id)).collect(),
            gone: Vec::new(),
        }
    }

    fn item(&self, user: UserId, id: ConversationId) -> HeadsItem {
        let conversation = &self.conversations[&id];
        let last = conversation.log.last();
        HeadsItem {
            own: self.states[&(user, id)].clone(),
            kind: conversation.kind,
            head: last.map_or(Seq::ZERO, |event| event.seq),
            chain: last.map_or(Chain::empty(id), |event| event.chain),
            countable: last.map_or(0, |event| event.countable),
            last_ts: last.map_or(TimestampMs(0), |event| event.ts),
            floor: Seq(1),
            visible: vec![(Seq(1), None)],
            members: None,
            member_count: conversation.members.len() as u32,
            title: None,
            context: None,
        }
    }

    fn open(&mut self, user: UserId, open: &Open) -> Answer {
        if !self.conversations.contains_key(&open.conversation) {
            let mut members: BTreeSet<UserId> = open.members.iter().copied().collect();
            members.insert(user);
            for member in &members {
                self.states.insert((*member, open.conversation), fresh_state(open.conversation));
            }
            let conversation = Conversation { kind: open.kind, members: members.clone(), log: Vec::new() };
            self.conversations.insert(open.conversation, conversation);
            for member in members {
                let items = vec![self.item(member, open.conversation)];
                let frame = Heads { full: false, items, ..self.heads_frame(member) };
                self.push(member, &ServerFrame::Heads(frame));
            }
        }
        let items = vec![self.item(user, open.conversation)];
        Ok(ServerFrame::Heads(Heads { items, ..self.heads_frame(user) }))
    }

    fn heads_frame(&self, user: UserId) -> Heads {
        Heads { items: Vec::new(), ..self.heads(user, false) }
    }

    fn send(&mut self, user: UserId, send: &Send, rng: &mut Jitter) -> Answer {
        if self.chaos && rng.up_to(15) == 0 {
            return Err((ErrorCode::Unavailable, None));
        }
        let member = self.conversations.get(&send.conversation).is_some_and(|c| c.members.contains(&user));
        if !member {
            return Err((ErrorCode::NotMember, None));
        }
        let (mut results, mut added, mut failed) = (Vec::new(), Vec::new(), false);
        for value in &send.events {
            let event: NewEvent = serde_json::from_value(value.clone()).expect("a client writes events");
            let mut result = AckResult {
                id: Some(event.id),
                status: AckStatus::Skipped,
                seq: None,
                ts: None,
                countable: None,
                chain: None,
                code: None,
                retry_after_ms: None,
            };
            if !failed {
                match self.publish(user, send.conversation, &event, rng) {
                    Ok((event, status)) => {
                        (result.status, result.seq, result.ts) = (status, Some(event.seq), Some(event.ts));
                        if status == AckStatus::Ok {
                            added.push(event);
                        }
                    }
                    Err(code) => {
                        (result.status, result.code) = (AckStatus::Error, Some(code));
                        failed = true;
                    }
                }
            }
            results.push(result);
        }
        if let Some(last) = added.last() {
            let hint = ServerFrame::Hint(Hint { heads: vec![(send.conversation, last.seq)] });
            let events = ServerFrame::Events(Events { conversation: send.conversation, events: added });
            for member in self.conversations[&send.conversation].members.clone() {
                let slow = self.chaos && rng.up_to(15) == 0;
                self.push(member, if slow { &hint } else { &events });
            }
        }
        Ok(ServerFrame::Ack(Ack { reply_to: None, results }))
    }

    fn publish(
        &mut self,
        user: UserId,
        id: ConversationId,
        new: &NewEvent,
        rng: &mut Jitter,
    ) -> Result<(Event, AckStatus), ErrorCode> {
        let conversation = self.conversations.get_mut(&id).expect("looked up before");
        if let Some(known) = conversation.log.iter().find(|event| event.id == new.id) {
            return Ok((known.clone(), AckStatus::Duplicate));
        }
        if new.body.get("text").is_some_and(|text| text == "poison") {
            return Err(ErrorCode::Invalid);
        }
        if self.chaos && rng.up_to(20) == 0 {
            return Err(ErrorCode::Busy);
        }
        let (seq, chain, countable) = conversation
            .log
            .last()
            .map_or((Seq::ZERO, Chain::empty(id), 0), |e| (e.seq, e.chain, e.countable));
        let event = Event {
            seq: seq.next(),
            id: new.id,
            kind: new.kind.clone(),
            sender: user,
            ts: TimestampMs(self.now),
            written_at: None,
            countable: countable + u64::from(new.kind == "message"),
            chain: chain.then(id, seq, new.id),
            target: new.target,
            body: Some(new.body.clone()),
            redacted: false,
        };
        conversation.log.push(event.clone());
        Ok((event, AckStatus::Ok))
    }

    fn push(&mut self, user: UserId, frame: &ServerFrame) {
        let to = self.connections.iter().filter(|(_, one)| one.user == user && one.greeted);
        self.out.extend(to.map(|(connection, _)| (*connection, frame.clone())));
    }
}

type Answer = Result<ServerFrame, (ErrorCode, Option<Box<OwnState>>)>;

fn ack() -> ServerFrame {
    ServerFrame::Ack(Ack { reply_to: None, results: Vec::new() })
}

fn fresh_state(conversation: ConversationId) -> OwnState {
    OwnState {
        conversation,
        unread: 0,
        read: Seq::ZERO,
        delivered: Seq::ZERO,
        unread_flag: false,
        mute: TimestampMs(0),
        pin: false,
        archive: false,
        hidden: false,
        draft: None,
        version: 0,
    }
}

fn answering(mut frame: ServerFrame, request: Option<u64>) -> ServerFrame {
    match &mut frame {
        ServerFrame::Heads(f) => f.reply_to = request,
        ServerFrame::Page(f) => f.reply_to = request,
        ServerFrame::Ack(f) => f.reply_to = request,
        ServerFrame::Chains(f) => f.reply_to = request,
        ServerFrame::OwnState(f) => f.reply_to = request,
        ServerFrame::Profiles(f) => f.reply_to = request,
        ServerFrame::Members(f) => f.reply_to = request,
        ServerFrame::Error(f) => f.reply_to = request,
        other => panic!("{} answers nothing here", other.type_name()),
    }
    frame
}
