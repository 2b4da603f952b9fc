//! Heads: where every conversation stands, and what follows when a connection begins (S3).

use super::{Asked, Link, Machine};
use crate::{
    log::Log,
    mutation::{self, Mutation},
    ops::{Counter, StoreOp},
};
use kith_protocol::{
    ConversationId, Seq,
    frame::{Heads, HeadsItem},
};
use std::collections::BTreeSet;

impl Machine {
    pub(super) fn heads(&mut self, heads: Heads, asked: Option<Asked>) {
        let handshake = matches!(self.link, Link::Handshake { .. })
            || (self.link == Link::Exchanging && !self.heard_this_round);
        if handshake && std::mem::take(&mut self.awaits_heads) {
            self.missing_from_heads =
                if heads.full { self.logs.keys().copied().collect() } else { BTreeSet::new() };
        }
        let begins = |item: &HeadsItem| {
            let known = self.logs.get(&item.own.conversation);
            known.is_none_or(|log| log.head == Seq::ZERO && item.head > Seq::ZERO)
        };
        let meets_people = !handshake && heads.items.iter().any(begins);
        let focus = self.known_focus();
        for item in &heads.items {
            // One that was lost and comes again begins anew.
            let is_new = self.missing_from_heads.remove(&item.own.conversation);
            self.heads_item(item, handshake || is_new);
        }
        let is_in = |item: &&HeadsItem| item.visible.last().is_some_and(|(_, to)| to.is_none());
        let begun: Vec<_> = heads.items.iter().filter(is_in).map(|item| item.own.conversation).collect();
        for conversation in &heads.gone {
            self.missing_from_heads.remove(conversation);
            if let Some(log) = self.logs.get_mut(conversation).filter(|_| handshake && heads.full) {
                log.unconfirm();
            }
        }
        let whole = handshake || matches!(asked, Some(Asked::Heads));
        let last = whole && !heads.more;
        if let (Link::Handshake { until }, true) = (&mut self.link, heads.more) {
            *until = self.now.mono + super::ANSWER_WITHIN_MS;
        }
        if last {
            if !mutation::is(Mutation::UserSeqStays) {
                self.own_state_told(heads.user_seq, handshake);
            }
            self.count(Counter::FullHeads, usize::from(heads.full));
            if handshake {
                self.cursor.keep(heads.cursor, heads.full, self.now);
            }
        }
        self.store(StoreOp::Heads {
            full: heads.full,
            handshake,
            last,
            user_seq: if mutation::is(Mutation::UserSeqStays) { self.user_seq } else { heads.user_seq },
            items: heads.items,
            gone: if mutation::is(Mutation::GoneIsIgnored) { Vec::new() } else { heads.gone },
        });
        self.end_openings(&begun);
        if meets_people {
            self.watch_again();
        }
        if !handshake && self.known_focus() != focus {
            self.send_focus();
        }
        if let Some(Asked::Open { item }) = asked {
            self.outbox.remove(item);
            self.store(StoreOp::Done { items: vec![item] });
        }
        if handshake && last {
            self.handshake();
            if !self.missing_from_heads.is_empty() {
                self.store(StoreOp::Lost {
                    conversations: self.missing_from_heads.iter().copied().collect(),
                });
            }
        }
    }

    /// Ends the openings of conversations that exist on the server already, so that the rows behind them can leave.
    fn end_openings(&mut self, begun: &[ConversationId]) {
        let items: Vec<_> = begun.iter().flat_map(|id| self.outbox.waiting_openings(*id)).collect();
        for item in &items {
            self.outbox.remove(*item);
        }
        if !items.is_empty() {
            self.store(StoreOp::Done { items });
        }
    }

    /// The last part of heads: own state is complete up to `user_seq`, and with what was pushed meanwhile further.
    /// A need for heads that came up after the request left stays.
    fn own_state_told(&mut self, user_seq: u64, handshake: bool) {
        if handshake {
            (self.user_seq, self.beyond, self.heads_at) = (user_seq, None, None);
            return;
        }
        self.user_seq = self.user_seq.max(user_seq);
        if let Some((_, high)) = self.beyond.take_if(|(low, _)| *low <= self.user_seq.saturating_add(1)) {
            self.user_seq = self.user_seq.max(high);
            self.heads_at = None;
        }
    }

    fn heads_item(&mut self, item: &HeadsItem, fresh: bool) {
        let conversation = item.own.conversation;
        let log = self.logs.entry(conversation).or_insert_with(|| Log::announced(conversation));
        // A conversation that was hidden at the handshake was not compared then. The server may have been restored since.
        let fits = log.heads(item, fresh || log.high_at_hello > item.head);
        self.attend(conversation);
        if fits.is_err() {
            self.fork(conversation);
        } else {
            self.may_deliver(conversation);
        }
    }

    /// The last heads of a connection: everything may be sent.
    fn handshake(&mut self) {
        let is_first = !std::mem::replace(&mut self.heard, true);
        self.heard_this_round = true;
        if matches!(self.link, Link::Handshake { .. }) {
            self.link = Link::Live { since: self.now.mono };
        }
        self.outbox.handshake();
        let acked: Vec<_> = self.outbox.acked().collect();
        let mut lost = Vec::new();
        for (item, conversation, seq) in acked {
            // An author sees what is theirs: what lies outside of the intervals is of another log.
            let is_hidden = self.logs.get(&conversation).is_some_and(|log| !log.may_see(seq));
            if is_hidden || self.is_lost(conversation, seq) {
                lost.push(item);
            } else {
                self.want_acked(conversation, seq);
            }
        }
        if let Some(op) = self.outbox.send_again(lost) {
            self.store(op);
        }
        self.plan_catch_up();
        // A marker that was lost with a connection brings no item of its own.
        let settled = self.logs.iter().filter(|(_, log)| log.is_settled()).map(|(id, _)| *id);
        for conversation in settled.collect::<Vec<_>>() {
            self.may_deliver(conversation);
        }
        if is_first {
            self.caught_up_by = self.now.mono + super::sending::CATCH_UP_MS;
            self.begin_live();
            let apart = self.logs.iter().filter(|(_, log)| log.is_apart()).map(|(id, _)| *id);
            for conversation in apart.collect::<Vec<_>>() {
                self.fork(conversation);
            }
        }
    }

    /// What was acknowledged and is not in the log that came instead leaves once more, within the connection (S7).
    pub(super) fn send_lost_again(&mut self) {
        if !self.is_live() {
            return; // the heads of a connection say it
        }
        let is_lost = |conversation: &ConversationId, seq: Seq| {
            let is_settled = self.logs.get(conversation).is_some_and(|log| !log.probing);
            is_settled && self.is_lost(*conversation, seq)
        };
        let acked = self.outbox.acked();
        let lost = acked.filter(|(_, conversation, seq)| is_lost(conversation, *seq)).map(|(item, ..)| item);
        if let Some(op) = self.outbox.send_again(lost.collect()) {
            self.store(op);
        }
    }

    /// Whether the server does not have what it has acknowledged: its log ends below, or has another event there (S7).
    fn is_lost(&self, conversation: ConversationId, seq: Seq) -> bool {
        self.logs.get(&conversation).is_some_and(|log| seq > log.head || log.ranges.contains(seq))
    }

    /// An acknowledged event of one's own that is not stored: its row ends only with it (O2). Above the newest range the
    /// catching up brings it, together with what is news before it; that may leap over it.
    pub(super) fn want_acked(&mut self, conversation: ConversationId, seq: Seq) {
        let Some(log) = self.logs.get_mut(&conversation) else { return };
        if seq > log.ranges.high() || log.ranges.contains(seq) {
            return;
        }
        log.want(seq);
        self.attend(conversation);
    }

    /// Wants what is acknowledged and what the newest page has leapt over.
    pub(super) fn want_leapt_over(&mut self, conversation: ConversationId) {
        for seq in self.outbox.acked_in(conversation).collect::<Vec<_>>() {
            self.want_acked(conversation, seq);
        }
    }
}
