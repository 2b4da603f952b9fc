//! What was deleted leaves the file: after housekeeping no byte of any page holds it, used or not.

use super::{
    super::{place, rebuild, schema, scrub, tidy::Upkeep},
    *,
};
use kith_protocol::ErrorCode;
use kith_sync::ops::OutboxOp;
use std::{fs, path::PathBuf};

fn path(fixture: &Fixture) -> PathBuf {
    fixture.folder.path().join("kith.db")
}

/// Every byte of the file as its key decrypts it, in use or not.
fn pages(fixture: &Fixture) -> Vec<u8> {
    let conn = schema::open_reader(&path(fixture), &fixture.key).unwrap();
    let mut query = conn.prepare("SELECT data FROM sqlite_dbpage ORDER BY pgno").unwrap();
    let pages = query.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    pages.flat_map(Result::unwrap).collect()
}

fn held<'w>(bytes: &[u8], words: &'w [String]) -> Vec<&'w str> {
    let finder = |word: &&str| {
        let first = word.as_bytes()[0];
        bytes.iter().enumerate().any(|(at, byte)| *byte == first && bytes[at..].starts_with(word.as_bytes()))
    };
    words.iter().map(String::as_str).filter(finder).collect()
}

/// Does all housekeeping at once.
async fn tidied(fixture: &Fixture) {
    let mut upkeep = Upkeep::default();
    loop {
        let step = move |conn: &rusqlite::Connection| upkeep.step(conn);
        let (is_more, left) = fixture.store.writer.tidy(step).await.unwrap();
        upkeep = left;
        if !is_more {
            break;
        }
    }
    assert!(!fixture.read(scrub::is_noted).await);
}

fn check(fixture: &Fixture) {
    let conn = schema::open_writer(&path(fixture), &fixture.key, schema::MIGRATIONS).unwrap();
    let line: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(line, "ok");
    conn.execute_batch("INSERT INTO search (search) VALUES ('integrity-check')").unwrap();
}

/// A word of a message, of which no beginning is another one's: the index keeps what words share only once.
fn word(at: usize) -> String {
    format!("{at:03}zanzibar{at:03}")
}

#[tokio::test]
async fn w9_no_page_of_the_file_holds_a_deleted_text() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 0..600 {
        // Some are longer than a page.
        let filling = "of many words ".repeat(if at % 50 == 7 { 700 } else { at % 17 });
        fixture.says(bo, &format!("{} {filling}{}", word(at), word(at)));
    }
    fixture.apply(vec![fixture.heads(false)]).await;
    // The newest pages first, as a new device fetches them: rows are moved from page to page.
    for page in (0..600).step_by(30).collect::<Vec<_>>().into_iter().rev() {
        let page = fixture.page(page as u64 + 1, page as u64 + 30);
        fixture.apply(vec![StoreOp::Page(page)]).await;
    }
    let deleted: Vec<usize> = (0..600).step_by(7).collect();
    let words: Vec<String> = deleted.iter().map(|at| word(*at)).collect();
    fixture.store.close().await;
    assert_eq!(held(&pages(&fixture), &words).len(), words.len());
    fixture.reopen().await;
    for at in &deleted {
        let target = fixture.log[*at].id;
        fixture.number(
            bo,
            EventId::mint(),
            &EventContent::Edit { target, text: format!("edited {}", word(*at)) },
        );
        fixture.number(bo, EventId::mint(), &EventContent::Delete { target });
    }
    let high = fixture.log.len() as u64;
    fixture.apply(vec![fixture.append(601, high)]).await;
    let rows = fixture.dump().await;
    assert_ne!(held(&pages(&fixture), &words), Vec::<&str>::new(), "deleting rows alone leaves some");
    tidied(&fixture).await;
    assert_eq!(held(&pages(&fixture), &words), Vec::<&str>::new());
    let log = fs::metadata(place::beside(&path(&fixture), "-wal")).unwrap();
    assert_eq!(log.len(), 0, "the log of writes");
    assert_eq!(fixture.dump().await, rows, "nothing else changed");
    check(&fixture);
    let left = fixture.read(|db| super::super::search::search(db, "008zanz", None, 10)).await;
    assert_eq!(left.hits.len(), 1, "what was not deleted is found");
}

#[tokio::test]
async fn w9_copies_that_moved_rows_left_behind_go_too() {
    const STEPS: [i64; 6] = [303, 307, 37, 1, 131, 799];
    let mut fixture = Fixture::new().await;
    let fill = move |tx: &mut Tx<'_>| {
        for step in STEPS {
            // Rows of many sizes in all orders, so that pages are divided again and again.
            tx.conn.execute_batch(&format!(
                "CREATE TABLE moved_{step} (cid INTEGER, seq INTEGER, text TEXT, PRIMARY KEY (cid, seq)) WITHOUT ROWID;
                 INSERT INTO moved_{step} WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 799)
                     SELECT 1, i * {step} % 800,
                         CASE i * {step} % 800 % 7 WHEN 0 THEN 'zanzibar' ELSE 'and more' END
                             || printf('%.*c', i * 7919 % 1500, 'x')
                     FROM n;"
            ))?;
        }
        Ok(())
    };
    fixture.store.write(fill).await.unwrap();
    let erase = move |tx: &mut Tx<'_>| {
        for step in STEPS {
            tx.conn.execute_batch(&format!("UPDATE moved_{step} SET text = NULL WHERE seq % 7 = 0"))?;
        }
        scrub::note(tx)
    };
    fixture.store.write(erase).await.unwrap();
    fixture.reopen().await;
    let words = ["zanzibar".to_owned()];
    assert_eq!(
        held(&pages(&fixture), &words),
        ["zanzibar"],
        "SQLite clears what it deletes, not what it moves"
    );
    tidied(&fixture).await;
    assert_eq!(held(&pages(&fixture), &words), Vec::<&str>::new());
    check(&fixture);
}

#[tokio::test]
async fn w9_a_deletion_without_its_target_erases_the_edits_before_and_behind_it() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    let target = fixture.says(bo, "first zanzibar").id;
    let edit = |text: &str| EventContent::Edit { target, text: text.to_owned() };
    fixture.says(bo, "between");
    fixture.number(bo, EventId::mint(), &edit("second zanzibar"));
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target });
    fixture.number(bo, EventId::mint(), &edit("third zanzibar"));
    fixture.apply(vec![fixture.heads(false), fixture.append(3, 4)]).await;
    fixture.apply(vec![fixture.append(5, 5)]).await;
    // What a page says of it, as it was before.
    let mut page = fixture.page(2, 2);
    let state = kith_protocol::frame::MessageState {
        text: Some("fourth zanzibar".into()),
        edited_seq: Some(Seq(3)),
        ..Default::default()
    };
    (page.as_of, page.states) = (Seq(3), [(target, state)].into());
    fixture.apply(vec![StoreOp::Page(page)]).await;
    let dump = fixture.dump().await;
    assert!(!dump.iter().any(|line| line.contains("zanzibar")), "{dump:#?}");
    tidied(&fixture).await;
    assert_eq!(held(&pages(&fixture), &["zanzibar".to_owned()]), Vec::<&str>::new());
    fixture.apply(vec![StoreOp::Page(fixture.page(1, 1))]).await;
    let dump = fixture.dump().await;
    assert!(!dump.iter().any(|line| line.contains("zanzibar")), "{dump:#?}");
}

/// A message of Ada's that the server has numbered.
async fn own(fixture: &mut Fixture) -> EventId {
    let ada = fixture.ada;
    let id = fixture.says(ada, "mine").id;
    fixture.apply(vec![fixture.heads(false), fixture.append(1, 1)]).await;
    id
}

#[tokio::test]
async fn w9_an_edit_that_waits_goes_with_its_message() {
    for is_refused in [false, true] {
        let mut fixture = Fixture::new().await;
        let (bo, target) = (fixture.bo, own(&mut fixture).await);
        let ((), _, update) =
            fixture.write(move |tx| doing::edit(tx, Fixture::CID, target, "zanzibar")).await;
        let item = update.changed[0].item;
        if is_refused {
            let sent = fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await.stored.sending;
            assert!(matches!(sent[0].op, OutboxOp::Event(_)));
        }
        fixture.number(bo, EventId::mint(), &EventContent::Delete { target });
        let mut stored = fixture.apply(vec![fixture.append(2, 2)]).await;
        if is_refused {
            assert_eq!(stored.ended, Vec::<i64>::new(), "the server may have it");
            let parked = StoreOp::Parked { items: vec![item], code: ErrorCode::TargetMissing };
            stored = fixture.apply(vec![parked]).await;
        }
        assert_eq!(stored.ended, [item]);
        assert_eq!(fixture.read(doing::list).await.len(), 0);
        tidied(&fixture).await;
        assert_eq!(held(&pages(&fixture), &["zanzibar".to_owned()]), Vec::<&str>::new());
    }
}

#[tokio::test]
async fn w9_what_comes_back_deleted_takes_the_text_along_that_was_here() {
    for is_known in [false, true] {
        let mut fixture = Fixture::new().await;
        let (ada, long) = (fixture.ada, format!("zanzibar {}", "of many words ".repeat(700)));
        fixture.apply(vec![fixture.heads(false)]).await;
        let (id, item) = fixture.send(&long).await;
        fixture.apply(vec![StoreOp::Sending { items: vec![item] }]).await;
        let event = fixture.number(ada, id, &message(&long));
        if is_known {
            let acked = StoreOp::Acked { item, id, seq: event.seq, ts: event.ts };
            fixture.apply(vec![acked]).await;
        }
        // A new file is looked through once.
        tidied(&fixture).await;
        assert_ne!(held(&pages(&fixture), &["zanzibar".to_owned()]), Vec::<&str>::new());
        // The user deletes it on another device before its event comes here.
        fixture.number(ada, EventId::mint(), &EventContent::Delete { target: id });
        (fixture.log[0].redacted, fixture.log[0].body) = (true, None);
        let stored = fixture.apply(vec![fixture.append(1, 2)]).await;
        assert_eq!(stored.ended, [item]);
        tidied(&fixture).await;
        assert_eq!(held(&pages(&fixture), &["zanzibar".to_owned()]), Vec::<&str>::new());
    }
}

#[tokio::test]
async fn w9_the_copy_from_before_a_migration_goes_when_something_was_deleted() {
    let mut fixture = Fixture::new().await;
    let (bo, event) = (fixture.bo, fixture.says(fixture.bo, "zanzibar"));
    fixture.apply(vec![fixture.heads(false), fixture.append(1, 1)]).await;
    let copy = place::beside(&path(&fixture), ".before-upgrade");
    fs::write(&copy, "an older file").unwrap();
    // A new file and a migrated one are looked through once.
    tidied(&fixture).await;
    assert!(copy.exists(), "nothing was deleted since");
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target: event.id });
    fixture.apply(vec![fixture.append(2, 2)]).await;
    tidied(&fixture).await;
    assert!(!copy.exists());
}

#[tokio::test]
async fn w9_clearing_pages_changes_no_row() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 0..400 {
        let event = fixture.says(bo, &format!("{} {}", word(at), "x".repeat(at * 37 % 9_000)));
        if at % 3 == 0 {
            fixture.number(bo, EventId::mint(), &EventContent::Delete { target: event.id });
        }
    }
    let high = fixture.log.len() as u64;
    fixture.apply(vec![fixture.heads(false), fixture.append(1, high)]).await;
    for round in 0..6 {
        // Rows leave and others take their pages.
        let sent = fixture.send(&format!("{round} {}", "long ".repeat(round * 500))).await;
        fixture.write(rebuild::all).await;
        fixture.write(move |tx| doing::cancel(tx, sent.1 as f64)).await;
        let rows = fixture.dump().await;
        tidied(&fixture).await;
        assert_eq!(fixture.dump().await, rows);
        check(&fixture);
    }
}
