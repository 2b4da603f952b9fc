//! From a frame to the domain function and back: one row a frame type.

use crate::{
    auth::{self, Authed},
    db,
    devices::Allowance,
    domain::{
        capabilities::Abilities,
        fetch, heads, markers, open, own,
        publish::{Item, Results},
    },
    error::ApiError,
    hub::Connection,
    rates::{self, Refused},
    shares::{Place, Sharer},
    state::AppState,
};
use kith_protocol::{
    ClientFrame, ServerFrame, TimestampMs, UserId,
    ephemeral::{Presence, PresenceState},
    error::close,
    frame::{
        Ack, Auth, Chains, Delivered, Ephemeral, Focus, Heads, HeadsRequest, Markers, Members, Open,
        OwnStates, Page, PresenceWatch, Profiles, ReceivedClientFrame, Send,
    },
    limits,
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    sync::{Semaphore, oneshot},
    time::timeout,
};
use uuid::Uuid;

/// Sends of one connection that are on their way at the same time; the next one waits.
const SENDS_MAX: usize = 64;
/// The longest that a frame waits for the database; longer than PostgreSQL lets a statement run.
const ANSWERED_WITHIN: Duration = Duration::from_secs(40);
/// Attempts to read a watch list while blocks change. After that the answer is `busy`.
const WATCH_TRIES: usize = 5;

/// A connection after its handshake that frames come from, by a socket or by an exchange.
pub struct Session {
    state: AppState,
    pub connection: Connection,
    /// When the token ends; `auth` moves it.
    pub expires_at: SystemTime,
    /// Answers put into the outbox so far.
    pub answered: usize,
    /// An exchange's sends whose answers are still to come, and whether each got one.
    pub sending: Vec<oneshot::Receiver<bool>>,
    allowance: Arc<Allowance>,
    /// What all devices of the user together may still read.
    of_user: Arc<Allowance>,
    sends: Arc<Semaphore>,
    delivering: Arc<Semaphore>,
    /// What events that come by it may need.
    abilities: Abilities,
}

/// What a frame costs of its type's rate: a send is billed per event and byte.
fn cost(frame: &ClientFrame, bytes: usize) -> u32 {
    let ClientFrame::Send(send) = frame else { return 1 };
    rates::send_cost(send.events.len(), bytes)
}

/// What answers a frame.
enum Answer {
    /// `ack {results: []}`
    Done,
    /// Frames of its own, `reply_to` not yet set.
    Frames(Vec<ServerFrame>),
    /// It comes by itself.
    Later,
}

impl Session {
    /// A session on a connection after its handshake.
    pub fn new(
        state: AppState,
        connection: Connection,
        abilities: Abilities,
        expires_at: SystemTime,
    ) -> Self {
        Self {
            allowance: state.allowances.of(connection.device),
            of_user: state.allowances.of_user(connection.user),
            state,
            connection,
            expires_at,
            answered: 0,
            sending: Vec::new(),
            sends: Arc::new(Semaphore::new(SENDS_MAX)),
            delivering: Arc::new(Semaphore::new(1)),
            abilities,
        }
    }

    fn user(&self) -> UserId {
        self.connection.user
    }

    /// Counts a frame of this type.
    ///
    /// # Errors
    /// [`Refused`] when there are too many.
    pub fn take_rate(&self, frame_type: &str) -> Result<(), Refused> {
        self.allowance.take(frame_type, Instant::now())
    }

    /// Reads a frame and puts its answer into the outbox.
    ///
    /// # Errors
    /// The code to close with.
    pub async fn receive(&mut self, text: &str, now: Instant) -> Result<(), u16> {
        let decoded = ClientFrame::decode(text);
        let frame_type = decoded.as_ref().map_or("", |received| received.frame.type_name());
        let cost = decoded.as_ref().map_or(1, |received| cost(&received.frame, text.len()));
        if let Err(refused) = self.allowance.take_many(frame_type, cost, now) {
            if refused == Refused::Flood {
                return Err(close::FLOOD);
            }
            let request = decoded.map_or_else(|error| error.reply_to, |received| received.request);
            self.answer(&ApiError::from(refused).frame(request));
            return Ok(());
        }
        if rates::is_reading(frame_type)
            && let Err(refused) = self.of_user.take(frame_type, now)
        {
            // Never a flood of this connection: other devices may have used up the rate.
            let request = decoded.map_or_else(|error| error.reply_to, |received| received.request);
            self.answer(&ApiError::from(refused).frame(request));
            return Ok(());
        }
        match decoded {
            Ok(received) => self.dispatch(received).await,
            Err(error) => self.answer(&ApiError::from(error.code).frame(error.reply_to)),
        }
        Ok(())
    }

    /// Answers a frame with `error` instead of serving it.
    pub fn refuse(&mut self, text: &str, error: &ApiError) {
        let request = match ClientFrame::decode(text) {
            Ok(received) => received.request,
            Err(unread) => unread.reply_to,
        };
        self.answer(&error.frame(request));
    }

    fn answer(&mut self, frame: &ServerFrame) {
        self.answered += 1;
        self.connection.outbox.answer(frame);
    }

    async fn dispatch(&mut self, received: ReceivedClientFrame) {
        let request = received.request;
        let handled = match received.frame {
            // A send has two deadlines of its own: one for a place in the lane, one for the commit.
            ClientFrame::Send(send) => self.send(send, request).await,
            // Boxed, so that the future of a send does not contain the state of all other handlers.
            frame => Box::pin(timeout(ANSWERED_WITHIN, self.handle(frame, request)))
                .await
                .unwrap_or(Err(ApiError::Unavailable)),
        };
        match (handled, request) {
            (Err(error), _) => self.answer(&error.frame(request)),
            (Ok(Answer::Done), Some(_)) => {
                self.answer(&ServerFrame::Ack(Ack { reply_to: request, results: Vec::new() }));
            }
            (Ok(Answer::Frames(frames)), Some(_)) => {
                for frame in frames {
                    // An exchange gathers all its answers.
                    if self.connection.outbox.is_socket() {
                        self.connection.outbox.has_room().await;
                    }
                    self.answer(&replying(frame, request));
                }
            }
            (Ok(Answer::Done | Answer::Frames(_)), None) | (Ok(Answer::Later), _) => {}
        }
    }

    async fn handle(&mut self, frame: ClientFrame, request: Option<u64>) -> Result<Answer, ApiError> {
        let (state, user) = (self.state.clone(), self.user());
        let place = match frame {
            ClientFrame::Hello(_) | ClientFrame::Send(_) | ClientFrame::PresenceSet(_) => None,
            _ => Some(state.shares.work(Sharer::User(user)).await?),
        };
        let one = |frame| Ok(Answer::Frames(vec![frame]));
        match frame {
            ClientFrame::Hello(_) => Err(ApiError::invalid("hello comes once")),
            ClientFrame::Send(send) => self.send(send, request).await,
            ClientFrame::Auth(auth) => self.renew(&auth).await,
            ClientFrame::Open(open) => self.open(open).await,
            ClientFrame::Pull(pull) => {
                self.state.metrics.pulls.inc();
                one(ServerFrame::Page(fetch::page(&mut *state.pool.acquire().await?, user, &pull).await?))
            }
            ClientFrame::Probe(probe) => {
                self.state.metrics.probes.inc();
                let mut conn = state.pool.acquire().await?;
                one(ServerFrame::Chains(
                    fetch::chains(&mut conn, user, probe.conversation, &probe.seqs).await?,
                ))
            }
            ClientFrame::State(change) => {
                let own = own::change(&state, user, Some(self.connection.id), &change).await?;
                one(ServerFrame::OwnState(own))
            }
            ClientFrame::Delivered(delivered) => self.deliver(delivered, request, place).await,
            ClientFrame::Heads(heads) => self.heads(&heads).await,
            ClientFrame::Members(asked) => {
                let mut conn = state.pool.acquire().await?;
                let part =
                    markers::members(&mut conn, user, asked.conversation, asked.after, asked.max).await?;
                one(ServerFrame::Members(part))
            }
            ClientFrame::Profiles(asked) => self.profiles(&asked.users).await,
            ClientFrame::Markers(asked) => {
                let mut conn = state.pool.acquire().await?;
                one(ServerFrame::Markers(markers::of(&mut conn, user, asked.conversation).await?))
            }
            ClientFrame::Focus(focus) => self.focus(focus).await,
            ClientFrame::Typing(typing) => {
                markers::typing(&state, user, typing.conversation, typing.on).await?;
                Ok(Answer::Done)
            }
            ClientFrame::PresenceWatch(watch) => self.watch(watch).await,
            ClientFrame::PresenceSet(set) => {
                if set.state == PresenceState::Offline {
                    return Err(ApiError::invalid("nobody is offline while connected"));
                }
                state.presence.set(&self.connection, set.state);
                Ok(Answer::Done)
            }
            ClientFrame::NotificationAck(ack) => {
                let device = self.connection.device;
                let mut conn = state.pool.acquire().await?;
                db::notifications::acknowledge(&mut conn, user, device, &ack.ids).await?;
                Ok(Answer::Done)
            }
        }
    }

    /// A fresh token of the same user and device moves the end (S11).
    async fn renew(&mut self, auth: &Auth) -> Result<Answer, ApiError> {
        let authed: Authed = self.state.tokens.verify_of_any_key(&self.state.pool, &auth.token).await?;
        if authed.user != self.connection.user || authed.device != self.connection.device {
            return Err(ApiError::TokenInvalid);
        }
        auth::check_live(&mut *self.state.pool.acquire().await?, &authed).await?;
        self.expires_at = self.expires_at.max(authed.expires_at);
        Ok(Answer::Done)
    }

    /// Hands events to their lane, in order. The lane puts the answer into the outbox when they are committed, beside the
    /// events themselves.
    async fn send(&mut self, send: Send, request: Option<u64>) -> Result<Answer, ApiError> {
        let permit = Arc::clone(&self.sends).acquire_owned().await.map_err(|_| ApiError::Unavailable)?;
        let outbox = Arc::clone(&self.connection.outbox);
        let waited_for = (!outbox.is_socket()).then(oneshot::channel);
        let (told, answered) = waited_for.unzip();
        let answer = move |results: Results| {
            let is_answered = match (results, request) {
                (Ok(results), Some(_)) => {
                    outbox.answer(&ServerFrame::Ack(Ack { reply_to: request, results }));
                    true
                }
                (Ok(_), None) => false,
                (Err(error), _) => {
                    outbox.answer(&error.frame(request));
                    true
                }
            };
            drop(permit);
            // Whoever waits for it may have gone.
            let _ = told.map(|told| told.send(is_answered));
        };
        let (user, abilities) = (self.user(), &self.abilities);
        self.state.publisher.send(send.conversation, user, &send.events, abilities, answer).await?;
        self.sending.extend(answered);
        Ok(Answer::Later)
    }

    /// Raises markers. On a socket that goes on beside what comes next: a read that follows goes with them. One frame of a
    /// connection at a time; the next one waits.
    async fn deliver(
        &self,
        delivered: Delivered,
        request: Option<u64>,
        place: Option<Place>,
    ) -> Result<Answer, ApiError> {
        let (state, user) = (self.state.clone(), self.user());
        let permit = Arc::clone(&self.delivering).acquire_owned().await.map_err(|_| ApiError::Unavailable)?;
        let outbox = Arc::clone(&self.connection.outbox);
        if !outbox.is_socket() {
            markers::delivered(&state, user, &delivered.markers).await?;
            return Ok(Answer::Done);
        }
        self.state.tasks.spawn(async move {
            let raised = timeout(ANSWERED_WITHIN, markers::delivered(&state, user, &delivered.markers)).await;
            match (raised.unwrap_or(Err(ApiError::Unavailable)), request) {
                (Err(error), _) => outbox.answer(&error.frame(request)),
                (Ok(()), Some(_)) => {
                    outbox.answer(&ServerFrame::Ack(Ack { reply_to: request, results: Vec::new() }));
                }
                (Ok(()), None) => {}
            }
            drop((permit, place));
        });
        Ok(Answer::Later)
    }

    async fn open(&mut self, open: Open) -> Result<Answer, ApiError> {
        let first = open.first.as_ref().map(|first| Item::parse(first, &self.abilities)).transpose()?;
        let opening = open::Opening {
            id: open.conversation,
            kind: open.kind,
            members: open.members,
            title: open.title,
            context: open.context,
            first,
        };
        let opened = open::open(&self.state, self.user(), opening).await?;
        Ok(Answer::Frames(vec![ServerFrame::Heads(Heads {
            reply_to: None,
            full: false,
            more: false,
            user_seq: opened.user_seq,
            cursor: None,
            items: vec![opened.item],
            gone: Vec::new(),
        })]))
    }

    async fn heads(&mut self, asked: &HeadsRequest) -> Result<Answer, ApiError> {
        // Reading all heads is as much work as a handshake, so it waits for a permit as well.
        let _permit = self.state.permits.take().await?;
        if asked.full == Some(true) {
            self.allowance.take_full_heads(Instant::now())?;
        }
        let snapshot = heads::snapshot(&self.state.pool, self.user(), None).await?;
        self.state.metrics.heads(true, false);
        Ok(Answer::Frames(snapshot.parts.into_iter().map(ServerFrame::Heads).collect()))
    }

    async fn profiles(&mut self, users: &[UserId]) -> Result<Answer, ApiError> {
        if users.len() > limits::USERS_PER_FRAME_MAX {
            return Err(ApiError::invalid("too many users"));
        }
        let ids: Vec<Uuid> = users.iter().map(|user| user.as_uuid()).collect();
        let rows = db::users::profiles(&mut *self.state.pool.acquire().await?, self.user(), &ids).await?;
        let items = rows.into_iter().map(|row| row.public()).collect();
        Ok(Answer::Frames(vec![ServerFrame::Profiles(Profiles { reply_to: None, items })]))
    }

    async fn focus(&mut self, focus: Focus) -> Result<Answer, ApiError> {
        if focus.conversations.len() > limits::FOCUS_MAX {
            return Err(ApiError::invalid("too many conversations"));
        }
        let asked: BTreeSet<Uuid> = focus.conversations.iter().map(|id| id.as_uuid()).collect();
        let asked: Vec<Uuid> = asked.into_iter().collect();
        let mut conn = self.state.pool.acquire().await?;
        if db::members::active_among(&mut conn, self.user(), &asked).await?.len() != asked.len() {
            return Err(ApiError::NotMember);
        }
        self.state.hub.focus(&self.connection, focus.conversations.into_iter().collect());
        Ok(Answer::Done)
    }

    /// Those of these people whom the user may watch, and when they were last seen.
    async fn watchable(&self, asked: &[Uuid]) -> Result<HashMap<UserId, Option<TimestampMs>>, ApiError> {
        let mut conn = self.state.pool.acquire().await?;
        let rows = db::contacts::watchable(&mut conn, self.user(), asked).await?;
        let last_seen = |row: db::contacts::WatchableRow| row.last_seen.map(TimestampMs::from_i64);
        Ok(rows.into_iter().map(|row| (UserId::from_uuid(row.id), last_seen(row))).collect())
    }

    /// Watches people who share a conversation and show their presence; others are left out. Their states come at once.
    async fn watch(&mut self, watch: PresenceWatch) -> Result<Answer, ApiError> {
        if watch.users.len() > limits::USERS_PER_FRAME_MAX {
            return Err(ApiError::invalid("too many users"));
        }
        let asked: BTreeSet<Uuid> = watch.users.iter().map(|user| user.as_uuid()).collect();
        let asked: Vec<Uuid> = asked.into_iter().collect();
        let (mut last_seen, mut states) = (HashMap::new(), None);
        for _ in 0..WATCH_TRIES {
            let partings = self.state.presence.partings();
            last_seen = self.watchable(&asked).await?;
            let users = last_seen.keys().copied().collect();
            states = self.state.presence.watch(&self.connection, users, partings);
            if states.is_some() {
                break;
            }
        }
        let states = states.ok_or(ApiError::Busy)?;
        let presence: Vec<Presence> = states
            .into_iter()
            .map(|(user, state)| {
                let is_offline = state == PresenceState::Offline;
                let last_seen = last_seen.get(&user).copied().flatten().filter(|_| is_offline);
                Presence { user, state, last_seen }
            })
            .collect();
        if !presence.is_empty() {
            self.answer(&ServerFrame::Ephemeral(Ephemeral { presence, ..Default::default() }));
        }
        Ok(Answer::Done)
    }
}

/// The same frame as an answer to `request`.
fn replying(frame: ServerFrame, request: Option<u64>) -> ServerFrame {
    match frame {
        ServerFrame::Heads(heads) => ServerFrame::Heads(Heads { reply_to: request, ..heads }),
        ServerFrame::Page(page) => ServerFrame::Page(Page { reply_to: request, ..page }),
        ServerFrame::Chains(chains) => ServerFrame::Chains(Chains { reply_to: request, ..chains }),
        ServerFrame::OwnState(own) => ServerFrame::OwnState(OwnStates { reply_to: request, ..own }),
        ServerFrame::Markers(markers) => ServerFrame::Markers(Markers { reply_to: request, ..markers }),
        ServerFrame::Profiles(profiles) => ServerFrame::Profiles(Profiles { reply_to: request, ..profiles }),
        ServerFrame::Members(members) => ServerFrame::Members(Members { reply_to: request, ..members }),
        other => other,
    }
}
