//! The reference server: the rules of the log, of membership and of own state, without storage, tokens and queues.

mod answers;
mod backup;
mod hello;
mod members;
mod publish;

pub(crate) use backup::Backup;

use crate::sync::backoff::Jitter;
use kith_protocol::{
    ClientFrame, ConversationId, DeviceId, ErrorCode, Event, Seq, ServerFrame, TimestampMs, UserId,
    event::Role,
    frame::{Ack, ConversationKind, ErrorFrame, HeadsItem, OwnState, Profiles},
};
use std::collections::BTreeMap;

/// The intervals of one membership (R6).
pub(crate) type Visible = Vec<(Seq, Option<Seq>)>;

#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    kind: ConversationKind,
    pub members: BTreeMap<UserId, Role>,
    /// Of everybody who is or was a member.
    pub visible: BTreeMap<UserId, Visible>,
    pub log: Vec<Event>,
}

impl Conversation {
    /// Whether a user may see an event.
    pub(crate) fn shows(&self, user: UserId, seq: Seq) -> bool {
        let within = |(from, to): &(Seq, Option<Seq>)| *from <= seq && to.is_none_or(|to| seq <= to);
        self.visible.get(&user).is_some_and(|intervals| intervals.iter().any(within))
    }

    /// The newest seq that a user may see.
    pub(crate) fn head_of(&self, user: UserId) -> Seq {
        let head = Seq(self.log.len() as u64);
        let last = self.visible.get(&user).and_then(|intervals| intervals.last());
        last.map_or(Seq::ZERO, |(_, to)| to.unwrap_or(head))
    }
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    user: UserId,
    device: DeviceId,
    greeted: bool,
    /// An exchange neither rotates the generation nor ends an older connection.
    is_socket: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Server {
    pub conversations: BTreeMap<ConversationId, Conversation>,
    pub states: BTreeMap<(UserId, ConversationId), OwnState>,
    user_seqs: BTreeMap<UserId, u64>,
    connections: BTreeMap<u64, Connection>,
    /// Issued and presented (S8).
    generations: BTreeMap<DeviceId, (u64, u64)>,
    /// The lineage of the database (S6).
    epoch: u64,
    /// What heads have told, by cursor (S5).
    cursors: BTreeMap<(UserId, String), Vec<HeadsItem>>,
    last_cursor: u64,
    /// Frames that leave.
    pub out: Vec<(u64, ServerFrame)>,
    /// Connections that are closed, and why.
    pub closed: Vec<(u64, u16)>,
    /// How often a device was told that it is a copy (S8).
    pub forks: u64,
    /// Whether sends may meet a failure of the server.
    pub chaos: bool,
    pub now: u64,
}

impl Server {
    pub(crate) fn connect(&mut self, connection: u64, user: UserId, device: DeviceId) {
        self.connections.insert(connection, Connection { user, device, greeted: false, is_socket: true });
    }

    /// The short connection of an exchange (S12).
    pub(crate) fn connect_exchange(&mut self, connection: u64, user: UserId, device: DeviceId) {
        self.connections.insert(connection, Connection { user, device, greeted: false, is_socket: false });
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
        let Some(Connection { user, device, greeted, .. }) = self.connections.get(&connection).copied()
        else {
            return;
        };
        let is_hello = matches!(frame, ClientFrame::Hello(_));
        if is_hello == greeted {
            return; // repeated, or before its hello (which was lost)
        }
        let answer = match frame {
            ClientFrame::Hello(hello) => {
                self.hello(connection, (user, device), &hello, request, rng);
                return;
            }
            ClientFrame::Send(send) => self.send(user, &send, rng),
            ClientFrame::Open(open) => self.open(user, &open),
            ClientFrame::Pull(pull) => self.pull(user, &pull),
            ClientFrame::State(change) => self.state(user, &change),
            ClientFrame::Delivered(delivered) => {
                self.delivered(user, &delivered.markers);
                Ok(ack())
            }
            ClientFrame::Heads(_) => Ok(ServerFrame::Heads(self.heads(user, true))),
            ClientFrame::Probe(probe) => self.probe(user, &probe),
            ClientFrame::Members(members) => self.members(user, &members),
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

    fn push(&mut self, user: UserId, frame: &ServerFrame) {
        let to = self.connections.iter().filter(|(_, one)| one.user == user && one.greeted);
        self.out.extend(to.map(|(connection, _)| (*connection, frame.clone())));
    }

    /// Whose connection it is.
    pub(crate) fn user_of(&self, connection: u64) -> Option<UserId> {
        self.connections.get(&connection).map(|one| one.user)
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
