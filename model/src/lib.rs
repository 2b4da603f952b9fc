//! The reference server: the rules of the log, of membership and of own state, without storage, tokens, rates, budgets and
//! queues. It handles one frame at a time, in memory; what leaves is in [`Server::out`].
//!
//! The client's simulation talks to it. `tests/e2e/differential` plays the same frames against it and against the real
//! server and demands the same answers, so it says what the real one does, and shares no code with it but the protocol.

mod backup;
mod handshake;
mod heads;
mod members;
mod mutation;
mod open;
mod own;
mod pages;
mod publish;
mod random;
mod rights;

pub use backup::Backup;
pub use mutation::Mutation;
pub use random::Random;

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("mutants are for tests: a release is built without this feature");

use kith_protocol::{
    ClientFrame, ConversationId, DeviceId, ErrorCode, Event, EventId, Seq, ServerFrame, UserId,
    event::Role,
    frame::{Ack, Context, ConversationKind, ErrorFrame, HeadsItem, OwnState, Profiles},
    limits,
};
use std::collections::{BTreeMap, BTreeSet};

/// With chaos, one request in so many is refused for now.
const REFUSED_ONE_IN: u64 = 24;

/// The intervals of one membership, both ends inclusive (R6).
pub type Visible = Vec<(Seq, Option<Seq>)>;

/// A conversation with its log.
#[derive(Debug, Clone)]
pub struct Conversation {
    pub kind: ConversationKind,
    creator: UserId,
    /// The title that it began with.
    pub title: Option<String>,
    context: Option<Context>,
    /// Who is in it.
    pub members: BTreeMap<UserId, Role>,
    /// Of everybody who is or was a member.
    pub visible: BTreeMap<UserId, Visible>,
    /// Dense, from seq 1.
    pub log: Vec<Event>,
    /// What W3 compares.
    hashes: BTreeMap<EventId, [u8; 32]>,
}

impl Conversation {
    /// Whether a user may see an event.
    pub fn shows(&self, user: UserId, seq: Seq) -> bool {
        let within = |(from, to): &(Seq, Option<Seq>)| *from <= seq && to.is_none_or(|to| seq <= to);
        self.visible.get(&user).is_some_and(|intervals| intervals.iter().any(within))
    }

    /// Whether it is among a user's heads: a direct one without events is its creator's alone.
    pub fn is_shown_to(&self, user: UserId) -> bool {
        let has_begun = self.kind == ConversationKind::Group || !self.log.is_empty();
        self.visible.contains_key(&user) && (has_begun || self.creator == user)
    }

    /// The newest seq that a user may see.
    pub fn head_of(&self, user: UserId) -> Seq {
        let last = self.visible.get(&user).and_then(|intervals| intervals.last());
        last.map_or(Seq::ZERO, |(_, to)| to.unwrap_or(Seq(self.log.len() as u64)))
    }

    /// The event at a seq.
    fn at(&self, seq: Seq) -> Option<&Event> {
        self.log.get(usize::try_from(seq.0.checked_sub(1)?).ok()?)
    }

    fn by_id(&self, id: EventId) -> Option<&Event> {
        self.log.iter().find(|event| event.id == id)
    }
}

/// A user's own part of a conversation.
#[derive(Debug, Clone)]
pub struct Kept {
    /// As it is told, but for `unread` and `hidden`, which follow from the log.
    pub own: OwnState,
    /// How often the draft has changed.
    drafts: u64,
    /// Hidden while the head is not above this.
    hidden_at: Option<Seq>,
}

#[derive(Debug, Clone)]
struct Connection {
    user: UserId,
    device: DeviceId,
    handshake: bool,
    /// What the server offers and its `hello` lists.
    abilities: Vec<String>,
    /// An exchange neither rotates the generation nor ends an older connection.
    is_socket: bool,
}

impl Connection {
    fn new(user: UserId, device: DeviceId, is_socket: bool) -> Self {
        Self { user, device, handshake: false, abilities: Vec::new(), is_socket }
    }
}

#[derive(Debug)]
pub struct Server {
    pub conversations: BTreeMap<ConversationId, Conversation>,
    /// Of everybody who is or was a member.
    pub states: BTreeMap<(UserId, ConversationId), Kept>,
    users: BTreeSet<UserId>,
    /// Who has blocked whom. No frame changes it.
    blocks: BTreeSet<(UserId, UserId)>,
    user_seqs: BTreeMap<UserId, u64>,
    connections: BTreeMap<u64, Connection>,
    /// What is on screen, by connection.
    focus: BTreeMap<u64, BTreeSet<ConversationId>>,
    /// Issued and presented (S8).
    generations: BTreeMap<DeviceId, (u64, u64)>,
    /// The lineage of the database (S6).
    epoch: u64,
    /// What heads have told, by user and cursor (S5).
    cursors: BTreeMap<(UserId, String), Vec<HeadsItem>>,
    last_cursor: u64,
    /// Frames that leave, by connection.
    pub out: Vec<(u64, ServerFrame)>,
    /// Connections that are closed, and why.
    pub closed: Vec<(u64, u16)>,
    /// How often a device was told that it is a copy (S8).
    pub forks: u64,
    /// Where it comes from that sends meet a failure, heads come in parts and events as hints; without it nothing does.
    pub chaos: Option<Random>,
    /// Events of a page at most.
    pub page_events: usize,
    /// The optional abilities that `welcome` offers.
    pub offered: Vec<String>,
    /// Items of an answered `heads` frame at most; longer answers come in parts.
    pub heads_items: usize,
    pub now: u64,
    /// The fault that is in.
    #[cfg(feature = "mutants")]
    pub mutation: Option<Mutation>,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            conversations: BTreeMap::new(),
            states: BTreeMap::new(),
            users: BTreeSet::new(),
            blocks: BTreeSet::new(),
            user_seqs: BTreeMap::new(),
            connections: BTreeMap::new(),
            focus: BTreeMap::new(),
            generations: BTreeMap::new(),
            epoch: 0,
            cursors: BTreeMap::new(),
            last_cursor: 0,
            out: Vec::new(),
            closed: Vec::new(),
            forks: 0,
            chaos: None,
            page_events: limits::PAGE_EVENTS_MAX,
            offered: Vec::new(),
            heads_items: usize::MAX,
            now: 0,
            #[cfg(feature = "mutants")]
            mutation: None,
        }
    }
}

impl Server {
    /// Somebody makes an account.
    pub fn sign_up(&mut self, user: UserId) {
        self.users.insert(user);
    }

    pub fn connect(&mut self, connection: u64, user: UserId, device: DeviceId) {
        self.connections.insert(connection, Connection::new(user, device, true));
    }

    /// The short connection of an exchange (S12).
    pub fn connect_exchange(&mut self, connection: u64, user: UserId, device: DeviceId) {
        self.connections.insert(connection, Connection::new(user, device, false));
    }

    /// A connection has gone.
    pub fn disconnect(&mut self, connection: u64) {
        self.connections.remove(&connection);
        self.focus.remove(&connection);
    }

    /// Whose connection it is.
    pub fn user_of(&self, connection: u64) -> Option<UserId> {
        self.connections.get(&connection).map(|one| one.user)
    }

    /// Takes a frame. The answer, and what others are told, is in [`Self::out`].
    pub fn handle(&mut self, connection: u64, frame: ClientFrame, request: Option<u64>) {
        let Some(&Connection { user, device, handshake, .. }) = self.connections.get(&connection) else {
            return;
        };
        let is_hello = matches!(frame, ClientFrame::Hello(_));
        if is_hello == handshake {
            return; // repeated, or before its hello (which was lost)
        }
        if let ClientFrame::Hello(hello) = frame {
            return self.hello(connection, (user, device), &hello, request);
        }
        let answer = match self.refusal(&frame, request) {
            Some(code) => Err(code.into()),
            None => self.answer(connection, user, frame),
        };
        if request.is_some() {
            let frame = answer.unwrap_or_else(|refused| self.error(refused));
            for part in self.parts(frame) {
                self.out.push((connection, answering(part, request)));
            }
        }
    }

    fn abilities_of(&self, connection: u64) -> Vec<String> {
        self.connections.get(&connection).map(|one| one.abilities.clone()).unwrap_or_default()
    }

    fn answer(&mut self, connection: u64, user: UserId, frame: ClientFrame) -> Answer {
        match frame {
            ClientFrame::Send(send) => self.send(user, &send, &self.abilities_of(connection)),
            ClientFrame::Open(open) => self.open(user, &open, &self.abilities_of(connection)),
            ClientFrame::Pull(pull) => self.pull(user, &pull),
            ClientFrame::Probe(probe) => self.probe(user, &probe),
            ClientFrame::State(change) => self.state(connection, user, &change),
            ClientFrame::Delivered(delivered) => self.delivered(user, &delivered.markers),
            ClientFrame::Heads(_) => Ok(ServerFrame::Heads(self.heads(user))),
            ClientFrame::Members(asked) => self.members(user, &asked),
            ClientFrame::Markers(asked) => self.markers(user, asked.conversation),
            ClientFrame::Focus(focus) => self.focus(connection, user, &focus.conversations),
            ClientFrame::Typing(typing) => self.typing(user, &typing),
            ClientFrame::Profiles(_) => {
                Ok(ServerFrame::Profiles(Profiles { reply_to: None, items: Vec::new() }))
            }
            ClientFrame::Hello(_)
            | ClientFrame::Auth(_)
            | ClientFrame::PresenceWatch(_)
            | ClientFrame::PresenceSet(_)
            | ClientFrame::NotificationAck(_) => Ok(ack()),
        }
    }

    /// A request of any kind may be refused for now. A frame without a number has no answer that could say so.
    fn refusal(&mut self, frame: &ClientFrame, request: Option<u64>) -> Option<ErrorCode> {
        let is_refused =
            request.is_some() && !matches!(frame, ClientFrame::Auth(_)) && self.strikes(REFUSED_ONE_IN);
        is_refused.then(|| self.transient_code())
    }

    fn transient_code(&mut self) -> ErrorCode {
        const CODES: [ErrorCode; 3] = [ErrorCode::Unavailable, ErrorCode::Busy, ErrorCode::RateLimited];
        let index = self.chaos.as_mut().map_or(0, |random| random.up_to(2));
        CODES[usize::try_from(index).unwrap_or_default()]
    }

    /// The frames of an answer: heads come in parts, all but the last with `more`.
    fn parts(&self, frame: ServerFrame) -> Vec<ServerFrame> {
        match frame {
            ServerFrame::Heads(heads) => heads::parts(heads, self.heads_items),
            whole => vec![whole],
        }
    }

    fn error(&mut self, Refused { code, current }: Refused) -> ServerFrame {
        let chaos = self.chaos.as_mut().filter(|_| code.is_retryable());
        ServerFrame::Error(ErrorFrame {
            reply_to: None,
            code,
            message: String::new(),
            retry_after_ms: chaos.map(|random| random.up_to(3_000)),
            current,
        })
    }

    /// Whether a fault is in.
    #[cfg(feature = "mutants")]
    fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Whether a fault is in: never.
    #[cfg(not(feature = "mutants"))]
    const fn has(&self, _: Mutation) -> bool {
        false
    }

    /// Whether something goes wrong that does so once in `of` times.
    fn strikes(&mut self, of: u64) -> bool {
        self.chaos.as_mut().is_some_and(|random| random.up_to(of - 1) == 0)
    }

    fn push(&mut self, user: UserId, frame: &ServerFrame) {
        self.push_except(user, None, frame);
    }

    /// To the connections of a user that look at a conversation.
    fn push_to_focused(&mut self, user: UserId, conversation: ConversationId, frame: &ServerFrame) {
        let to = self.connections.iter().filter(|(number, one)| {
            let is_focused = self.focus.get(number).is_some_and(|focus| focus.contains(&conversation));
            one.user == user && one.handshake && is_focused
        });
        self.out.extend(to.map(|(connection, _)| (*connection, frame.clone())));
    }

    fn push_except(&mut self, user: UserId, except: Option<u64>, frame: &ServerFrame) {
        let to = self.connections.iter().filter(|(number, one)| {
            one.user == user && one.handshake && except.is_none_or(|except| except != **number)
        });
        self.out.extend(to.map(|(connection, _)| (*connection, frame.clone())));
    }

    /// A conversation, for whoever is or was in it.
    fn reader(&self, user: UserId, id: ConversationId) -> Result<&Conversation, Refused> {
        let conversation = self.conversations.get(&id).filter(|one| one.visible.contains_key(&user));
        conversation.ok_or(ErrorCode::NotMember.into())
    }

    /// A conversation, for whoever is in it.
    fn of_member(&self, user: UserId, id: ConversationId) -> Result<&Conversation, Refused> {
        let conversation = self.conversations.get(&id).filter(|one| one.members.contains_key(&user));
        conversation.ok_or(ErrorCode::NotMember.into())
    }
}

/// Why a frame is answered by `error`.
struct Refused {
    code: ErrorCode,
    /// With `state_conflict`.
    current: Option<Box<OwnState>>,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self { code, current: None }
    }
}

type Answer = Result<ServerFrame, Refused>;

fn ack() -> ServerFrame {
    ServerFrame::Ack(Ack { reply_to: None, results: Vec::new() })
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
        ServerFrame::Markers(f) => f.reply_to = request,
        ServerFrame::Error(f) => f.reply_to = request,
        other => panic!("{} answers nothing here", other.type_name()),
    }
    frame
}
