//! The conversation list: its rows, titles, last lines, and the account's numbers.

use super::{
    Db, conversations,
    lines::{self, LastLine},
    members,
    messages::{self, Message},
    outbox,
    overlay::{self, Overlay},
    own_state::{self, Own},
    people,
    receipts::{self, Others},
    sql,
};
use crate::{
    ClientError,
    view::{ConversationDetail, ConversationView, MemberView, PreviewView, SendState},
};
use kith_protocol::{
    ConversationId, ErrorCode, Seq, TimestampMs, UserId,
    event::Role,
    frame::{Context, ConversationKind},
};
use rusqlite::{Row, params};
use std::collections::HashSet;

/// Names in the title of a group without one.
const TITLE_NAMES_MAX: usize = 4;

/// The numbers of the whole account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Unread messages in conversations that are neither muted nor archived nor hidden.
    pub(crate) unread: u32,
    /// Items in the outbox.
    pub(crate) unsent: u32,
    /// Items that wait for the user.
    pub(crate) parked: u32,
    pub(crate) messages: u32,
}

/// The numbers of the whole account.
pub(crate) fn numbers(db: &Db<'_>) -> Result<Numbers, ClientError> {
    let mut numbers = Numbers::default();
    let waits = outbox::cids(db)?;
    let mut behind = db.conn.prepare_cached(
        "SELECT cid, head, read, unread_flag, mute, pin, archive, hidden, unread, unread_head
         FROM conversations WHERE head > read",
    )?;
    let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, sql::seq(row, 1)?, own_state::of_row(row, 2)?));
    for row in behind.query_map([], read)? {
        let (cid, head, mut own) = row?;
        own.lay_over(db, cid, &waits)?;
        if own.mute <= db.now && !own.hidden && !own.archive {
            // A server may name any number.
            numbers.unread = numbers.unread.saturating_add(receipts::unread(db, cid, &own, head)?);
        }
    }
    // An acknowledged row only waits for its event; read markers and drafts are nothing that a user would miss.
    let mut unsent = db.conn.prepare_cached(
        "SELECT ifnull(sum(kind <> 'state'), 0), ifnull(sum(state = 'parked'), 0) FROM outbox WHERE state <> 'acked'",
    )?;
    (numbers.unsent, numbers.parked) =
        unsent.query_row([], |row| Ok((sql::count_u32(row, 0)?, sql::count_u32(row, 1)?)))?;
    let mut stored = db.conn.prepare_cached("SELECT ifnull(sum(stored), 0) FROM conversations")?;
    numbers.messages = stored.query_row([], |row| sql::count_u32(row, 0))?;
    Ok(numbers)
}

/// What is read of a conversation at once: everything of the list that does not wait in the outbox.
struct ListRow {
    cid: i64,
    id: ConversationId,
    kind: ConversationKind,
    title: Option<String>,
    context: Option<Context>,
    head: Seq,
    last_ts: TimestampMs,
    created_at: TimestampMs,
    member_count: u32,
    is_local: bool,
    own: Own,
    draft: Option<String>,
    draft_conflict: Option<String>,
    line: Option<LastLine>,
    /// The other one of a direct conversation.
    peer: Option<UserId>,
    /// `None` for a former member.
    my_role: Option<Role>,
}

/// The conversations with these keys, from the second to the third parameter; the first is the user.
const LIST: &str = "
    SELECT c.cid, c.id, c.kind, c.title, c.context, c.head, c.last_ts, c.created_at, c.member_count, c.is_local, c.visible,
        c.read, c.unread_flag, c.mute, c.pin, c.archive, c.hidden, c.unread, c.unread_head, d.text, d.conflict,
        l.id, l.seq, l.local, l.sender, l.ts, l.line, l.is_deleted,
        (SELECT m.role FROM members m WHERE m.cid = c.cid AND m.user = ?1),
        CASE c.kind WHEN 'direct'
            THEN (SELECT m.user FROM members m WHERE m.cid = c.cid AND m.user <> ?1 ORDER BY m.user LIMIT 1)
        END
    FROM conversations c LEFT JOIN drafts d ON d.cid = c.cid LEFT JOIN last_lines l ON l.cid = c.cid
    WHERE c.cid BETWEEN ?2 AND ?3";

/// Reads a row of [`LIST`].
fn list_row(row: &Row<'_>) -> rusqlite::Result<ListRow> {
    let context: Option<String> = row.get(4)?;
    let visible: Vec<(Seq, Option<Seq>)> = sql::json(row, 10)?;
    let role: Option<String> = row.get(28)?;
    let role = role.and_then(|role| Role::parse(&role)).unwrap_or(Role::Member);
    Ok(ListRow {
        cid: row.get(0)?,
        id: sql::conversation(row, 1)?,
        kind: ConversationKind::parse(&row.get::<_, String>(2)?).unwrap_or(ConversationKind::Group),
        title: row.get(3)?,
        context: context.map(|text| sql::read_json(&text)).transpose()?,
        head: sql::seq(row, 5)?,
        last_ts: sql::time(row, 6)?,
        created_at: sql::time(row, 7)?,
        member_count: row.get(8)?,
        is_local: row.get(9)?,
        own: own_state::of_row(row, 11)?,
        draft: row.get::<_, Option<String>>(19)?.filter(|text| !text.is_empty()),
        draft_conflict: row.get(20)?,
        line: lines::read(row, 21)?,
        peer: sql::user_opt(row, 29)?,
        // The last interval says whether the membership lasts; the list of a large group may not be here.
        my_role: visible.last().is_some_and(|(_, to)| to.is_none()).then_some(role),
    })
}

/// What several rows of one reading have in common.
struct Reading<'a, 'c> {
    db: &'a Db<'c>,
    /// Conversations in which something waits in the outbox.
    waits: HashSet<i64>,
    people: people::Known<'a, 'c>,
}

impl<'a, 'c> Reading<'a, 'c> {
    fn of(db: &'a Db<'c>) -> Result<Self, ClientError> {
        Ok(Self { db, waits: outbox::cids(db)?, people: people::Known::of(db) })
    }

    /// The row as the outbox will change it.
    fn read(&self, row: &Row<'_>) -> Result<ListRow, ClientError> {
        let mut read = list_row(row)?;
        if self.waits.contains(&read.cid) {
            read.own.lay_over(self.db, read.cid, &self.waits)?;
            read.my_role = members::own_role(self.db, read.cid)?;
            if read.kind == ConversationKind::Direct {
                let others = members::all(self.db, read.cid)?.into_iter().map(|(user, _)| user);
                read.peer = others.into_iter().find(|user| *user != self.db.me);
            }
            read.title = overlay::title(self.db, read.cid)?.or(read.title);
        }
        Ok(read)
    }

    fn one(&self, cid: i64) -> Result<ListRow, ClientError> {
        let mut query = self.db.conn.prepare_cached(LIST)?;
        let mut rows = query.query(params![self.db.me.as_bytes(), cid, cid])?;
        let row = rows.next()?.ok_or(ClientError::NotFound)?;
        self.read(row)
    }
}

/// The list: pinned ones first, then by last activity; what is hidden is left out. Who types and who is there is not
/// the store's to know.
pub(crate) fn conversations(db: &Db<'_>) -> Result<Vec<ConversationView>, ClientError> {
    let reading = Reading::of(db)?;
    let mut query = db.conn.prepare_cached(LIST)?;
    let mut rows = query.query(params![db.me.as_bytes(), 0, i64::MAX])?;
    let mut views = Vec::new();
    while let Some(row) = rows.next()? {
        let row = reading.read(row)?;
        if !row.own.hidden {
            views.push(view(&reading, row)?);
        }
    }
    views.sort_by(|a, b| {
        (b.pin, b.last_activity, a.id)
            .partial_cmp(&(a.pin, a.last_activity, b.id))
            .unwrap_or(std::cmp::Ordering::Equal)
    });
    Ok(views)
}

/// One conversation with its members.
pub(crate) fn detail(db: &Db<'_>, id: ConversationId) -> Result<ConversationDetail, ClientError> {
    let cid = conversations::known(db, id)?;
    let others = Others::of(db, cid)?;
    let mut list = Vec::new();
    for (user, role) in members::all(db, cid)? {
        list.push(MemberView { person: people::get(db, user)?, role, read: others.read_by(user) });
    }
    list.sort_by_key(|member| (member.person.display_name.to_lowercase(), member.person.id));
    let reading = Reading::of(db)?;
    let row = reading.one(cid)?;
    let added_by = match row.kind {
        ConversationKind::Group => members::added_by(db, cid)?,
        ConversationKind::Direct => None,
    };
    Ok(ConversationDetail { conversation: view(&reading, row)?, members: list, added_by })
}

/// What a conversation is called.
pub(crate) fn title_of(db: &Db<'_>, id: ConversationId) -> Result<String, ClientError> {
    let reading = Reading::of(db)?;
    let row = reading.one(conversations::known(db, id)?)?;
    title(&reading, &row)
}

fn title(reading: &Reading<'_, '_>, row: &ListRow) -> Result<String, ClientError> {
    if let Some(peer) = row.peer {
        return Ok(reading.people.get(peer)?.display_name);
    }
    if let Some(title) = row.title.clone().filter(|title| !title.is_empty()) {
        return Ok(title);
    }
    let me = reading.db.me;
    let others = members::all(reading.db, row.cid)?.into_iter().filter(|(user, _)| *user != me);
    let names = others.take(TITLE_NAMES_MAX).map(|(user, _)| Ok(reading.people.get(user)?.display_name));
    Ok(names.collect::<Result<Vec<_>, ClientError>>()?.join(", "))
}

fn view(reading: &Reading<'_, '_>, row: ListRow) -> Result<ConversationView, ClientError> {
    let title = title(reading, &row)?;
    let peer = row.peer.map(|peer| reading.people.get(peer)).transpose()?;
    let preview = row.line.map(|line| preview(reading, row.cid, line)).transpose()?;
    let newest = preview.as_ref().map(|preview| preview.ts).unwrap_or_default();
    Ok(ConversationView {
        title,
        peer,
        my_role: row.my_role,
        last_activity: newest.max(row.last_ts).max(if row.last_ts.0 == 0 {
            row.created_at
        } else {
            row.last_ts
        }),
        preview,
        unread: receipts::unread(reading.db, row.cid, &row.own, row.head)?,
        unread_flag: row.own.unread_flag,
        mute: row.own.mute,
        pin: row.own.pin,
        archive: row.own.archive,
        draft: row.draft,
        draft_conflict: row.draft_conflict,
        typing: Vec::new(),
        presence: None,
        id: row.id,
        kind: row.kind,
        context: row.context,
        member_count: row.member_count,
        is_local: row.is_local,
    })
}

fn preview(reading: &Reading<'_, '_>, cid: i64, line: LastLine) -> Result<PreviewView, ClientError> {
    let db = reading.db;
    let mut message = line.into_message(cid);
    if reading.waits.contains(&cid) {
        Overlay::of(db, cid)?.lay_over(&mut message);
    }
    let is_mine = message.sender == db.me;
    Ok(PreviewView {
        sender: if is_mine { None } else { Some(reading.people.get(message.sender)?) },
        text: messages::one_line(&message.text),
        deleted: message.is_deleted,
        ts: message.ts,
        send_state: if is_mine { Some(send_state(db, &message, &Others::of(db, cid)?)?) } else { None },
    })
}

/// The tick of an own message.
pub(super) fn send_state(db: &Db<'_>, message: &Message, others: &Others) -> Result<SendState, ClientError> {
    if let Some(seq) = message.seq {
        return Ok(others.tick(seq));
    }
    let row = outbox::of_event(db, message.cid, message.id)?;
    Ok(match row.as_ref().map(|row| row.state.as_str()) {
        Some("sending") => SendState::Sending,
        Some("acked") => SendState::Sent,
        Some("parked") => {
            SendState::Failed { code: row.and_then(|row| row.code).unwrap_or(ErrorCode::Invalid) }
        }
        // Where the conversation could not be opened, nothing of it leaves.
        _ => match outbox::of_kind(db, message.cid, "open")?.first() {
            Some(open) if open.state == "parked" => {
                SendState::Failed { code: open.code.unwrap_or(ErrorCode::Invalid) }
            }
            _ => SendState::Queued,
        },
    })
}
