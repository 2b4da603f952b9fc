//! The store as the simulation drives it: the writer's transactions on a file of its own, one after the other on the
//! caller's thread, with a clock that is set and power that fails.

use super::super::{
    Changes, Db, Tx, apply, conversations, drafts, list, members, outbox, own_state, project, ranges, schema,
    sql, timeline, unsent, writer, writer::Durability,
};
use crate::{
    ClientError,
    driver::Applied,
    sim::operations::{Doing, Facts, OwnMarks, TARGETS},
    view::{Anchor, ConversationView, MessageView, TimelineItem},
};
use kith_protocol::{
    ConversationId, ErrorCode, Event, EventContent, EventId, TimestampMs, UserId,
    event::TitleBody,
    frame::{ConversationKind, Draft, OwnState},
};
use kith_sync::{
    memory::{Kept, MemoryStore, Row, RowState},
    ops::{LocalRange, LocalState, OutboxOp, OutboxUpdate, StoreOp},
    ranges::Ranges,
};
use rusqlite::{Connection, OptionalExtension, config::DbConfig, params};
use std::{cell::Cell, collections::BTreeMap, path::PathBuf, sync::OnceLock};
use tempfile::TempDir;

thread_local! {
    static CLOCK: Cell<Option<TimestampMs>> = const { Cell::new(None) };
}

/// The clock that a simulation has set on this thread.
pub(in crate::store) fn clock() -> Option<TimestampMs> {
    CLOCK.get()
}

pub(crate) struct Disk {
    me: UserId,
    folder: TempDir,
    conn: Option<Connection>,
    /// How long the write-ahead log was at the last synced commit, while a power cut is near.
    synced: Option<u64>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("folder", &self.folder.path()).finish()
    }
}

fn key() -> schema::Key {
    schema::Key::new([7; 32])
}

/// A folder in memory, where there is such a place: nothing of a simulation is to outlive it.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

/// A file with the schema and nothing in it.
fn empty_file() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let folder = folder();
        let path = folder.path().join("kith.db");
        let conn = schema::open_writer(&path, &key(), schema::MIGRATIONS).expect("a new file");
        schema::checkpoint(&conn).expect("nobody reads");
        drop(conn);
        std::fs::read(path).expect("it was just written")
    })
}

impl Disk {
    pub(crate) fn new(me: UserId) -> Self {
        let disk = Self { me, folder: folder(), conn: None, synced: None };
        std::fs::write(disk.path(), empty_file()).expect("a folder of one's own");
        disk.opened()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("kith.db")
    }

    fn wal(&self) -> PathBuf {
        self.folder.path().join("kith.db-wal")
    }

    fn opened(mut self) -> Self {
        self.open();
        self
    }

    fn open(&mut self) {
        let conn = schema::open_writer(&self.path(), &key(), schema::MIGRATIONS).expect("a sound file");
        // What a power cut leaves is a prefix of the log, as long as nothing is moved out of it.
        conn.pragma_update(None, "wal_autocheckpoint", 0).expect("a known setting");
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("a known setting");
        self.conn = Some(conn);
    }

    /// A copy of the file, as a backup program makes one.
    pub(crate) fn copied(&self) -> Self {
        let copy = Self { me: self.me, folder: folder(), conn: None, synced: None };
        std::fs::copy(self.path(), copy.path()).expect("it is there");
        if self.wal().exists() {
            std::fs::copy(self.wal(), copy.wal()).expect("it is there");
        }
        copy.opened()
    }

    pub(crate) fn watch_power(&mut self) {
        self.synced = Some(self.wal_bytes());
    }

    fn wal_bytes(&self) -> u64 {
        std::fs::metadata(self.wal()).map_or(0, |wal| wal.len())
    }

    /// What was written behind the last synced commit is gone.
    pub(crate) fn lose_power(&mut self) {
        let Some(synced) = self.synced.take() else { return };
        self.conn = None;
        if self.wal().exists() {
            let wal = std::fs::OpenOptions::new().write(true).open(self.wal()).expect("it is there");
            wal.set_len(synced).expect("a file of one's own");
        }
        let _ = std::fs::remove_file(self.folder.path().join("kith.db-shm"));
        self.open();
    }

    fn transact<T>(
        &mut self,
        durability: Durability,
        wall: TimestampMs,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ClientError>,
    ) -> Result<(T, Changes), ClientError> {
        CLOCK.set(Some(wall));
        let conn = self.conn.as_mut().expect("it is open");
        let result = writer::transact(conn, self.me, durability, work);
        CLOCK.set(None);
        if durability == Durability::Full && self.synced.is_some() {
            self.watch_power();
        }
        result
    }

    fn read<T>(&self, work: impl FnOnce(&Db<'_>) -> Result<T, ClientError>) -> T {
        let conn = self.conn.as_ref().expect("it is open");
        work(&Db { conn, me: self.me, now: TimestampMs(0) }).expect("a sound file")
    }

    pub(crate) fn load(&mut self, wall: TimestampMs) -> LocalState {
        self.transact(Durability::Full, wall, apply::load).expect("a sound file").0
    }

    pub(crate) fn apply(&mut self, ops: Vec<StoreOp>, wall: TimestampMs) -> Applied {
        let durability = apply::durability(&ops);
        let work = |tx: &mut Tx<'_>| ops.into_iter().try_for_each(|op| apply::apply(tx, op));
        let ((), changes) = self.transact(durability, wall, work).expect("a sound file");
        changes.into_applied()
    }

    /// Carries out what the user does; `None` if it is refused.
    pub(crate) fn act(&mut self, doing: Doing, wall: TimestampMs) -> Option<OutboxUpdate> {
        let result = self.transact(Durability::Full, wall, |tx| act(tx, doing));
        match result {
            Ok(((), changes)) => Some(changes.update),
            Err(ClientError::Refused(_) | ClientError::NotFound) => None,
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn conversation_of(&self, item: i64) -> Option<ConversationId> {
        self.read(|db| {
            let row = outbox::get(db, item)?;
            row.map(|row| conversations::id_of(db, row.cid)).transpose()
        })
    }

    pub(crate) fn ranges(&self, conversation: ConversationId) -> Option<Vec<LocalRange>> {
        self.read(|db| conversations::cid(db, conversation)?.map(|cid| ranges::all(db, cid)).transpose())
    }

    pub(crate) fn facts(&self, conversation: ConversationId) -> Option<Facts> {
        self.read(|db| {
            let Some(cid) = conversations::cid(db, conversation)? else { return Ok(None) };
            let mut query = db.conn.prepare_cached(
                "SELECT title, member_count, facts_as_of FROM conversations WHERE cid = ?1",
            )?;
            let (title, member_count, as_of): (Option<String>, _, _) =
                query.query_row([cid], |row| Ok((row.get(0)?, row.get(1)?, sql::seq(row, 2)?)))?;
            let title = title.filter(|text| !text.is_empty());
            Ok(Some(Facts { as_of, title, visible: conversations::visible(db, cid)?, member_count }))
        })
    }

    pub(crate) fn own_marks(&self, conversation: ConversationId) -> Option<OwnMarks> {
        self.read(|db| {
            let mut query =
                db.conn.prepare_cached("SELECT version, read FROM conversations WHERE id = ?1")?;
            let marks = |row: &rusqlite::Row<'_>| {
                Ok(OwnMarks { version: row.get::<_, i64>(0)?.unsigned_abs(), read: sql::seq(row, 1)? })
            };
            Ok(query.query_row([conversation.as_bytes()], marks).optional()?)
        })
    }

    pub(crate) fn messages(&self, conversation: ConversationId) -> Vec<(EventId, UserId)> {
        self.read(|db| {
            let Some(cid) = conversations::cid(db, conversation)? else { return Ok(Vec::new()) };
            let mut query = db.conn.prepare_cached(
                "SELECT id, sender FROM messages WHERE cid = ?1 AND is_deleted = 0 ORDER BY mid DESC LIMIT ?2",
            )?;
            let rows = query.query_map(params![cid, TARGETS as i64], |row| {
                Ok((sql::event(row, "id")?, sql::user(row, "sender")?))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    pub(crate) fn outbox(&self) -> Vec<(i64, Row)> {
        self.read(|db| outbox::all(db)?.into_iter().map(|row| Ok((row.item, row_of(db, &row)?))).collect())
    }

    /// The list as the window shows it.
    pub(crate) fn views(&self) -> Vec<ConversationView> {
        self.read(list::conversations)
    }

    /// One conversation's row of the list, hidden or not.
    pub(crate) fn view(&self, conversation: ConversationId) -> ConversationView {
        self.read(|db| Ok(list::detail(db, conversation)?.conversation))
    }

    /// Whether a conversation is muted now, as this device knows it.
    pub(crate) fn is_muted(&self, conversation: ConversationId, wall: TimestampMs) -> bool {
        self.read(|db| match conversations::cid(db, conversation)? {
            Some(cid) => Ok(own_state::effective(db, cid)?.mute > wall),
            None => Ok(false),
        })
    }

    /// The newest messages of a timeline as the window shows it.
    pub(crate) fn timeline(&self, conversation: ConversationId) -> Vec<MessageView> {
        let part = self.read(|db| timeline::read(db, conversation, &Anchor::Newest, 500));
        let message = |item| if let TimelineItem::Message(message) = item { Some(message) } else { None };
        part.view.items.into_iter().filter_map(message).collect()
    }

    /// All that is stored, as the twin holds it.
    pub(crate) fn image(&self) -> MemoryStore {
        self.read(|db| {
            let meta = |name: &str| apply::meta(db, name);
            let number =
                |name: &str| Ok::<_, ClientError>(meta(name)?.and_then(|n| n.parse().ok()).unwrap_or(0));
            let mut image = MemoryStore {
                me: Some(db.me),
                generation: number("generation")?,
                epoch: meta("epoch")?,
                user_seq: number("user_seq")?,
                ..MemoryStore::default()
            };
            for local in conversations::load(db)? {
                let cid = conversations::known(db, local.conversation)?;
                image.conversations.insert(local.conversation, kept(db, cid)?);
            }
            for row in outbox::all(db)? {
                image.outbox.insert(row.item, row_of(db, &row)?);
            }
            Ok(image)
        })
    }
}

fn act(tx: &mut Tx<'_>, doing: Doing) -> Result<(), ClientError> {
    let push = |tx: &mut Tx<'_>, conversation, id, content: &EventContent| {
        let cid = conversations::known(tx, conversation)?;
        outbox::push_event(tx, cid, id, content).map(drop)
    };
    match doing {
        Doing::Open(open) => {
            if conversations::cid(tx, open.conversation)?.is_some() {
                return Ok(());
            }
            let new = conversations::NewConversation {
                id: open.conversation,
                kind: open.kind,
                title: open.title,
                members: open.members,
                context: open.context,
            };
            let cid = conversations::create_local(tx, &new)?;
            outbox::open_if_local(tx, cid)
        }
        Doing::Write { conversation, id, text, reply_to } => {
            let cid = conversations::known(tx, conversation)?;
            if members::own_role(tx, cid)?.is_none() {
                return Err(ClientError::Refused(ErrorCode::NotMember));
            }
            unsent::write_message(tx, cid, id, &text, reply_to)?;
            drafts::set(tx, cid, "")
        }
        Doing::Edit { conversation, target, text, .. } => {
            let cid = conversations::known(tx, conversation)?;
            unsent::edit(tx, cid, target, &text)
        }
        Doing::Delete { conversation, target, .. } => {
            let cid = conversations::known(tx, conversation)?;
            unsent::delete(tx, cid, target)
        }
        Doing::React { conversation, target, emoji, on, .. } => {
            let cid = conversations::known(tx, conversation)?;
            unsent::react(tx, cid, target, emoji, on)
        }
        Doing::Pin { conversation, target, on, .. } => {
            let cid = conversations::known(tx, conversation)?;
            unsent::pin(tx, cid, target, on)
        }
        Doing::Title { conversation, id, text } => {
            push(tx, conversation, id, &EventContent::Title(TitleBody { text }))
        }
        Doing::Member { conversation, id, body } => push(tx, conversation, id, &EventContent::Member(body)),
        Doing::Own(change) => {
            let cid = conversations::known(tx, change.conversation)?;
            match change.draft {
                Some(draft) => drafts::set(tx, cid, &draft.text),
                None => own_state::change(tx, cid, change),
            }
        }
        Doing::Cancel(item) => unsent::cancel(tx, item as f64),
        Doing::Retry(item) => unsent::retry(tx, item as f64),
    }
}

fn row_of(db: &Db<'_>, row: &outbox::OutboxRow) -> Result<Row, ClientError> {
    let op = match row.kind.as_str() {
        "open" => OutboxOp::Open(sql::read_json(&row.content)?),
        "state" => OutboxOp::State(sql::read_json(&row.content)?),
        _ => OutboxOp::Event(sql::read_json(&row.content)?),
    };
    let state = match (row.state.as_str(), row.seq) {
        ("sending", _) => RowState::Sending,
        ("acked", Some(seq)) => RowState::Acked(seq),
        ("parked", _) => RowState::Parked(row.code.unwrap_or(ErrorCode::Invalid)),
        _ => RowState::Queued,
    };
    let conversation = conversations::id_of(db, row.cid)?;
    Ok(Row { written_at: row.written_at, conversation, op, state, tries: row.tries })
}

fn kept(db: &Db<'_>, cid: i64) -> Result<Kept, ClientError> {
    let local = conversations::load_one(db, cid)?;
    let mut query = db.conn.prepare_cached(
        "SELECT kind, title, member_count, facts_as_of, version FROM conversations WHERE cid = ?1",
    )?;
    let (kind, title, member_count, as_of, version) = query.query_row([cid], |row| {
        let kind: String = row.get(0)?;
        let title: Option<String> = row.get(1)?;
        Ok((kind, title, row.get(2)?, sql::seq(row, 3)?, sql::count(row, 4)?))
    })?;
    let mut events = db.conn.prepare_cached(
        "SELECT seq, id, kind, sender, ts, written_at, countable, chain, target, body, is_redacted
         FROM events WHERE cid = ?1 ORDER BY seq",
    )?;
    let events = events.query_map([cid], project::event)?.collect::<Result<Vec<Event>, _>>()?;
    let own = own_state::effective(db, cid)?;
    let draft = drafts::get(db, cid)?;
    let text = Some(draft.text.clone()).filter(|text| !text.is_empty());
    let mut members_here = db.conn.prepare_cached("SELECT user, role FROM members WHERE cid = ?1")?;
    let members_here = members_here
        .query_map([cid], |row| Ok((sql::user(row, "user")?, sql::role(row, "role")?)))?
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    Ok(Kept {
        kind: ConversationKind::parse(&kind),
        ranges: Ranges::new(local.ranges),
        events: events.into_iter().map(|event| (event.seq, event)).collect(),
        head: local.head,
        visible: local.visible,
        last_ts: local.last_ts,
        own: Some(OwnState {
            conversation: local.conversation,
            unread: own.server_unread,
            read: own.server_read,
            delivered: local.delivered,
            unread_flag: own.unread_flag,
            mute: own.mute,
            pin: own.pin,
            archive: own.archive,
            hidden: own.hidden,
            draft: text.map(|text| Draft { text, version: draft.base }),
            version,
        }),
        has_draft_conflict: draft.conflict.is_some(),
        members: members_here,
        member_count,
        listed: BTreeMap::new(),
        title: title.filter(|text| !text.is_empty()),
        metadata_seq: as_of,
        members_as_of: members::as_of(db, cid)?,
    })
}
