//! Files of released versions, and what a migration leaves beside a file.
//!
//! `files/v1.db` and its like are encrypted with [`KEY`] and belong to [`ME`]. A new migration comes with a file of the
//! version that it makes: `KITH_WRITE_FILES=1 cargo nextest run -p kith-client released_versions` writes it.

use super::{
    super::{place, schema},
    *,
};
use kith_sync::ops::{EntryState, OutboxWhat};
use std::{fs, path::PathBuf};

const KEY: [u8; 32] = [0x6b; 32];
const ME: &str = "0190a000-0000-7000-8000-00000000000a";

fn files() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/tests/files"))
}

/// Writes what a file of this version holds when it is released.
async fn write_file(to: PathBuf) {
    let mut fixture = Fixture::of(ME.parse().unwrap(), Key::new(KEY)).await;
    let bo = fixture.bo;
    for text in ["first", "second", "third"] {
        fixture.says(bo, text);
    }
    let second = fixture.log[1].id;
    fixture.number(
        bo,
        EventId::mint(),
        &EventContent::Edit { target: second, text: "second, mended".into() },
    );
    fixture.apply(vec![fixture.heads(true), fixture.append(1, 4)]).await;
    fixture.send("unsent").await;
    let (_, item) = fixture.send("parked").await;
    fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
    fixture
        .apply(vec![StoreOp::Parked { items: vec![item], code: kith_protocol::ErrorCode::TooLarge }])
        .await;
    let conversation = fixture.conversation;
    fixture
        .write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            super::super::drafts::set(tx, cid, "a draft")
        })
        .await;
    fixture.store.close().await;
    fs::copy(fixture.folder.path().join("kith.db"), to).unwrap();
}

#[tokio::test]
async fn files_of_all_released_versions_are_opened_with_everything_in_them() {
    let known = schema::MIGRATIONS.len();
    let newest = files().join(format!("v{known}.db"));
    if std::env::var_os("KITH_WRITE_FILES").is_some() && !newest.exists() {
        write_file(newest).await;
    }
    let mut versions = 0;
    for entry in fs::read_dir(files()).unwrap() {
        let released = entry.unwrap().path();
        let version = released.file_stem().unwrap().to_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kith.db");
        fs::copy(&released, &file).unwrap();
        let store = Store::open(&file, &Key::new(KEY), ME.parse().unwrap()).await.unwrap();
        let is_migrated = version != format!("v{known}");
        assert_eq!(place::beside(&file, ".before-upgrade").exists(), is_migrated, "{version}");
        store.rebuilding().wait_for(Option::is_none).await.unwrap();
        let read = |db: &Db<'_>| {
            let row = super::super::list::conversations(db)?.remove(0);
            let part = super::super::timeline::read(db, row.id, &Anchor::Newest, 50)?;
            Ok((row, part.view.items))
        };
        let (row, items) = store.read(read).await.unwrap();
        let texts: Vec<_> = items
            .into_iter()
            .filter_map(
                |item| if let TimelineItem::Message(message) = item { Some(message.text) } else { None },
            )
            .collect();
        assert_eq!(texts, ["first", "second, mended", "third", "unsent", "parked"], "{version}");
        assert_eq!((row.title.as_str(), row.draft.as_deref()), ("Bo", Some("a draft")), "{version}");
        let outbox = store.load_sync_state(nothing_earlier()).await.unwrap().outbox;
        let stands: Vec<_> = outbox.iter().map(|entry| (entry.what, entry.state)).collect();
        let parked = EntryState::Parked(kith_protocol::ErrorCode::TooLarge);
        assert_eq!(
            stands,
            [
                (OutboxWhat::Message, EntryState::Queued),
                (OutboxWhat::Message, parked),
                (OutboxWhat::State, EntryState::Queued)
            ],
            "{version}"
        );
        let found = store.read(|db| super::super::search::search(db, "mended", None, 10)).await.unwrap();
        assert_eq!(found.hits.len(), 1, "{version}: the search index");
        store.close().await;
        versions += 1;
    }
    assert_eq!(versions, known, "one file for each version: see the head of this file");
}

#[tokio::test]
async fn a_migration_keeps_a_copy_until_the_migrated_file_has_worked() {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (folder.path().join("kith.db"), Key::new(KEY));
    fs::copy(files().join("v1.db"), &file).unwrap();
    let copy = place::beside(&file, ".before-upgrade");
    let open = |steps: &[&str]| schema::open_writer(&file, &key, steps);
    let older = schema::MIGRATIONS[0];
    // Something that is not in the file itself yet goes into the copy too.
    let conn = open(&[older]).unwrap();
    conn.execute("INSERT INTO meta (key, value) VALUES ('late', 'kept')", []).unwrap();
    let wal = fs::read(place::beside(&file, "-wal")).unwrap();
    let main = fs::read(&file).unwrap();
    drop(conn);
    fs::write(&file, main).unwrap();
    fs::write(place::beside(&file, "-wal"), wal).unwrap();

    assert!(open(&[older, "CREATE TABLE more (id INTEGER) STRICT; not SQL"]).is_err());
    assert!(copy.exists(), "a migration that fails leaves the file and the copy");
    assert!(open(&[older]).is_ok(), "the older version still opens the file");
    let migrated = [older, "CREATE TABLE more (id INTEGER) STRICT"];
    drop(open(&migrated).unwrap());
    assert!(copy.exists(), "the first start after it");
    let before = schema::open_writer(&copy, &key, &[older]).unwrap();
    let late: String =
        before.query_row("SELECT value FROM meta WHERE key = 'late'", [], |row| row.get(0)).unwrap();
    assert_eq!(late, "kept");
    drop(before);
    drop(open(&migrated).unwrap());
    assert!(!copy.exists(), "it has worked");
    assert!(matches!(open(&[older]), Err(ClientError::NewerFile { found: 2, known: 1 })));
}

#[tokio::test]
async fn a_migration_that_ends_between_two_steps_leaves_the_first_copy() {
    let folder = tempfile::tempdir().unwrap();
    let (file, key) = (folder.path().join("kith.db"), Key::new(KEY));
    fs::copy(files().join("v1.db"), &file).unwrap();
    let open = |steps: &[&str]| schema::open_writer(&file, &key, steps);
    let (older, second) = (schema::MIGRATIONS[0], "CREATE TABLE second (id INTEGER) STRICT");
    assert!(open(&[older, second, "not SQL"]).is_err());
    assert!(open(&[older]).is_ok(), "no step was done without the others");
    drop(open(&[older, second, "CREATE TABLE third (id INTEGER) STRICT"]).unwrap());
    let copy = place::beside(&file, ".before-upgrade");
    assert!(schema::open_writer(&copy, &key, &[older]).is_ok(), "the copy is of the first version");
}
