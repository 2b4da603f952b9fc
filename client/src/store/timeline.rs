//! Timelines: a part of a conversation's entries, with a gap wherever the stored log has a hole (C2).

use super::{
    Db, conversations, list,
    messages::{self, Message, UNNUMBERED},
    overlay::Overlay,
    own_state, people, ranges,
    receipts::Others,
    sql,
};
use crate::{
    ClientError,
    view::{
        Anchor, GapView, MessageView, NoticeKind, NoticeView, QuoteView, ReactionView, TimelineItem,
        TimelineView,
    },
};
use kith_protocol::{ConversationId, Event, EventContent, EventId, Seq, limits};
use kith_sync::ops::LocalRange;
use rusqlite::{OptionalExtension, Row, params};

/// A part of a timeline, and what is missing around it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) view: TimelineView,
    /// The oldest stored seq, if older ones exist on the server and are wanted.
    pub(crate) older_than: Option<Seq>,
    /// Holes in the part.
    pub(crate) gaps: Vec<(Seq, Seq)>,
    /// Nothing is stored, though the server has something.
    pub(crate) is_empty_here: bool,
}

/// Entries from the newest to the oldest while a part is being read.
struct Reader<'a, 'c> {
    db: &'a Db<'c>,
    cid: i64,
    overlay: Overlay,
    others: Others,
    people: people::Known<'a, 'c>,
    gaps: Vec<(Seq, Seq)>,
}

/// Reads a part of a timeline.
pub(crate) fn read(
    db: &Db<'_>,
    conversation: ConversationId,
    anchor: &Anchor,
    limit: usize,
) -> Result<Part, ClientError> {
    let cid = conversations::known(db, conversation)?;
    let ranges = ranges::all(db, cid)?;
    let start = first_visible(db, cid)?;
    let own = own_state::effective(db, cid)?;
    let reader = Reader {
        db,
        cid,
        overlay: Overlay::of(db, cid)?,
        others: Others::of(db, cid)?,
        people: people::Known::of(db),
        gaps: visible_gaps(&ranges, &conversations::visible(db, cid)?, start),
    };
    let first_unread = first_unread(db, cid, own.read)?;
    let target = match anchor {
        Anchor::Around { id } => {
            let message = messages::get(db, cid, *id)?;
            Some(message.ok_or(ClientError::NotFound)?.order())
        }
        Anchor::FirstUnread => first_unread.map(|(_, seq)| seq.0 as f64),
        Anchor::Newest | Anchor::Before { .. } | Anchor::From { .. } => None,
    };
    let items = match (anchor, target) {
        (Anchor::Before { order }, _) => reader.before(*order, limit)?,
        (Anchor::From { order }, _) => reader.from(*order, limit)?,
        (_, Some(order)) => {
            let mut items = reader.before(order, limit / 2)?;
            items.extend(reader.from(order, limit - items.len().min(limit / 2))?);
            items
        }
        (_, None) => reader.before(f64::MAX, limit)?,
    };
    finish(db, &reader, items, &ranges, start, first_unread.map(|(id, _)| id), own.read)
}

fn finish(
    db: &Db<'_>,
    reader: &Reader<'_, '_>,
    items: Vec<TimelineItem>,
    ranges: &[LocalRange],
    start: Seq,
    first_unread: Option<EventId>,
    read: Seq,
) -> Result<Part, ClientError> {
    let (oldest, newest) = (items.first().map(order), items.last().map(order));
    let has_older_here = match oldest {
        Some(oldest) => !reader.before(oldest, 1)?.is_empty(),
        None => false,
    };
    let has_newer_here = match newest {
        Some(newest) => !reader.from(newest.next_up(), 1)?.is_empty(),
        None => false,
    };
    let head = conversations::facts(db, reader.cid)?.head;
    let is_complete = head < start || ranges.first().is_some_and(|range| range.low <= start);
    let wants_older = !has_older_here && !is_complete;
    let is_in = |gap: &(Seq, Seq)| oldest.is_some_and(|oldest| gap_order(*gap) >= oldest);
    let gaps: Vec<_> = reader
        .gaps
        .iter()
        .copied()
        .filter(|gap| is_in(gap) && newest.is_some_and(|newest| gap_order(*gap) <= newest))
        .collect();
    let view = TimelineView {
        at_start: !has_older_here && is_complete,
        at_end: !has_newer_here,
        loading: wants_older || !gaps.is_empty(),
        first_unread,
        read,
        items,
    };
    let older_than = ranges.first().filter(|_| wants_older).map(|range| range.low);
    Ok(Part { view, older_than, gaps, is_empty_here: ranges.is_empty() && wants_older })
}

fn order(item: &TimelineItem) -> f64 {
    match item {
        TimelineItem::Message(message) => message.order,
        TimelineItem::Notice(notice) => notice.order,
        TimelineItem::Gap(gap) => gap.order,
    }
}

fn gap_order((from, _): (Seq, Seq)) -> f64 {
    from.0 as f64 - 0.5
}

/// The first seq that can be here: where the membership begins, or what the server still has.
fn first_visible(db: &Db<'_>, cid: i64) -> Result<Seq, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT floor FROM conversations WHERE cid = ?1")?;
    let floor = query.query_row([cid], |row| sql::seq(row, "floor"))?;
    let from = conversations::visible(db, cid)?.first().map_or(Seq(1), |(from, _)| *from);
    Ok(floor.max(from).max(Seq(1)))
}

/// The holes between ranges, as far as one may see what is in them (R6).
fn visible_gaps(ranges: &[LocalRange], visible: &[(Seq, Option<Seq>)], start: Seq) -> Vec<(Seq, Seq)> {
    let holes = ranges.windows(2).map(|pair| (pair[0].high.next(), pair[1].low.previous()));
    let mut gaps = Vec::new();
    for (low, high) in holes {
        for (from, to) in visible {
            let (low, high) = (low.max(*from).max(start), to.map_or(high, |to| to.min(high)));
            if low <= high {
                gaps.push((low, high));
            }
        }
    }
    gaps
}

/// The first message of others above the read marker.
fn first_unread(db: &Db<'_>, cid: i64, read: Seq) -> Result<Option<(EventId, Seq)>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT id, seq FROM events
         WHERE cid = ?1 AND seq > ?2 AND kind = 'message' AND is_uncounted = 0 ORDER BY seq LIMIT 1",
    )?;
    let found = |row: &Row<'_>| Ok((sql::event(row, 0)?, sql::seq(row, 1)?));
    Ok(query.query_row(params![cid, read.as_i64()], found).optional()?)
}

impl Reader<'_, '_> {
    /// At most `limit` entries before a place (exclusive), oldest first.
    fn before(&self, place: f64, limit: usize) -> Result<Vec<TimelineItem>, ClientError> {
        let mut items = Vec::new();
        for message in
            self.unnumbered()?.into_iter().rev().filter(|message| message.order() < place).take(limit)
        {
            items.push(self.message(message)?);
        }
        let below = place.min(UNNUMBERED).ceil() as i64;
        let mut between = self.between(place, limit, true)?.into_iter().peekable();
        for event in self.shown(below, limit - items.len(), true)? {
            let seq = event.0.seq.0 as f64;
            while items.len() < limit
                && let Some(item) = between.next_if(|item| order(item) > seq)
            {
                items.push(item);
            }
            if items.len() < limit {
                items.extend(self.entry(event)?);
            }
        }
        let left = limit - items.len();
        items.extend(between.take(left));
        items.reverse();
        Ok(items)
    }

    /// At most `limit` entries from a place on (inclusive), oldest first.
    fn from(&self, place: f64, limit: usize) -> Result<Vec<TimelineItem>, ClientError> {
        let mut items = Vec::new();
        let mut between = self.between(place, limit, false)?.into_iter().peekable();
        if place < UNNUMBERED {
            for event in self.shown(place.ceil().max(0.0) as i64, limit, false)? {
                let seq = event.0.seq.0 as f64;
                while items.len() < limit
                    && let Some(item) = between.next_if(|item| order(item) < seq)
                {
                    items.push(item);
                }
                if items.len() < limit {
                    items.extend(self.entry(event)?);
                }
            }
        }
        let left = limit - items.len();
        items.extend(between.take(left));
        for message in self.unnumbered()?.into_iter().filter(|message| message.order() >= place) {
            if items.len() < limit {
                items.push(self.message(message)?);
            }
        }
        Ok(items)
    }

    /// What stands between the seqs, at most `limit`: gaps, and what others wrote and the server has lost. Before a
    /// place, newest first, or from a place on.
    fn between(&self, place: f64, limit: usize, is_backward: bool) -> Result<Vec<TimelineItem>, ClientError> {
        let lost = messages::orphaned::read(self.db, self.cid, place, limit, is_backward)?;
        let mut items = lost.into_iter().map(|one| self.message(one)).collect::<Result<Vec<_>, _>>()?;
        let is_in = |gap: &&(Seq, Seq)| (gap_order(**gap) < place) == is_backward;
        items.extend(self.gaps.iter().filter(is_in).map(|gap| gap_item(*gap)));
        items.sort_by(|a, b| order(a).total_cmp(&order(b)));
        if is_backward {
            items.reverse();
        }
        Ok(items)
    }

    fn unnumbered(&self) -> Result<Vec<Message>, ClientError> {
        messages::unnumbered(self.db, self.cid)
    }

    /// Events that have an entry, and whether they are messages that are not as their events say: below a seq newest
    /// first, or from a seq on oldest first.
    fn shown(&self, place: i64, limit: usize, is_backward: bool) -> Result<Vec<(Event, bool)>, ClientError> {
        let sql = if is_backward {
            "SELECT seq, id, kind, sender, ts, NULL AS written_at, 0 AS countable, chain, target,
                 CASE is_changed WHEN 0 THEN body END AS body, is_redacted, is_changed
             FROM events WHERE cid = ?1 AND is_shown = 1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3"
        } else {
            "SELECT seq, id, kind, sender, ts, NULL AS written_at, 0 AS countable, chain, target,
                 CASE is_changed WHEN 0 THEN body END AS body, is_redacted, is_changed
             FROM events WHERE cid = ?1 AND is_shown = 1 AND seq >= ?2 ORDER BY seq LIMIT ?3"
        };
        let mut query = self.db.conn.prepare_cached(sql)?;
        let read = |row: &Row<'_>| Ok((super::project::event(row)?, row.get(11)?));
        let rows = query.query_map(params![self.cid, place, limit as i64], read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn entry(&self, (event, is_changed): (Event, bool)) -> Result<Option<TimelineItem>, ClientError> {
        if event.kind == "message" {
            let found = if is_changed {
                messages::at(self.db, self.cid, event.seq)?
            } else {
                Some(messages::unchanged(self.cid, event))
            };
            return found.map(|message| self.message(message)).transpose();
        }
        let body = event.body.unwrap_or(serde_json::Value::Null);
        let what = match EventContent::parse_stored(&event.kind, event.target, &body) {
            Ok(EventContent::Member(member)) => NoticeKind::Member {
                user: self.people.get(member.user)?,
                change: member.change,
                role: member.role,
            },
            Ok(EventContent::Title(title)) => NoticeKind::Title { text: title.text },
            _ => NoticeKind::Unknown { name: event.kind },
        };
        Ok(Some(TimelineItem::Notice(NoticeView {
            id: event.id,
            order: event.seq.0 as f64,
            ts: event.ts,
            actor: self.people.get(event.sender)?,
            what,
        })))
    }

    fn message(&self, mut message: Message) -> Result<TimelineItem, ClientError> {
        let pending_change = self.overlay.lay_over(&mut message);
        let mine = message.sender == self.db.me;
        let reactions = message.reactions.iter().map(|reaction| self.reaction(reaction));
        Ok(TimelineItem::Message(MessageView {
            id: message.id,
            order: message.order(),
            seq: message.seq,
            sender: self.people.get(message.sender)?,
            mine,
            ts: message.ts,
            edited: message.is_edited && !message.is_deleted,
            deleted: message.is_deleted,
            pinned: message.is_pinned,
            reply_to: message.reply_to.map(|id| self.quote(id)).transpose()?,
            reactions: reactions.collect::<Result<_, _>>()?,
            send_state: if mine { Some(list::send_state(self.db, &message, &self.others)?) } else { None },
            pending_change,
            lost: message.is_lost(),
            text: message.text,
        }))
    }

    fn reaction(&self, reaction: &super::project::EmojiUsers) -> Result<ReactionView, ClientError> {
        let named = reaction.users.iter().take(limits::REACTION_USERS_MAX);
        Ok(ReactionView {
            emoji: reaction.emoji.clone(),
            count: u32::try_from(reaction.count).unwrap_or(u32::MAX),
            people: named.map(|user| self.people.get(*user)).collect::<Result<_, _>>()?,
            mine: reaction.users.contains(&self.db.me),
        })
    }

    fn quote(&self, id: EventId) -> Result<QuoteView, ClientError> {
        let Some(mut message) = messages::get(self.db, self.cid, id)? else {
            return Ok(QuoteView { id, sender: None, text: String::new(), deleted: false });
        };
        self.overlay.lay_over(&mut message);
        Ok(QuoteView {
            id,
            sender: Some(self.people.get(message.sender)?),
            text: messages::one_line(&message.text),
            deleted: message.is_deleted,
        })
    }
}

fn gap_item(gap: (Seq, Seq)) -> TimelineItem {
    TimelineItem::Gap(GapView { order: gap_order(gap), from: gap.0, to: gap.1 })
}
