//! Projections made again after an update (C6): in batches, from where they were left, and without holding them all.

use super::{
    super::{log, rebuild, schema, search},
    *,
};
use rusqlite::{Connection, params};

/// Messages of which each has a word of its own.
async fn long(count: usize) -> Fixture {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 0..count {
        fixture.says(bo, &format!("word{at}x of many"));
    }
    fixture.apply(vec![fixture.heads(false), fixture.append(1, count as u64)]).await;
    fixture
}

fn open(fixture: &Fixture) -> Connection {
    let path = fixture.folder.path().join("kith.db");
    schema::open_writer(&path, &fixture.key, schema::MIGRATIONS).unwrap()
}

/// One transaction. Returns what `work` does.
fn write<T>(
    conn: &mut Connection,
    me: UserId,
    work: impl FnOnce(&mut Tx<'_>) -> Result<T, ClientError>,
) -> T {
    let transaction = conn.transaction().unwrap();
    let mut tx = Tx::begin(&transaction, me);
    let value = work(&mut tx).unwrap();
    tx.finish().unwrap();
    transaction.commit().unwrap();
    value
}

/// As a file is that another version wrote.
const OUTDATED: &str = "UPDATE meta SET value = '0' WHERE key = 'projection'";

fn found(conn: &Connection, me: UserId, query: &str) -> usize {
    let db = Db { conn, me, now: TimestampMs(1) };
    search::search(&db, query, None, 5_000).unwrap().hits.len()
}

#[tokio::test]
async fn c6_a_rebuild_goes_on_where_it_was_ended() {
    let mut fixture = long(1_200).await;
    let (bo, ada) = (fixture.bo, fixture.ada);
    let (edited, deleted) = (fixture.log[10].id, fixture.log[20].id);
    fixture.number(bo, EventId::mint(), &EventContent::Edit { target: edited, text: "mended".into() });
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target: deleted });
    fixture.apply(vec![fixture.append(1_201, 1_202)]).await;
    fixture.send("unsent").await;
    let before = fixture.dump().await;
    let corrupt = "
        UPDATE events SET is_shown = 1 - is_shown, is_changed = 1 - is_changed, is_uncounted = 1;
        UPDATE messages SET text = 'stale', is_deleted = 0, edited_seq = 0 WHERE seq IS NOT NULL;
        INSERT INTO messages (mid, cid, id, seq, sender, ts, text)
            SELECT 1, cid, randomblob(16), 5000, sender, ts, 'stray' FROM messages LIMIT 1;";
    fixture.store.write(move |tx| Ok(tx.conn.execute_batch(&format!("{corrupt}{OUTDATED}"))?)).await.unwrap();
    fixture.store.close().await;

    let mut conn = open(&fixture);
    let begun = rebuild::begin(&mut conn, ada).unwrap();
    assert_eq!(begun, Some(rebuild::Progress { done: 0, total: 1_202 }));
    let reached = write(&mut conn, ada, rebuild::step);
    assert_eq!(reached, Some(rebuild::Progress { done: 500, total: 1_202 }));
    drop(conn);
    let mut conn = open(&fixture);
    assert_eq!(rebuild::begin(&mut conn, ada).unwrap(), reached, "it goes on from the last batch");
    assert_eq!(found(&conn, ada, "word499x") + found(&conn, ada, "word500x"), 1);
    let db = Db { conn: &conn, me: ada, now: TimestampMs(1) };
    let view = search::search(&db, "word", None, 10).unwrap();
    assert_eq!((view.searched, view.total), (500, 1_200), "what is not in the index yet was not searched");
    assert_eq!(search::search(&db, "?!", None, 10).unwrap().searched, 1_200, "without the index it was");
    drop(conn);

    let path = fixture.folder.path().join("kith.db");
    fixture.store = Store::open(&path, &fixture.key, ada).await.unwrap();
    fixture.store.rebuilding().wait_for(Option::is_none).await.unwrap();
    assert_eq!(fixture.dump().await, before);
    for (query, hits) in [("word", 1_198), ("mended", 1), ("unsent", 1), ("stale", 0), ("stray", 0)] {
        let view = fixture.read(move |db| search::search(db, query, None, 5_000)).await;
        assert_eq!(view.hits.len(), hits, "{query}");
    }
    fixture.reopen().await;
    assert_eq!(*fixture.store.rebuilding().borrow(), None, "it is done once");
}

#[tokio::test]
async fn c6_what_is_written_during_a_rebuild_is_found_once() {
    let mut fixture = long(1_200).await;
    let (bo, ada, conversation) = (fixture.bo, fixture.ada, fixture.conversation);
    for at in [4, 1_100] {
        let target = fixture.log[at].id;
        let edit = EventContent::Edit { target, text: "mended".into() };
        fixture.number(bo, EventId::mint(), &edit);
    }
    fixture.says(bo, "arrived");
    fixture.store.write(|tx| Ok(tx.conn.execute_batch(OUTDATED)?)).await.unwrap();
    fixture.store.close().await;
    let mut conn = open(&fixture);
    rebuild::begin(&mut conn, ada).unwrap();
    write(&mut conn, ada, rebuild::step);
    let (chain, events) = (fixture.log[1_199].chain, fixture.log[1_200..].to_vec());
    write(&mut conn, ada, |tx| log::store_run(tx, conversation, chain, &events));
    assert_eq!(found(&conn, ada, "mended"), 2);
    while write(&mut conn, ada, rebuild::step).is_some() {}
    for (query, hits) in [("mended", 2), ("word4x", 0), ("word1100x", 0), ("arrived", 1), ("word1101x", 1)] {
        assert_eq!(found(&conn, ada, query), hits, "{query}");
    }
    conn.execute_batch("INSERT INTO search (search) VALUES ('integrity-check')").unwrap();
}

/// Memory of this process, KiB: what it takes, or the most that it took since the last reset.
#[cfg(target_os = "linux")]
fn memory(which: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(which)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

/// Rebuilds so many messages of so many bytes. Returns how much the peak of memory was above what was taken, MiB.
#[cfg(target_os = "linux")]
async fn peak_of(count: i64, bytes: i64) -> u64 {
    let fixture = Fixture::new().await;
    let (ada, bo) = (fixture.ada, fixture.bo);
    fixture.store.close().await;
    let mut conn = open(&fixture);
    conn.execute(
        "INSERT INTO events (cid, seq, id, kind, sender, ts, countable, chain, body)
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?2)
         SELECT (SELECT cid FROM conversations), i, randomblob(16), 'message', ?1, 1700000000000 + i * 10, i,
             randomblob(8), json_object('text', substr(replace(hex(zeroblob(?3)), '0000', 'abc ' || i || ' '), 1, ?3))
         FROM n",
        params![bo.as_bytes(), count, bytes],
    )
    .unwrap();
    conn.execute(
        "INSERT INTO log_range SELECT cid, 1, ?1, zeroblob(8), zeroblob(8) FROM conversations",
        [count],
    )
    .unwrap();
    conn.execute_batch(OUTDATED).unwrap();
    drop(conn);
    conn = open(&fixture);
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS");
    assert_eq!(rebuild::begin(&mut conn, ada).unwrap().map(|begun| begun.total), Some(count as u64));
    let began = std::time::Instant::now();
    let mut done = 0;
    while let Some(reached) = write(&mut conn, ada, rebuild::step) {
        assert!(reached.done > done && reached.done - done <= 500, "a batch of {}", reached.done - done);
        done = reached.done;
    }
    let peak = memory("VmHWM").saturating_sub(before) / 1_024;
    println!("{count} messages of {bytes} bytes: {peak} MiB, {:?}", began.elapsed());
    let stale: i64 =
        conn.query_row("SELECT count(*) FROM events WHERE is_shown = 0", [], |row| row.get(0)).unwrap();
    assert_eq!(stale, 0);
    let shown: i64 = conn.query_row("SELECT count(*) FROM messages", [], |row| row.get(0)).unwrap();
    assert_eq!(shown, count);
    peak
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn c6_a_rebuild_does_not_hold_all_texts_in_memory() {
    // All of them are 64 MiB.
    let peak = peak_of(8_192, 8_192).await;
    assert!(peak < 48, "{peak} MiB");
}
