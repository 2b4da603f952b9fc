//! A locked log in memory: what exists, who may add to it, and the next event's number (W2, W3, W6, W8, W9).

use super::{
    access::Access,
    additions::Additions,
    annotations::Annotations,
    effects::Effect,
    policy::{self, Sending, Start},
    publish::Item,
};
use crate::db::heads::HeadRow;
use kith_protocol::{
    Chain, ConversationId, ErrorCode, Event, EventContent, EventId, Seq, TimestampMs, UserId,
    event::{MemberBody, MemberChange, Role},
    frame::{AckResult, AckStatus, ConversationKind},
    limits,
};
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

/// How far the newest event's time may be ahead of the clock and still hold the next one's back (W6).
const AHEAD_MAX_MS: i64 = 300_000;

/// An event that is in the log, without its payload.
#[derive(Debug)]
pub struct Known {
    pub seq: Seq,
    pub sender: UserId,
    pub ts: TimestampMs,
    /// Messages up to it.
    pub countable: u64,
    pub chain: Chain,
    /// Whether others can refer to it.
    pub is_message: bool,
    /// Whether it was deleted.
    pub is_redacted: bool,
    /// What W3 compares.
    pub hash: Vec<u8>,
}

/// A conversation's log, its head locked.
#[derive(Debug)]
pub struct Log {
    pub id: ConversationId,
    pub key: i64,
    pub head: Seq,
    /// Messages up to it.
    pub countable: i64,
    pub chain: Chain,
    /// The newest event's time.
    pub last_ts: i64,
    /// Raised when members change.
    pub access_version: i64,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Events that this batch knows of.
    pub known: HashMap<EventId, Known>,
    /// What the new events do besides standing in the log.
    pub effects: Vec<Effect>,
    pub annotations: Annotations,
    first_head: Seq,
}

impl Log {
    /// The log at its locked head.
    pub fn new(id: ConversationId, row: HeadRow, access: Arc<Access>) -> Self {
        let head = Seq::from_i64(row.head);
        Self {
            id,
            key: row.conversation_key,
            head,
            countable: row.countable,
            chain: Chain::from_slice(&row.chain).unwrap_or_else(|| Chain::empty(id)),
            last_ts: row.last_ts,
            access_version: row.access_version,
            access,
            known: HashMap::new(),
            effects: Vec::new(),
            annotations: Annotations::default(),
            first_head: head,
        }
    }

    /// The head as it is when what was numbered is committed.
    pub fn head_snapshot(&self) -> HeadRow {
        HeadRow {
            conversation_key: self.key,
            conversation_id: self.id.as_uuid(),
            head: self.head.as_i64(),
            countable: self.countable,
            chain: self.chain.as_bytes().to_vec(),
            last_ts: self.last_ts,
            access_version: self.access_version,
        }
    }

    /// Whether events were added.
    pub fn is_changed(&self) -> bool {
        self.head > self.first_head
    }

    /// Whether the log was empty before.
    pub fn has_begun(&self) -> bool {
        self.first_head == Seq::ZERO && self.is_changed()
    }

    /// Returns an item whose id exists (W3): the same event again is a `duplicate`, even to an ex-member; another
    /// one is an `id_conflict`, which only a member learns of.
    pub fn answer_known(&self, known: &Known, sender: UserId, item: &Item) -> Result<AckResult, ErrorCode> {
        if known.sender == sender && known.hash == item.hash {
            return Ok(AckResult {
                id: Some(item.id),
                status: AckStatus::Duplicate,
                seq: Some(known.seq),
                ts: Some(known.ts),
                countable: Some(known.countable),
                chain: Some(known.chain),
                code: None,
                retry_after_ms: None,
            });
        }
        let is_member = self.access.members.contains_key(&sender);
        Err(if is_member { ErrorCode::IdConflict } else { ErrorCode::NotMember })
    }

    /// Decides whether `sender` may add this event, and what it does besides.
    pub fn authorise(
        &self,
        sender: UserId,
        item: &Item,
        additions: &Additions,
    ) -> Result<Option<Effect>, ErrorCode> {
        let access = &*self.access;
        let role = *access.members.get(&sender).ok_or(ErrorCode::NotMember)?;
        let is_leaving =
            matches!(&item.content, EventContent::Member(member) if member.change == MemberChange::Left);
        if access.is_closed && !is_leaving {
            return Err(ErrorCode::ConversationClosed);
        }
        let sending =
            Sending { tenant: &access.tenant, kind: access.kind, user: sender, members: &access.audience };
        if !is_leaving && !policy::may_send(sending) {
            return Err(ErrorCode::NotAllowed);
        }
        // Whoever has blocked, or is blocked, can take back what they wrote.
        if access.is_blocked && !matches!(item.content, EventContent::Delete { .. }) {
            return Err(ErrorCode::NotAllowed);
        }
        let is_group = access.kind == ConversationKind::Group;
        match &item.content {
            EventContent::Message(message) => {
                message.reply_to.map_or(Ok(()), |id| self.target(sender, id).map(drop))?;
                Ok(None)
            }
            EventContent::Edit { target, .. } => {
                let is_own = self.target(sender, *target)?.sender == sender;
                if !is_own {
                    return Err(ErrorCode::NotAllowed);
                }
                self.annotations.may_edit(*target)?;
                Ok(None)
            }
            EventContent::Delete { target } => {
                let is_own = self.target(sender, *target)?.sender == sender;
                if is_own || (is_group && role.may_manage()) {
                    Ok(Some(Effect::Redacted { target: *target }))
                } else {
                    Err(ErrorCode::NotAllowed)
                }
            }
            EventContent::Reaction { target, reaction } => {
                self.target(sender, *target)?;
                if reaction.on {
                    self.annotations.may_react(*target, sender, &reaction.emoji)?;
                }
                Ok(None)
            }
            EventContent::Pin { target, on } => {
                self.target(sender, *target)?;
                if *on {
                    self.annotations.may_pin(*target)?;
                }
                Ok(None)
            }
            EventContent::Member(_) | EventContent::Title(_) | EventContent::Settings(_) if !is_group => {
                Err(ErrorCode::NotAllowed)
            }
            EventContent::Member(member) => self.member_change(sender, role, member, additions).map(Some),
            EventContent::Title(title) => Ok(Some(Effect::Titled { text: title.text.clone() })),
            EventContent::Settings(_) if role.may_manage() => Ok(None),
            EventContent::Settings(_) => Err(ErrorCode::NotAllowed),
        }
    }

    /// A message that the sender sees and that was not deleted.
    fn target(&self, sender: UserId, id: EventId) -> Result<&Known, ErrorCode> {
        self.known
            .get(&id)
            .filter(|known| known.is_message && !known.is_redacted && self.access.sees(sender, known.seq))
            .ok_or(ErrorCode::TargetMissing)
    }

    fn member_change(
        &self,
        sender: UserId,
        role: Role,
        member: &MemberBody,
        additions: &Additions,
    ) -> Result<Effect, ErrorCode> {
        let access = &*self.access;
        let user = member.user;
        if member.change == MemberChange::Left {
            return if user == sender { Ok(self.removed(user)) } else { Err(ErrorCode::NotAllowed) };
        }
        if !role.may_manage() {
            return Err(ErrorCode::NotAllowed);
        }
        let present = access.members.get(&user).copied();
        let touches_owner = present == Some(Role::Owner) || member.role == Some(Role::Owner);
        if touches_owner && role != Role::Owner {
            return Err(ErrorCode::NotAllowed);
        }
        match member.change {
            MemberChange::Added => {
                let person = additions.person(user).filter(|person| *person.tenant == *access.tenant);
                // The same answer, so that it does not say who has blocked whom.
                if person.is_none() || additions.is_blocked(sender, user) {
                    return Err(ErrorCode::TargetMissing);
                }
                if present.is_some() {
                    return Err(ErrorCode::Invalid);
                }
                if access.members.len() >= limits::GROUP_MEMBERS_MAX
                    || additions.has_been_here_often(self.key, user)
                {
                    return Err(ErrorCode::TooLarge);
                }
                let others = [user];
                let start =
                    Start { tenant: &access.tenant, kind: access.kind, user: sender, others: &others };
                if !policy::may_start(start) {
                    return Err(ErrorCode::NotAllowed);
                }
                Ok(Effect::Added { user, role: member.role.unwrap_or(Role::Member), seq: self.head.next() })
            }
            MemberChange::Removed if user == sender => Err(ErrorCode::Invalid),
            MemberChange::Removed if present.is_some() => Ok(self.removed(user)),
            MemberChange::Role if present.is_some() => {
                Ok(Effect::Role { user, role: member.role.unwrap_or(Role::Member) })
            }
            MemberChange::Removed | MemberChange::Role | MemberChange::Left => Err(ErrorCode::TargetMissing),
        }
    }

    fn removed(&self, user: UserId) -> Effect {
        Effect::Removed { user, seq: self.head.next() }
    }

    /// Gives the event its number, time and chain value. Its body stays with the item, as the text that it is.
    pub fn number(&mut self, sender: UserId, item: &Item, now: i64) -> Event {
        let previous = self.head;
        self.head = previous.next();
        // A time that is far ahead was given by a clock that was wrong.
        self.last_ts =
            if self.last_ts > now.saturating_add(AHEAD_MAX_MS) { now } else { self.last_ts.max(now) };
        self.chain = self.chain.then(self.id, previous, item.id);
        match &item.content {
            EventContent::Reaction { target, reaction } => {
                self.annotations.react(*target, sender, &reaction.emoji, reaction.on, self.head);
            }
            EventContent::Edit { target, .. } => self.annotations.edit(*target),
            EventContent::Pin { target, on } => self.annotations.pin(*target, *on),
            EventContent::Delete { target } => self.annotations.clear(*target),
            _ => {}
        }
        let is_message = item.content.is_countable();
        self.countable += i64::from(is_message);
        let event = Event {
            seq: self.head,
            id: item.id,
            kind: item.content.kind().to_owned(),
            sender,
            ts: TimestampMs::from_i64(self.last_ts),
            written_at: item.written_at.map(TimestampMs::from_i64),
            countable: self.countable.unsigned_abs(),
            chain: self.chain,
            target: item.content.target(),
            body: None,
            redacted: false,
        };
        let known = Known {
            seq: event.seq,
            sender,
            ts: event.ts,
            countable: event.countable,
            chain: event.chain,
            is_message,
            is_redacted: false,
            hash: item.hash.to_vec(),
        };
        self.known.insert(item.id, known);
        event
    }

    /// Makes the rest of the batch see what an event does.
    pub fn apply(&mut self, effect: Effect, seq: Seq) {
        match &effect {
            Effect::Redacted { target } => {
                if let Some(known) = self.known.get_mut(target) {
                    known.is_redacted = true;
                }
            }
            Effect::Added { user, role, .. } => {
                let access = Arc::make_mut(&mut self.access);
                access.members.insert(*user, *role);
                // What the user saw of it before is read again with the next batch.
                access.partial.insert(*user, vec![(seq, None)]);
                access.renew_audience();
            }
            Effect::Removed { user, .. } => {
                let access = Arc::make_mut(&mut self.access);
                access.members.remove(user);
                access.partial.remove(user);
                access.renew_audience();
            }
            Effect::Role { user, role } => {
                Arc::make_mut(&mut self.access).members.insert(*user, *role);
            }
            Effect::Titled { .. } => {}
        }
        self.effects.push(effect);
    }

    /// Whom the first new event shows the conversation to: both of a direct one when its log begins (until then it is its
    /// creator's alone; a group was shown to all when it was made), else whoever had hidden it.
    pub fn shown_to(&self) -> BTreeSet<UserId> {
        if self.has_begun() && self.access.kind == ConversationKind::Direct {
            return self.access.members.keys().copied().collect();
        }
        self.access.hidden.iter().copied().filter(|user| self.access.members.contains_key(user)).collect()
    }
}
