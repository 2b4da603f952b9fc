//! What the network does to connections and frames.

use super::world::{Happening, World};
use kith_protocol::{ClientFrame, ErrorCode, Seq, ServerFrame};
use kith_sync::{ConnectError, Input};

/// Instances of the server; a connection's number says whose it is.
const INSTANCES: u64 = 2;
/// How often an instance looks at what others have committed, ms.
const LOOK_EVERY_MS: u64 = 1_000;

impl World {
    pub(super) fn connected(&mut self, client: usize, incarnation: u32) {
        let one = &mut self.clients[client];
        if one.incarnation != incarnation || !std::mem::take(&mut one.opening) {
            return;
        }
        let is_expired = self.clients[client].token_until <= self.now;
        let error = match if self.faults { self.rng.up_to(19) } else { 9 } {
            _ if !self.server_is_up => Some(ConnectError::Unreachable),
            _ if is_expired => Some(ConnectError::Unauthorized(ErrorCode::TokenExpired)),
            _ if self.sockets_are_off => Some(ConnectError::NoSocket { off: true }),
            0 => Some(ConnectError::Unreachable),
            1 => Some(ConnectError::Unauthorized(ErrorCode::TokenExpired)),
            2 => Some(ConnectError::NoSocket { off: false }),
            3 => Some(ConnectError::NoSocket { off: true }),
            4 => Some(ConnectError::Later { retry_after_ms: Some(500) }),
            _ => None,
        };
        if let Some(error) = error {
            return self.feed(client, Input::ConnectFailed(error));
        }
        self.last_connection += 1;
        let connection = self.last_connection;
        let one = &mut self.clients[client];
        one.connection = Some(connection);
        self.server.connect(connection, one.user, one.device);
        self.watch_token(client, connection);
        self.feed(client, Input::Connected);
    }

    pub(super) fn exchange(
        &mut self,
        client: usize,
        incarnation: u32,
        frames: Vec<(ClientFrame, Option<u64>)>,
    ) {
        if self.clients[client].incarnation != incarnation {
            return;
        }
        let lost = self.faults && self.rng.up_to(9) == 0;
        let mut answer = Err(ConnectError::Unreachable);
        if self.server_is_up && self.clients[client].token_until <= self.now {
            answer = Err(ConnectError::Unauthorized(ErrorCode::TokenExpired));
        } else if self.server_is_up {
            let frames = self.answers(client, frames);
            if !lost {
                answer = Ok(frames);
            }
            // Who refuses a handshake says so by HTTP.
            if let Ok([ServerFrame::Error(refused)]) = answer.as_deref() {
                answer = Err(match refused.code {
                    ErrorCode::DeviceForked => ConnectError::Forked,
                    _ => ConnectError::NoSocket { off: false },
                });
            }
        }
        let at = self.now + self.latency();
        let input = Box::new(answer.map_or_else(Input::ExchangeFailed, Input::Exchanged));
        self.at(at, Happening::Answer { client, incarnation, input });
    }

    /// What the server answers to the frames of an exchange.
    fn answers(&mut self, client: usize, frames: Vec<(ClientFrame, Option<u64>)>) -> Vec<ServerFrame> {
        self.counts.exchanges += 1;
        self.last_connection += 1;
        let connection = self.last_connection;
        let one = &self.clients[client];
        let user = one.user;
        self.server.connect_exchange(connection, user, one.device);
        for (frame, request) in frames {
            self.check_delivered(connection, &frame);
            self.heads_asked += u64::from(matches!(frame, ClientFrame::Heads(_)));
            self.server.handle(connection, frame, request);
        }
        let out = std::mem::take(&mut self.server.out);
        let (mine, others): (Vec<_>, Vec<_>) = out.into_iter().partition(|(to, _)| *to == connection);
        self.server.out = others;
        for (_, frame) in &mine {
            self.check_visible(connection, frame);
        }
        self.server.disconnect(connection);
        mine.into_iter().map(|(_, frame)| frame).collect()
    }

    /// I4: nothing outside a member's intervals leaves the server.
    fn check_visible(&self, connection: u64, frame: &ServerFrame) {
        let Some(user) = self.server.user_of(connection) else { return };
        let (id, events) = match frame {
            ServerFrame::Events(frame) => (frame.conversation, &frame.events),
            ServerFrame::Page(frame) => (frame.conversation, &frame.events),
            _ => return,
        };
        let shows = |seq: Seq| self.server.conversations[&id].shows(user, seq);
        assert!(events.iter().all(|event| shows(event.seq)), "seed {}: I4, {frame:?}", self.seed);
    }

    pub(super) fn drop_connection(&mut self, client: usize) {
        if let Some(connection) = self.clients[client].connection.take() {
            self.server.disconnect(connection);
        }
    }

    pub(super) fn cut(&mut self, client: usize, code: Option<u16>) {
        if self.clients[client].connection.is_some() {
            self.counts.cuts += 1;
            self.drop_connection(client);
            self.feed(client, Input::Closed(code));
        }
    }

    pub(super) fn latency(&mut self) -> u64 {
        if self.faults && self.rng.up_to(9) == 0 { self.rng.up_to(3_000) } else { 1 + self.rng.up_to(60) }
    }

    /// When a frame arrives: in order, unless the network is bad.
    pub(super) fn arrival(&mut self, connection: u64, up: bool, in_order: bool) -> u64 {
        let time = self.now + self.latency();
        let last = self.last_arrival.entry((connection, up)).or_default();
        if self.faults && !in_order && self.rng.up_to(11) == 0 {
            return time;
        }
        *last = time.max(*last);
        *last
    }

    /// What an event spends between two instances of the server: the bus is late, or loses it, and the next look at what
    /// committed brings it (L4).
    fn bus_delay(&mut self, connection: u64, frame: &ServerFrame) -> u64 {
        let is_live = matches!(frame, ServerFrame::Events(_) | ServerFrame::Hint(_));
        let is_elsewhere = connection % INSTANCES != self.last_sender % INSTANCES;
        if !self.faults || !is_live || !is_elsewhere {
            return 0;
        }
        match self.rng.up_to(15) {
            0 => LOOK_EVERY_MS,
            1 | 2 => self.rng.up_to(LOOK_EVERY_MS),
            _ => self.rng.up_to(5),
        }
    }

    /// How many copies of a frame arrive.
    pub(super) fn copies(&mut self) -> usize {
        match if self.faults { self.rng.up_to(24) } else { 9 } {
            0 => 0,
            1 | 2 => 2,
            _ => 1,
        }
    }

    pub(super) fn carry_down(&mut self) {
        for (connection, frame) in std::mem::take(&mut self.server.out) {
            let client = self.clients.iter().position(|one| one.connection == Some(connection));
            self.check_visible(connection, &frame);
            let Some(client) = client else { continue };
            // A socket loses and reorders nothing within a connection; the parts of heads rely on that (S5).
            let is_part = matches!(&frame, ServerFrame::Heads(heads) if heads.more || heads.cursor.is_some());
            let copies = if is_part { 1 } else { self.copies() };
            for _ in 0..copies {
                let at = self.arrival(connection, false, is_part) + self.bus_delay(connection, &frame);
                self.at(at, Happening::Down { client, connection, frame: Box::new(frame.clone()) });
            }
        }
        for (connection, code) in std::mem::take(&mut self.server.closed) {
            let client = self.clients.iter().position(|one| one.connection == Some(connection));
            if let Some(client) = client.filter(|_| !self.half_open.contains(&connection)) {
                self.cut(client, Some(code));
            }
        }
    }
}
