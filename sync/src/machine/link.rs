//! The link's states: connecting, backoff, token, polling (S10–S12).

use super::polling::Polling;
use super::{Asked, Machine};
use crate::{Action, ConnectError, TokenError, delays, ops::LocalState};
use kith_protocol::{
    ClientFrame, DeviceId, ErrorCode, PROTOCOL_VERSION,
    error::{ErrorClass, close},
    frame::Hello,
};

/// The link's state. Times are monotonic ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// Not begun, or waiting for the next try.
    Waiting {
        /// Then it is tried.
        until: u64,
    },
    Connecting,
    /// `hello` is out; `welcome` and heads are awaited.
    Handshake {
        /// Then the link is given up.
        until: u64,
    },
    /// Everything may be sent.
    Live {
        since: u64,
    },
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
    Stopped {
        code: ErrorCode,
    },
    /// The store could not write; reading it again is tried.
    Broken {
        until: u64,
    },
}

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
            Link::Waiting { until } | Link::Handshake { until } | Link::Broken { until } => Some(until),
            Link::Between { until } => Some(until.min(self.polling.socket_at)),
            Link::Stopped { .. } => self.upgrade_at,
            Link::Connecting | Link::Live { .. } | Link::Renewing | Link::Exchanging | Link::SignIn => None,
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
            Link::Handshake { until } if until <= now => self.drop_link(),
            Link::Between { .. } if self.polling.socket_at <= now => {
                self.break_link();
                self.link = Link::Connecting;
                self.actions.push(Action::Connect);
            }
            Link::Broken { until } if until <= now => {
                self.link = Link::Broken { until: now + BROKEN_MS };
                self.actions.push(Action::Reload);
            }
            // Another server may stand there by then.
            Link::Stopped { .. } if self.upgrade_at.is_some_and(|at| at <= now) => {
                self.upgrade_at = None;
                self.try_link();
            }
            Link::Waiting { .. }
            | Link::Handshake { .. }
            | Link::Between { .. }
            | Link::Broken { .. }
            | Link::Connecting
            | Link::Live { .. }
            | Link::Renewing
            | Link::Exchanging
            | Link::SignIn
            | Link::Stopped { .. } => {}
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
        self.link = Link::Handshake { until: self.now.mono + super::ANSWER_WITHIN_MS };
        self.hello();
    }

    pub(super) fn hello(&mut self) {
        self.heard_this_round = false;
        for log in self.logs.values_mut() {
            log.high_at_hello = log.ranges.high();
        }
        self.awaits_heads = true;
        self.live.handshake();
        self.let_go_unless_settled();
        let hello = Hello {
            protocol: PROTOCOL_VERSION,
            device: self.options.device,
            generation: self.generation,
            epoch: self.epoch.clone(),
            cursor: self.cursor.shown(self.now),
            user_seq: self.user_seq,
            full: None,
            app: self.options.app.clone(),
            capabilities: self.understood.iter().map(|name| (*name).to_owned()).collect(),
        };
        self.request(ClientFrame::Hello(hello), Asked::Hello);
    }

    // --- failures ---

    /// Forgets what was under way. The outbox is queued again; heads will say what is missing.
    pub(super) fn break_link(&mut self) {
        self.let_go_unless_settled();
        for (_, request) in std::mem::take(&mut self.requests) {
            // Heads that tell only what changed would not bring these up again (S5).
            self.ask_later(request.asked, None);
        }
        self.polling.queue.clear();
        self.catching_up = true;
        self.heads_at = None;
        self.beyond = None;
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
    pub(super) fn wait(&mut self, least_ms: u64) {
        // Polling that fails is no connection that ends.
        if self.heard && matches!(self.link, Link::Live { .. } | Link::Between { .. } | Link::Exchanging) {
            self.since = self.now.wall;
        }
        self.break_link();
        let wait = self.backoff.next_ms().max(least_ms);
        self.link = Link::Waiting { until: self.now.mono + wait };
    }

    pub(super) fn connect_failed(&mut self, error: ConnectError) {
        if !matches!(self.link, Link::Connecting | Link::Exchanging) {
            return;
        }
        let was_socket = self.link == Link::Connecting;
        self.has_bad_certificate = error == ConnectError::BadCertificate;
        match error {
            // Neither another way nor a click leads past it.
            ConnectError::BadCertificate => {
                self.polling = Polling::default();
                self.wait(0);
            }
            ConnectError::Unreachable if was_socket => self.socket_failed(false, false),
            ConnectError::NoSocket { off } if was_socket => self.socket_failed(off, true),
            ConnectError::Unreachable | ConnectError::NoSocket { .. } => {
                self.polling = Polling::default();
                self.wait(0);
            }
            ConnectError::Unauthorized(code) => self.unauthorized(code),
            ConnectError::Later { retry_after_ms } => self.wait(retry_after_ms.unwrap_or(0)),
            ConnectError::Refused(code) => self.stop(code),
            ConnectError::Forked => {
                self.break_link();
                self.renew(true);
            }
        }
    }

    fn unauthorized(&mut self, code: ErrorCode) {
        if code == ErrorCode::DeviceRevoked {
            self.stop(code);
        } else if self.token_is_untried {
            // Fresh, and refused all the same: clocks that differ, or a server without its key. Later.
            self.token_is_stale = true;
            self.wait(0);
        } else {
            self.break_link();
            self.token_is_stale = true;
            self.renew(false);
        }
    }

    pub(super) fn stop(&mut self, code: ErrorCode) {
        self.stop_for(code, None);
    }

    /// Stops: for good, but for an outdated version, which asks again when the server says, or after ten minutes.
    fn stop_for(&mut self, code: ErrorCode, retry_after_ms: Option<u64>) {
        self.actions.push(Action::Close);
        self.break_link();
        self.link = Link::Stopped { code };
        self.upgrade_at = (code == ErrorCode::UpgradeRequired)
            .then(|| self.now.mono + retry_after_ms.unwrap_or(delays::UPGRADE_MS_MAX));
        if self.told_stopped.replace(code) != Some(code) {
            self.actions.push(Action::Stopped(code));
        }
    }

    pub(super) fn closed(&mut self, code: Option<u16>) {
        if !matches!(self.link, Link::Live { .. } | Link::Handshake { .. }) {
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
            ErrorCode::UpgradeRequired | ErrorCode::DeviceRevoked => self.stop_for(code, retry_after_ms),
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
            Link::Between { until } => {
                // Sockets may pass in the other network (S12).
                self.polling.socket_at = self.now.mono;
                self.link = Link::Between { until: until.min(self.now.mono) };
            }
            Link::Handshake { .. } | Link::Live { .. } => self.actions.push(Action::Check),
            // What is under way may have begun in the old network: if it fails, the next try comes soon.
            Link::Connecting | Link::Renewing | Link::Exchanging => self.backoff.reset(),
            // Another server may stand there now, or a newer one; only a revoked device stays out.
            Link::Stopped { code } if code != ErrorCode::DeviceRevoked => {
                self.backoff.reset();
                self.link = Link::Waiting { until: self.now.mono };
            }
            Link::Stopped { .. } | Link::Broken { .. } => {}
        }
    }

    // --- the token (S11) ---

    pub(super) fn token_renewed(&mut self, device: DeviceId) {
        let is_another = device != self.options.device;
        if is_another {
            self.options.device = device;
            (self.generation, self.user_seq) = (0, 0);
            self.cursor.let_go();
            self.store(crate::ops::StoreOp::Device { device });
        }
        match self.link {
            Link::Renewing => {
                self.token_is_stale = false;
                self.token_is_untried = true;
                self.link = Link::Waiting { until: self.now.mono };
            }
            Link::Live { .. } | Link::Handshake { .. } if is_another => {
                // The handshake named the device of before.
                self.actions.push(Action::Close);
                self.break_link();
                (self.token_is_stale, self.token_is_untried) = (false, true);
                self.link = Link::Waiting { until: self.now.mono };
            }
            Link::Live { .. } | Link::Handshake { .. } => {
                (self.token_is_stale, self.token_is_untried) = (false, true);
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
            | Link::Stopped { .. }
            | Link::Broken { .. } => self.token_is_stale = false,
        }
    }

    /// Renews the token of a connection that goes on, unless that is under way or was of no use.
    pub(super) fn renew_beside(&mut self) {
        if !self.token_is_stale && !self.token_is_untried {
            self.token_is_stale = true;
            self.actions.push(Action::RenewToken { new_device: false });
        }
    }

    pub(super) fn token_failed(&mut self, error: TokenError) {
        // In a connection that lives the token's end will show; what waits for it decides here.
        if self.link != Link::Renewing {
            return;
        }
        self.has_bad_certificate = error == TokenError::BadCertificate;
        match error {
            TokenError::Unreachable | TokenError::BadCertificate => self.wait(0),
            TokenError::Refused(code @ (ErrorCode::DeviceRevoked | ErrorCode::UpgradeRequired)) => {
                self.stop(code);
            }
            TokenError::Refused(_) => self.link = Link::SignIn,
        }
    }

    // --- the store ---

    pub(super) fn store_failed(&mut self) {
        self.actions.retain(|action| !matches!(action, Action::Store(_)));
        self.actions.push(Action::Close);
        self.break_link();
        self.actions.retain(|action| !matches!(action, Action::Store(_)));
        self.link = Link::Broken { until: self.now.mono + BROKEN_MS };
    }

    pub(super) fn reloaded(&mut self, local: LocalState) {
        self.load(local);
        self.link = Link::Waiting { until: self.now.mono };
    }
}
