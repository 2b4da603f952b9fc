//! What an engine's file holds, read past the engine.

use super::{
    secret_file::SecretFile,
    truth::{Fact, Outcome},
};
use anyhow::{Context, Result, ensure};
use kith_protocol::{ConversationId, EventId, UserId};
use rusqlite::{Connection, OpenFlags, Row};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};
use uuid::Uuid;

/// A conversation in the file.
#[derive(Debug, Default)]
pub struct Stored {
    pub facts: Vec<Fact>,
    /// Messages as they are shown, numbered ones only.
    pub outcomes: BTreeMap<EventId, Outcome>,
}

/// A row of the outbox.
#[derive(Debug)]
pub struct Waiting {
    pub conversation: ConversationId,
    pub kind: String,
    pub id: Option<EventId>,
    pub target: Option<EventId>,
    pub state: String,
    pub code: Option<String>,
}

impl Waiting {
    /// It waits for the user, for a reason that does not pass by itself. No clock of a run is so wrong that the user is
    /// asked about old items.
    fn is_parked(&self) -> bool {
        self.state == "parked" && self.code.as_deref().is_some_and(|code| code != "too_old")
    }
}

#[derive(Debug, Default)]
pub struct File {
    pub conversations: BTreeMap<ConversationId, Stored>,
    outbox: Vec<Waiting>,
}

impl File {
    /// Rows that wait for the user: parked ones, events that a parked message of their conversation holds (O5), and
    /// relations behind one that was refused because their common target is gone. The second part are rows that should
    /// have left.
    pub fn outbox(&self) -> (Vec<&Waiting>, Vec<&Waiting>) {
        let (mut held, mut gone) = (BTreeSet::new(), BTreeSet::new());
        self.outbox.iter().partition(|row| {
            if row.is_parked() && row.kind == "message" {
                held.insert(row.conversation);
            }
            if row.is_parked() && row.code.as_deref() == Some("target_missing") {
                gone.extend(row.target);
            }
            let is_held = held.contains(&row.conversation) || row.target.is_some_and(|it| gone.contains(&it));
            row.is_parked() || (row.state == "queued" && row.kind != "state" && is_held)
        })
    }
}

/// An emoji as the file has it.
#[derive(Deserialize)]
struct EmojiUsers {
    emoji: String,
    users: Vec<UserId>,
}

fn id(row: &Row<'_>, column: &str) -> rusqlite::Result<Uuid> {
    row.get::<_, [u8; 16]>(column).map(Uuid::from_bytes)
}

fn id_opt(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<EventId>> {
    let bytes: Option<[u8; 16]> = row.get(column)?;
    Ok(bytes.map(|bytes| EventId::from_uuid(Uuid::from_bytes(bytes))))
}

/// Opens the database of an agent's folder; an engine may have it open at the same time.
pub(super) fn open(folder: &Path) -> Result<Connection> {
    let profile = folder.join("default");
    let is_database = |path: &Path| path.extension().is_some_and(|ending| ending == "db");
    let mut files = std::fs::read_dir(&profile)?.filter_map(|entry| Some(entry.ok()?.path()));
    let file = files.find(|path| is_database(path)).context("no database")?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(file, flags)?;
    let key = SecretFile::of(folder).database_key().context("no key")?;
    let digits: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    conn.execute_batch(&format!("PRAGMA key = \"x'{digits}'\""))?;
    conn.busy_timeout(Duration::from_secs(5))?;
    Ok(conn)
}

/// The same, to look only.
fn open_to_look(folder: &Path) -> Result<Connection> {
    let conn = open(folder)?;
    conn.pragma_update(None, "query_only", true)?;
    Ok(conn)
}

/// Whether SQLite finds every page and index of a file that nobody has open in order.
pub fn check(folder: &Path) -> Result<()> {
    let conn = open_to_look(folder)?;
    for pragma in ["PRAGMA integrity_check", "PRAGMA cipher_integrity_check"] {
        let mut query = conn.prepare(pragma)?;
        let found = query.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        ensure!(found.iter().all(|line| line == "ok"), "{}: {found:?}", folder.display());
    }
    Ok(())
}

/// Reads a file, in one state of it.
pub fn read(folder: &Path) -> Result<File> {
    let mut conn = open_to_look(folder)?;
    let tx = conn.transaction()?;
    let mut file = File::default();
    let mut query = tx.prepare(
        "SELECT c.id AS conversation, e.seq, e.id, e.sender, e.kind, e.target, e.countable, e.chain, e.body
         FROM events e JOIN conversations c USING (cid) ORDER BY e.cid, e.seq",
    )?;
    let rows = query.query_map([], |row| {
        let body: Option<String> = row.get("body")?;
        let fact = Fact {
            seq: row.get("seq")?,
            id: EventId::from_uuid(id(row, "id")?),
            sender: UserId::from_uuid(id(row, "sender")?),
            kind: row.get("kind")?,
            target: id_opt(row, "target")?,
            countable: row.get("countable")?,
            chain: row.get("chain")?,
            body: body.and_then(|text| serde_json::from_str(&text).ok()),
        };
        Ok((ConversationId::from_uuid(id(row, "conversation")?), fact))
    })?;
    for row in rows {
        let (conversation, fact) = row?;
        file.conversations.entry(conversation).or_default().facts.push(fact);
    }
    read_messages(&tx, &mut file)?;
    let mut query = tx.prepare(
        "SELECT c.id AS conversation, o.kind, o.id, o.target, o.state, o.code
         FROM outbox o JOIN conversations c USING (cid) ORDER BY o.item",
    )?;
    let rows = query.query_map([], |row| {
        Ok(Waiting {
            conversation: ConversationId::from_uuid(id(row, "conversation")?),
            kind: row.get("kind")?,
            id: id_opt(row, "id")?,
            target: id_opt(row, "target")?,
            state: row.get("state")?,
            code: row.get("code")?,
        })
    })?;
    file.outbox = rows.collect::<Result<_, _>>()?;
    Ok(file)
}

fn read_messages(conn: &Connection, file: &mut File) -> Result<()> {
    let mut query = conn.prepare(
        "SELECT c.id AS conversation, m.id, m.text, m.is_deleted, m.reactions
         FROM messages m JOIN conversations c USING (cid) WHERE m.seq IS NOT NULL",
    )?;
    let rows = query.query_map([], |row| {
        let conversation = ConversationId::from_uuid(id(row, "conversation")?);
        let reactions: Option<String> = row.get("reactions")?;
        let message = EventId::from_uuid(id(row, "id")?);
        Ok((conversation, message, row.get("text")?, row.get("is_deleted")?, reactions))
    })?;
    for row in rows {
        let (conversation, message, text, is_deleted, reactions) = row?;
        let emoji: Vec<EmojiUsers> =
            reactions.map(|json| serde_json::from_str(&json)).transpose()?.unwrap_or_default();
        let named = emoji
            .into_iter()
            .flat_map(|EmojiUsers { emoji, users }| users.into_iter().map(move |user| (emoji.clone(), user)));
        let outcome = Outcome { text, is_deleted, reactions: named.collect() };
        file.conversations.entry(conversation).or_default().outcomes.insert(message, outcome);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_for_good_may_wait_with_what_it_holds_and_nothing_else() {
        let conversation = ConversationId::mint();
        let row = |kind: &str, state: &str, code: Option<&str>| Waiting {
            conversation,
            kind: kind.to_owned(),
            id: None,
            target: None,
            state: state.to_owned(),
            code: code.map(str::to_owned),
        };
        let count = |outbox| {
            let file = File { outbox, ..File::default() };
            let (waits, wrong) = file.outbox();
            (waits.len(), wrong.len())
        };
        let behind = || row("message", "queued", None);
        assert_eq!(count(vec![behind()]), (0, 1));
        assert_eq!(count(vec![row("message", "parked", Some("not_member")), behind()]), (2, 0));
        let about = |state: &str, code: Option<&str>, target| {
            let mut row = row("reaction", state, code);
            row.target = Some(target);
            row
        };
        let [gone, other] = [EventId::mint(), EventId::mint()];
        let refused = || about("parked", Some("target_missing"), gone);
        assert_eq!(count(vec![refused(), about("queued", None, gone), about("queued", None, other)]), (2, 1));
        assert_eq!(count(vec![about("queued", None, gone), refused()]), (1, 1), "only what is behind it");
        assert_eq!(
            count(vec![row("message", "parked", Some("too_old")), behind()]),
            (0, 2),
            "nobody is so old"
        );
    }
}
