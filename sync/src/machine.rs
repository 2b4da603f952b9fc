//! The machine: states of the link, and what every input means in them.
//!
//! ```text
//!            ┌────────────── closed, failed ◀──────────────┐
//!            ▼                                             │
//!  Start ▶ Waiting ──time──▶ Connecting ──socket──▶ Handshake ──last heads──▶ Live
//!            │  ▲                │ 401                 │ token refused        │ 41xx
//!            │  └──────────── Renewing ◀───────────────┴──────────────────────┘
//!            │                   │ refused ▶ SignIn        42xx, upgrade_required ▶ Stopped
//!            └──two failures──▶ Exchanging ⇄ Between (polling, S12)      a failed write ▶ Broken
//! ```
//! Only `Live` and `Between` send on their own account. Whatever breaks, the outbox is queued again and heads say
//! what is missing: nothing depends on what was under way.

mod checking;
mod cursor;
mod frames;
mod heads;
mod lineage;
mod link;
mod live;
mod polling;
mod pulls;
mod sending;
mod shown;
mod stored;
#[cfg(test)]
mod tests;

use super::{
    Action, HistoryRequest, Input, LinkStatus, Now, Pace,
    backoff::Backoff,
    delays,
    log::Log,
    ops::{LocalState, StoreOp},
    outbox::Outbox,
    terms::{Terms, UNDERSTOOD},
};
use kith_protocol::{ClientFrame, ConversationId, DeviceId, ErrorCode, EventId, Seq, TimestampMs, UserId};
use live::Live;
use std::collections::{BTreeMap, BTreeSet};

pub use link::Link;
#[cfg(any(test, feature = "testing"))]
pub(crate) use sending::coalesce;

/// An answer that has not come after this long, ms: the link is taken for dead.
const ANSWER_WITHIN_MS: u64 = 30_000;
/// What was refused without a time is asked again after this long, ms.
const ASK_AGAIN_MS: u64 = 5_000;
/// The clocks part by this much, ms: the computer slept. Setting the clock looks the same and does no harm.
const SLEPT_MS: i128 = 5_000;

#[derive(Debug, Clone)]
pub struct MachineOptions {
    pub user: UserId,
    pub device: DeviceId,
    /// `name/version`.
    pub app: String,
    pub seed: u64,
    pub pace: Pace,
}

#[derive(Debug)]
enum Asked {
    Hello,
    Auth,
    Send {
        items: Vec<(i64, EventId)>,
    },
    Open {
        item: i64,
    },
    State {
        items: Vec<i64>,
        draft: bool,
    },
    Pull {
        conversation: ConversationId,
    },
    Probe {
        conversation: ConversationId,
    },
    Check {
        conversation: ConversationId,
    },
    Confirm {
        conversation: ConversationId,
    },
    Heads,
    Profiles {
        users: Vec<UserId>,
    },
    /// A part of the list; `as_of` is what the first part was of.
    Members {
        conversation: ConversationId,
        first: bool,
        as_of: Option<Seq>,
    },
    Markers {
        conversation: ConversationId,
    },
}

#[derive(Debug)]
struct Request {
    asked: Asked,
    deadline: u64,
}

#[derive(Debug)]
pub struct Machine {
    options: MachineOptions,
    now: Now,
    link: Link,
    polling: polling::Polling,
    backoff: Backoff,
    since: TimestampMs,
    /// When an outdated version asks again, monotonic ms; and what made it stop, as it was told.
    upgrade_at: Option<u64>,
    told_stopped: Option<ErrorCode>,
    /// What the wall clock was ahead of the monotonic one, which stands still while the computer sleeps.
    ahead: Option<i128>,
    shown: Option<LinkStatus>,
    /// The token at hand was refused, or is about to end.
    token_is_stale: bool,
    /// A token was renewed, and no `welcome` has come since.
    token_is_untried: bool,
    /// The last try met a certificate that is not to be believed.
    has_bad_certificate: bool,
    /// The last heads of this connection have come.
    heard: bool,
    /// The same, of the exchange under way.
    heard_this_round: bool,
    catching_up: bool,
    generation: u64,
    epoch: Option<String>,
    /// What the server offers, and its limits, as `welcome` said last.
    terms: Terms,
    /// The optional abilities that this version understands.
    understood: &'static [&'static str],
    user_seq: u64,
    /// Own-state versions that came above a missing one, without holes between them: the lowest and the highest (S4).
    beyond: Option<(u64, u64)>,
    /// Monotonic ms; an own-state change was missed, ask for heads then (S4).
    heads_at: Option<u64>,
    logs: BTreeMap<ConversationId, Log>,
    cursor: cursor::Cursor,
    /// The first of the heads that a connection begins with is still to come.
    awaits_heads: bool,
    /// Conversations with a stored log that the full heads of the last connection have not named.
    missing_from_heads: BTreeSet<ConversationId>,
    attention: BTreeSet<ConversationId>,
    outbox: Outbox,
    /// Until then events wait for what others wrote before this connection, monotonic ms.
    caught_up_by: u64,
    /// When something that is queued and held back is to be looked at again, monotonic ms.
    gate_at: Option<u64>,
    requests: BTreeMap<u64, Request>,
    last_request: u64,
    live: Live,
    checking: checking::Checking,
    actions: Vec<Action>,
}

impl Machine {
    /// Begins with what the store has.
    pub fn new(options: MachineOptions, local: LocalState) -> Self {
        let backoff = Backoff::new(options.seed);
        let mut machine = Self {
            options,
            now: Now { mono: 0, wall: TimestampMs(0) },
            link: Link::Waiting { until: 0 },
            polling: polling::Polling::default(),
            backoff,
            since: TimestampMs(0),
            upgrade_at: None,
            told_stopped: None,
            ahead: None,
            shown: None,
            token_is_stale: false,
            token_is_untried: false,
            has_bad_certificate: false,
            heard: false,
            heard_this_round: false,
            catching_up: true,
            generation: 0,
            epoch: None,
            terms: Terms::default(),
            understood: UNDERSTOOD,
            user_seq: 0,
            beyond: None,
            heads_at: None,
            logs: BTreeMap::new(),
            cursor: cursor::Cursor::default(),
            awaits_heads: false,
            missing_from_heads: BTreeSet::new(),
            attention: BTreeSet::new(),
            outbox: Outbox::default(),
            caught_up_by: 0,
            gate_at: None,
            requests: BTreeMap::new(),
            last_request: 0,
            live: Live::default(),
            checking: checking::Checking::default(),
            actions: Vec::new(),
        };
        machine.load(local);
        machine
    }

    /// Takes what happened, answers what to do.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Action> {
        self.now = now;
        self.notice_sleep();
        match delays::bounded(input) {
            Input::Start => self.start(),
            Input::Timer => {}
            Input::Connected => self.connected(),
            Input::ConnectFailed(error) => self.connect_failed(error),
            Input::Closed(code) => self.closed(code),
            Input::Frame(frame) => self.frame(frame),
            Input::Exchanged(frames) => self.exchanged(frames),
            Input::ExchangeFailed(error) => self.connect_failed(error),
            Input::TokenRenewed(device) => self.token_renewed(device),
            Input::TokenFailed(error) => self.token_failed(error),
            Input::Stored(stored) => self.stored(stored),
            Input::StoreFailed => self.store_failed(),
            Input::Reloaded(local) => self.reloaded(local),
            Input::Outbox(update) => self.outbox.update(update),
            Input::History(request) => self.request_history(request),
            Input::Focus(conversations) => self.focus(conversations),
            Input::Typing(conversation, on) => self.typing(conversation, on),
            Input::Watch(users) => self.watch(users),
            Input::Presence(state) => self.set_presence(state),
            Input::NetworkChanged => self.network_changed(),
            Input::SendNow => {
                self.outbox.send_now();
                self.network_changed();
            }
            Input::CheckNow => self.check_now(),
        }
        self.pump();
        std::mem::take(&mut self.actions)
    }

    /// The computer has slept: what was connected is likely dead, and no wait makes sense any more (S10).
    fn notice_sleep(&mut self) {
        let ahead = i128::from(self.now.wall.0) - i128::from(self.now.mono);
        let before = self.ahead.replace(ahead);
        if before.is_some_and(|before| ahead - before > SLEPT_MS) {
            self.network_changed();
        }
    }

    /// When [`Input::Timer`] is wanted; monotonic ms.
    pub fn deadline(&self) -> Option<u64> {
        let mut at = self.link_deadline();
        let mut sooner = |other: Option<u64>| at = [at, other].into_iter().flatten().min();
        sooner(self.live.deadline());
        if self.is_live() {
            sooner(self.outbox.deadline(self.now.mono));
            sooner(self.pull_deadline());
            sooner(self.gate_at);
            sooner(self.heads_deadline());
            sooner(self.cursor.full_due());
            sooner(self.check_deadline());
            sooner(self.live.deliver_deadline());
            sooner(self.live.ask_deadline(self.now.mono));
            sooner(self.requests.values().map(|request| request.deadline).min());
        }
        at
    }

    /// The same machine of a version that understands these abilities.
    #[cfg(test)]
    pub const fn understanding(mut self, names: &'static [&'static str]) -> Self {
        self.understood = names;
        self
    }

    pub const fn link(&self) -> Link {
        self.link
    }

    fn load(&mut self, local: LocalState) {
        self.generation = local.generation;
        self.epoch = local.epoch;
        self.terms = local.terms;
        self.user_seq = local.user_seq;
        self.logs = local.conversations.into_iter().map(|one| (one.conversation, Log::stored(one))).collect();
        self.outbox = Outbox::new(local.outbox);
        // Acknowledged events exist on the server unless heads contradict. Heads omit hidden conversations.
        for (_, conversation, seq) in self.outbox.acked() {
            if let Some(log) = self.logs.get_mut(&conversation) {
                log.head = log.head.max(seq);
            }
        }
        self.attention.clear();
        self.cursor.let_go();
    }

    /// What may go on by itself.
    fn pump(&mut self) {
        self.link_timer();
        self.expire_typing();
        if self.is_live() {
            self.check_deadlines();
        }
        if self.is_live() {
            self.ask_about_old();
            self.send_outbox();
            self.probe_again();
            self.send_pulls();
            self.send_live();
            self.ask_full_if_due();
            self.ask_heads_if_due();
            self.check_some();
        }
        self.flush_exchange();
        self.show_link();
    }

    fn check_deadlines(&mut self) {
        if self.requests.values().any(|request| request.deadline <= self.now.mono) {
            self.drop_link();
        }
    }

    // --- towards the server ---

    fn request(&mut self, frame: ClientFrame, asked: Asked) -> u64 {
        self.last_request += 1;
        let number = self.last_request;
        self.requests.insert(number, Request { asked, deadline: self.now.mono + ANSWER_WITHIN_MS });
        self.send(frame, Some(number));
        number
    }

    fn send(&mut self, frame: ClientFrame, request: Option<u64>) {
        if self.is_polling() {
            self.polling.queue.push((frame, request));
        } else {
            self.actions.push(Action::Send(frame, request));
        }
    }

    fn store(&mut self, op: StoreOp) {
        self.actions.push(Action::Store(op));
    }

    fn request_history(&mut self, request: HistoryRequest) {
        use kith_protocol::frame::Direction;
        let (conversation, range) = match request {
            HistoryRequest::Older { conversation, before } => (
                conversation,
                super::log::RangeRequest {
                    from: before.previous(),
                    to: None,
                    direction: Direction::Backward,
                },
            ),
            HistoryRequest::Gap { conversation, from, to } => (
                conversation,
                super::log::RangeRequest { from: to, to: Some(from), direction: Direction::Backward },
            ),
            HistoryRequest::Conversation { conversation } => {
                self.live.markers_wanted.insert(conversation);
                return;
            }
        };
        if let Some(log) = self.logs.get_mut(&conversation) {
            if !log.requests.contains(&range) {
                log.requests.push_back(range);
            }
            self.attention.insert(conversation);
        }
    }
}
