//! The link's states: connecting, backoff, token, polling (S10–S12).

use super::{Asked, Machine};
use crate::{
    sync::{Action, ConnectError, TokenError, ops::LocalState},
    view::LinkView,
};
use kith_protocol::{
    ClientFrame, DeviceId, ErrorCode, PROTOCOL_VERSION, ServerFrame, TimestampMs,
    error::{ErrorClass, close},
    frame::Hello,
    limits,
};

/// The link's state. Times are monotonic ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Link {
    /// Not begun, or waiting for the next try.
    Waiting {
        /// Then it is tried.
        until: u64,
    },
    /// The socket is being opened.
    Connecting,
    /// `hello` is out; `welcome` and heads are awaited.
    Greeting {
        /// Then the link is given up.
        until: u64,
    },
    /// Everything may be sent.
    Live {
        /// Since when.
        since: u64,
    },
    /// The token is being renewed.
    Renewing,
    /// An exchange is under way (S12).
    Exchanging,
    /// Polling, between two exchanges: everything may be sent, with the next one.
    Between {
        /// Then the next one starts.
        until: u64,
    },
    /// The server wants a sign-in. What is local goes on.
    SignIn,
    /// The server will not have this device or this version.
    Stopped,
    /// The store could not write; reading it again is tried.
    Broken {
        /// When.
        until: u64,
    },
}

/// Polling instead of a socket (S12).
#[derive(Debug, Default)]
pub(crate) struct Polling {
    /// The socket does not work here.
    pub on: bool,
    /// Sockets that failed in a row while the server answered, or nobody did.
    failed_sockets: u32,
    /// When a socket is tried again, monotonic ms.
    socket_at: u64,
    /// Nobody had answered when polling began: after the first exchange that works a socket is tried at once.
    suspect: bool,
    /// The last request of the exchange under way.
    sent_up_to: u64,
    /// What the next exchange carries.
    pub queue: Vec<(ClientFrame, Option<u64>)>,
}

/// The least time between two exchanges, ms.
const EXCHANGE_EVERY_MS: u64 = 100;
/// A close like these soon after the connection came about is answered by waiting longer.
const SOON_MS: u64 = 10_000;
/// How long after a failed write the store is read again, ms.
const BROKEN_MS: u64 = 2_000;

impl Machine {
    pub(super) fn is_live(&self) -> bool {
        matches!(self.link, Link::Live { .. } | Link::Between { .. })
    }

    pub(super) fn is_polling(&self) -> bool {
        matches!(self.link, Link::Exchanging | Link::Between { .. })
    }

    pub(super) fn link_deadline(&self) -> Option<u64> {
        match self.link {
            Link::Waiting { until } | Link::Greeting { until } | Link::Broken { until } => Some(until),
            Link::Between { until } => Some(until.min(self.polling.socket_at)),
            Link::Connecting
            | Link::Live { .. }
            | Link::Renewing
            | Link::Exchanging
            | Link::SignIn
            | Link::Stopped => None,
        }
    }

    pub(super) fn start(&mut self) {
        self.since = self.now.wall;
        self.link = Link::Waiting { until: self.now.mono };
    }

    /// What the passing of time alone changes.
    pub(super) fn link_timer(&mut self) {
        let now = self.now.mono;
        match self.link {
            Link::Waiting { until } if until <= now => self.try_link(),
            Link::Greeting { until } if until <= now => self.drop_link(),
            Link::Between { .. } if self.polling.socket_at <= now => {
                self.break_link();
                self.link = Link::Connecting;
                self.actions.push(Action::Connect);
            }
            Link::Broken { until } if until <= now => {
                self.link = Link::Broken { until: now + BROKEN_MS };
                self.actions.push(Action::Reload);
            }
            Link::Waiting { .. }
            | Link::Greeting { .. }
            | Link::Between { .. }
            | Link::Broken { .. }
            | Link::Connecting
            | Link::Live { .. }
            | Link::Renewing
            | Link::Exchanging
            | Link::SignIn
            | Link::Stopped => {}
        }
    }

    fn try_link(&mut self) {
        if self.token_is_stale {
            self.renew(false);
        } else if self.polling.on && self.polling.socket_at > self.now.mono {
            self.begin_exchange();
        } else {
            self.link = Link::Connecting;
            self.actions.push(Action::Connect);
        }
    }

    fn renew(&mut self, new_device: bool) {
        self.link = Link::Renewing;
        self.actions.push(Action::RenewToken { new_device });
    }

    pub(super) fn connected(&mut self) {
        if self.link != Link::Connecting {
            return;
        }
        self.polling = Polling::default();
        self.link = Link::Greeting { until: self.now.mono + super::ANSWER_WITHIN_MS };
        self.hello();
    }

    fn hello(&mut self) {
        self.heard_this_round = false;
        for log in self.logs.values_mut() {
            log.high_at_hello = log.ranges.high();
        }
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            device: self.options.device,
            generation: self.generation,
            epoch: self.epoch.clone(),
            cursor: None,
            user_seq: self.user_seq,
            full: None,
            app: self.options.app.clone(),
            capabilities: Vec::new(),
        };
        self.request(ClientFrame::Hello(hello), Asked::Hello);
    }

    // --- failures ---

    /// Forgets what was under way. The outbox is queued again; heads will say what is missing.
    pub(super) fn break_link(&mut self) {
        self.requests.clear();
        self.polling.queue.clear();
        self.heads_at = None;
        for log in self.logs.values_mut() {
            log.disconnected();
        }
        self.heard = false;
        self.live.disconnected();
        if let Some(op) = self.outbox.disconnected() {
            self.store(op);
        }
    }

    /// Gives the link up and tries again.
    pub(super) fn drop_link(&mut self) {
        self.actions.push(Action::Close);
        self.end_of_life(false);
        self.wait(0);
    }

    /// Waits before the next try, by the backoff and at least `least_ms`.
    fn wait(&mut self, least_ms: u64) {
        if matches!(self.link, Link::Live { .. } | Link::Between { .. } | Link::Exchanging) {
            self.since = self.now.wall;
        }
        self.break_link();
        self.catching_up = true;
        let wait = self.backoff.next_ms().max(least_ms);
        self.link = Link::Waiting { until: self.now.mono + wait };
    }

    pub(super) fn connect_failed(&mut self, error: ConnectError) {
        if !matches!(self.link, Link::Connecting | Link::Exchanging) {
            return;
        }
        let was_socket = self.link == Link::Connecting;
        match error {
            ConnectError::Unreachable if was_socket => self.socket_failed(false, false),
            ConnectError::NoSocket { off } if was_socket => self.socket_failed(off, true),
            ConnectError::Unreachable | ConnectError::NoSocket { .. } => {
                self.polling = Polling::default();
                self.wait(0);
            }
            ConnectError::Unauthorized(code) => self.unauthorized(code),
            ConnectError::Later { retry_after_ms } => self.wait(retry_after_ms.unwrap_or(0)),
            ConnectError::Refused(code) => self.stop(code),
        }
    }

    /// Two failed sockets, or a server that has none, begin polling (S12); whether the server answers at all, the first
    /// exchange shows.
    fn socket_failed(&mut self, off: bool, answered: bool) {
        let was_on = self.polling.on;
        self.polling.failed_sockets += 1;
        if off || self.polling.failed_sockets >= 2 {
            self.polling.on = true;
            self.polling.suspect = !answered && !was_on;
            self.polling.socket_at = self.now.mono + limits::SOCKET_RETRY_EVERY.as_millis() as u64;
        }
        if was_on || (answered && self.polling.on) {
            self.begin_exchange();
        } else {
            self.wait(0);
        }
    }

    fn unauthorized(&mut self, code: ErrorCode) {
        if code == ErrorCode::DeviceRevoked {
            self.stop(code);
        } else if self.token_is_stale {
            self.wait(0);
        } else {
            self.break_link();
            self.token_is_stale = true;
            self.renew(false);
        }
    }

    pub(super) fn stop(&mut self, code: ErrorCode) {
        self.actions.push(Action::Close);
        self.break_link();
        self.link = Link::Stopped;
        self.actions.push(Action::Stopped(code));
    }

    pub(super) fn closed(&mut self, code: Option<u16>) {
        if !matches!(self.link, Link::Live { .. } | Link::Greeting { .. }) {
            return;
        }
        match close::after(code.unwrap_or(close::GOING_AWAY)) {
            close::AfterClose::Stop => self.stop(ErrorCode::DeviceRevoked),
            close::AfterClose::RenewToken => {
                self.since = self.now.wall;
                self.break_link();
                self.token_is_stale = true;
                self.renew(false);
            }
            close::AfterClose::Reconnect => {
                let ordinary = matches!(
                    code,
                    None | Some(close::NORMAL | close::GOING_AWAY | close::RESTART | close::EPOCH)
                );
                let least = self.live.bye_ms.take().unwrap_or(0);
                self.end_of_life(ordinary);
                self.wait(least);
            }
        }
    }

    /// A connection that was good begins the backoff anew; one that is cut again and again for cause does not.
    fn end_of_life(&mut self, ordinary: bool) {
        if let Link::Live { since } = self.link
            && (ordinary || self.now.mono.saturating_sub(since) >= SOON_MS)
        {
            self.backoff.reset();
        }
    }

    /// An `error` that answers `hello`.
    pub(super) fn hello_refused(&mut self, code: ErrorCode, retry_after_ms: Option<u64>) {
        match code {
            ErrorCode::DeviceForked => {
                self.actions.push(Action::Close);
                self.break_link();
                self.renew(true);
            }
            ErrorCode::UpgradeRequired | ErrorCode::DeviceRevoked => self.stop(code),
            _ if code.class() == ErrorClass::SignIn => {
                self.actions.push(Action::Close);
                self.unauthorized(code);
            }
            _ => {
                self.actions.push(Action::Close);
                self.wait(retry_after_ms.unwrap_or(0));
            }
        }
    }

    pub(super) fn network_changed(&mut self) {
        match self.link {
            Link::Waiting { .. } | Link::SignIn => {
                self.backoff.reset();
                self.link = Link::Waiting { until: self.now.mono };
            }
            Link::Between { until } => self.link = Link::Between { until: until.min(self.now.mono) },
            Link::Greeting { .. } | Link::Live { .. } => self.actions.push(Action::Check),
            // What is under way may have begun in the old network: if it fails, the next try comes soon.
            Link::Connecting | Link::Renewing | Link::Exchanging => self.backoff.reset(),
            Link::Stopped | Link::Broken { .. } => {}
        }
    }

    // --- the token (S11) ---

    pub(super) fn token_renewed(&mut self, device: DeviceId) {
        if device != self.options.device {
            self.options.device = device;
            (self.generation, self.user_seq) = (0, 0);
            self.store(crate::sync::ops::StoreOp::Device { device });
        }
        match self.link {
            Link::Renewing => {
                self.token_is_stale = false;
                self.link = Link::Waiting { until: self.now.mono };
            }
            Link::Live { .. } | Link::Greeting { .. } => {
                self.token_is_stale = false;
                self.last_request += 1;
                let request =
                    super::Request { asked: Asked::Auth, deadline: self.now.mono + super::ANSWER_WITHIN_MS };
                self.requests.insert(self.last_request, request);
                self.actions.push(Action::SendToken(self.last_request));
            }
            Link::Waiting { .. }
            | Link::Connecting
            | Link::Exchanging
            | Link::Between { .. }
            | Link::SignIn
            | Link::Stopped
            | Link::Broken { .. } => self.token_is_stale = false,
        }
    }

    pub(super) fn token_failed(&mut self, error: TokenError) {
        // In a connection that lives the token's end will show; what waits for it decides here.
        if self.link != Link::Renewing {
            return;
        }
        match error {
            TokenError::Unreachable => self.wait(0),
            TokenError::Refused(ErrorCode::DeviceRevoked) => self.stop(ErrorCode::DeviceRevoked),
            TokenError::Refused(_) => self.link = Link::SignIn,
        }
    }

    // --- polling (S12) ---

    fn begin_exchange(&mut self) {
        self.link = Link::Exchanging;
        let queued = std::mem::take(&mut self.polling.queue);
        self.hello();
        self.polling.queue.extend(queued);
        let frames = std::mem::take(&mut self.polling.queue);
        self.polling.sent_up_to = self.last_request;
        self.actions.push(Action::Exchange(frames));
    }

    /// Begins the next exchange when there is something to send, or it is time.
    pub(super) fn flush_exchange(&mut self) {
        let Link::Between { until } = self.link else { return };
        if until <= self.now.mono {
            self.begin_exchange();
        } else if !self.polling.queue.is_empty() {
            self.link = Link::Between { until: until.min(self.now.mono + EXCHANGE_EVERY_MS) };
        }
    }

    pub(super) fn exchanged(&mut self, frames: Vec<ServerFrame>) {
        if self.link != Link::Exchanging {
            return;
        }
        for frame in frames {
            self.frame(frame);
            if self.link != Link::Exchanging {
                return; // refused
            }
        }
        // What this exchange carried and did not answer will not be answered any more.
        let later = self.requests.split_off(&(self.polling.sent_up_to + 1));
        for (_, request) in std::mem::replace(&mut self.requests, later) {
            self.unanswered(request.asked);
        }
        self.backoff.reset();
        self.link = Link::Between { until: self.now.mono + limits::POLL_EVERY.as_millis() as u64 };
        if std::mem::take(&mut self.polling.suspect) {
            self.polling.socket_at = self.now.mono;
        }
    }

    fn unanswered(&mut self, asked: Asked) {
        let items = match asked {
            Asked::Send { items } => items.into_iter().map(|(item, _)| item).collect(),
            Asked::Open { item } => vec![item],
            Asked::State { items, .. } => items,
            Asked::Pull { conversation } => {
                if let Some(log) = self.logs.get_mut(&conversation) {
                    log.pull = None;
                }
                return;
            }
            Asked::Hello
            | Asked::Auth
            | Asked::Probe { .. }
            | Asked::Heads
            | Asked::Profiles
            | Asked::Members { .. }
            | Asked::Markers => return,
        };
        if let Some(op) = self.outbox.requeued(items) {
            self.store(op);
        }
    }

    // --- the store ---

    pub(super) fn store_failed(&mut self) {
        self.actions.retain(|action| !matches!(action, Action::Store(_)));
        self.actions.push(Action::Close);
        self.break_link();
        self.actions.retain(|action| !matches!(action, Action::Store(_)));
        self.catching_up = true;
        self.link = Link::Broken { until: self.now.mono + BROKEN_MS };
    }

    pub(super) fn reloaded(&mut self, local: LocalState) {
        self.load(local);
        self.link = Link::Waiting { until: self.now.mono };
    }

    // --- what is shown ---

    pub(super) fn show_link(&mut self) {
        let view = self.link_view();
        if self.shown.as_ref() != Some(&view) {
            self.shown = Some(view.clone());
            self.actions.push(Action::Link(view));
        }
    }

    fn link_view(&mut self) -> LinkView {
        let wall_at = |until: u64| TimestampMs(self.now.wall.0 + until.saturating_sub(self.now.mono));
        // The first try after a connection is not worth a word of alarm.
        let calm = self.backoff.failed() <= 1;
        match self.link {
            Link::Live { .. } | Link::Between { .. } | Link::Exchanging if self.heard => {
                let behind = self.logs.values().filter(|log| log.is_behind()).count();
                if behind == 0 {
                    self.catching_up = false;
                }
                if self.catching_up {
                    LinkView::CatchingUp { behind: u32::try_from(behind).unwrap_or(u32::MAX) }
                } else {
                    LinkView::Connected { polling: self.is_polling() }
                }
            }
            Link::SignIn | Link::Stopped => LinkView::SignInNeeded,
            Link::Waiting { until } | Link::Broken { until } if !calm => {
                LinkView::Offline { since: self.since, next_try: Some(wall_at(until)) }
            }
            _ if calm => LinkView::Connecting,
            _ => LinkView::Offline { since: self.since, next_try: None },
        }
    }
}
