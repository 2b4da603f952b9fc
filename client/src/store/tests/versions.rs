//! Files that a version with other knowledge has written: an event kind that was not known comes to life (C6), and one
//! that is not known any more is shown as such.

use super::{super::schema, *};
use crate::view::NoticeKind;
use std::path::Path;

const KEY: [u8; 32] = [0x6b; 32];
const ME: &str = "0190a000-0000-7000-8000-00000000000a";

/// A file of a released version, as that version left it; `kinds` is what it knew, if it wrote that down.
fn released(version: u32, to: &Path, kinds: Option<&str>) -> rusqlite::Connection {
    let from = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/tests/files");
    std::fs::copy(format!("{from}/v{version}.db"), to).unwrap();
    let conn = schema::open_writer(to, &Key::new(KEY), &schema::MIGRATIONS[..version as usize]).unwrap();
    if let Some(kinds) = kinds {
        conn.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('kinds', ?1)", [kinds]).unwrap();
    }
    conn
}

/// Appends an event to the only conversation as that version stores it. `is_shown`: it has an entry, for a version that
/// does not know a kind shows a placeholder.
fn append(conn: &rusqlite::Connection, kind: &str, target: Option<EventId>, body: &str, is_shown: bool) {
    let columns = "SELECT c.cid, c.id, e.seq, e.chain, e.sender, e.ts, e.countable
         FROM conversations c JOIN events e USING (cid) ORDER BY e.seq DESC LIMIT 1";
    let (cid, id, seq, chain, sender, ts, countable) = conn
        .query_row(columns, [], |row| {
            let id: [u8; 16] = row.get(1)?;
            let chain: [u8; 8] = row.get(3)?;
            let sender: [u8; 16] = row.get(4)?;
            let numbers: (i64, i64, i64) = (row.get(2)?, row.get(5)?, row.get(6)?);
            Ok((row.get::<_, i64>(0)?, id, numbers.0, chain, sender, numbers.1, numbers.2))
        })
        .unwrap();
    let conversation = kith_protocol::ConversationId::from_uuid(uuid::Uuid::from_bytes(id));
    let event = EventId::mint();
    let next = Chain(chain).then(conversation, Seq(seq.unsigned_abs()), event);
    conn.execute(
        "INSERT INTO events (cid, seq, id, kind, sender, ts, countable, chain, target, body, is_shown)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        rusqlite::params![
            cid,
            seq + 1,
            event.as_bytes(),
            kind,
            sender,
            ts,
            countable,
            next.as_bytes(),
            target.as_ref().map(EventId::as_bytes),
            body,
            is_shown
        ],
    )
    .unwrap();
    conn.execute(
        "UPDATE log_range SET high = ?2, chain_high = ?3 WHERE cid = ?1",
        rusqlite::params![cid, seq + 1, next.as_bytes()],
    )
    .unwrap();
    conn.execute("UPDATE conversations SET head = ?2, facts_as_of = ?2 WHERE cid = ?1", [cid, seq + 1])
        .unwrap();
}

/// The timeline, a word for each entry: a message's text with its reactions, a notice's kind.
async fn entries(file: &Path) -> Vec<String> {
    let store = Store::open(file, &Key::new(KEY), ME.parse().unwrap()).await.unwrap();
    store.rebuilding().wait_for(Option::is_none).await.unwrap();
    let read = |db: &Db<'_>| {
        let row = super::super::list::conversations(db)?.remove(0);
        Ok(super::super::timeline::read(db, row.id, &Anchor::Newest, 50)?.view.items)
    };
    let items = store.read(read).await.unwrap();
    store.close().await;
    let entry = |item| match item {
        TimelineItem::Message(message) => {
            let reactions: String = message.reactions.iter().map(|one| one.emoji.as_str()).collect();
            format!("{}{reactions}", message.text)
        }
        TimelineItem::Notice(notice) => match notice.what {
            NoticeKind::Unknown { name } => format!("not supported: {name}"),
            NoticeKind::Title { text } => format!("title: {text}"),
            NoticeKind::Member { .. } => "member".to_owned(),
        },
        TimelineItem::Gap(_) => "gap".to_owned(),
    };
    items.into_iter().map(entry).collect()
}

fn first_message(conn: &rusqlite::Connection) -> EventId {
    let id = conn.query_row("SELECT id FROM events WHERE kind = 'message' ORDER BY seq LIMIT 1", [], |row| {
        row.get::<_, [u8; 16]>(0)
    });
    EventId::from_uuid(uuid::Uuid::from_bytes(id.unwrap()))
}

#[tokio::test]
async fn c6_kinds_that_a_version_did_not_know_come_to_life_after_an_update() {
    for version in 1..=schema::MIGRATIONS.len() as u32 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kith.db");
        // It knew neither reactions nor titles, and shows both as not supported.
        let conn = released(version, &file, Some("message edit delete pin member settings"));
        let first = first_message(&conn);
        append(&conn, "reaction", Some(first), r#"{"emoji":"+","on":true}"#, true);
        append(&conn, "title", None, r#"{"text":"Tea"}"#, true);
        append(&conn, "poll", None, r#"{"question":"tea?"}"#, true);
        drop(conn);
        let wanted =
            ["first+", "second, mended", "third", "title: Tea", "not supported: poll", "unsent", "parked"];
        assert_eq!(entries(&file).await, wanted, "v{version}");
        assert_eq!(entries(&file).await, wanted, "v{version}, opened again");
    }
}

#[tokio::test]
async fn c6_events_with_fields_of_a_later_version_apply_as_far_as_they_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kith.db");
    // The kinds as a version with another list knows them: the file is projected again when it is opened.
    let conn = released(schema::MIGRATIONS.len() as u32, &file, Some("message edit"));
    let first = first_message(&conn);
    append(&conn, "edit", Some(first), r#"{"text":"mended","format":"later"}"#, false);
    append(&conn, "reaction", Some(first), r#"{"emoji":"+","on":true,"skin":2}"#, false);
    append(&conn, "title", None, r#"{"text":"Tea","icon":"pot"}"#, true);
    drop(conn);
    let wanted = ["mended+", "second, mended", "third", "title: Tea", "unsent", "parked"];
    assert_eq!(entries(&file).await, wanted);
    let answer = serde_json::json!({"text": "yes", "reply_to": first, "later": 1});
    assert_eq!(super::super::project::reply_to(&answer), Some(first));
}

#[tokio::test]
async fn c6_kinds_that_only_a_later_version_knew_are_shown_as_not_supported() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("kith.db");
    let known = "message edit delete reaction pin member title settings vote";
    let conn = released(schema::MIGRATIONS.len() as u32, &file, Some(known));
    let first = first_message(&conn);
    // The later version showed it with its target, and not by itself.
    append(&conn, "vote", Some(first), r#"{"for":1}"#, false);
    drop(conn);
    let wanted = ["first", "second, mended", "third", "not supported: vote", "unsent", "parked"];
    assert_eq!(entries(&file).await, wanted);
}
