//! The reference server's greeting: generations (S8) and heads (S2, S3).

use super::{Connection, Server, answering};
use crate::sync::backoff::Jitter;
use kith_protocol::{
    Chain, ConversationId, DeviceId, ErrorCode, Seq, ServerFrame, TimestampMs, UserId,
    error::close,
    frame::{ErrorFrame, Heads, HeadsItem, HeadsMember, Hello, Welcome, WelcomeLimits},
};

impl Server {
    pub(super) fn hello(
        &mut self,
        connection: u64,
        (user, device): (UserId, DeviceId),
        hello: &Hello,
        request: Option<u64>,
        rng: &mut Jitter,
    ) {
        let Some(generation) = self.generation(connection, device, hello.generation) else {
            self.forks += 1;
            let frame = ServerFrame::Error(ErrorFrame {
                reply_to: None,
                code: ErrorCode::DeviceForked,
                message: String::new(),
                retry_after_ms: None,
                current: None,
            });
            self.out.push((connection, answering(frame, request)));
            return;
        };
        if let Some(connection) = self.connections.get_mut(&connection) {
            connection.greeted = true;
        }
        let welcome = Welcome {
            reply_to: request,
            connection: connection.to_string(),
            server: "model/1".to_owned(),
            user,
            device,
            generation,
            epoch: self.epoch.to_string(),
            now: TimestampMs(self.now),
            protocol: 1,
            capabilities: Vec::new(),
            limits: WelcomeLimits::default(),
            token_ms: 600_000,
        };
        self.out.push((connection, ServerFrame::Welcome(Box::new(welcome))));
        let mut heads = self.heads(user, true);
        self.last_cursor += 1;
        let cursor = format!("after {}", self.last_cursor);
        let told = hello.cursor.as_ref().and_then(|cursor| self.cursors.get(&(user, cursor.clone())));
        let now = heads.items.clone();
        if let Some(told) = told {
            heads.full = false;
            heads.items.retain(|item| !told.contains(item));
        }
        self.cursors.insert((user, cursor.clone()), now);
        if heads.items.len() > 1 && rng.up_to(1) == 0 {
            let rest = heads.items.split_off(1);
            self.out.push((connection, ServerFrame::Heads(Heads { more: true, ..heads.clone() })));
            heads.items = rest;
        }
        heads.cursor = Some(cursor);
        self.out.push((connection, ServerFrame::Heads(heads)));
    }

    /// The generation of a `welcome`; `None` for a copied profile. A greater one is from before a restore.
    fn generation(&mut self, connection: u64, device: DeviceId, presented: u64) -> Option<u64> {
        let (issued, before) = self.generations.get(&device).copied().unwrap_or((0, 0));
        if presented < issued && presented != before {
            return None;
        }
        let is_socket = |one: &Connection| one.is_socket;
        if !self.connections.get(&connection).is_some_and(is_socket) {
            return Some(presented);
        }
        let next = issued.max(presented) + 1;
        self.generations.insert(device, (next, presented));
        let older = self.connections.iter().filter(|(number, one)| {
            **number != connection && one.device == device && one.is_socket && one.greeted
        });
        let older: Vec<u64> = older.map(|(number, _)| *number).collect();
        for number in older {
            self.connections.remove(&number);
            self.closed.push((number, close::REPLACED));
        }
        Some(next)
    }

    pub(super) fn heads(&self, user: UserId, full: bool) -> Heads {
        let mine = self.conversations.iter().filter(|(_, one)| one.visible.contains_key(&user));
        Heads {
            reply_to: None,
            full,
            more: false,
            user_seq: self.user_seqs.get(&user).copied().unwrap_or(0),
            cursor: None,
            items: mine.map(|(id, _)| self.item(user, *id)).collect(),
            gone: Vec::new(),
        }
    }

    /// A former member's item ends where the last interval does.
    pub(super) fn item(&self, user: UserId, id: ConversationId) -> HeadsItem {
        let conversation = &self.conversations[&id];
        let head = conversation.head_of(user);
        let last = conversation.log.get((head.0 as usize).wrapping_sub(1));
        let member =
            |(user, role): (&UserId, &_)| HeadsMember { user: *user, role: *role, profile_version: 1 };
        HeadsItem {
            own: self.own(user, id),
            kind: conversation.kind,
            head,
            chain: last.map_or(Chain::empty(id), |event| event.chain),
            countable: last.map_or(0, |event| event.countable),
            last_ts: last.map_or(TimestampMs(0), |event| event.ts),
            floor: Seq(1),
            visible: conversation.visible[&user].clone(),
            members: Some(conversation.members.iter().map(member).collect()),
            member_count: conversation.members.len() as u32,
            title: None,
            context: None,
        }
    }
}
