//! The only loop: feeds the sync machine and carries out its actions.
//!
//! It has no rules of its own. Everything that changes goes through the store first; listeners are told after the
//! commit. One task owns socket, machine and timer; handles talk to it by a bounded channel.

use crate::sync::ops::{LocalState, OutboxUpdate, StoreOp, Stored};
pub(crate) use crate::sync::{TokenError, Want};
use crate::{ClientError, events::EngineEvent, view::LinkView};
use kith_protocol::{
    ConversationId, DeviceId, ErrorCode, Seq, UserId,
    ephemeral::{Presence, PresenceState},
};
use std::{future::Future, pin::Pin, sync::Arc};

/// A future of a trait's method.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Who is signed in, and where.
#[derive(Debug, Clone)]
pub(crate) struct DriverOptions {
    /// The server's address: `https://…`, or `http://` to this computer, without a trailing slash.
    pub server: url::Url,
    /// Oneself; another identity in `welcome` stops the driver (S9).
    pub user: UserId,
    /// The device that the token was given to.
    pub device: DeviceId,
    /// `name/version`.
    pub app: String,
}

/// What the driver needs of the store.
pub(crate) trait SyncStore: Send + Sync + 'static {
    /// Reads what the machine starts from.
    fn load_sync_state(&self) -> Boxed<'_, Result<LocalState, ClientError>>;
    /// Carries out the ops, in order, in one transaction.
    fn apply(&self, ops: Vec<StoreOp>) -> Boxed<'_, Result<Stored, ClientError>>;
}

/// Where tokens come from (S11).
pub(crate) trait TokenSource: Send + Sync + 'static {
    /// The access token at hand; it may have ended.
    fn access_token(&self) -> Boxed<'_, Result<String, TokenError>>;
    /// Exchanges the refresh token, once for all who ask at the same time; the successor is stored before it is
    /// returned. Answers the device that it is for.
    fn renew(&self) -> Boxed<'_, Result<DeviceId, TokenError>>;
    /// The same for a new device (S8): this one's generation was found to be old.
    fn renew_as_new_device(&self) -> Boxed<'_, Result<DeviceId, TokenError>>;
}

/// Who is told of changes. Calls must not block.
pub(crate) trait DriverEvents: Send + Sync + 'static {
    /// The connection.
    fn link(&self, link: LinkView);
    /// What changed in the store, after the commit.
    fn notices(&self, notices: Vec<EngineEvent>);
    /// Who types in a conversation, oneself excluded; empty for nobody.
    fn typing(&self, conversation: ConversationId, users: Vec<UserId>);
    /// Who came or went.
    fn presence(&self, changed: Vec<Presence>);
    /// The server will not have this device any more (`device_revoked`), or this version (`upgrade_required`).
    fn stopped(&self, code: ErrorCode);
}

/// Talks to a running driver. Dropping all of them does not stop it; [`DriverHandle::stop`] does.
#[derive(Clone)]
pub(crate) struct DriverHandle {
    commands: tokio::sync::mpsc::UnboundedSender<Command>,
}

enum Command {
    Outbox(OutboxUpdate),
    Want(Want),
    Focus(Vec<ConversationId>),
    Typing(ConversationId, bool),
    Watch(Vec<UserId>),
    Presence(PresenceState),
    NetworkChanged,
    SendNow,
    Stop(tokio::sync::oneshot::Sender<()>),
}

impl DriverHandle {
    /// Starts the driver's task.
    pub(crate) fn start(
        _options: DriverOptions,
        _store: Arc<dyn SyncStore>,
        _tokens: Arc<dyn TokenSource>,
        _events: Arc<dyn DriverEvents>,
    ) -> Self {
        let (commands, _) = tokio::sync::mpsc::unbounded_channel();
        Self { commands }
    }

    /// Tells what the user's doing changed in the outbox; after the transaction that did it.
    pub(crate) fn outbox(&self, update: OutboxUpdate) {
        self.command(Command::Outbox(update));
    }

    /// Asks for something that is on screen and not here.
    pub(crate) fn want(&self, want: Want) {
        self.command(Command::Want(want));
    }

    /// Tells which conversations are on screen (S3, L3).
    pub(crate) fn focus(&self, conversations: Vec<ConversationId>) {
        self.command(Command::Focus(conversations));
    }

    /// Tells of typing, at each key; it ends by itself a second after the last call (R5).
    pub(crate) fn typing(&self, conversation: ConversationId, on: bool) {
        self.command(Command::Typing(conversation, on));
    }

    /// Tells whose presence is of interest; replaces what was watched before.
    pub(crate) fn watch(&self, users: Vec<UserId>) {
        self.command(Command::Watch(users));
    }

    /// Sets one's own presence.
    pub(crate) fn set_presence(&self, state: PresenceState) {
        self.command(Command::Presence(state));
    }

    /// Reconnects at once: the computer woke up, or its network changed (S10).
    pub(crate) fn network_changed(&self) {
        self.command(Command::NetworkChanged);
    }

    /// Sends what waits for a retry, and reconnects, at once.
    pub(crate) fn send_now(&self) {
        self.command(Command::SendNow);
    }

    /// Closes the connection and ends the task; returns when nothing more will be written.
    pub(crate) async fn stop(&self) {
        let (done, ended) = tokio::sync::oneshot::channel();
        self.command(Command::Stop(done));
        let _ = ended.await;
    }

    fn command(&self, command: Command) {
        // A driver that has ended needs no commands.
        let _ = self.commands.send(command);
    }
}
