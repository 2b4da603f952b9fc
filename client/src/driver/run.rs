//! The driver's task.

use super::{Applied, DriverEvents, DriverOptions, Mailbox, SyncStore, TokenError, TokenSource};
use crate::{
    ClientError,
    events::{EngineEvent, Problem},
    transport::{
        http::Exchange,
        ws::{Received, Socket},
    },
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use kith_failpoint::clock;
use kith_protocol::{ClientFrame, ErrorCode, TimestampMs, frame::Auth};
use kith_sync::{
    Action, ConnectError, Input, Machine, MachineOptions, Now, Pace,
    ops::{LocalState, StoreOp},
};
use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

/// How long after a failure the store is read again at the start.
const LOAD_AGAIN: Duration = Duration::from_secs(2);

/// How long a sleep of the computer may go unnoticed.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What a background task (a connection, an exchange, a renewal) brought back.
enum Brought {
    Socket(Result<Box<Socket>, ConnectError>),
    Input(Box<Input>),
}

type Task = std::pin::Pin<Box<dyn Future<Output = Brought> + Send>>;

/// Socket, store and tokens, and the machine that says what to do with them.
pub(super) struct Driver {
    options: DriverOptions,
    store: Arc<dyn SyncStore>,
    tokens: Arc<dyn TokenSource>,
    events: Arc<dyn DriverEvents>,
    mailbox: Arc<Mailbox>,
    exchange: Exchange,
    socket_address: Option<url::Url>,
    socket: Option<Box<Socket>>,
    /// A socket is being opened and still wanted.
    opening: bool,
    tasks: FuturesUnordered<Task>,
    began: Instant,
    /// What the user was told of the store and still holds.
    told: Option<Problem>,
}

impl Driver {
    pub(super) fn new(
        options: DriverOptions,
        store: Arc<dyn SyncStore>,
        tokens: Arc<dyn TokenSource>,
        events: Arc<dyn DriverEvents>,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        let base = options.server.as_str().trim_end_matches('/').to_owned();
        let at = |base: &str, path: &str| url::Url::parse(&format!("{base}{path}")).ok();
        let socket_address = crate::transport::is_safe(&options.server)
            .then(|| at(&base.replacen("http", "ws", 1), "/v1/socket"))
            .flatten();
        let exchange = Exchange::new(
            at(&base, "/v1/exchange").unwrap_or_else(|| options.server.clone()),
            &options.trust,
        );
        Self {
            options,
            store,
            tokens,
            events,
            mailbox,
            exchange,
            socket_address,
            socket: None,
            opening: false,
            tasks: FuturesUnordered::new(),
            began: Instant::now(),
            told: None,
        }
    }

    /// Works until it is stopped.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let Some(local) = self.load(&stop).await else { return };
        // A renewal that is under way may make this another device, and take long.
        let device = tokio::select! {
            () = stop.cancelled() => return,
            device = self.tokens.device() => device,
        };
        let options = MachineOptions {
            user: self.options.user,
            device,
            app: self.options.app.clone(),
            seed: rand::random(),
            pace: Pace::STANDARD,
        };
        let mut machine = Machine::new(options, local);
        let mut inputs = VecDeque::from([Input::Start]);
        let mailbox = self.mailbox.clone();
        let lasting = mailbox.lasting().clone();
        inputs.extend(lasting.into_inputs());
        loop {
            self.feed(&mut machine, inputs).await;
            inputs = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = mailbox.arrived.notified() => std::mem::take(&mut *mailbox.commands()).into_inputs().collect(),
                inputs = self.next(machine.deadline()) => inputs,
            };
        }
        // What was committed says it all: whatever is under way is queued again at the next start (O2).
        if let Some(socket) = self.socket.take() {
            socket.close().await;
        }
    }

    async fn load(&mut self, stop: &CancellationToken) -> Option<LocalState> {
        loop {
            match self.store.load_sync_state(self.mailbox.earlier()).await {
                Ok(local) => return Some(local),
                Err(error) => self.store_failed(&error),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = sleep(LOAD_AGAIN) => {}
            }
        }
    }

    /// Waits for the socket, a background task or the time. Safe to cancel.
    async fn next(&mut self, deadline: Option<u64>) -> VecDeque<Input> {
        // A timer does not run while the computer sleeps; looking at the clock often shows that it has (S10).
        let look = self.began.elapsed() + LOOK_EVERY;
        let at = self.began + deadline.map_or(look, |ms| look.min(Duration::from_millis(ms)));
        let input = tokio::select! {
            received = receive(&mut self.socket) => match received {
                Received::Frames(frames) => return frames.into_iter().map(Input::Frame).collect(),
                Received::Closed(code) => {
                    self.socket = None;
                    Input::Closed(code)
                }
            },
            Some(brought) = self.tasks.next() => match brought {
                Brought::Input(input) => *input,
                Brought::Socket(_) if !std::mem::take(&mut self.opening) => return VecDeque::new(),
                Brought::Socket(Ok(socket)) => {
                    self.socket = Some(socket);
                    Input::Connected
                }
                Brought::Socket(Err(error)) => Input::ConnectFailed(error),
            },
            () = sleep_until(at) => Input::Timer,
        };
        VecDeque::from([input])
    }

    fn now(&self) -> Now {
        Now {
            mono: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            wall: TimestampMs(clock::now_ms()),
        }
    }

    /// Feeds the machine until it has nothing more to do at once. What the inputs ask to be written together is
    /// one transaction.
    async fn feed(&mut self, machine: &mut Machine, mut inputs: VecDeque<Input>) {
        while !inputs.is_empty() {
            let mut actions = Vec::new();
            for input in inputs.drain(..) {
                actions.extend(machine.handle(input, self.now()));
            }
            let (ops, mut actions) = split(actions);
            if !ops.is_empty() {
                let answer = self.write(ops).await;
                if answer == Input::StoreFailed {
                    // Nothing that rests on what was not written may leave.
                    actions.retain(|action| !matches!(action, Action::Send(..) | Action::Exchange(_)));
                }
                inputs.push_back(answer);
            }
            for action in actions {
                inputs.extend(self.carry_out(action).await);
            }
            if let Some(socket) = &mut self.socket
                && socket.flush().await.is_err()
            {
                self.socket = None;
                inputs.push_back(Input::Closed(None));
            }
        }
    }

    async fn write(&mut self, ops: Vec<StoreOp>) -> Input {
        match self.store.apply(ops, self.mailbox.earlier()).await {
            Ok(Applied { stored, notices }) => {
                self.told = None;
                if !notices.is_empty() {
                    self.events.notices(notices);
                }
                Input::Stored(stored)
            }
            Err(error) => {
                self.store_failed(&error);
                Input::StoreFailed
            }
        }
    }

    /// Tells why nothing can be written, once until something could be.
    fn store_failed(&mut self, error: &ClientError) {
        tracing::error!(%error, "the store failed");
        // What is damaged is mended, and told then.
        if matches!(error, ClientError::FileDamaged(_)) {
            return;
        }
        let problem = Problem::of_disk(error).unwrap_or(Problem::StoreFailed);
        if self.told.as_ref() != Some(&problem) {
            self.told = Some(problem.clone());
            self.events.notices(vec![EngineEvent::Problem { problem }]);
        }
    }

    async fn carry_out(&mut self, action: Action) -> Option<Input> {
        match action {
            Action::Connect => self.connect(),
            Action::Send(frame, request) => return self.send(&frame, request).await,
            Action::SendToken(request) => match self.tokens.access_token().await {
                Ok(token) => return self.send(&ClientFrame::Auth(Auth { token }), Some(request)).await,
                Err(error) => return Some(Input::TokenFailed(error)),
            },
            Action::Check => {
                if let Some(socket) = &mut self.socket
                    && socket.check().await.is_err()
                {
                    self.socket = None;
                    return Some(Input::Closed(None));
                }
            }
            Action::Close => {
                self.opening = false;
                if let Some(socket) = self.socket.take() {
                    socket.close().await;
                }
            }
            Action::Exchange(frames) => self.begin_exchange(frames),
            Action::RenewToken { new_device } => self.renew(new_device),
            Action::Store(_) => {}
            Action::Reload => {
                return Some(match self.store.load_sync_state(self.mailbox.earlier()).await {
                    Ok(local) => Input::Reloaded(local),
                    Err(_) => Input::Timer, // the machine asks again by itself
                });
            }
            Action::Link(link) => self.events.link(link.into()),
            Action::Typing(conversation, users) => self.events.typing(conversation, users),
            Action::Presence(changed) => self.events.presence(changed),
            Action::Stopped(code) => self.events.stopped(code),
        }
        None
    }

    async fn send(&mut self, frame: &ClientFrame, request: Option<u64>) -> Option<Input> {
        let socket = self.socket.as_mut()?;
        if socket.feed(frame, request).await.is_err() {
            self.socket = None;
            return Some(Input::Closed(None));
        }
        None
    }

    // --- background tasks ---

    fn connect(&mut self) {
        let (tokens, address) = (self.tokens.clone(), self.socket_address.clone());
        let trust = self.options.trust.clone();
        self.opening = true;
        self.tasks.push(Box::pin(async move {
            let Some(address) = address else {
                return Brought::Socket(Err(ConnectError::Refused(ErrorCode::NotAllowed)));
            };
            Brought::Socket(match tokens.access_token().await {
                Ok(token) => Socket::connect(&address, &token, &trust).await.map(Box::new),
                Err(error) => Err(without_token(error)),
            })
        }));
    }

    fn begin_exchange(&mut self, frames: Vec<(ClientFrame, Option<u64>)>) {
        let (tokens, exchange, is_safe) =
            (self.tokens.clone(), self.exchange.clone(), self.socket_address.is_some());
        self.tasks.push(Box::pin(async move {
            let ran = match tokens.access_token().await {
                Ok(token) if is_safe => exchange.run(&token, &frames).await,
                Ok(_) => Err(ConnectError::Refused(ErrorCode::NotAllowed)),
                Err(error) => Err(without_token(error)),
            };
            Brought::Input(Box::new(ran.map_or_else(Input::ExchangeFailed, Input::Exchanged)))
        }));
    }

    fn renew(&mut self, new_device: bool) {
        let tokens = self.tokens.clone();
        self.tasks.push(Box::pin(async move {
            let renewed = if new_device { tokens.renew_as_new_device().await } else { tokens.renew().await };
            Brought::Input(Box::new(renewed.map_or_else(Input::TokenFailed, Input::TokenRenewed)))
        }));
    }
}

fn without_token(error: TokenError) -> ConnectError {
    match error {
        TokenError::Refused(code) => ConnectError::Unauthorized(code),
        TokenError::Unreachable => ConnectError::Unreachable,
        TokenError::BadCertificate => ConnectError::BadCertificate,
    }
}

/// What is to be written, and the rest.
fn split(actions: Vec<Action>) -> (Vec<StoreOp>, Vec<Action>) {
    let (mut ops, mut rest) = (Vec::new(), Vec::new());
    for action in actions {
        match action {
            Action::Store(op) => ops.push(op),
            other => rest.push(other),
        }
    }
    (ops, rest)
}

async fn receive(socket: &mut Option<Box<Socket>>) -> Received {
    match socket {
        Some(socket) => socket.receive().await,
        None => std::future::pending().await,
    }
}
