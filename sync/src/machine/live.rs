//! What is told beside the log: receipts (R1), typing and presence (R5), profiles, members and markers (R2).

use super::{Asked, Machine};
use crate::Action;
use kith_protocol::{
    ClientFrame, ConversationId, Event, Seq, UserId,
    ephemeral::{PresenceState, Typing},
    frame::{
        Delivered, Ephemeral, Focus, MarkersRequest, MembersRequest, PresenceSet, PresenceWatch,
        ProfilesRequest, TypingChange,
    },
    limits,
};
use std::collections::{BTreeMap, BTreeSet};

/// People who are shown typing, over all conversations. Further ones are not shown.
const TYPISTS_MAX: usize = 4 * limits::GROUP_MEMBERS_MAX;

/// One's own typing in a conversation; monotonic ms.
#[derive(Debug, Clone, Copy)]
struct OwnTyping {
    key: u64,
    /// When it was last told, if it was.
    told: Option<u64>,
}

/// The state of all this. Times are monotonic ms.
#[derive(Debug, Default)]
pub(super) struct Live {
    pub focus: Vec<ConversationId>,
    /// The newest conversations at the last heads.
    pub newest: BTreeSet<ConversationId>,
    /// Whose presence is shown, sorted.
    watch: Vec<UserId>,
    presence: Option<PresenceState>,
    own_typing: BTreeMap<ConversationId, OwnTyping>,
    /// Who types, and until when it counts.
    typing: BTreeMap<(ConversationId, UserId), u64>,
    /// Received up to here, in a transaction that is not committed.
    to_deliver: BTreeMap<ConversationId, Seq>,
    /// Committed up to here.
    deliverable: BTreeMap<ConversationId, Seq>,
    deliver_after: u64,
    /// Until when the pace allows for what was pulled without anybody waiting for it, monotonic microseconds.
    pub paced_us: u64,
    profiles_wanted: BTreeSet<UserId>,
    profiles_asked: BTreeSet<UserId>,
    pub members_wanted: BTreeSet<ConversationId>,
    pub markers_wanted: BTreeSet<ConversationId>,
    /// Profiles, members and markers are asked for after this.
    ask_after: u64,
    /// What the server said in `bye`.
    pub bye_ms: Option<u64>,
}

impl Live {
    /// Everything so far is committed.
    pub(super) fn stored(&mut self) {
        self.deliverable.append(&mut self.to_deliver);
    }

    pub(super) fn profiles_wanted(&mut self, users: Vec<UserId>) {
        self.profiles_wanted.extend(users.into_iter().filter(|user| !self.profiles_asked.contains(user)));
    }

    /// Whatever heads name from here on may have changed once more.
    pub(super) fn handshake(&mut self) {
        self.profiles_asked.clear();
    }

    pub(super) fn disconnected(&mut self) {
        self.deliverable.clear();
        self.to_deliver.clear();
        (self.deliver_after, self.ask_after) = (0, 0);
        self.profiles_asked.clear();
        for typing in self.own_typing.values_mut() {
            typing.told = None;
        }
    }

    pub(super) fn deadline(&self) -> Option<u64> {
        let idle = limits::TYPING_IDLE.as_millis() as u64;
        let own = self.own_typing.values().map(|typing| typing.key + idle);
        let others = self.typing.values().copied();
        own.chain(others).min()
    }

    /// When what was refused for now is asked again.
    pub(super) fn ask_deadline(&self, now: u64) -> Option<u64> {
        let waits = !self.profiles_wanted.is_empty()
            || !self.members_wanted.is_empty()
            || !self.markers_wanted.is_empty();
        (waits && self.ask_after > now).then_some(self.ask_after)
    }

    /// When the next `delivered` may go out, while connected.
    pub(super) fn deliver_deadline(&self) -> Option<u64> {
        (!self.deliverable.is_empty()).then_some(self.deliver_after)
    }
}

impl Machine {
    /// Notes that a `delivered` marker is due once the events are stored.
    pub(super) fn may_deliver(&mut self, conversation: ConversationId) {
        if let Some(log) = self.logs.get(&conversation)
            && log.others_high > log.delivered_sent.max(log.delivered)
        {
            self.live.to_deliver.insert(conversation, log.ranges.high());
        }
    }

    /// After the last heads of a connection: what the server does not remember of the one before.
    pub(super) fn begin_live(&mut self) {
        self.tell_again();
        self.live.markers_wanted.extend(self.markers_after_absence());
    }

    /// What a server forgets with each connection, and with each exchange. Where nobody pushes, ticks are asked for.
    pub(super) fn tell_again(&mut self) {
        if !self.live.focus.is_empty() {
            self.send_focus();
        }
        if !self.live.watch.is_empty() {
            self.send_watch();
        }
        if self.live.presence.is_some_and(|state| state != PresenceState::Online) {
            self.send_presence();
        }
        if self.is_polling() {
            for conversation in self.live.focus.clone() {
                self.live.markers_wanted.remove(&conversation);
                if self.is_known(conversation) {
                    self.ask_markers(conversation);
                }
            }
        }
    }

    pub(super) fn send_live(&mut self) {
        self.send_delivered();
        self.send_typing();
        if self.live.ask_after > self.now.mono {
            return;
        }
        self.ask_profiles();
        let asking = |machine: &Self, is: fn(&Asked) -> bool| machine.requests.values().any(|r| is(&r.asked));
        if !asking(self, |asked| matches!(asked, Asked::Members { .. }))
            && let Some(conversation) = self.live.members_wanted.pop_first()
        {
            self.ask_members(conversation, None, None);
        }
        if !asking(self, |asked| matches!(asked, Asked::Markers { .. }))
            && let Some(conversation) = self.live.markers_wanted.pop_first()
        {
            self.ask_markers(conversation);
        }
    }

    fn ask_markers(&mut self, conversation: ConversationId) {
        let request = ClientFrame::Markers(MarkersRequest { conversation });
        self.request(request, Asked::Markers { conversation });
    }

    /// What was refused for now, or not answered, is asked again.
    pub(super) fn ask_later(&mut self, asked: Asked, retry_after_ms: Option<u64>) {
        match asked {
            Asked::Profiles { users } => {
                for user in users {
                    self.live.profiles_asked.remove(&user);
                    self.live.profiles_wanted.insert(user);
                }
            }
            Asked::Members { conversation, .. } => {
                self.live.members_wanted.insert(conversation);
            }
            Asked::Markers { conversation } => {
                self.live.markers_wanted.insert(conversation);
            }
            _ => {}
        }
        self.live.ask_after = self.now.mono + retry_after_ms.unwrap_or(super::ASK_AGAIN_MS);
    }

    fn send_delivered(&mut self) {
        if self.live.deliverable.is_empty() || self.live.deliver_after > self.now.mono {
            return;
        }
        let mut markers = Vec::new();
        for (conversation, seq) in std::mem::take(&mut self.live.deliverable) {
            if let Some(log) = self.logs.get_mut(&conversation)
                && seq > log.delivered_sent.max(log.delivered)
            {
                log.delivered_sent = seq;
                markers.push((conversation, seq));
            }
        }
        for part in markers.chunks(limits::LIST_ITEMS_MAX as usize) {
            self.send(ClientFrame::Delivered(Delivered { markers: part.to_vec() }), None);
        }
        self.live.deliver_after = self.now.mono + limits::MARKER_EVERY.as_millis() as u64;
    }

    fn ask_profiles(&mut self) {
        let busy = self.requests.values().any(|request| matches!(request.asked, Asked::Profiles { .. }));
        if busy || self.live.profiles_wanted.is_empty() {
            return;
        }
        let mut users = Vec::new();
        while users.len() < limits::USERS_PER_FRAME_MAX
            && let Some(user) = self.live.profiles_wanted.pop_first()
        {
            self.live.profiles_asked.insert(user);
            users.push(user);
        }
        self.request(
            ClientFrame::Profiles(ProfilesRequest { users: users.clone() }),
            Asked::Profiles { users },
        );
    }

    /// The list's next part; `as_of` is what its first part was of.
    pub(super) fn ask_members(
        &mut self,
        conversation: ConversationId,
        after: Option<UserId>,
        as_of: Option<Seq>,
    ) {
        let request = MembersRequest { conversation, after, max: limits::LIST_ITEMS_MAX };
        self.request(
            ClientFrame::Members(request),
            Asked::Members { conversation, first: after.is_none(), as_of },
        );
    }

    // --- focus and presence ---

    pub(super) fn focus(&mut self, mut conversations: Vec<ConversationId>) {
        conversations.truncate(limits::FOCUS_MAX);
        if self.live.focus == conversations {
            return;
        }
        let fresh: Vec<_> =
            conversations.iter().filter(|id| !self.live.focus.contains(id)).copied().collect();
        self.live.markers_wanted.extend(fresh);
        self.live.focus = conversations;
        if self.is_live() {
            self.send_focus();
        }
    }

    pub(super) fn send_focus(&mut self) {
        let conversations = self.known_focus();
        self.send(ClientFrame::Focus(Focus { conversations }), None);
    }

    fn is_known(&self, conversation: ConversationId) -> bool {
        self.logs.get(&conversation).is_some_and(|log| !log.visible.is_empty())
    }

    /// What is on screen, as far as the server has announced it and the user is in it; another id would be refused.
    pub(super) fn known_focus(&self) -> Vec<ConversationId> {
        let is_known = |id: &&ConversationId| {
            let log = self.logs.get(id);
            log.and_then(|log| log.visible.last()).is_some_and(|(_, to)| to.is_none())
        };
        self.live.focus.iter().filter(is_known).copied().collect()
    }

    pub(super) fn watch(&mut self, mut users: Vec<UserId>) {
        users.truncate(limits::USERS_PER_FRAME_MAX);
        users.sort_unstable();
        users.dedup();
        // Also where these were watched before: whoever asks has dropped what it knew, and the answer has all states.
        self.live.watch = users;
        if self.is_live() {
            self.send_watch();
        }
    }

    /// A conversation has begun: the server left out whom nobody of the watched shared one with until then (R5).
    pub(super) fn watch_again(&mut self) {
        if self.is_live() && !self.live.watch.is_empty() {
            self.send_watch();
        }
    }

    fn send_watch(&mut self) {
        self.send(ClientFrame::PresenceWatch(PresenceWatch { users: self.live.watch.clone() }), None);
    }

    pub(super) fn set_presence(&mut self, state: PresenceState) {
        if self.live.presence != Some(state) {
            self.live.presence = Some(state);
            if self.is_live() {
                self.send_presence();
            }
        }
    }

    fn send_presence(&mut self) {
        if let Some(state) = self.live.presence {
            self.send(ClientFrame::PresenceSet(PresenceSet { state }), None);
        }
    }

    pub(super) fn ephemeral(&mut self, ephemeral: Ephemeral) {
        let until = self.now.mono + limits::TYPING_EXPIRES.as_millis() as u64;
        let mut changed = BTreeSet::new();
        for Typing(conversation, user, on) in ephemeral.typing {
            if user == self.options.user || !self.is_known(conversation) {
                continue;
            }
            let key = (conversation, user);
            let is_new = on && !self.live.typing.contains_key(&key);
            if is_new && self.live.typing.len() == TYPISTS_MAX {
                continue;
            }
            let was = if on { self.live.typing.insert(key, until) } else { self.live.typing.remove(&key) };
            if was.is_some() != on {
                changed.insert(conversation);
            }
        }
        self.show_typing(changed);
        let mut presence = ephemeral.presence;
        presence.retain(|presence| self.live.watch.binary_search(&presence.user).is_ok());
        if !presence.is_empty() {
            self.actions.push(Action::Presence(presence));
        }
    }

    // --- typing (R5) ---

    pub(super) fn typing(&mut self, conversation: ConversationId, on: bool) {
        if on {
            let key = self.now.mono;
            self.live
                .own_typing
                .entry(conversation)
                .and_modify(|t| t.key = key)
                .or_insert(OwnTyping { key, told: None });
        } else {
            self.end_typing(conversation);
        }
    }

    fn end_typing(&mut self, conversation: ConversationId) {
        if let Some(OwnTyping { told: Some(_), .. }) = self.live.own_typing.remove(&conversation)
            && self.is_live()
        {
            self.send(ClientFrame::Typing(TypingChange { conversation, on: false }), None);
        }
    }

    fn send_typing(&mut self) {
        let now = self.now.mono;
        let resend = limits::TYPING_RESEND.as_millis() as u64;
        let due = |typing: &OwnTyping| typing.told.is_none_or(|told| told + resend <= now);
        let due: Vec<_> =
            self.live.own_typing.iter().filter(|(_, typing)| due(typing)).map(|(id, _)| *id).collect();
        for conversation in due {
            if !self.is_known(conversation) {
                self.live.own_typing.remove(&conversation);
                continue;
            }
            self.send(ClientFrame::Typing(TypingChange { conversation, on: true }), None);
            if let Some(typing) = self.live.own_typing.get_mut(&conversation) {
                typing.told = Some(now);
            }
        }
    }

    pub(super) fn expire_typing(&mut self) {
        let now = self.now.mono;
        let idle = limits::TYPING_IDLE.as_millis() as u64;
        let quiet: Vec<_> = self
            .live
            .own_typing
            .iter()
            .filter(|(_, typing)| typing.key + idle <= now)
            .map(|(id, _)| *id)
            .collect();
        for conversation in quiet {
            self.end_typing(conversation);
        }
        let over: Vec<_> =
            self.live.typing.iter().filter(|(_, until)| **until <= now).map(|(key, _)| *key).collect();
        for key in &over {
            self.live.typing.remove(key);
        }
        self.show_typing(over.into_iter().map(|(conversation, _)| conversation).collect());
    }

    /// Who writes does not type any more.
    pub(super) fn stopped_typing(&mut self, conversation: ConversationId, event: &Event) {
        if event.kind == "message" && self.live.typing.remove(&(conversation, event.sender)).is_some() {
            self.show_typing(BTreeSet::from([conversation]));
        }
    }

    fn typists(&self, conversation: ConversationId) -> impl Iterator<Item = UserId> {
        let nil = UserId::from_uuid(uuid::Uuid::nil());
        let from = self.live.typing.range((conversation, nil)..);
        from.map(|(key, _)| *key).take_while(move |(id, _)| *id == conversation).map(|(_, user)| user)
    }

    /// One action for each conversation, whatever one frame says of it: a list for each change would be quadratic.
    fn show_typing(&mut self, changed: BTreeSet<ConversationId>) {
        for conversation in changed {
            let users = self.typists(conversation).collect();
            self.actions.push(Action::Typing(conversation, users));
        }
    }
}
