//! Damaged files: what is unsent survives, the damaged file is kept, and a wrong key is no damage.

use super::{
    super::{place, salvage, tidy::Upkeep},
    *,
};
use crate::view::MendedView;
use kith_protocol::{ErrorCode, frame::StateChange};
use std::{fs, path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::Notify, time::timeout};

const PAGE: usize = 4_096;
const WAIT: Duration = Duration::from_secs(20);

/// A file with a long log, five unsent messages, a parked one, and a draft that the server does not have.
async fn filled() -> Fixture {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 0..400 {
        fixture.says(bo, &format!("message {at} {}", "word ".repeat(40)));
    }
    fixture.apply(vec![fixture.heads(false), fixture.append(1, 400)]).await;
    for at in 0..5 {
        fixture.send(&format!("unsent {at}")).await;
    }
    let (_, item) = fixture.send("refused").await;
    fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
    fixture.apply(vec![StoreOp::Parked { items: vec![item], code: ErrorCode::TooLarge }]).await;
    let conversation = fixture.conversation;
    fixture
        .write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            super::super::drafts::set(tx, cid, "half a thought")
        })
        .await;
    // A draft that the server has is not unsent.
    let other = ConversationId::direct(fixture.ada, UserId::mint());
    let draft = kith_protocol::frame::Draft { text: "of another device".to_owned(), version: 1 };
    let own = OwnState { draft: Some(draft), ..own_state(other, 1) };
    let (head, chain, last_ts) = (Seq::ZERO, Chain::empty(other), TimestampMs(0));
    let item = HeadsItem { own, head, chain, last_ts, countable: 0, ..fixture.item() };
    fixture.apply(vec![heads_of(item, 1)]).await;
    fixture
}

fn path(fixture: &Fixture) -> PathBuf {
    fixture.folder.path().join("kith.db")
}

/// The pages that belong to something, by its name in the schema.
async fn pages_of(fixture: &Fixture, name: &str) -> Vec<usize> {
    let name = name.to_owned();
    fixture
        .read(move |db| {
            let mut query = db.conn.prepare("SELECT pageno FROM dbstat WHERE name = ?1")?;
            let pages = query.query_map([name], |row| row.get::<_, i64>(0))?;
            Ok(pages.collect::<Result<Vec<_>, _>>()?)
        })
        .await
        .into_iter()
        .map(|page| usize::try_from(page).unwrap())
        .collect()
}

fn corrupt(path: &PathBuf, pages: &[usize]) {
    let mut bytes = fs::read(path).unwrap();
    for page in pages {
        bytes[(page - 1) * PAGE + 200..(page - 1) * PAGE + 300].iter_mut().for_each(|byte| *byte ^= 0x55);
    }
    fs::write(path, bytes).unwrap();
}

fn set_aside(fixture: &Fixture) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixture.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains(".damaged-")).collect()
}

async fn mended(fixture: &Fixture) -> Option<MendedView> {
    fixture.read(salvage::mended).await
}

async fn draft(fixture: &Fixture) -> Option<String> {
    fixture.row().await.draft
}

#[tokio::test]
async fn w9_what_was_set_aside_is_kept_for_30_days_with_all_that_belongs_to_it() {
    let fixture = filled().await;
    let name = |ending: &str| PathBuf::from(format!("{}{ending}", path(&fixture).display()));
    let old = [
        ".damaged-20200229T235959Z",
        ".damaged-20200229T235959Z-2",
        ".damaged-20200229T235959Z-wal",
        ".keyless-20200229T235959Z",
        ".keyless-20200229T235959Z.before-upgrade",
    ];
    let day = 24 * 60 * 60 * 1_000;
    let at = 1_583_020_799_000; // 2020-02-29T23:59:59Z
    assert_eq!(
        place::kept_until(&name(old[2]).display().to_string()).unwrap(),
        Some(TimestampMs(at + 30 * day))
    );
    let others = [
        ".damaged-",
        ".damaged-soon",
        ".damaged-20209999T235959Z",
        ".damaged-99991231T235959Z",
        "-damaged-20200229T235959Z",
    ];
    let foreign = fixture.folder.path().join("other.db.damaged-20200229T235959Z");
    for file in old.iter().chain(&others).map(|ending| name(ending)).chain([foreign.clone()]) {
        fs::write(file, "history").unwrap();
    }
    let file = path(&fixture);
    assert_eq!(place::expire(&file, TimestampMs(at + 30 * day)).unwrap(), 0, "not before");
    let mut upkeep = Upkeep::default();
    loop {
        let (is_more, left) = fixture.store.writer.tidy(move |conn| upkeep.step(conn)).await.unwrap();
        upkeep = left;
        if !is_more {
            break;
        }
    }
    assert_eq!(old.map(|ending| name(ending).exists()), [false; 5]);
    assert_eq!(others.map(|ending| name(ending).exists()), [true; 5]);
    assert!(foreign.exists() && file.exists());
}

const UNSENT: [&str; 6] = ["unsent 0", "unsent 1", "unsent 2", "unsent 3", "unsent 4", "refused"];

#[tokio::test]
async fn whatever_page_is_damaged_what_is_unsent_survives_as_far_as_it_can_be_read() {
    let mut fixture = filled().await;
    fixture.reopen().await;
    let outbox = pages_of(&fixture, "outbox").await;
    let drafts = pages_of(&fixture, "drafts").await;
    // Without the schema, and the planner's statistics that are read with it, no table can be found.
    let mut schema = pages_of(&fixture, "sqlite_schema").await;
    for statistics in ["sqlite_stat1", "sqlite_stat4"] {
        schema.extend(pages_of(&fixture, statistics).await);
    }
    fixture.store.close().await;
    let whole = fs::read(path(&fixture)).unwrap();
    let mut met = 0;
    for page in 2..=whole.len() / PAGE {
        fs::write(path(&fixture), &whole).unwrap();
        corrupt(&path(&fixture), &[page]);
        fixture.store = Store::open(&path(&fixture), &fixture.key, fixture.ada).await.unwrap();
        if !fixture.store.is_damaged().await {
            met += 1; // opening met the page, and the file is a new one already
        } else {
            fixture.store.close().await;
            fixture.store = fixture.store.mended().await.unwrap();
        }
        assert!(!fixture.store.is_damaged().await, "page {page}");
        let said = mended(&fixture).await.unwrap_or_else(|| panic!("page {page}: nobody was told"));
        let aside = PathBuf::from(&said.file);
        assert!(aside.exists() && set_aside(&fixture).contains(&aside), "page {page}");
        if schema.contains(&page) {
            assert!(!said.is_complete, "page {page}: {said:?}");
        } else if outbox.contains(&page) {
            assert!(said.lost > 0 || !said.is_complete, "page {page}: {said:?}");
        } else {
            assert_eq!(fixture.texts().await, UNSENT, "page {page}: {said:?}");
        }
        if ![&drafts, &outbox, &schema].iter().any(|pages| pages.contains(&page)) {
            assert_eq!(draft(&fixture).await.as_deref(), Some("half a thought"), "page {page}");
            assert_eq!((said.salvaged, said.lost, said.is_complete), (7, 0, true), "page {page}");
        }
        fixture.store.close().await;
        set_aside(&fixture).into_iter().for_each(|path| fs::remove_file(path).unwrap());
    }
    assert!(met > 0, "no page was met by opening");
}

#[tokio::test]
async fn a_salvaged_outbox_goes_on_where_it_was() {
    let mut fixture = filled().await;
    let before = fixture.store.load_sync_state(nothing_earlier()).await.unwrap();
    let events = pages_of(&fixture, "events").await;
    fixture.store.close().await;
    corrupt(&path(&fixture), &events);
    fixture.store = fixture.store.mended().await.unwrap();
    let after = fixture.store.load_sync_state(nothing_earlier()).await.unwrap();
    assert_eq!(after.outbox, before.outbox, "the same rows in the same order and state");
    assert_eq!((after.generation, after.epoch), (before.generation, before.epoch));
    assert_eq!(after.user_seq, 0, "everything is asked for again");
    // The server's log comes again, and nothing of it is announced as news.
    let stored = fixture.apply(vec![fixture.heads(true), fixture.append(1, 400)]).await;
    assert!(!stored.notices.iter().any(|notice| matches!(notice, EngineEvent::MessageArrived { .. })));
    assert_eq!(fixture.texts().await.len(), 406);
    let item =
        before.outbox.iter().find(|entry| entry.what == kith_sync::ops::OutboxWhat::Message).unwrap().item;
    let sending = fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await.stored.sending;
    assert_eq!(sending.len(), 1);
    fixture.write(salvage::seen).await;
    assert_eq!(mended(&fixture).await, None);
}

#[tokio::test]
async fn what_the_user_does_meets_damage_and_rings_the_alarm_once_it_is_certain() {
    let mut fixture = filled().await;
    let outbox = pages_of(&fixture, "outbox").await;
    fixture.reopen().await;
    fixture.store.close().await;
    corrupt(&path(&fixture), &outbox);
    fixture.store = Store::open(&path(&fixture), &fixture.key, fixture.ada).await.unwrap();
    let alarm = Arc::new(Notify::new());
    fixture.store.alarm(alarm.clone());
    let met = fixture.store.read(doing::list).await;
    assert!(matches!(met, Err(ClientError::FileDamaged(_))), "{met:?}");
    timeout(WAIT, alarm.notified()).await.unwrap();
    assert!(fixture.store.is_damaged().await);
}

/// A file with corrupted pages, and what a killed process leaves beside it: a log of writes that was not brought into it.
async fn killed_with(fixture: &Fixture, corrupted: &[usize]) -> PathBuf {
    fixture.store.close().await;
    corrupt(&path(fixture), corrupted);
    let quiet = Store::open(&path(fixture), &fixture.key, fixture.ada).await.unwrap();
    quiet
        .write(|tx| Ok(tx.conn.execute("INSERT INTO meta (key, value) VALUES ('more', '')", [])?))
        .await
        .unwrap();
    let copy = fixture.folder.path().join("killed.db");
    fs::copy(path(fixture), &copy).unwrap();
    fs::copy(fixture.folder.path().join("kith.db-wal"), fixture.folder.path().join("killed.db-wal")).unwrap();
    copy
}

#[tokio::test]
async fn damage_in_a_place_that_nobody_reads_is_found_after_a_kill() {
    let fixture = filled().await;
    let events = pages_of(&fixture, "events").await;
    let copy = killed_with(&fixture, &events[events.len() / 2..=events.len() / 2]).await;
    let alarm = Arc::new(Notify::new());
    let killed = Store::open(&copy, &fixture.key, fixture.ada).await.unwrap();
    killed.alarm(alarm.clone());
    timeout(WAIT, alarm.notified()).await.unwrap();
    killed.close().await;
}

#[tokio::test]
async fn a_look_through_the_file_that_a_quit_cut_short_is_begun_again() {
    let fixture = filled().await;
    let events = pages_of(&fixture, "events").await;
    let file = killed_with(&fixture, &events[events.len() / 2..=events.len() / 2]).await;
    let first = Store::open(&file, &fixture.key, fixture.ada).await.unwrap();
    first.close().await;
    let alarm = Arc::new(Notify::new());
    let second = Store::open(&file, &fixture.key, fixture.ada).await.unwrap();
    second.alarm(alarm.clone());
    timeout(WAIT, alarm.notified()).await.unwrap();
    second.close().await;
}

/// The pages that a log of writes has.
fn logged(path: &std::path::Path) -> Vec<usize> {
    let log = fs::read(path.with_extension("db-wal")).unwrap();
    let frames = log[32..].chunks_exact(24 + PAGE);
    frames.map(|frame| u32::from_be_bytes(*frame.first_chunk::<4>().unwrap()) as usize).collect()
}

/// <https://sqlite.org/wal.html>: what a checkpoint that was ended in the middle left in the file is no damage; the log
/// of writes has it. The same is seen by whoever reads the file beside a checkpoint that goes on.
#[tokio::test]
async fn a_page_that_the_log_of_writes_has_is_whole_whatever_the_file_says() {
    let mut fixture = filled().await;
    fixture.reopen().await;
    fixture.send("the last thing").await;
    let file = path(&fixture);
    let logged = logged(&file);
    let length = fs::metadata(&file).unwrap().len() as usize / PAGE;
    let half_written: Vec<_> = logged.into_iter().filter(|page| *page <= length).collect();
    assert!(!half_written.is_empty());
    corrupt(&file, &half_written);
    assert!(!fixture.store.is_damaged().await);
    fixture.reopen().await;
    assert!(!fixture.store.is_damaged().await);
    assert_eq!(fixture.texts().await.last().map(String::as_str), Some("the last thing"));
}

#[tokio::test]
async fn a_wrong_key_is_no_damage_and_a_damaged_first_page_is_no_wrong_key() {
    let mut fixture = filled().await;
    fixture.store.close().await;
    let wrong = Store::open(&path(&fixture), &Key::new([8; 32]), fixture.ada).await;
    assert!(matches!(wrong, Err(ClientError::KeyMissing)));
    // A damaged file is not touched either by who has another key.
    let events = 10;
    corrupt(&path(&fixture), &[1, events]);
    let before = fs::read(path(&fixture)).unwrap();
    let wrong = Store::open(&path(&fixture), &Key::new([8; 32]), fixture.ada).await;
    assert!(matches!(wrong, Err(ClientError::KeyMissing)));
    assert_eq!(fs::read(path(&fixture)).unwrap(), before);
    assert_eq!(set_aside(&fixture), [] as [PathBuf; 0]);
    fixture.store = Store::open(&path(&fixture), &fixture.key, fixture.ada).await.unwrap();
    let said = mended(&fixture).await.unwrap();
    assert!(!said.is_complete, "without the first page nothing can be found: {said:?}");
    assert_eq!(fs::read(&said.file).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_which_no_page_fits_is_kept() {
    let fixture = filled().await;
    fixture.store.close().await;
    for bytes in [vec![0x5a; 10 * PAGE], b"SQLite format 3\0 and then something else".to_vec()] {
        fs::write(path(&fixture), &bytes).unwrap();
        let opened = Store::open(&path(&fixture), &fixture.key, fixture.ada).await;
        assert!(matches!(opened, Err(ClientError::KeyMissing)));
        assert_eq!(fs::read(path(&fixture)).unwrap(), bytes);
    }
}

#[tokio::test]
async fn half_a_file_is_set_aside() {
    let mut fixture = filled().await;
    fixture.store.close().await;
    let whole = fs::read(path(&fixture)).unwrap();
    fs::write(path(&fixture), &whole[..whole.len() / 2 / PAGE * PAGE]).unwrap();
    fixture.store = Store::open(&path(&fixture), &fixture.key, fixture.ada).await.unwrap();
    if mended(&fixture).await.is_none() {
        assert!(fixture.store.is_damaged().await);
        fixture.store.close().await;
        fixture.store = fixture.store.mended().await.unwrap();
    }
    assert_eq!(fixture.texts().await, UNSENT);
}

#[tokio::test]
async fn an_interrupted_replacement_is_finished_at_the_next_start() {
    let mut fixture = filled().await;
    let events = pages_of(&fixture, "events").await;
    fixture.store.close().await;
    corrupt(&path(&fixture), &events);
    let damaged = fs::read(path(&fixture)).unwrap();
    fixture.store = fixture.store.mended().await.unwrap();
    let said = mended(&fixture).await.unwrap();
    fixture.store.close().await;
    // As it was between two renames: the log of writes is aside, the file is not.
    let name = said.file.rsplit_once(".damaged-").unwrap().1;
    fs::rename(path(&fixture), fixture.folder.path().join(format!("kith.db.rescued-{name}"))).unwrap();
    fs::rename(&said.file, path(&fixture)).unwrap();
    fixture.reopen().await;
    assert_eq!(fixture.texts().await, UNSENT);
    assert_eq!(fs::read(&said.file).unwrap(), damaged);
}

#[tokio::test]
async fn a_conversation_that_only_its_own_state_names_keeps_what_is_unsent_in_it() {
    let mut fixture = filled().await;
    let conversation = fixture.conversation;
    fixture
        .write(move |tx| {
            let cid = conversations::known(tx, conversation)?;
            let change = StateChange { mute: Some(TimestampMs(1)), ..StateChange::of(conversation) };
            super::super::own_state::change(tx, cid, change)
        })
        .await;
    let mut pages = pages_of(&fixture, "conversations").await;
    pages.extend(pages_of(&fixture, "sqlite_autoindex_conversations_1").await);
    fixture.store.close().await;
    corrupt(&path(&fixture), &pages);
    fixture.store = fixture.store.mended().await.unwrap();
    assert_eq!(fixture.texts().await, UNSENT);
}
