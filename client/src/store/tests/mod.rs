//! The store on real files, with frames as a server would send them.

pub(crate) mod below;
mod contract;
mod damage;
mod deletions;
pub(crate) mod disk;
mod drafts;
mod erased;
mod facts;
mod file;
mod fuzz;
mod lineage;
mod log;
mod notices;
mod panics;
mod plans;
mod rebuild;
mod same_id;
mod search_fuzz;
mod searching;
mod timeline;
mod unsent;
mod upgrade;
mod upkeep;
mod verify;
mod versions;
mod worst;

use super::{Changes, Db, Key, Store, Tx, conversations, people, unsent as doing};
use crate::{
    ClientError,
    driver::{Applied, SyncStore, nothing_earlier},
    events::EngineEvent,
    view::{Anchor, ConversationView, MessageView, TimelineItem},
};
use kith_protocol::{
    Chain, ConversationId, Event, EventContent, EventId, Seq, TimestampMs, UserId,
    api::Profile,
    event::{MessageBody, Role},
    frame::{ConversationKind, HeadsItem, HeadsMember, OwnState, Page},
};
use kith_sync::ops::{OutboxUpdate, StoreOp, Stored};
use tempfile::TempDir;

/// Tests ask for both parts alike.
impl std::ops::Deref for Applied {
    type Target = Stored;

    fn deref(&self) -> &Stored {
        &self.stored
    }
}

/// A store of Ada's with one direct conversation with Bo, and the server's log of it.
pub(super) struct Fixture {
    pub(super) folder: TempDir,
    pub(super) key: Key,
    pub(super) store: Store,
    pub(super) ada: UserId,
    pub(super) bo: UserId,
    pub(super) conversation: ConversationId,
    pub(super) log: Vec<Event>,
}

pub(super) fn message(text: &str) -> EventContent {
    EventContent::Message(MessageBody { text: text.to_owned(), ..Default::default() })
}

pub(super) fn profile(id: UserId, name: &str) -> Profile {
    Profile {
        id,
        username: name.to_lowercase(),
        display_name: name.to_owned(),
        role: None,
        avatar: None,
        email: None,
        show_presence: None,
        version: 1,
    }
}

pub(super) fn own_state(conversation: ConversationId, version: u64) -> OwnState {
    OwnState {
        conversation,
        unread: 0,
        read: Seq(0),
        delivered: Seq(0),
        unread_flag: false,
        mute: TimestampMs(0),
        pin: false,
        archive: false,
        hidden: false,
        draft: None,
        version,
    }
}

/// The heads that begin a connection, with one conversation.
pub(super) fn heads_of(item: HeadsItem, user_seq: u64) -> StoreOp {
    StoreOp::Heads { full: true, handshake: true, last: true, user_seq, items: vec![item], gone: Vec::new() }
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let fixture = Self::empty().await;
        fixture.apply(vec![fixture.heads(true)]).await;
        fixture
    }

    pub(super) async fn empty() -> Self {
        Self::of(UserId::mint(), Key::new([7; 32])).await
    }

    /// The same, of this user and with this key.
    pub(super) async fn of(ada: UserId, key: Key) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bo = UserId::mint();
        let store = Store::open(&folder.path().join("kith.db"), &key, ada).await.unwrap();
        let conversation = ConversationId::direct(ada, bo);
        let fixture = Self { folder, key, store, ada, bo, conversation, log: Vec::new() };
        fixture.apply(vec![StoreOp::Profiles(vec![profile(ada, "Ada"), profile(bo, "Bo")])]).await;
        fixture
    }

    pub(super) async fn reopen(&mut self) {
        self.store.close().await;
        self.store = Store::open(&self.folder.path().join("kith.db"), &self.key, self.ada).await.unwrap();
    }

    pub(super) fn item(&self) -> HeadsItem {
        let last = self.log.last();
        let member = |user| HeadsMember { user, role: Role::Member, profile_version: 1 };
        HeadsItem {
            own: own_state(self.conversation, 1),
            kind: ConversationKind::Direct,
            head: last.map_or(Seq(0), |event| event.seq),
            chain: last.map_or(Chain::empty(self.conversation), |event| event.chain),
            countable: last.map_or(0, |event| event.countable),
            last_ts: last.map_or(TimestampMs(0), |event| event.ts),
            floor: Seq(1),
            visible: vec![(Seq(1), None)],
            members: Some(vec![member(self.ada), member(self.bo)]),
            member_count: 2,
            title: None,
            context: None,
        }
    }

    pub(super) fn heads(&self, full: bool) -> StoreOp {
        StoreOp::Heads {
            full,
            handshake: full,
            last: true,
            user_seq: 1,
            items: vec![self.item()],
            gone: Vec::new(),
        }
    }

    /// The server numbers an event.
    pub(super) fn number(&mut self, sender: UserId, id: EventId, content: &EventContent) -> Event {
        let (kind, target, body) = content.to_wire();
        let (seq, chain, countable) =
            self.log.last().map_or((Seq(0), Chain::empty(self.conversation), 0), |last| {
                (last.seq, last.chain, last.countable)
            });
        let event = Event {
            seq: seq.next(),
            id,
            kind: kind.to_owned(),
            sender,
            ts: TimestampMs(1_700_000_000_000 + seq.0 * 1_000),
            written_at: None,
            countable: countable + u64::from(kind == "message"),
            chain: chain.then(self.conversation, seq, id),
            target,
            body: Some(body),
            redacted: false,
        };
        self.log.push(event.clone());
        event
    }

    pub(super) fn says(&mut self, sender: UserId, text: &str) -> Event {
        self.number(sender, EventId::mint(), &message(text))
    }

    pub(super) fn append(&self, low: u64, high: u64) -> StoreOp {
        let events = self.log[low as usize - 1..high as usize].to_vec();
        StoreOp::Append { conversation: self.conversation, chain_before: self.chain_before(low), events }
    }

    pub(super) fn page(&self, low: u64, high: u64) -> Page {
        Page {
            reply_to: None,
            conversation: self.conversation,
            chain_before: self.chain_before(low),
            low: Seq(low),
            high: Seq(high),
            head: self.log.last().unwrap().seq,
            events: self.log[low as usize - 1..high as usize].to_vec(),
            states: Default::default(),
            as_of: self.log.last().unwrap().seq,
            end: low == 1,
        }
    }

    fn chain_before(&self, low: u64) -> Chain {
        if low == 1 { Chain::empty(self.conversation) } else { self.log[low as usize - 2].chain }
    }

    pub(super) async fn apply(&self, ops: Vec<StoreOp>) -> Applied {
        let stored = self.store.apply(ops, nothing_earlier()).await.unwrap();
        self.check_lines().await;
        self.check_counts().await;
        self.check_marks().await;
        stored
    }

    /// The list shows the newest message of each conversation, whatever was written.
    async fn check_lines(&self) {
        self.read(|db| {
            for cid in super::lines::all(db)? {
                let newest = super::messages::newest(db, cid)?;
                let wanted = newest.map(|one| {
                    (one.id, one.seq, one.local, one.is_deleted, super::messages::one_line(&one.text))
                });
                let shown = super::lines::get(db, cid)?;
                let shown = shown.map(|one| (one.id, one.seq, one.local, one.is_deleted, one.line));
                assert_eq!(shown, wanted);
            }
            Ok(())
        })
        .await;
    }

    /// The log's own count says as much as counting does, of any part of what is stored (W7), where nothing of it is
    /// damaged or made up.
    async fn check_counts(&self) {
        self.read(|db| {
            let mut unsound = db.conn.prepare(
                "SELECT (SELECT sum(high - low + 1) FROM log_range WHERE cid = ?1)
                         IS NOT (SELECT nullif(count(*), 0) FROM events WHERE cid = ?1)
                     OR EXISTS (SELECT 1 FROM events e JOIN events p ON p.cid = e.cid AND p.seq = e.seq - 1
                                WHERE e.cid = ?1 AND e.countable <> p.countable + (e.kind = 'message'))",
            )?;
            let mut brute = db.conn.prepare(
                "SELECT count(*) FROM events WHERE cid = ?1 AND seq > ?2 AND seq <= ?3 AND kind = 'message'
                     AND sender <> ?4 AND is_redacted = 0",
            )?;
            for cid in super::lines::all(db)? {
                if unsound.query_row([cid], |row| row.get(0))? {
                    continue;
                }
                let head = conversations::facts(db, cid)?.head.0;
                for (above, to) in [(0, head), (head / 3, head), (head / 4, head / 2), (1, 3)] {
                    let counted = super::receipts::count_others(db, cid, Seq(above), Seq(to))?;
                    let bound = rusqlite::params![cid, above as i64, to as i64, db.me.as_bytes()];
                    let wanted: u32 = brute.query_row(bound, |row| row.get(0))?;
                    assert_eq!(counted, wanted, "others' messages in ({above}, {to}]");
                }
            }
            Ok(())
        })
        .await;
    }

    /// A message whose event is not marked as changed is what its event says.
    async fn check_marks(&self) {
        self.read(|db| {
            let mut plain = db.conn.prepare(
                "SELECT seq, id, kind, sender, ts, written_at, countable, chain, target, body, is_redacted, cid FROM events
                 WHERE kind = 'message' AND is_changed = 0",
            )?;
            let mut rows = plain.query([])?;
            while let Some(row) = rows.next()? {
                let (event, cid) = (super::project::event(row)?, row.get(11)?);
                let projected = super::messages::at(db, cid, event.seq)?;
                if let Some(projected) = projected.filter(|one| one.id == event.id) {
                    assert_eq!(super::messages::unchanged(cid, event), projected);
                }
            }
            Ok(())
        })
        .await;
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Db<'_>) -> Result<T, ClientError> + Send + 'static,
    ) -> T {
        self.store.read(work).await.unwrap()
    }

    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, ClientError> + Send + 'static,
    ) -> (T, Vec<EngineEvent>, OutboxUpdate) {
        let (value, mut changes): (T, Changes) = self.store.write(work).await.unwrap();
        self.check_lines().await;
        self.check_counts().await;
        self.check_marks().await;
        (value, changes.take_notices(), changes.update)
    }

    /// Ada writes something. Returns its id and its outbox row.
    pub(super) async fn send(&self, text: &str) -> (EventId, i64) {
        let (id, conversation, text) = (EventId::mint(), self.conversation, text.to_owned());
        let ((), _, update) = self
            .write(move |tx| {
                let cid = conversations::known(tx, conversation)?;
                doing::write_message(tx, cid, id, &text, None)
            })
            .await;
        (id, update.changed.last().unwrap().item)
    }

    /// The local number of the conversation that the fixture begins with.
    pub(super) const CID: i64 = 1;

    pub(super) async fn items(&self, anchor: Anchor, limit: usize) -> Vec<TimelineItem> {
        let conversation = self.conversation;
        self.read(move |db| super::timeline::read(db, conversation, &anchor, limit)).await.view.items
    }

    pub(super) async fn messages(&self) -> Vec<MessageView> {
        let items = self.items(Anchor::Newest, 500).await;
        items
            .into_iter()
            .filter_map(|item| if let TimelineItem::Message(message) = item { Some(message) } else { None })
            .collect()
    }

    pub(super) async fn texts(&self) -> Vec<String> {
        self.messages().await.into_iter().map(|message| message.text).collect()
    }

    pub(super) async fn row(&self) -> ConversationView {
        self.read(super::list::conversations).await.remove(0)
    }

    /// Everything that is stored, as text, to see that nothing changed.
    pub(super) async fn dump(&self) -> Vec<String> {
        self.read(|db| {
            let mut lines = Vec::new();
            for table in [
                "conversations",
                "members",
                "markers",
                "events",
                "log_range",
                "states",
                "messages",
                "outbox",
                "drafts",
            ] {
                let mut query = db.conn.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2"))?;
                let columns = query.column_count();
                let rows = query.query_map([], |row| {
                    let values = (0..columns).map(|at| row.get::<_, rusqlite::types::Value>(at));
                    Ok(format!("{table} {:?}", values.collect::<Result<Vec<_>, _>>()?))
                })?;
                lines.extend(rows.collect::<Result<Vec<_>, _>>()?);
            }
            Ok(lines)
        })
        .await
    }
}

#[tokio::test]
async fn profiles_of_older_versions_are_dropped() {
    let fixture = Fixture::new().await;
    let bo = fixture.bo;
    let newer = Profile { version: 3, display_name: "Bo the Third".into(), ..profile(bo, "Bo") };
    fixture.apply(vec![StoreOp::Profiles(vec![newer])]).await;
    let stored = fixture.apply(vec![StoreOp::Profiles(vec![profile(bo, "Bo")])]).await;
    assert_eq!(stored.notices, []);
    assert_eq!(fixture.read(move |db| people::get(db, bo)).await.display_name, "Bo the Third");
    assert_eq!(fixture.row().await.title, "Bo the Third");
}
