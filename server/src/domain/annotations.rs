//! The reactions that are on, the pins and the edits of a locked log: their limits, and what a batch changes of them.

use super::{log::Log, publish::Job};
use crate::db::{self, reactions::ReactionColumns};
use kith_protocol::{ConversationId, ErrorCode, EventContent, EventId, Seq, UserId, limits};
use sqlx::PgConnection;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use uuid::Uuid;

/// One person's emoji on one message.
type Reaction = (EventId, UserId, String);

/// What a batch knows of a log's reactions and pins. Loaded by [`load`] for the messages that the batch is about.
#[derive(Debug, Default)]
pub struct Annotations {
    /// How many people have an emoji on, by message and emoji; never 0.
    emoji: HashMap<EventId, HashMap<String, i64>>,
    /// Emoji of this batch's senders.
    own: HashMap<(EventId, UserId), HashSet<String>>,
    /// Pins of the conversation, counted up to the limit.
    pins: usize,
    /// Those of the batch's messages that are pinned.
    pinned: HashSet<EventId>,
    /// Edits of the batch's messages, each counted up to the limit.
    edits: HashMap<EventId, usize>,
    /// The event that put it on; `None` for taken off.
    reactions_changed: BTreeMap<Reaction, Option<Seq>>,
    pins_changed: BTreeMap<EventId, bool>,
    cleared: BTreeSet<EventId>,
}

impl Annotations {
    /// Whether this person may put this emoji on this message. One that is on already always may.
    ///
    /// # Errors
    /// `too_large` above [`limits::MESSAGE_EMOJI_MAX`] or [`limits::PERSON_EMOJI_MAX`].
    pub fn may_react(&self, target: EventId, user: UserId, emoji: &str) -> Result<(), ErrorCode> {
        let own = self.own.get(&(target, user));
        if own.is_some_and(|own| own.contains(emoji)) {
            return Ok(());
        }
        let all = self.emoji.get(&target);
        let is_new = all.is_none_or(|all| !all.contains_key(emoji));
        let is_full = is_new && all.map_or(0, HashMap::len) >= limits::MESSAGE_EMOJI_MAX;
        if is_full || own.map_or(0, HashSet::len) >= limits::PERSON_EMOJI_MAX {
            return Err(ErrorCode::TooLarge);
        }
        Ok(())
    }

    /// Whether this message may be pinned. One that is pinned always may.
    ///
    /// # Errors
    /// `too_large` above [`limits::CONVERSATION_PINS_MAX`].
    pub fn may_pin(&self, target: EventId) -> Result<(), ErrorCode> {
        let has_room = self.pinned.contains(&target) || self.pins < limits::CONVERSATION_PINS_MAX;
        if has_room { Ok(()) } else { Err(ErrorCode::TooLarge) }
    }

    /// Whether this message may be edited once more.
    ///
    /// # Errors
    /// `too_large` above [`limits::MESSAGE_EDITS_MAX`].
    pub fn may_edit(&self, target: EventId) -> Result<(), ErrorCode> {
        let edits = self.edits.get(&target).copied().unwrap_or_default();
        if edits < limits::MESSAGE_EDITS_MAX { Ok(()) } else { Err(ErrorCode::TooLarge) }
    }

    pub fn edit(&mut self, target: EventId) {
        *self.edits.entry(target).or_default() += 1;
    }

    /// Puts an emoji on, by the event at `seq`, or takes it off.
    pub fn react(&mut self, target: EventId, user: UserId, emoji: &str, on: bool, seq: Seq) {
        let own = self.own.entry((target, user)).or_default();
        let all = self.emoji.entry(target).or_default();
        if on && own.insert(emoji.to_owned()) {
            *all.entry(emoji.to_owned()).or_default() += 1;
        }
        if !on && own.remove(emoji) {
            let users = all.entry(emoji.to_owned()).or_default();
            *users -= 1;
            if *users <= 0 {
                all.remove(emoji);
            }
        }
        self.reactions_changed.insert((target, user, emoji.to_owned()), on.then_some(seq));
    }

    /// Pins a message, or takes the pin away.
    pub fn pin(&mut self, target: EventId, on: bool) {
        if on && self.pinned.insert(target) {
            self.pins += 1;
        }
        if !on && self.pinned.remove(&target) {
            self.pins = self.pins.saturating_sub(1);
        }
        self.pins_changed.insert(target, on);
    }

    /// Takes everything off a deleted message.
    pub fn clear(&mut self, target: EventId) {
        self.pin(target, false);
        self.cleared.insert(target);
    }
}

/// The messages that jobs edit, react to, pin and delete.
#[derive(Default)]
struct Asked {
    reacted: BTreeSet<(i64, Uuid)>,
    senders: BTreeSet<Uuid>,
    /// A deletion may make room for a pin behind it, so deleted messages are among them.
    pinned: BTreeSet<(i64, Uuid)>,
    pin_keys: BTreeSet<i64>,
    edited: BTreeSet<(i64, Uuid)>,
}

impl Asked {
    fn of(logs: &BTreeMap<ConversationId, Log>, jobs: &[Job]) -> Self {
        let mut asked = Self::default();
        for job in jobs {
            let Some(key) = logs.get(&job.conversation).map(|log| log.key) else { continue };
            for item in &job.items {
                match &item.content {
                    EventContent::Reaction { target, .. } => {
                        asked.reacted.insert((key, target.as_uuid()));
                        asked.senders.insert(job.sender.as_uuid());
                    }
                    EventContent::Pin { target, .. } => {
                        asked.pinned.insert((key, target.as_uuid()));
                        asked.pin_keys.insert(key);
                    }
                    EventContent::Edit { target, .. } => {
                        asked.edited.insert((key, target.as_uuid()));
                    }
                    EventContent::Delete { target } => {
                        asked.pinned.insert((key, target.as_uuid()));
                    }
                    _ => {}
                }
            }
        }
        asked
    }
}

/// Reads what these jobs' reactions, pins and edits are measured by. No statement runs where no job has one.
pub async fn load(
    conn: &mut PgConnection,
    logs: &mut BTreeMap<ConversationId, Log>,
    jobs: &[Job],
) -> Result<(), sqlx::Error> {
    let asked = Asked::of(logs, jobs);
    let mut by_key: HashMap<i64, &mut Annotations> =
        logs.values_mut().map(|log| (log.key, &mut log.annotations)).collect();
    if !asked.reacted.is_empty() {
        let (keys, targets): (Vec<i64>, Vec<Uuid>) = asked.reacted.into_iter().unzip();
        let senders: Vec<Uuid> = asked.senders.into_iter().collect();
        for row in db::reactions::emoji(conn, &keys, &targets).await? {
            let Some(known) = by_key.get_mut(&row.conversation_key) else { continue };
            known.emoji.entry(EventId::from_uuid(row.target)).or_default().insert(row.emoji, row.users);
        }
        for row in db::reactions::of(conn, &keys, &targets, &senders).await? {
            let Some(known) = by_key.get_mut(&row.conversation_key) else { continue };
            let whose = (EventId::from_uuid(row.target), UserId::from_uuid(row.sender));
            known.own.entry(whose).or_default().insert(row.emoji);
        }
    }
    if !asked.edited.is_empty() {
        let (keys, targets): (Vec<i64>, Vec<Uuid>) = asked.edited.into_iter().unzip();
        let max = i64::try_from(limits::MESSAGE_EDITS_MAX).unwrap_or(i64::MAX);
        for (key, target, edits) in db::events::edit_counts(conn, &keys, &targets, max).await? {
            if let Some(known) = by_key.get_mut(&key) {
                known.edits.insert(EventId::from_uuid(target), usize::try_from(edits).unwrap_or_default());
            }
        }
    }
    if !asked.pin_keys.is_empty() {
        let (keys, targets): (Vec<i64>, Vec<Uuid>) = asked.pinned.into_iter().unzip();
        let pin_keys: Vec<i64> = asked.pin_keys.into_iter().collect();
        let max = i64::try_from(limits::CONVERSATION_PINS_MAX).unwrap_or(i64::MAX);
        for (key, pins) in db::pins::counts(conn, &pin_keys, max).await? {
            if let Some(known) = by_key.get_mut(&key) {
                known.pins = usize::try_from(pins).unwrap_or_default();
            }
        }
        for (key, target) in db::pins::among(conn, &keys, &targets).await? {
            if let Some(known) = by_key.get_mut(&key) {
                known.pinned.insert(EventId::from_uuid(target));
            }
        }
    }
    Ok(())
}

/// Writes what the batch has changed.
pub async fn write(conn: &mut PgConnection, logs: &BTreeMap<ConversationId, Log>) -> Result<(), sqlx::Error> {
    let (mut on, mut off) = (ReactionColumns::default(), ReactionColumns::default());
    let (mut pinned, mut unpinned) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    let mut cleared = Vec::new();
    for log in logs.values() {
        let Annotations { reactions_changed, pins_changed, cleared: gone, .. } = &log.annotations;
        for ((target, user, emoji), seq) in reactions_changed {
            let columns = if seq.is_some() { &mut on } else { &mut off };
            columns.keys.push(log.key);
            columns.targets.push(target.as_uuid());
            columns.emoji.push(emoji.clone());
            columns.senders.push(user.as_uuid());
            columns.seqs.push(seq.unwrap_or_default().as_i64());
        }
        for (target, is_on) in pins_changed {
            let (keys, targets) = if *is_on { &mut pinned } else { &mut unpinned };
            keys.push(log.key);
            targets.push(target.as_uuid());
        }
        cleared.extend(gone.iter().map(|target| (log.key, target.as_uuid())));
    }
    if !on.keys.is_empty() {
        db::reactions::put(conn, &on).await?;
    }
    if !off.keys.is_empty() {
        db::reactions::take(conn, &off).await?;
    }
    for (key, target) in cleared {
        db::reactions::clear(conn, key, target).await?;
    }
    if !pinned.0.is_empty() {
        db::pins::put(conn, &pinned.0, &pinned.1).await?;
    }
    if !unpinned.0.is_empty() {
        db::pins::take(conn, &unpinned.0, &unpinned.1).await?;
    }
    Ok(())
}
