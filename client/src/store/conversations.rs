//! `conversations`: where each stands, as the server says; own state in them is `own_state`'s.

use super::{Db, Tx, drafts, facts, members, own_state, people, ranges, rewind, sql};
use crate::{
    ClientError,
    mutation::{self, Mutation},
};
use kith_protocol::{
    ConversationId, Seq, TimestampMs, UserId,
    event::Role,
    frame::{Context, ConversationKind, HeadsItem},
};
use kith_sync::ops::LocalConversation;
use rusqlite::{OptionalExtension, Row, named_params, params};

/// What events are compared with when they come.
pub(super) struct Facts {
    pub(super) head: Seq,
    pub(super) as_of: Seq,
    pub(super) announced: Seq,
}

/// A conversation made on this device.
pub(crate) struct NewConversation {
    pub(crate) id: ConversationId,
    pub(crate) kind: ConversationKind,
    pub(crate) title: Option<String>,
    /// What it is about on the platform.
    pub(crate) context: Option<Context>,
    pub(crate) members: Vec<UserId>,
}

/// The local number of a conversation.
pub(crate) fn cid(db: &Db<'_>, id: ConversationId) -> Result<Option<i64>, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT cid FROM conversations WHERE id = ?1")?;
    Ok(query.query_row([id.as_bytes()], |row| row.get(0)).optional()?)
}

/// The local number of a conversation that must be here.
pub(crate) fn known(db: &Db<'_>, id: ConversationId) -> Result<i64, ClientError> {
    cid(db, id)?.ok_or(ClientError::NotFound)
}

/// The id of a conversation.
pub(crate) fn id_of(db: &Db<'_>, cid: i64) -> Result<ConversationId, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT id FROM conversations WHERE cid = ?1")?;
    Ok(query.query_row([cid], |row| sql::conversation(row, "id"))?)
}

/// Whether the server has not confirmed the conversation.
pub(super) fn is_local(db: &Db<'_>, cid: i64) -> Result<bool, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT is_local FROM conversations WHERE cid = ?1")?;
    Ok(query.query_row([cid], |row| row.get(0))?)
}

/// Whether it was made here and nothing was written in it: the server never hears of it.
pub(super) fn is_unused(db: &Db<'_>, cid: i64) -> Result<bool, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT is_local = 1 AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.cid = c.cid)
         FROM conversations c WHERE cid = ?1",
    )?;
    Ok(query.query_row([cid], |row| row.get(0))?)
}

pub(super) fn facts(db: &Db<'_>, cid: i64) -> Result<Facts, ClientError> {
    let mut query =
        db.conn.prepare_cached("SELECT head, facts_as_of, announced FROM conversations WHERE cid = ?1")?;
    let read = |row: &Row<'_>| {
        Ok(Facts {
            head: sql::seq(row, "head")?,
            as_of: sql::seq(row, "facts_as_of")?,
            announced: sql::seq(row, "announced")?,
        })
    };
    Ok(query.query_row([cid], read)?)
}

/// The intervals of one's membership (R6).
pub(super) fn visible(db: &Db<'_>, cid: i64) -> Result<Vec<(Seq, Option<Seq>)>, ClientError> {
    let mut query = db.conn.prepare_cached("SELECT visible FROM conversations WHERE cid = ?1")?;
    Ok(query.query_row([cid], |row| sql::json(row, "visible"))?)
}

/// Whether one is not in it any more.
pub(super) fn has_left(db: &Db<'_>, cid: i64) -> Result<bool, ClientError> {
    Ok(visible(db, cid)?.last().is_some_and(|(_, to)| to.is_some()))
}

pub(super) fn set_visible(tx: &Tx<'_>, cid: i64, visible: &[(Seq, Option<Seq>)]) -> Result<(), ClientError> {
    tx.conn
        .prepare_cached("UPDATE conversations SET visible = ?2 WHERE cid = ?1")?
        .execute(params![cid, sql::write_json(visible)?])?;
    Ok(())
}

/// Makes a conversation that the server does not know yet.
pub(crate) fn create_local(tx: &mut Tx<'_>, new: &NewConversation) -> Result<i64, ClientError> {
    tx.conn.execute(
        "INSERT INTO conversations (id, kind, title, context, member_count, is_local, created_at, visible)
         VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, '[[1,null]]')",
        params![
            new.id.as_bytes(),
            new.kind.as_str(),
            new.title,
            new.context.as_ref().map(sql::write_json).transpose()?,
            new.members.len() as i64 + 1,
            tx.now.as_i64()
        ],
    )?;
    let cid = tx.conn.last_insert_rowid();
    let own = if new.kind == ConversationKind::Group { Role::Owner } else { Role::Member };
    members::put(tx, cid, tx.me, own)?;
    for user in &new.members {
        members::put(tx, cid, *user, Role::Member)?;
        people::want_if_unknown(tx, *user)?;
    }
    tx.changes.row(new.id);
    Ok(cid)
}

/// Says what a conversation is about, as long as nobody else can know of it: the server takes it with the opening.
pub(crate) fn begin_about(tx: &mut Tx<'_>, cid: i64, context: &Context) -> Result<(), ClientError> {
    if is_unused(tx, cid)? {
        tx.conn
            .prepare_cached("UPDATE conversations SET context = ?2 WHERE cid = ?1")?
            .execute(params![cid, sql::write_json(context)?])?;
        let id = id_of(tx, cid)?;
        tx.changes.row(id);
    }
    Ok(())
}

/// Removes a conversation with everything in it; only one that the server never knew.
pub(super) fn remove_local(tx: &mut Tx<'_>, cid: i64) -> Result<(), ClientError> {
    let id = id_of(tx, cid)?;
    for message in super::messages::unnumbered(tx, cid)? {
        super::messages::remove(tx, cid, message.id)?;
    }
    tx.conn.execute("DELETE FROM conversations WHERE cid = ?1 AND is_local = 1", [cid])?;
    tx.changes.timeline(id);
    Ok(())
}

/// Takes a heads item (S3). `is_first_sync`: this device has never been in sync, so nothing in it is news.
pub(super) fn put_head(
    tx: &mut Tx<'_>,
    item: &HeadsItem,
    is_first_sync: bool,
    source: own_state::Source,
) -> Result<(), ClientError> {
    let id = item.own.conversation;
    let known_before = cid(tx, id)?;
    let before = known_before.map(|cid| state_of(tx, cid)).transpose()?;
    let was_local = known_before.map_or(Ok(false), |cid| is_local(tx, cid))?;
    // A snapshot that the log has overtaken does not undo what its events said: every field that events change is
    // guarded by the seq up to which it is known.
    let facts_before = known_before.map(|cid| facts(tx, cid)).transpose()?;
    let known_to = facts_before.as_ref().map(|facts| facts.as_of);
    let is_overtaken = source == own_state::Source::Change && known_to > Some(item.head);
    let context = item.context.as_ref().map(sql::write_json).transpose()?;
    tx.conn
        .prepare_cached(
            "INSERT INTO conversations (id, kind, title, context, head, countable, floor, last_ts, visible, member_count,
                 facts_as_of, announced, created_at)
             VALUES (:id, :kind, :title, :context, :head, :countable, :floor, :last_ts, :visible, :member_count,
                 :head, :announced, :now)
             ON CONFLICT (id) DO UPDATE SET kind = excluded.kind, context = excluded.context,
                 -- What is stored may be newer than a snapshot that was on its way.
                 head = max(excluded.head, CASE WHEN :handshakes THEN 0 ELSE head END,
                     (SELECT ifnull(max(r.high), 0) FROM log_range r WHERE r.cid = conversations.cid)),
                 countable = CASE WHEN excluded.head >= head OR (:handshakes AND excluded.head >=
                     (SELECT ifnull(max(r.high), 0) FROM log_range r WHERE r.cid = conversations.cid)) THEN excluded.countable ELSE countable END,
                 last_ts = max(last_ts, excluded.last_ts),
                 title = CASE WHEN :is_overtaken THEN title ELSE excluded.title END,
                 floor = CASE WHEN :is_overtaken THEN floor ELSE excluded.floor END,
                 visible = CASE WHEN :is_overtaken THEN visible ELSE excluded.visible END,
                 member_count = CASE WHEN :is_overtaken THEN member_count ELSE excluded.member_count END,
                 -- The word that begins a connection holds, also where an earlier log had come further.
                 facts_as_of = CASE WHEN :handshakes THEN excluded.facts_as_of
                     ELSE max(facts_as_of, excluded.facts_as_of) END,
                 announced = max(announced, excluded.announced),
                 is_local = 0",
        )?
        .execute(named_params! {
            ":id": id.as_bytes(),
            ":kind": item.kind.as_str(),
            ":title": item.title,
            ":context": context,
            ":head": item.head.as_i64(),
            ":countable": i64::try_from(item.countable).unwrap_or(i64::MAX),
            ":floor": item.floor.as_i64(),
            ":last_ts": item.last_ts.as_i64(),
            ":visible": sql::write_json(&item.visible)?,
            ":member_count": i64::from(item.member_count),
            ":announced": if is_first_sync { item.head.as_i64() } else { 0 },
            ":is_overtaken": is_overtaken && !mutation::is(Mutation::OldHeadsUndo),
            ":handshakes": source == own_state::Source::Heads,
            ":now": if item.last_ts.0 == 0 { tx.now.as_i64() } else { item.last_ts.as_i64() },
        })?;
    let cid = known(tx, id)?;
    let head = facts(tx, cid)?.head;
    let has_fallen = facts_before.is_some_and(|before| head < before.head);
    if has_fallen {
        rewind::head_fell(tx, cid, head)?;
    }
    if !is_overtaken {
        put_members(tx, cid, item, was_local || has_fallen)?;
        let as_of = facts(tx, cid)?.as_of;
        facts::told(tx, cid, as_of)?;
    }
    // After having left, own state is this device's; only a newer word of the server's counts.
    let source = match known_before {
        None => own_state::Source::Heads,
        Some(cid) if has_left(tx, cid)? => {
            if source == own_state::Source::Heads {
                own_state::lower_version(tx, cid, item.own.version)?;
            }
            own_state::Source::News
        }
        Some(_) => source,
    };
    own_state::put(tx, cid, &item.own, item.head, source)?;
    if was_local {
        drafts::send_if_dirty(tx, cid)?;
    }
    if before != Some(state_of(tx, cid)?) {
        tx.changes.timeline(id);
    }
    Ok(())
}

/// Takes the members of a heads item. A large group's item has only their number. The list is requested if theirs is
/// another one, or if the known list is doubtful: planned here before the server had the conversation, or of a lost log.
fn put_members(tx: &mut Tx<'_>, cid: i64, item: &HeadsItem, is_doubtful: bool) -> Result<(), ClientError> {
    match &item.members {
        Some(list) => {
            let pairs: Vec<_> = list.iter().map(|member| (member.user, member.role)).collect();
            members::replace(tx, cid, &pairs)?;
            members::listed(tx, cid, facts(tx, cid)?.as_of)?;
            for member in list {
                if people::version(tx, member.user)? < member.profile_version.max(1) {
                    tx.changes.profiles_wanted.insert(member.user);
                }
            }
        }
        None if is_doubtful || members::count(tx, cid)? != item.member_count => {
            tx.changes.members_wanted.insert(item.own.conversation);
        }
        None => {}
    }
    Ok(())
}

/// What a heads item can change on screen, to tell only when it did.
fn state_of(db: &Db<'_>, cid: i64) -> Result<String, ClientError> {
    let mut query = db.conn.prepare_cached(
        "SELECT json_array(hex(c.id), kind, title, context, head, floor, visible, member_count, is_local, version, read,
             unread, unread_flag, mute, pin, archive, hidden, d.text, d.conflict,
             (SELECT group_concat(hex(user) || role) FROM members m WHERE m.cid = c.cid))
         FROM conversations c LEFT JOIN drafts d USING (cid) WHERE c.cid = ?1",
    )?;
    Ok(query.query_row([cid], |row| row.get(0))?)
}

/// Hides a conversation that the user has hidden elsewhere, as of a `user_seq`; `None` if that counts in any case. One
/// whose own state is newer has come back meanwhile.
pub(super) fn hide_gone(tx: &mut Tx<'_>, id: ConversationId, as_of: Option<u64>) -> Result<(), ClientError> {
    let as_of = as_of.map_or(i64::MAX, |seq| i64::try_from(seq).unwrap_or(i64::MAX));
    let rows = tx
        .conn
        .prepare_cached(
            "UPDATE conversations SET hidden = 1
             WHERE id = ?1 AND hidden = 0 AND is_local = 0 AND version <= ?2",
        )?
        .execute(params![id.as_bytes(), as_of])?;
    if rows > 0 {
        tx.changes.row(id);
    }
    Ok(())
}

/// The server has confirmed a conversation that was made here.
pub(super) fn confirm(tx: &mut Tx<'_>, cid: i64) -> Result<(), ClientError> {
    tx.conn.prepare_cached("UPDATE conversations SET is_local = 0 WHERE cid = ?1")?.execute([cid])?;
    let id = id_of(tx, cid)?;
    tx.changes.row(id);
    drafts::send_if_dirty(tx, cid)
}

/// What the machine starts from; what the server does not know is not among it.
pub(super) fn load(db: &Db<'_>) -> Result<Vec<LocalConversation>, ClientError> {
    let mut query = db.conn.prepare("SELECT cid FROM conversations WHERE is_local = 0 ORDER BY cid")?;
    let cids = query.query_map([], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?;
    cids.into_iter().map(|cid| load_one(db, cid)).collect()
}

/// What is stored of one conversation.
pub(super) fn load_one(db: &Db<'_>, cid: i64) -> Result<LocalConversation, ClientError> {
    let mut query = db
        .conn
        .prepare_cached("SELECT id, head, visible, last_ts, delivered FROM conversations WHERE cid = ?1")?;
    let ranges = ranges::all(db, cid)?;
    let read = |row: &Row<'_>| {
        Ok(LocalConversation {
            conversation: sql::conversation(row, "id")?,
            ranges,
            head: sql::seq(row, "head")?,
            visible: sql::json(row, "visible")?,
            last_ts: TimestampMs::from_i64(row.get("last_ts")?),
            delivered: sql::seq(row, "delivered")?,
        })
    };
    Ok(query.query_row([cid], read)?)
}
