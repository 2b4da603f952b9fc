//! What goes wrong beside the network: crashes, clocks, tokens, copies, and a server that is set back.

use super::{CLIENTS_MAX, Happening, World};
use kith_protocol::{ConversationId, ErrorCode, Event, Seq, ServerFrame, error::close, frame::AuthExpiring};
use kith_sync::{Input, TokenError};

/// How long before its end a token is announced to end, ms.
const EXPIRING_MS: u64 = 5_000;
const DAY_MS: i64 = 86_400_000;

impl World {
    pub(super) fn fault(&mut self) {
        let client = self.rng.up_to(self.clients.len() as u64 - 1) as usize;
        match self.rng.up_to(17) {
            0..=2 => self.cut(client, None),
            3 => {
                self.server_is_up = !self.server_is_up;
                self.restart_server(None);
            }
            4 | 5 => self.crash(client),
            6 => self.half_open(client),
            7 => self.sleep(client),
            8 => self.set_clock(client),
            9 => self.clients[client].token_until = self.now,
            10 => {
                self.sockets_are_off = !self.sockets_are_off;
                self.restart_server(Some(close::RESTART));
            }
            11 => self.backup = Some(self.server.backup()),
            12 => self.restore(),
            13 => self.copy_profile(client),
            14 | 15 => self.endanger_power(client),
            _ if self.clients[client].machine.is_none() => self.start(client),
            _ => self.feed(client, Input::NetworkChanged),
        }
    }

    fn restore(&mut self) {
        let Some(backup) = self.backup.take() else { return };
        self.counts.restores += 1;
        let is_new = self.rng.up_to(1) == 0;
        let logs = self.server.conversations.iter().map(|(id, one)| (*id, one.log.clone()));
        let logs: Vec<_> = logs.collect();
        let states = self.server.states.clone();
        self.server.restore(&backup, is_new);
        self.backup = Some(backup);
        for (id, log) in logs {
            self.note_lost(id, &log);
        }
        for (key, kept) in states {
            if self.server.states.get(&key).is_none_or(|now| now.own != kept.own) {
                self.lost.states.insert(key);
            }
        }
        self.restart_server(is_new.then_some(close::EPOCH));
    }

    /// What was in a log and is not any more.
    fn note_lost(&mut self, id: ConversationId, log: &[Event]) {
        let kept = self.server.conversations.get(&id);
        if kept.is_none() {
            self.counts.lost_conversations += 1;
            self.lost.whole.insert(id);
            self.lost.from.insert(id, Seq::ZERO);
        }
        let kept = kept.map_or(0, |one| one.log.len());
        self.lost.events.extend(log.iter().skip(kept).map(|event| event.id));
        let deletes = log.iter().skip(kept).filter(|event| event.kind == "delete");
        for delete in deletes {
            let Some(target) = delete.target else { continue };
            self.lost.undeleted.entry(target).or_default().insert(delete.sender);
        }
        if kept < log.len() {
            let first = Seq(kept as u64 + 1);
            let from = self.lost.from.entry(id).or_insert(first);
            *from = first.min(*from);
        }
    }

    /// Records what would survive a power cut, and plans one. Half of the time the connection breaks twice before it.
    fn endanger_power(&mut self, client: usize) {
        self.clients[client].store.watch_power();
        let within = 8_000;
        if self.rng.up_to(1) == 0 {
            for _ in 0..2 {
                let at = self.now + self.rng.up_to(within);
                self.at(at, Happening::Cut { client });
            }
        }
        let at = self.now + self.rng.up_to(within);
        self.at(at, Happening::PowerCut { client });
    }

    /// The newest commits that were not synced are lost, and the machine with them.
    pub(super) fn cut_power(&mut self, client: usize) {
        self.counts.power_cuts += 1;
        self.crash(client);
        self.clients[client].power_cuts += 1;
        self.clients[client].store.lose_power();
    }

    pub(super) fn restart_server(&mut self, code: Option<u16>) {
        self.counts.server_crashes += 1;
        self.server.restart();
        for client in 0..self.clients.len() {
            self.cut(client, code);
        }
    }

    /// S8
    fn copy_profile(&mut self, client: usize) {
        if self.clients.len() < CLIENTS_MAX {
            self.counts.copies += 1;
            self.copied.insert(self.clients[client].user);
            let copy = self.clients[client].copied();
            self.clients.push(copy);
            self.start(self.clients.len() - 1);
        }
    }

    // --- clocks ---

    /// The computer sleeps: its monotonic clock stands, its wall clock does not, its connection dies.
    fn sleep(&mut self, client: usize) {
        self.counts.sleeps += 1;
        let long = 1_000 + self.rng.up_to(20_000);
        if let Some(connection) = self.clients[client].connection
            && self.rng.up_to(1) == 0
        {
            self.server.disconnect(connection);
            self.half_open.insert(connection);
            let at = self.now + long + self.rng.up_to(30_000);
            self.at(at, Happening::Broken { client, connection });
        }
        let one = &mut self.clients[client];
        if one.asleep_until <= self.now {
            one.asleep_until = self.now + long;
            one.slept += long;
        }
        self.at(self.now + long, Happening::Timer { client });
    }

    /// Wakes the computer before its time: what it slept through reaches it now, in the order in which it came.
    pub(super) fn wake(&mut self, client: usize) {
        let one = &mut self.clients[client];
        let until = std::mem::take(&mut one.asleep_until);
        if until <= self.now {
            return;
        }
        one.slept -= until - self.now;
        let held: Vec<_> = self
            .queue
            .extract_if((until, 0)..=(until, u64::MAX), |_, happening| happening.client() == Some(client))
            .collect();
        for (_, happening) in held {
            self.at(self.now, happening);
        }
    }

    fn set_clock(&mut self, client: usize) {
        self.counts.clock_jumps += 1;
        let by = match self.rng.up_to(4) {
            0 => 40 * DAY_MS,
            1 => -40 * DAY_MS,
            2 => -3_600_000,
            _ => self.rng.up_to(20_000) as i64 - 10_000,
        };
        self.clients[client].wall_is_off += by;
    }

    // --- connections ---

    fn half_open(&mut self, client: usize) {
        let Some(connection) = self.clients[client].connection else { return };
        self.counts.half_open += 1;
        self.half_open.insert(connection);
        let at = self.now + self.rng.up_to(30_000);
        self.at(at, Happening::Broken { client, connection });
    }

    // --- tokens (S11) ---

    /// Signs in again where that is needed, and starts what is not running.
    pub(crate) fn sign_in(&mut self, client: usize) {
        if self.is_signed_out(client) {
            self.clients[client].machine = None;
            self.clients[client].token_until = self.now + self.token_incarnation();
        }
        if self.clients[client].machine.is_none() {
            self.start(client);
        }
    }

    fn token_incarnation(&mut self) -> u64 {
        if self.faults { 6_000 + self.rng.up_to(40_000) } else { 600_000 }
    }

    pub(super) fn renewal(&mut self, client: usize, incarnation: u32, new_device: bool) {
        if self.clients[client].incarnation != incarnation {
            return;
        }
        let copied = self.is_copied(self.clients[client].user);
        assert!(!new_device || copied, "seed {}: S8, nobody was copied", self.seed);
        let answer = match if self.faults { self.rng.up_to(11) } else { 9 } {
            _ if !self.server_is_up => Input::TokenFailed(TokenError::Unreachable),
            0 | 1 => Input::TokenFailed(TokenError::Unreachable),
            2 => Input::TokenFailed(TokenError::Refused(ErrorCode::TokenInvalid)),
            _ => {
                self.counts.renewals += 1;
                let token_until = self.now + self.token_incarnation();
                let device = if new_device { self.next_device() } else { self.clients[client].device };
                let one = &mut self.clients[client];
                (one.device, one.token_until) = (device, token_until);
                Input::TokenRenewed(device)
            }
        };
        // Renewals are made one after the other.
        let at = (self.now + self.latency()).max(self.clients[client].renewed_at);
        self.clients[client].renewed_at = at;
        self.at(at, Happening::Answer { client, incarnation, input: Box::new(answer) });
    }

    /// Plans the end of a connection's token.
    pub(crate) fn watch_token(&mut self, client: usize, connection: u64) {
        let until = self.clients[client].token_until;
        let (soon, end) = (until.saturating_sub(EXPIRING_MS), until);
        self.at(soon, Happening::TokenEnds { client, connection, now: false });
        self.at(end, Happening::TokenEnds { client, connection, now: true });
    }

    pub(super) fn token_ends(&mut self, client: usize, connection: u64, now: bool) {
        let one = &self.clients[client];
        if one.connection != Some(connection) || self.half_open.contains(&connection) {
            return;
        }
        if one.token_until <= self.now {
            self.counts.tokens_ended += 1;
            self.cut(client, Some(close::TOKEN_EXPIRED));
        } else if now {
            self.watch_token(client, connection);
        } else {
            let ms = one.token_until - self.now;
            self.server.out.push((connection, ServerFrame::AuthExpiring(AuthExpiring { ms })));
        }
    }
}
