//! What the network does to connections and frames.

use super::world::{Happening, World};
use crate::sync::{ConnectError, Input};
use kith_protocol::{ClientFrame, ServerFrame};

impl World {
    pub(super) fn connected(&mut self, client: usize, life: u32) {
        let one = &mut self.clients[client];
        if one.life != life || !std::mem::take(&mut one.opening) {
            return;
        }
        let error = match if self.faults { self.rng.up_to(19) } else { 9 } {
            _ if !self.server_is_up => Some(ConnectError::Unreachable),
            0 => Some(ConnectError::Unreachable),
            1 => Some(ConnectError::Unauthorized(kith_protocol::ErrorCode::TokenExpired)),
            2 => Some(ConnectError::NoSocket { off: false }),
            3 => Some(ConnectError::NoSocket { off: true }),
            4 => Some(ConnectError::Later { retry_after_ms: Some(500) }),
            _ => None,
        };
        if let Some(error) = error {
            return self.feed(client, Input::ConnectFailed(error));
        }
        let connection = self.open(client);
        self.clients[client].connection = Some(connection);
        self.feed(client, Input::Connected);
    }

    fn open(&mut self, client: usize) -> u64 {
        self.last_connection += 1;
        let one = &self.clients[client];
        self.server.connect(self.last_connection, one.user, one.device);
        self.last_connection
    }

    pub(super) fn exchange(&mut self, client: usize, life: u32, frames: Vec<(ClientFrame, Option<u64>)>) {
        if self.clients[client].life != life {
            return;
        }
        let lost = self.faults && self.rng.up_to(9) == 0;
        let mut answer = Err(ConnectError::Unreachable);
        if self.server_is_up {
            let connection = self.open(client);
            for (frame, request) in frames {
                self.check_delivered(connection, &frame);
                self.server.handle(connection, frame, request, &mut self.rng);
            }
            let (mine, others) =
                std::mem::take(&mut self.server.out).into_iter().partition(|(to, _)| *to == connection);
            self.server.out = others;
            self.server.disconnect(connection);
            let mine: Vec<(u64, ServerFrame)> = mine;
            if !lost {
                answer = Ok(mine.into_iter().map(|(_, frame)| frame).collect());
            }
        }
        let at = self.now + self.latency();
        let input = Box::new(answer.map_or_else(Input::ExchangeFailed, Input::Exchanged));
        self.at(at, Happening::Answer { client, life, input });
    }

    pub(super) fn drop_connection(&mut self, client: usize) {
        if let Some(connection) = self.clients[client].connection.take() {
            self.server.disconnect(connection);
        }
    }

    pub(super) fn cut(&mut self, client: usize) {
        if self.clients[client].connection.is_some() {
            self.drop_connection(client);
            self.feed(client, Input::Closed(None));
        }
    }

    pub(super) fn latency(&mut self) -> u64 {
        if self.faults && self.rng.up_to(9) == 0 { self.rng.up_to(3_000) } else { 1 + self.rng.up_to(60) }
    }

    /// When a frame arrives: in order, unless the network is bad.
    pub(super) fn arrival(&mut self, connection: u64, up: bool) -> u64 {
        let time = self.now + self.latency();
        let last = self.last_arrival.entry((connection, up)).or_default();
        if self.faults && self.rng.up_to(11) == 0 {
            return time;
        }
        *last = time.max(*last);
        *last
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
            let Some(client) = client else { continue };
            for _ in 0..self.copies() {
                let at = self.arrival(connection, false);
                self.at(at, Happening::Down { client, connection, frame: Box::new(frame.clone()) });
            }
        }
    }
}
