//! The only loop: feeds the sync machine and carries out its actions.
//!
//! It has no rules of its own. Everything that changes goes through the store first; listeners are told after the
//! commit. One task owns socket, machine and timer; what handles want is gathered in one place until it looks. A panic in
//! it ends that task alone: another one begins from what the store has ([`supervised`]).

mod run;
mod supervised;
#[cfg(test)]
mod tests;

use crate::{ClientError, events::EngineEvent, transport::tls::Trust, view::LinkView};
use kith_protocol::{
    ConversationId, DeviceId, ErrorCode, UserId,
    ephemeral::{Presence, PresenceState},
};
use kith_sync::{
    Input,
    ops::{LocalState, OutboxUpdate, StoreOp, Stored},
};
use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) use kith_sync::{HistoryRequest, TokenError};

/// A future of a trait's method.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who is signed in, and where.
#[derive(Debug, Clone)]
pub(crate) struct DriverOptions {
    /// The server's address: `https://…`, or `http://` to this computer, without a trailing slash.
    pub server: url::Url,
    /// Oneself; another identity in `welcome` stops the driver (S9).
    pub user: UserId,
    /// `name/version`.
    pub app: String,
    /// Which certificates are believed.
    pub trust: Trust,
}

/// What the driver needs of the store.
pub(crate) trait SyncStore: Send + Sync + 'static {
    /// Reads what the machine starts from. What `earlier` answers is in it.
    fn load_sync_state(&self, earlier: Earlier) -> Boxed<'_, Result<LocalState, ClientError>>;
    /// Carries out the ops, in order, in one transaction. What `earlier` answers comes with what they did.
    fn apply(&self, ops: Vec<StoreOp>, earlier: Earlier) -> Boxed<'_, Result<Applied, ClientError>>;
}

/// A transaction that is committed.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) stored: Stored,
    /// Changes for the window: one notice for each changed item.
    pub(crate) notices: Vec<EngineEvent>,
}

/// Returns what the user changed in transactions of which the driver has not heard. It is asked behind a commit and before
/// the next one, so that the machine hears of all transactions in their order.
pub(crate) type Earlier = Box<dyn FnOnce() -> Vec<OutboxUpdate> + Send>;

/// Where no user changes anything beside the driver.
pub(crate) fn nothing_earlier() -> Earlier {
    Box::new(Vec::new)
}

/// Where tokens come from (S11).
pub(crate) trait TokenSource: Send + Sync + 'static {
    /// The access token at hand; it may have ended.
    fn access_token(&self) -> Boxed<'_, Result<String, TokenError>>;
    /// The device that it is for. A copy of a profile becomes another one (S8).
    fn device(&self) -> Boxed<'_, DeviceId>;
    /// Exchanges the refresh token, once for all who ask at the same time; the successor is stored before it is
    /// returned. Returns the device that it is for.
    fn renew(&self) -> Boxed<'_, Result<DeviceId, TokenError>>;
    /// The same for a new device (S8): this one's generation was found to be old.
    fn renew_as_new_device(&self) -> Boxed<'_, Result<DeviceId, TokenError>>;
}

/// Who is told of changes. Calls must not block.
pub(crate) trait DriverEvents: Send + Sync + 'static {
    fn link(&self, link: LinkView);
    /// What changed in the store, after the commit.
    fn notices(&self, notices: Vec<EngineEvent>);
    /// Who types in a conversation, oneself excluded; empty for nobody.
    fn typing(&self, conversation: ConversationId, users: Vec<UserId>);
    /// Who came or went.
    fn presence(&self, changed: Vec<Presence>);
    /// The server will not have this device any more (`device_revoked`), or this version (`upgrade_required`).
    fn stopped(&self, code: ErrorCode);
    /// The driver has panicked again and again, and is not started any more.
    fn gave_up(&self);
}

/// What the engine requests, gathered until the driver takes it. It stays small: only what the user does adds to it.
#[derive(Debug, Default)]
struct Commands {
    outbox: Vec<OutboxUpdate>,
    requests: Vec<HistoryRequest>,
    focus: Option<Vec<ConversationId>>,
    typing: BTreeMap<ConversationId, bool>,
    watch: Option<Vec<UserId>>,
    presence: Option<PresenceState>,
    network_changed: bool,
    send_now: bool,
    check_now: bool,
}

/// Requests that wait at most; beyond, the oldest is forgotten (who still looks asks again).
const REQUESTS_MAX: usize = 64;

/// What holds until it is replaced. A driver that begins knows of it at once.
#[derive(Debug, Default, Clone)]
struct Lasting {
    focus: Option<Vec<ConversationId>>,
    watch: Option<Vec<UserId>>,
    presence: Option<PresenceState>,
}

impl Lasting {
    fn into_inputs(self) -> impl Iterator<Item = Input> {
        let focus = self.focus.map(Input::Focus);
        focus.into_iter().chain(self.watch.map(Input::Watch)).chain(self.presence.map(Input::Presence))
    }
}

impl Commands {
    fn into_inputs(self) -> impl Iterator<Item = Input> {
        let focus = self.focus.map(Input::Focus);
        let watch = self.watch.map(Input::Watch);
        let presence = self.presence.map(Input::Presence);
        let network = self.network_changed.then_some(Input::NetworkChanged);
        let now = self.send_now.then_some(Input::SendNow);
        let check = self.check_now.then_some(Input::CheckNow);
        let outbox = self.outbox.into_iter().map(Input::Outbox);
        let requests = self.requests.into_iter().map(Input::History);
        let typing = self.typing.into_iter().map(|(conversation, on)| Input::Typing(conversation, on));
        outbox
            .chain(focus)
            .chain(watch)
            .chain(presence)
            .chain(requests)
            .chain(typing)
            .chain(network)
            .chain(now)
            .chain(check)
    }
}

#[derive(Debug, Default)]
struct Mailbox {
    commands: Mutex<Commands>,
    lasting: Mutex<Lasting>,
    arrived: Notify,
}

impl Mailbox {
    fn commands(&self) -> MutexGuard<'_, Commands> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lasting(&self) -> MutexGuard<'_, Lasting> {
        self.lasting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the user changed until it is asked.
    fn earlier(self: &Arc<Self>) -> Earlier {
        let mailbox = self.clone();
        Box::new(move || std::mem::take(&mut mailbox.commands().outbox))
    }

    fn add(&self, command: impl FnOnce(&mut Commands)) {
        command(&mut self.commands());
        self.arrived.notify_one();
    }
}

/// Talks to a running driver. Dropping all handles does not stop it; [`DriverHandle::stop`] does.
#[derive(Clone)]
pub(crate) struct DriverHandle {
    mailbox: Arc<Mailbox>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl DriverHandle {
    /// Starts the driver's task.
    pub(crate) fn start(
        options: DriverOptions,
        store: Arc<dyn SyncStore>,
        tokens: Arc<dyn TokenSource>,
        events: Arc<dyn DriverEvents>,
    ) -> Self {
        Self::start_with(Arc::default(), options, store, tokens, events)
    }

    /// Starts a driver in the place of this one, which has been stopped: what its handles are told reaches the
    /// successor.
    pub(crate) fn succeed(
        &self,
        options: DriverOptions,
        store: Arc<dyn SyncStore>,
        tokens: Arc<dyn TokenSource>,
        events: Arc<dyn DriverEvents>,
    ) -> Self {
        Self::start_with(self.mailbox.clone(), options, store, tokens, events)
    }

    fn start_with(
        mailbox: Arc<Mailbox>,
        options: DriverOptions,
        store: Arc<dyn SyncStore>,
        tokens: Arc<dyn TokenSource>,
        events: Arc<dyn DriverEvents>,
    ) -> Self {
        let handle = Self { mailbox, stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let parts = supervised::Parts { options, store, tokens, events };
        handle.tasks.spawn(supervised::run(parts, handle.mailbox.clone(), handle.stop.clone()));
        handle.tasks.close();
        handle
    }

    /// Tells what the user's doing changed in the outbox; after the transaction that did it, and before the next one.
    pub(crate) fn outbox(&self, update: OutboxUpdate) {
        self.mailbox.add(|commands| commands.outbox.push(update));
    }

    /// Has everything that is stored compared with the server's.
    pub(crate) fn check_now(&self) {
        self.mailbox.add(|commands| commands.check_now = true);
    }

    /// Asks for something that is on screen and not here.
    pub(crate) fn request_history(&self, request: HistoryRequest) {
        self.mailbox.add(|commands| {
            if !commands.requests.contains(&request) {
                commands.requests.push(request);
            }
            if commands.requests.len() > REQUESTS_MAX {
                commands.requests.remove(0);
            }
        });
    }

    /// Tells which conversations are on screen (S3, L3).
    pub(crate) fn focus(&self, conversations: Vec<ConversationId>) {
        self.mailbox.lasting().focus = Some(conversations.clone());
        self.mailbox.add(|commands| commands.focus = Some(conversations));
    }

    /// Tells of typing, at each key; it ends by itself a second after the last call (R5).
    pub(crate) fn typing(&self, conversation: ConversationId, on: bool) {
        self.mailbox.add(|commands| {
            commands.typing.insert(conversation, on);
        });
    }

    /// Tells whose presence is of interest; replaces what was watched before.
    pub(crate) fn watch(&self, users: Vec<UserId>) {
        self.mailbox.lasting().watch = Some(users.clone());
        self.mailbox.add(|commands| commands.watch = Some(users));
    }

    /// Sets one's own presence.
    pub(crate) fn set_presence(&self, state: PresenceState) {
        self.mailbox.lasting().presence = Some(state);
        self.mailbox.add(|commands| commands.presence = Some(state));
    }

    /// Reconnects at once, or checks the connection: the computer woke up, or its network changed (S10).
    pub(crate) fn network_changed(&self) {
        self.mailbox.add(|commands| commands.network_changed = true);
    }

    /// Sends what waits for a retry, and reconnects, at once.
    pub(crate) fn send_now(&self) {
        self.mailbox.add(|commands| commands.send_now = true);
    }

    /// Closes the connection and ends the task; returns when nothing more will be written.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}
