//! The conversation list: its rows, titles, last lines, and the account's numbers.

use super::{
    Db, conversations, drafts, members,
    messages::{self, Message},
    outbox,
    overlay::{self, Overlay},
    own_state, people,
    receipts::{self, Others},
    sql,
};
use crate::{
    ClientError,
    view::{ConversationDetail, ConversationView, MemberView, PersonView, PreviewView, SendState},
};
use kith_protocol::{
    ConversationId, ErrorCode, TimestampMs, UserId,
    frame::{Context, ConversationKind},
};
use rusqlite::Row;

/// Names in the title of a group without one.
const TITLE_NAMES_MAX: usize = 4;

/// The numbers of the whole account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// Unread messages in conversations that are not muted.
    pub(crate) unread: u32,
    /// Items in the outbox.
    pub(crate) unsent: u32,
    /// Items that wait for the user.
    pub(crate) parked: u32,
    /// Messages stored here.
    pub(crate) messages: u32,
}

/// The numbers of the whole account.
pub(crate) fn numbers(db: &Db<'_>) -> Result<Numbers, ClientError> {
    let mut numbers = Numbers::default();
    let mut behind = db.conn.prepare_cached("SELECT cid FROM conversations WHERE head > read")?;
    let cids = behind.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    for cid in cids {
        let own = own_state::effective(db, cid)?;
        if own.mute <= db.now && !own.hidden {
            numbers.unread += receipts::unread(db, cid)?;
        }
    }
    // An acknowledged row only waits for its event; read markers and drafts are nothing that a user would miss.
    let mut unsent = db.conn.prepare_cached(
        "SELECT ifnull(sum(kind <> 'state'), 0), ifnull(sum(state = 'parked'), 0) FROM outbox WHERE state <> 'acked'",
    )?;
    (numbers.unsent, numbers.parked) = unsent.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut stored = db.conn.prepare_cached("SELECT ifnull(sum(stored), 0) FROM conversations")?;
    numbers.messages = stored.query_row([], |row| row.get(0))?;
    Ok(numbers)
}

struct ListRow {
    cid: i64,
    id: ConversationId,
    kind: ConversationKind,
    title: Option<String>,
    context: Option<Context>,
    last_ts: TimestampMs,
    created_at: TimestampMs,
    member_count: u32,
    is_local: bool,
}

fn list_row(row: &Row<'_>) -> rusqlite::Result<ListRow> {
    let context: Option<String> = row.get("context")?;
    Ok(ListRow {
        cid: row.get("cid")?,
        id: sql::conversation(row, "id")?,
        kind: ConversationKind::parse(&row.get::<_, String>("kind")?).unwrap_or(ConversationKind::Group),
        title: row.get("title")?,
        context: context.map(|text| sql::read_json(&text)).transpose()?,
        last_ts: sql::time(row, "last_ts")?,
        created_at: sql::time(row, "created_at")?,
        member_count: row.get("member_count")?,
        is_local: row.get("is_local")?,
    })
}

fn one(db: &Db<'_>, cid: i64) -> Result<ListRow, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT cid, id, kind, title, context, last_ts, created_at, member_count, is_local
         FROM conversations WHERE cid = ?1",
    )?;
    Ok(query.query_row([cid], list_row)?)
}

/// The list: pinned ones first, then by last activity; what is hidden is left out. Who types and who is there is not
/// the store's to know.
pub(crate) fn conversations(db: &Db<'_>) -> Result<Vec<ConversationView>, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT cid, id, kind, title, context, last_ts, created_at, member_count, is_local FROM conversations",
    )?;
    let rows = query.query_map([], list_row)?.collect::<Result<Vec<_>, _>>()?;
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        if !own_state::effective(db, row.cid)?.hidden {
            views.push(view(db, row)?);
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
    Ok(ConversationDetail { conversation: view(db, one(db, cid)?)?, members: list })
}

/// What a conversation is called.
pub(crate) fn title_of(db: &Db<'_>, id: ConversationId) -> Result<String, ClientError> {
    let row = one(db, conversations::known(db, id)?)?;
    let peer = peer_of(db, &row)?;
    title(db, &row, peer.as_ref())
}

fn title(db: &Db<'_>, row: &ListRow, peer: Option<&PersonView>) -> Result<String, ClientError> {
    if let Some(peer) = peer {
        return Ok(peer.display_name.clone());
    }
    let title = overlay::title(db, row.cid)?.or_else(|| row.title.clone());
    if let Some(title) = title.filter(|title| !title.is_empty()) {
        return Ok(title);
    }
    let others = members::all(db, row.cid)?.into_iter().filter(|(user, _)| *user != db.me);
    let names = others.take(TITLE_NAMES_MAX).map(|(user, _)| Ok(people::get(db, user)?.display_name));
    Ok(names.collect::<Result<Vec<_>, ClientError>>()?.join(", "))
}

fn peer_of(db: &Db<'_>, row: &ListRow) -> Result<Option<PersonView>, ClientError> {
    if row.kind != ConversationKind::Direct {
        return Ok(None);
    }
    let is_other = |user: &UserId| *user != db.me;
    let other = members::all(db, row.cid)?.into_iter().map(|(user, _)| user).find(is_other);
    other.map(|user| people::get(db, user)).transpose()
}

fn view(db: &Db<'_>, row: ListRow) -> Result<ConversationView, ClientError> {
    let own = own_state::effective(db, row.cid)?;
    let draft = drafts::get(db, row.cid)?;
    let peer = peer_of(db, &row)?;
    let preview = preview(db, row.cid)?;
    let newest = preview.as_ref().map(|preview| preview.ts).unwrap_or_default();
    Ok(ConversationView {
        title: title(db, &row, peer.as_ref())?,
        peer,
        my_role: members::own_role(db, row.cid)?,
        last_activity: newest.max(row.last_ts).max(if row.last_ts.0 == 0 {
            row.created_at
        } else {
            row.last_ts
        }),
        preview,
        unread: receipts::unread(db, row.cid)?,
        unread_flag: own.unread_flag,
        mute: own.mute,
        pin: own.pin,
        archive: own.archive,
        draft: Some(draft.text).filter(|text| !text.is_empty()),
        draft_conflict: draft.conflict,
        typing: Vec::new(),
        presence: None,
        id: row.id,
        kind: row.kind,
        context: row.context,
        member_count: row.member_count,
        is_local: row.is_local,
    })
}

fn preview(db: &Db<'_>, cid: i64) -> Result<Option<PreviewView>, ClientError> {
    let Some(mut message) = messages::newest(db, cid)? else { return Ok(None) };
    Overlay::of(db, cid)?.lay_over(&mut message);
    let is_mine = message.sender == db.me;
    Ok(Some(PreviewView {
        sender: if is_mine { None } else { Some(people::get(db, message.sender)?) },
        text: messages::one_line(&message.text),
        deleted: message.is_deleted,
        ts: message.ts,
        send_state: if is_mine { Some(send_state(db, &message, &Others::of(db, cid)?)?) } else { None },
    }))
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
