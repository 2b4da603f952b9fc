//! What each frame of the server means.

use super::{Asked, Link, Machine};
use crate::{
    log::Continued,
    mutation::{self, Mutation},
    ops::{Counter, StoreOp},
    ranges::Mismatch,
    terms::Terms,
};
use kith_protocol::{
    ConversationId, ErrorCode, Event, Seq, ServerFrame,
    error::ErrorClass,
    frame::{Ack, AckStatus, ErrorFrame, Events, Members, OwnStates, Page, Welcome},
    limits,
};

/// A missed change of own state is asked for after this long, ms.
const MISSED_STATE_MS: u64 = 1_000;

impl Machine {
    pub(super) fn frame(&mut self, frame: ServerFrame) {
        let connected = matches!(self.link, Link::Handshake { .. } | Link::Live { .. } | Link::Exchanging);
        if !connected {
            return; // of a link that was given up
        }
        let asked = self.answered(&frame);
        match frame {
            ServerFrame::Welcome(welcome) => self.welcome(*welcome),
            ServerFrame::Heads(heads) => self.heads(heads, asked),
            ServerFrame::Events(events) => self.events(events),
            ServerFrame::Hint(hint) => {
                for (conversation, head) in hint.heads {
                    self.hint(conversation, head);
                }
            }
            ServerFrame::Page(page) => self.page(page, asked),
            ServerFrame::Ack(ack) => self.ack(ack, asked),
            ServerFrame::Chains(chains) => self.chains(chains, asked),
            ServerFrame::OwnState(own) => self.own_state(own, asked),
            ServerFrame::Markers(markers) => {
                self.store(StoreOp::Markers { conversation: markers.conversation, markers: markers.markers });
            }
            ServerFrame::Profiles(profiles) => self.store(StoreOp::Profiles(profiles.items)),
            ServerFrame::Members(members) => self.members(members, asked),
            ServerFrame::Notification(notifications) => {
                self.store(StoreOp::Notifications(notifications.items))
            }
            ServerFrame::Ephemeral(ephemeral) => self.ephemeral(ephemeral),
            ServerFrame::AuthExpiring(_) => self.renew_beside(),
            ServerFrame::Bye(bye) => self.live.bye_ms = Some(bye.after_ms),
            ServerFrame::Error(error) => self.error(error, asked),
        }
    }

    /// The request that a frame ends. Heads come in parts with one `reply_to`: the part with `more: false` ends the
    /// request, the parts before it only prove that the answer is on its way (S2).
    fn answered(&mut self, frame: &ServerFrame) -> Option<Asked> {
        let number = frame.reply_to()?;
        let ends_early = mutation::is(Mutation::FirstPartEndsRequest);
        if matches!(frame, ServerFrame::Heads(heads) if heads.more && !ends_early) {
            if let Some(request) = self.requests.get_mut(&number) {
                request.deadline = self.now.mono + super::ANSWER_WITHIN_MS;
            }
            return None;
        }
        self.requests.remove(&number).map(|request| request.asked)
    }

    fn welcome(&mut self, welcome: Welcome) {
        if welcome.user != self.options.user {
            // Somebody else's token: another file is meant (S9).
            self.stop(ErrorCode::TokenInvalid);
            return;
        }
        self.token_is_stale = false;
        self.token_is_untried = false;
        self.told_stopped = None;
        self.generation = welcome.generation;
        self.epoch = Some(welcome.epoch.clone());
        self.terms = Terms::of(&welcome);
        let terms = self.terms.clone();
        self.store(StoreOp::Welcome { generation: welcome.generation, epoch: welcome.epoch, terms });
    }

    // --- the log (C1, C2) ---

    fn events(&mut self, events: Events) {
        let conversation = events.conversation;
        for event in &events.events {
            self.stopped_typing(conversation, event);
        }
        let Some(log) = self.logs.get_mut(&conversation) else {
            // Heads announce a conversation before its first event; this one's announcement was lost.
            self.heads_at.get_or_insert(self.now.mono);
            return;
        };
        if log.awaits_item {
            self.heads_at.get_or_insert(self.now.mono);
        }
        let continued = log.live(events.events, self.now.mono);
        self.continued(conversation, continued);
    }

    fn continued(&mut self, conversation: ConversationId, continued: Result<Option<Continued>, Mismatch>) {
        match continued {
            Ok(Some(Continued { chain_before, events })) => {
                self.stored_others(conversation, &events);
                self.store(StoreOp::Append { conversation, chain_before, events });
            }
            Ok(None) => {}
            Err(Mismatch) => self.fork(conversation),
        }
        self.attend(conversation);
    }

    fn stored_others(&mut self, conversation: ConversationId, events: &[Event]) {
        let me = self.options.user;
        let others = events.iter().rev().find(|event| event.sender != me).map(|event| event.seq);
        if let (Some(log), Some(seq)) = (self.logs.get_mut(&conversation), others) {
            log.others_high = log.others_high.max(seq);
        }
        self.may_deliver(conversation);
    }

    fn hint(&mut self, conversation: ConversationId, head: Seq) {
        match self.logs.get_mut(&conversation) {
            Some(log) => log.hinted(head),
            None => {
                self.heads_at.get_or_insert(self.now.mono);
            }
        }
        self.attend(conversation);
    }

    fn page(&mut self, page: Page, asked: Option<Asked>) {
        let conversation = page.conversation;
        let Some(log) = self.logs.get_mut(&conversation) else { return };
        if matches!(asked, Some(Asked::Pull { .. })) {
            log.pull_answered(&page);
            log.head_told(page.head);
        }
        if log.probing {
            return;
        }
        match log.page(&page) {
            Ok((true, continued)) => {
                self.stored_others(conversation, &page.events);
                self.store(StoreOp::Page(page));
                self.continued(conversation, Ok(continued));
                self.want_leapt_over(conversation);
            }
            Ok((false, _)) => {
                log.back_off_pull(self.now.mono, 0);
                self.attend(conversation);
            }
            Err(Mismatch) => self.fork(conversation),
        }
    }

    // --- answers ---

    fn ack(&mut self, ack: Ack, asked: Option<Asked>) {
        let Some(asked) = asked else { return };
        match asked {
            Asked::Send { items } => {
                let known = ack.results.iter().filter(|one| one.status == AckStatus::Duplicate).count();
                self.count(Counter::Duplicates, known);
                let ops = self.outbox.answered(&items, &ack.results, self.now.mono, self.now.wall);
                for op in ops {
                    if let StoreOp::Acked { item, seq, .. } = &op {
                        self.acked(*item, *seq);
                    }
                    self.store(op);
                }
            }
            Asked::State { items, .. } => {
                for item in &items {
                    self.outbox.remove(*item);
                }
                self.store(StoreOp::Done { items });
            }
            Asked::Auth => self.token_is_untried = false,
            Asked::Hello
            | Asked::Open { .. }
            | Asked::Pull { .. }
            | Asked::Probe { .. }
            | Asked::Check { .. }
            | Asked::Confirm { .. }
            | Asked::Heads
            | Asked::Profiles { .. }
            | Asked::Members { .. }
            | Asked::Markers { .. } => {}
        }
    }

    fn acked(&mut self, item: i64, seq: Seq) {
        let Some(conversation) = self.outbox.conversation(item) else { return };
        let Some(log) = self.logs.get_mut(&conversation) else { return };
        if seq > log.ranges.high() {
            log.expects(seq, self.now.mono);
            self.attend(conversation);
        }
        self.want_acked(conversation, seq);
    }

    fn own_state(&mut self, own: OwnStates, asked: Option<Asked>) {
        for item in &own.items {
            if let Some(log) = self.logs.get_mut(&item.conversation) {
                log.delivered = log.delivered.max(item.delivered);
            }
        }
        let lowest = own.items.iter().map(|item| item.version).min();
        let missed = lowest.filter(|version| *version > self.user_seq.saturating_add(1));
        let continues = missed.is_none();
        if let Some(version) = missed {
            self.beyond = Some(match self.beyond {
                Some((low, high)) if version <= high.saturating_add(1) => (low, high.max(version)),
                _ => (version, version),
            });
            self.heads_at.get_or_insert(self.now.mono + MISSED_STATE_MS);
        } else {
            self.user_seq = self.user_seq.max(own.user_seq);
        }
        self.store(StoreOp::OwnState { user_seq: continues.then_some(self.user_seq), items: own.items });
        if let Some(Asked::State { items, .. }) = asked {
            for item in &items {
                self.outbox.remove(*item);
            }
            self.store(StoreOp::Done { items });
        }
    }

    fn members(&mut self, members: Members, asked: Option<Asked>) {
        // An answer that was repeated, or that nobody waits for, may be older than what has come since.
        let Some(Asked::Members { first, as_of: known, .. }) = asked else { return };
        let as_of = if first { members.as_of } else { known };
        let conversation = members.conversation;
        let next = members.next;
        let (items, last) = (members.items, next.is_none());
        self.store(StoreOp::Members { conversation, as_of, items, first, last });
        if let Some(after) = next {
            self.ask_members(conversation, Some(after), as_of);
        }
    }

    // --- refusals ---

    fn error(&mut self, error: ErrorFrame, asked: Option<Asked>) {
        let (now, wall) = (self.now.mono, self.now.wall);
        let (code, retry) = (error.code, error.retry_after_ms);
        if matches!(code, ErrorCode::TokenExpired | ErrorCode::TokenInvalid)
            && !matches!(asked, Some(Asked::Hello | Asked::Auth))
        {
            self.renew_beside();
        }
        match asked {
            Some(Asked::Hello) => self.hello_refused(code, retry),
            Some(Asked::Send { items }) => {
                let mut items = items.into_iter().map(|(item, _)| item);
                if let Some(first) = items.next() {
                    let op = self.outbox.refused(first, code, retry, now, wall);
                    self.store(op);
                }
                if let Some(op) = self.outbox.requeued(items.collect()) {
                    self.store(op);
                }
            }
            Some(Asked::Open { item }) => {
                let op = self.outbox.refused(item, code, retry, now, wall);
                self.store(op);
            }
            Some(Asked::State { items, draft }) => self.state_refused(items, draft, &error),
            Some(Asked::Pull { conversation }) => {
                if let Some(log) = self.logs.get_mut(&conversation) {
                    log.pull_failed();
                    log.back_off_pull(now, retry.unwrap_or(0));
                    if code.class() == ErrorClass::Permanent {
                        log.deny();
                    }
                }
                self.attend(conversation);
            }
            Some(Asked::Heads) => {
                self.heads_at = Some(now + retry.unwrap_or(limits::RECONNECT_MAX.as_millis() as u64))
            }
            Some(Asked::Probe { conversation }) => {
                if code.class() == ErrorClass::Permanent
                    && let Some(log) = self.logs.get_mut(&conversation)
                {
                    log.deny();
                }
                self.probe_later(conversation, retry);
            }
            Some(Asked::Confirm { conversation }) => {
                let again = code.class() != ErrorClass::Permanent;
                self.confirm_later(conversation, again.then_some(retry.unwrap_or(super::ASK_AGAIN_MS)));
            }
            Some(asked @ (Asked::Profiles { .. } | Asked::Members { .. } | Asked::Markers { .. })) => {
                if code.class() != ErrorClass::Permanent {
                    self.ask_later(asked, retry);
                }
            }
            Some(Asked::Check { conversation }) if code.class() != ErrorClass::Permanent => {
                self.check_later(conversation, retry);
            }
            // A token that is not taken ends the connection; what comes then decides (S11).
            Some(Asked::Auth | Asked::Check { .. }) | None => {}
        }
    }

    fn state_refused(&mut self, items: Vec<i64>, draft: bool, error: &ErrorFrame) {
        match (&error.current, error.code) {
            (Some(current), ErrorCode::StateConflict) if draft => {
                for item in &items {
                    self.outbox.remove(*item);
                }
                self.store(StoreOp::DraftConflict { items, current: current.clone() });
            }
            // Own state never waits for the user (O5): what the server will not have is undone here.
            (_, code) if code.class() == ErrorClass::Permanent => {
                for item in &items {
                    self.outbox.remove(*item);
                }
                self.store(StoreOp::Done { items });
            }
            (_, code) => {
                for item in items {
                    let op =
                        self.outbox.refused(item, code, error.retry_after_ms, self.now.mono, self.now.wall);
                    self.store(op);
                }
            }
        }
    }
}
