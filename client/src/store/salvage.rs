//! A damaged file: what only this device has (the outbox, drafts, lost deletions) is brought into a new one, row by row, as far as
//! it can be read; the damaged file is set aside and removed after some weeks ([`place`]). The rest comes from the server by ordinary sync.

use super::{Db, Key, Tx, apply, drafts, messages, outbox, place, rebuild, schema, sql};
use crate::{ClientError, view::MendedView};
use kith_protocol::{
    ConversationId, EventContent, NewEvent, UserId,
    event::Role,
    frame::{Open, StateChange},
};
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Row, config::DbConfig, named_params, params, types::Value,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// After so many rows and tables that could not be read, the rest is given up: each costs opening the file again.
const FAILURES_MAX: u32 = 2_000;
/// Names the row of `meta` that says what was mended, until the user has seen it.
const MENDED: &str = "mended";

/// Ways to find the rows of a table: what one cannot read, another one may. The last column is the row's number.
const OUTBOX_WAYS: [&str; 4] = [
    "SELECT item FROM outbox NOT INDEXED ORDER BY item",
    "SELECT item FROM outbox NOT INDEXED ORDER BY item DESC",
    "SELECT item FROM outbox INDEXED BY outbox_cid",
    "SELECT item FROM outbox INDEXED BY outbox_id WHERE id IS NOT NULL",
];
const DRAFT_WAYS: [&str; 2] =
    ["SELECT cid FROM drafts ORDER BY cid", "SELECT cid FROM drafts ORDER BY cid DESC"];

/// A row as it is, by column.
type Columns = BTreeMap<String, Value>;

/// What could be read.
#[derive(Default)]
struct Salvaged {
    conversations: BTreeMap<i64, Columns>,
    members: Vec<(i64, Vec<u8>, String)>,
    people: Vec<Columns>,
    outbox: Vec<Columns>,
    drafts: Vec<Columns>,
    /// Those that the server has lost.
    deletions: Vec<Columns>,
    meta: Vec<(String, String)>,
    /// Rows that are known to have been there and could not be read.
    lost: u32,
    /// Every row of the outbox and every draft is known of.
    is_complete: bool,
}

/// Sets a damaged file aside and puts a new one in its place, with what was salvaged. The file must be closed.
///
/// # Errors
/// [`ClientError::NewerFile`], or what the disk met; then the damaged file is where it was.
pub(super) fn mend(path: &Path, key: &Key, me: UserId) -> Result<(), ClientError> {
    let salvaged = Wreck { path, key, conn: None, failures: 0 }.read()?;
    let name = place::free_name(path)?;
    let part = place::begin_rescue(path)?;
    let mut conn = schema::open_writer(&part, key, schema::MIGRATIONS)?;
    rebuild::begin(&mut conn, me)?;
    let transaction = conn.transaction()?;
    let mut tx = Tx::begin(&transaction, me);
    let file = place::damaged(path, &name).display().to_string();
    let mended = put(&mut tx, salvaged, file)?;
    apply::set_meta(&tx, MENDED, &sql::write_json(&mended)?)?;
    tx.finish()?;
    transaction.commit()?;
    schema::checkpoint(&conn)?;
    drop(conn);
    place::replace(path, &part, &name)?;
    tracing::warn!(salvaged = mended.salvaged, lost = mended.lost, "a damaged database was set aside");
    Ok(())
}

/// What was mended and the user has not seen.
pub(crate) fn mended(db: &Db<'_>) -> Result<Option<MendedView>, ClientError> {
    let stored = apply::meta(db, MENDED)?.and_then(|text| serde_json::from_str::<MendedView>(&text).ok());
    stored.map(|view| Ok(MendedView { kept_until: place::kept_until(&view.file)?, ..view })).transpose()
}

/// The user has seen it.
pub(crate) fn seen(tx: &mut Tx<'_>) -> Result<(), ClientError> {
    tx.conn.execute("DELETE FROM meta WHERE key = ?1", [MENDED])?;
    Ok(())
}

/// A damaged file that is read as far as it can be. It is not written. Without the pages of the schema, or of the
/// planner's statistics that are read with it, nothing can be found.
struct Wreck<'p> {
    path: &'p Path,
    key: &'p Key,
    conn: Option<Connection>,
    failures: u32,
}

impl Wreck<'_> {
    fn open(&self) -> Result<Connection, ClientError> {
        let conn = schema::open_unproven(self.path, self.key, OpenFlags::empty())?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        // A file that is shorter than it says, or whose schema is damaged in part, is read all the same.
        conn.pragma_update(None, "writable_schema", true)?;
        conn.pragma_update(None, "query_only", true)?;
        Ok(conn)
    }

    /// Asks for something; `None` if it cannot be read. A connection that met damage answers nothing more, so each
    /// failure opens the file again.
    fn ask<T>(&mut self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Option<T> {
        if self.failures >= FAILURES_MAX {
            return None;
        }
        if self.conn.is_none() {
            self.conn = self.open().ok();
        }
        let answer = self.conn.as_ref().map(work);
        match answer {
            Some(Ok(value)) => Some(value),
            _ => {
                self.failures += 1;
                self.conn = None;
                None
            }
        }
    }

    /// The numbers of a table's rows, by each of these ways as far as it leads; and whether one led to the end.
    fn numbers(&mut self, ways: &[&str]) -> (BTreeSet<i64>, bool) {
        let (mut found, mut is_complete) = (BTreeSet::new(), false);
        for way in ways {
            let walked = self.ask(|conn| {
                let mut query = conn.prepare(way)?;
                let mut rows = query.query([])?;
                while let Some(row) = rows.next()? {
                    found.insert(row.get(0)?);
                }
                Ok(())
            });
            is_complete |= walked.is_some();
        }
        (found, is_complete)
    }

    /// A row, or that there is none; `None` if it cannot be read.
    fn row(&mut self, sql: &str, number: i64) -> Option<Option<Columns>> {
        self.ask(|conn| conn.prepare_cached(sql)?.query_row([number], columns).optional())
    }

    fn read(mut self) -> Result<Salvaged, ClientError> {
        let mut salvaged = Salvaged::default();
        let known = schema::MIGRATIONS.len() as u32;
        let version = self.ask(|conn| conn.query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0)));
        if let Some(found) = version.filter(|found| *found > known) {
            return Err(ClientError::NewerFile { found, known });
        }
        let (items, all_items) = self.numbers(&OUTBOX_WAYS);
        let (drafts, all_drafts) = self.numbers(&DRAFT_WAYS);
        salvaged.is_complete = all_items && all_drafts;
        for item in items {
            match self.row("SELECT * FROM outbox NOT INDEXED WHERE item = ?1", item) {
                Some(Some(row)) => salvaged.outbox.push(row),
                // An index knows it, the table does not.
                Some(None) | None => salvaged.lost += 1,
            }
        }
        for cid in drafts {
            match self
                .row("SELECT * FROM drafts WHERE cid = ?1 AND (is_dirty = 1 OR conflict IS NOT NULL)", cid)
            {
                Some(Some(row)) => salvaged.drafts.push(row),
                // The server has it.
                Some(None) => {}
                None => salvaged.lost += 1,
            }
        }
        let deletions = self.ask(|conn| {
            let mut query = conn.prepare("SELECT cid, id FROM deletions")?;
            let rows = query.query_map([], columns)?;
            rows.collect::<Result<Vec<_>, _>>()
        });
        salvaged.deletions = deletions.unwrap_or_default();
        self.surroundings(&mut salvaged);
        Ok(salvaged)
    }

    /// The conversations and people of what was found, and where the device stood with the server (S8).
    fn surroundings(&mut self, salvaged: &mut Salvaged) {
        let rows = salvaged.outbox.iter().chain(&salvaged.drafts).chain(&salvaged.deletions);
        let cids: BTreeSet<i64> = rows.filter_map(|row| number(row, "cid")).collect();
        for cid in cids {
            let whole = self.row("SELECT * FROM conversations NOT INDEXED WHERE cid = ?1", cid).flatten();
            let row = whole.or_else(|| {
                self.row("SELECT cid, id FROM conversations INDEXED BY sqlite_autoindex_conversations_1 WHERE +cid = ?1", cid)
                    .flatten()
            });
            salvaged.conversations.insert(cid, row.unwrap_or_default());
            let members = self.ask(|conn| {
                let mut query = conn.prepare_cached("SELECT user, role FROM members WHERE cid = ?1")?;
                let rows = query.query_map([cid], |row| Ok((cid, row.get(0)?, row.get(1)?)))?;
                rows.collect::<Result<Vec<_>, _>>()
            });
            salvaged.members.extend(members.unwrap_or_default());
        }
        let people: BTreeSet<Vec<u8>> = salvaged.members.iter().map(|(_, user, _)| user.clone()).collect();
        for person in people {
            let row = self.ask(|conn| {
                conn.prepare_cached("SELECT * FROM people WHERE id = ?1")?
                    .query_map([person], columns)?
                    .next()
                    .transpose()
            });
            salvaged.people.extend(row.flatten());
        }
        for key in ["generation", "epoch", "device"] {
            let value = self.ask(|conn| {
                let mut query = conn.prepare_cached("SELECT value FROM meta WHERE key = ?1")?;
                query.query_map([key], |row| row.get::<_, String>(0))?.next().transpose()
            });
            salvaged.meta.extend(value.flatten().map(|value| (key.to_owned(), value)));
        }
    }
}

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    let names = row.as_ref().column_names();
    names.into_iter().map(|name| Ok((name.to_owned(), row.get::<_, Value>(name)?))).collect()
}

fn number(row: &Columns, column: &str) -> Option<i64> {
    match row.get(column) {
        Some(Value::Integer(number)) => Some(*number),
        _ => None,
    }
}

fn text<'r>(row: &'r Columns, column: &str) -> Option<&'r str> {
    match row.get(column) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

// --- into the new file ---

fn put(tx: &mut Tx<'_>, salvaged: Salvaged, file: String) -> Result<MendedView, ClientError> {
    let mut lost = salvaged.lost;
    for (key, value) in &salvaged.meta {
        apply::set_meta(tx, key, value)?;
    }
    for person in &salvaged.people {
        insert(tx, "people", person)?;
    }
    let mut placed = BTreeSet::new();
    for (&cid, row) in &salvaged.conversations {
        if let Some(id) = id_of(row).or_else(|| id_in_outbox(&salvaged.outbox, cid)) {
            put_conversation(tx, cid, id, row)?;
            placed.insert(cid);
        }
    }
    for (cid, user, role) in &salvaged.members {
        tx.conn.execute(
            "INSERT OR IGNORE INTO members (cid, user, role) SELECT ?1, ?2, ?3 FROM conversations WHERE cid = ?1",
            params![cid, user, role],
        )?;
    }
    // Where that could not be read, one is a plain member until heads say otherwise.
    tx.conn.execute(
        "INSERT OR IGNORE INTO members (cid, user, role) SELECT cid, ?1, ?2 FROM conversations",
        params![tx.me.as_bytes(), Role::Member.as_str()],
    )?;
    let mut kept = 0;
    for row in &salvaged.outbox {
        match put_outbox(tx, row)? {
            Some(true) => kept += 1,
            Some(false) => {}
            None => lost += 1,
        }
    }
    for row in &salvaged.drafts {
        if put_draft(tx, row)? { kept += 1 } else { lost += 1 }
    }
    for row in &salvaged.deletions {
        let known = number(row, "cid").is_some_and(|cid| placed.contains(&cid));
        if known {
            insert(tx, "deletions", row)?;
        }
    }
    Ok(MendedView { salvaged: kept, lost, is_complete: salvaged.is_complete, file, kept_until: None })
}

/// Inserts a row as it is; the names come from the schema.
fn insert(tx: &Tx<'_>, table: &str, row: &Columns) -> Result<(), ClientError> {
    let names: Vec<_> = row.keys().map(String::as_str).collect();
    let places = vec!["?"; names.len()].join(", ");
    let sql = format!("INSERT OR IGNORE INTO {table} ({}) VALUES ({places})", names.join(", "));
    tx.conn.execute(&sql, rusqlite::params_from_iter(row.values()))?;
    Ok(())
}

fn id_of(row: &Columns) -> Option<ConversationId> {
    match row.get("id") {
        Some(Value::Blob(bytes)) => Some(ConversationId::from_uuid(uuid::Uuid::from_slice(bytes).ok()?)),
        _ => None,
    }
}

/// The conversation of a number whose own row cannot be read: openings and own state name it.
fn id_in_outbox(rows: &[Columns], cid: i64) -> Option<ConversationId> {
    rows.iter().filter(|row| number(row, "cid") == Some(cid)).find_map(|row| {
        let content = text(row, "content")?;
        match text(row, "kind")? {
            "open" => Some(serde_json::from_str::<Open>(content).ok()?.conversation),
            "state" => Some(serde_json::from_str::<StateChange>(content).ok()?.conversation),
            _ => None,
        }
    })
}

/// A conversation as far as the user knows it; the server says the rest.
fn put_conversation(tx: &Tx<'_>, cid: i64, id: ConversationId, row: &Columns) -> Result<(), ClientError> {
    // Ids of direct conversations are made from their members' (version 5), others are minted.
    let kind = if id.as_uuid().get_version_num() == 5 { "direct" } else { "group" };
    tx.conn.execute(
        "INSERT INTO conversations (cid, id, kind, title, context, member_count, is_local, created_at, visible)
         VALUES (:cid, :id, :kind, :title, :context, :member_count, :is_local, :created_at, :visible)",
        named_params! {
            ":cid": cid,
            ":id": id.as_bytes(),
            ":kind": text(row, "kind").unwrap_or(kind),
            ":title": text(row, "title"),
            ":context": text(row, "context"),
            ":member_count": number(row, "member_count").unwrap_or(0),
            ":is_local": number(row, "is_local").unwrap_or(0),
            ":created_at": number(row, "created_at").unwrap_or(tx.now.as_i64()),
            ":visible": text(row, "visible").unwrap_or("[[1,null]]"),
        },
    )?;
    Ok(())
}

/// Takes a row of the outbox. Returns whether the user would call it unsent, and `None` if it cannot be used.
fn put_outbox(tx: &mut Tx<'_>, row: &Columns) -> Result<Option<bool>, ClientError> {
    let (Some(item), Some(cid), Some(kind), Some(content)) =
        (number(row, "item"), number(row, "cid"), text(row, "kind"), text(row, "content"))
    else {
        return Ok(None);
    };
    let is_readable = match kind {
        "open" => serde_json::from_str::<Open>(content).is_ok(),
        "state" => serde_json::from_str::<StateChange>(content).is_ok(),
        _ => serde_json::from_str::<NewEvent>(content).is_ok(),
    };
    let is_placed: bool =
        tx.conn.query_row("SELECT EXISTS (SELECT 1 FROM conversations WHERE cid = ?1)", [cid], |row| {
            row.get(0)
        })?;
    if !is_readable || !is_placed {
        return Ok(None);
    }
    // What has left, or was acknowledged, goes again: the server knows it by its id.
    let is_parked = text(row, "state") == Some("parked");
    let mut row = row.clone();
    row.insert("state".to_owned(), Value::Text(if is_parked { "parked" } else { "queued" }.to_owned()));
    for column in ["retry_at", "seq"] {
        row.insert(column.to_owned(), Value::Null);
    }
    if !is_parked {
        row.insert("code".to_owned(), Value::Null);
    }
    insert(tx, "outbox", &row)?;
    let Some(row) = outbox::get(tx, item)? else { return Ok(None) };
    if row.kind == "message" {
        put_message(tx, &row)?;
    }
    Ok(Some(row.kind != "state"))
}

fn put_message(tx: &mut Tx<'_>, row: &outbox::OutboxRow) -> Result<(), ClientError> {
    let event: NewEvent = sql::read_json(&row.content)?;
    match EventContent::parse(&event.kind, event.target, &event.body) {
        Ok(EventContent::Message(body)) => messages::put_unnumbered(
            tx,
            row.cid,
            event.id,
            row.item,
            &body.text,
            body.reply_to,
            row.written_at,
        ),
        _ => Ok(()),
    }
}

/// Takes a draft; one that waits in no row of the outbox goes there.
fn put_draft(tx: &mut Tx<'_>, row: &Columns) -> Result<bool, ClientError> {
    let Some(cid) = number(row, "cid") else { return Ok(false) };
    let is_placed: bool =
        tx.conn.query_row("SELECT EXISTS (SELECT 1 FROM conversations WHERE cid = ?1)", [cid], |row| {
            row.get(0)
        })?;
    if !is_placed {
        return Ok(false);
    }
    insert(tx, "drafts", row)?;
    if !outbox::has_pending_draft(tx, cid)? {
        drafts::send_if_dirty(tx, cid)?;
    }
    Ok(true)
}
