//! What each frame of the server means.

use super::{Asked, Link, Machine};
use crate::{
    sync::{
        log::{Continued, Log},
        ops::{LocalConversation, StoreOp},
        ranges::Mismatch,
    },
    view::Counter,
};
use kith_protocol::{
    ClientFrame, ConversationId, ErrorCode, Event, Seq, ServerFrame,
    error::ErrorClass,
    frame::{
        Ack, AckStatus, Chains, ErrorFrame, Events, Heads, HeadsItem, Members, OwnStates, Page, Probe,
        Welcome,
    },
    limits,
};

/// A missed change of own state is asked for after this long, ms.
const MISSED_STATE_MS: u64 = 1_000;

impl Machine {
    pub(super) fn frame(&mut self, frame: ServerFrame) {
        let connected = matches!(self.link, Link::Greeting { .. } | Link::Live { .. } | Link::Exchanging);
        if !connected {
            return; // of a link that was given up
        }
        let asked =
            frame.reply_to().and_then(|request| self.requests.remove(&request)).map(|request| request.asked);
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

    fn welcome(&mut self, welcome: Welcome) {
        if welcome.user != self.options.user {
            // Somebody else's token: another file is meant (S9).
            self.stop(ErrorCode::TokenInvalid);
            return;
        }
        self.token_is_stale = false;
        self.token_is_untried = false;
        self.generation = welcome.generation;
        self.epoch = Some(welcome.epoch.clone());
        self.store(StoreOp::Welcome { generation: welcome.generation, epoch: welcome.epoch });
    }

    // --- heads (S3) ---

    fn heads(&mut self, heads: Heads, asked: Option<Asked>) {
        let greeting = matches!(self.link, Link::Greeting { .. })
            || (self.link == Link::Exchanging && !self.heard_this_round);
        for item in &heads.items {
            // One that was lost and comes again begins anew.
            let is_new = self.unheard.remove(&item.own.conversation);
            self.heads_item(item, greeting || is_new);
        }
        for conversation in &heads.gone {
            self.unheard.remove(conversation);
        }
        let is_full = heads.full;
        let whole = greeting || matches!(asked, Some(Asked::Heads));
        let last = whole && !heads.more;
        if last {
            self.user_seq = heads.user_seq;
            self.heads_at = None;
            self.count(Counter::FullHeads, usize::from(heads.full));
        }
        self.store(StoreOp::Heads {
            full: heads.full,
            greeting,
            last,
            user_seq: if last { heads.user_seq } else { self.user_seq },
            items: heads.items,
            gone: heads.gone,
        });
        if let Some(Asked::Open { item }) = asked {
            self.outbox.remove(item);
            self.store(StoreOp::Done { items: vec![item] });
        }
        if greeting && last {
            if !is_full {
                self.unheard.clear();
            }
            self.greeted();
            if !self.unheard.is_empty() {
                self.store(StoreOp::Lost { conversations: self.unheard.iter().copied().collect() });
            }
        }
    }

    fn heads_item(&mut self, item: &HeadsItem, fresh: bool) {
        let conversation = item.own.conversation;
        let log = self.logs.entry(conversation).or_insert_with(|| Log::announced(conversation));
        let fits = log.heads(item, fresh);
        self.attend(conversation);
        if fits.is_err() {
            self.fork(conversation);
        } else {
            self.may_deliver(conversation);
        }
    }

    /// The last heads of a connection: everything may be sent.
    fn greeted(&mut self) {
        let is_first = !std::mem::replace(&mut self.heard, true);
        self.heard_this_round = true;
        if matches!(self.link, Link::Greeting { .. }) {
            self.link = Link::Live { since: self.now.mono };
        }
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
        if is_first {
            self.greet_live();
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

    /// An acknowledged event of one's own that is not stored: its row ends only with it (O2).
    fn want_acked(&mut self, conversation: ConversationId, seq: Seq) {
        use crate::sync::log::Wanted;
        use kith_protocol::frame::Direction;
        let Some(log) = self.logs.get_mut(&conversation) else { return };
        if log.ranges.contains(seq) {
            return;
        }
        let wanted = Wanted { from: seq, to: Some(seq), direction: Direction::Forward };
        // Behind, the catching up brings it, unless the newest page leaps over it.
        if !log.wants.contains(&wanted) {
            log.wants.push_back(wanted);
        }
        self.attend(conversation);
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
            log.pull = None;
        }
        if log.probing {
            return;
        }
        match log.page(&page) {
            Ok((true, continued)) => {
                self.stored_others(conversation, &page.events);
                self.store(StoreOp::Page(page));
                self.continued(conversation, Ok(continued));
            }
            Ok((false, _)) => {
                log.in_vain(self.now.mono, 0);
                self.attend(conversation);
            }
            Err(Mismatch) => self.fork(conversation),
        }
    }

    /// The server's log is not a continuation of the stored one: find where they part (S7).
    pub(super) fn fork(&mut self, conversation: ConversationId) {
        let Some(log) = self.logs.get_mut(&conversation) else { return };
        if log.probing {
            return;
        }
        log.probing = true;
        let seqs = log.probes();
        if seqs.is_empty() {
            self.store(StoreOp::Rewind { conversation, chains: Vec::new() });
            return;
        }
        self.request(ClientFrame::Probe(Probe { conversation, seqs }), Asked::Probe { conversation });
    }

    /// The store holds another log than the one it was given (S7): the server is asked about the place that shows it.
    pub(super) fn contradicted(&mut self, local: LocalConversation, seq: Seq) {
        let conversation = local.conversation;
        let Some(log) = self.logs.get_mut(&conversation) else { return };
        if log.contradicted(local.ranges, seq) {
            self.fork(conversation);
        } else {
            log.probing = true;
            self.store(StoreOp::Rewind { conversation, chains: Vec::new() });
        }
    }

    /// A probe that was not answered is repeated; until then the conversation stands still.
    pub(super) fn probe_later(&mut self, conversation: ConversationId, retry_after_ms: Option<u64>) {
        if let Some(log) = self.logs.get_mut(&conversation) {
            let wait = retry_after_ms.unwrap_or(super::ASK_AGAIN_MS);
            log.probe_after = Some(self.now.mono + wait);
            self.attention.insert(conversation);
        }
    }

    pub(super) fn probe_again(&mut self) {
        let now = self.now.mono;
        let due = |id: &&ConversationId| {
            self.logs.get(*id).and_then(|log| log.probe_after).is_some_and(|at| at <= now)
        };
        let due: Vec<_> = self.attention.iter().filter(due).copied().collect();
        for conversation in due {
            if let Some(log) = self.logs.get_mut(&conversation) {
                (log.probing, log.probe_after) = (false, None);
            }
            self.fork(conversation);
        }
    }

    /// A repeated answer is of a log that has been settled since.
    fn chains(&mut self, chains: Chains, asked: Option<Asked>) {
        match asked {
            Some(Asked::Probe { .. }) => {}
            Some(Asked::Check { .. }) => return self.checked(&chains),
            _ => return,
        }
        let Chains { conversation, head, mut chains, .. } = chains;
        if let Some(log) = self.logs.get_mut(&conversation) {
            log.head = head;
            let unseen = log.first_unseen();
            chains.retain(|(seq, _)| unseen.is_none_or(|unseen| *seq < unseen));
        }
        self.store(StoreOp::Rewind { conversation, chains });
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
        } else {
            self.want_acked(conversation, seq);
        }
    }

    fn own_state(&mut self, own: OwnStates, asked: Option<Asked>) {
        for item in &own.items {
            if let Some(log) = self.logs.get_mut(&item.conversation) {
                log.delivered = log.delivered.max(item.delivered);
            }
        }
        let lowest = own.items.iter().map(|item| item.version).min();
        let continues = lowest.is_none_or(|version| version <= self.user_seq + 1);
        if continues {
            self.user_seq = self.user_seq.max(own.user_seq);
        } else {
            self.heads_at.get_or_insert(self.now.mono + MISSED_STATE_MS);
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
        let first = matches!(asked, Some(Asked::Members { first: true, .. }));
        let conversation = members.conversation;
        let next = members.next;
        self.store(StoreOp::Members { conversation, items: members.items, first, last: next.is_none() });
        if let Some(after) = next {
            self.ask_members(conversation, Some(after));
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
                    log.pull = None;
                    log.in_vain(now, retry.unwrap_or(0));
                    if code.class() == ErrorClass::Permanent {
                        log.deny();
                    }
                }
                self.attend(conversation);
            }
            Some(Asked::Heads) => {
                self.heads_at = Some(now + retry.unwrap_or(limits::RECONNECT_MAX.as_millis() as u64))
            }
            Some(Asked::Probe { conversation }) => self.probe_later(conversation, retry),
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
