//! The end of a run: the network heals, all clients settle, and the judge checks everything.

use super::World;
use kith_protocol::{ErrorCode, error::close};
use kith_sync::{Input, Link, Machine, memory::RowState};

/// I6: within this time after healing a client has everything and its outbox is empty, ms.
const CAUGHT_UP_MS: u64 = 5_000;
/// By then also what nobody waits for has come, ms.
const REST_MS: u64 = 40_000;
/// The first try comes within two seconds; then heads, ms.
const RECONNECTED_MS: u64 = 3_000;
/// By then a marker is sent and answered, and what a missed one would ask for, ms.
const MARKED_MS: u64 = 3_000;

impl World {
    /// The network is good again, everybody is awake and signed in, and settles some of what was refused. Then all that
    /// must hold is judged: what I6 gives [`CAUGHT_UP_MS`] for, after that time; the rest at rest.
    pub(in crate::sim) fn heal(&mut self) {
        self.come_to_rest(|world| world.judge_caught_up());
        self.judge();
        self.judge_reconnects();
        self.judge_own_state();
    }

    /// Heals the network and waits; `when_caught_up` is called after [`CAUGHT_UP_MS`].
    pub(in crate::sim) fn come_to_rest(&mut self, when_caught_up: impl FnOnce(&mut Self)) {
        self.faults = false;
        self.server.chaos = None;
        self.server_is_up = true;
        self.sockets_are_off = false;
        let asleep = self.clients.iter().map(|one| one.asleep_until).max();
        for client in 0..self.clients.len() {
            self.wake(client);
        }
        // What was answered in the bad time has arrived, also with those who slept.
        self.run_until(asleep.unwrap_or(0).max(self.now) + 4_000);
        for client in 0..self.clients.len() {
            self.cut(client, None);
            self.sign_in(client);
            self.settle_parked(client);
            self.feed(client, Input::SendNow);
            self.feed(client, Input::NetworkChanged);
        }
        let healed = self.now;
        self.run_until(self.now + CAUGHT_UP_MS);
        // A copy of a profile may learn only now that another has its device, and take one of its own (S8).
        if self.counts.copies > 0 && self.clients.iter().any(|one| one.device_since > healed) {
            self.run_until(self.now + CAUGHT_UP_MS);
        }
        when_caught_up(self);
        self.run_until(self.now + REST_MS);
    }

    /// S10: a connection that was good and is cut begins the backoff anew, so it is there again soon.
    fn judge_reconnects(&mut self) {
        for client in 0..self.clients.len() {
            self.cut(client, Some(close::INTERNAL));
        }
        self.run_until(self.now + RECONNECTED_MS);
        // So may a copy of a profile that takes a device of its own (S8).
        let is_there = |world: &Self, client: usize| {
            let link = world.clients[client].machine.as_ref().map(Machine::link);
            matches!(link, Some(Link::Live { .. } | Link::Between { .. } | Link::Exchanging))
        };
        if self.counts.copies > 0 && !(0..self.clients.len()).all(|client| is_there(self, client)) {
            self.run_until(self.now + RECONNECTED_MS);
        }
        for client in 0..self.clients.len() {
            let state = self.state_of(client);
            assert!(is_there(self, client), "seed {}: S10, client {client}: {state}", self.seed);
        }
    }

    /// I10, S4: without a missed push, a change of own state causes no heads request, and `user_seq` equals the server's.
    /// A conversation that is unhidden raises `user_seq` without a push, so the first rounds may request heads.
    fn judge_own_state(&mut self) {
        for client in 0..self.clients.len() {
            let (conversation, ..) = self.conversations[client % self.conversations.len()];
            self.hide(client, conversation);
        }
        self.run_until(self.now + MARKED_MS);
        for client in 0..self.clients.len() {
            for (conversation, ..) in self.conversations.clone() {
                self.write_to_members(client, conversation);
            }
        }
        self.run_until(self.now + MARKED_MS);
        for round in 0..4 {
            let asked = self.heads_asked;
            for client in 0..self.clients.len() {
                for (conversation, ..) in self.conversations.clone() {
                    self.mark_unread(client, conversation, round % 2 == 0);
                }
            }
            self.run_until(self.now + MARKED_MS);
            let is_quiet = round <= 1 || self.heads_asked == asked;
            assert!(is_quiet, "seed {}: I10, heads were asked for", self.seed);
        }
        for client in 0..self.clients.len() {
            let known = self.clients[client].store.image().user_seq;
            let user_seq = self.server.user_seq(self.clients[client].user);
            assert_eq!(
                known, user_seq,
                "seed {}: S4, client {client}, how far own state is known",
                self.seed
            );
        }
        self.judge();
    }

    fn settle_parked(&mut self, client: usize) {
        let rows = self.clients[client].store.outbox().into_iter();
        let parked = rows.filter_map(|(item, row)| match row.state {
            RowState::Parked(code) => Some((item, code)),
            RowState::Queued | RowState::Sending | RowState::Acked(_) => None,
        });
        for (item, code) in parked.collect::<Vec<_>>() {
            match self.rng.up_to(2) {
                0 => {}
                1 if code == ErrorCode::TooOld => self.retry(client, item),
                _ => self.cancel(client, item),
            }
        }
    }
}
