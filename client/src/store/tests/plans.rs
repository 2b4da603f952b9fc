//! How SQLite goes about what is read: nothing that grows with the history is read as a whole.
//!
//! The statements are those that really run, noted while they run; a new one is looked at without being named here.

use super::{
    super::{apply, list, people, rebuild, schema, search, timeline},
    *,
};
use rusqlite::{
    Connection,
    trace::{TraceEvent, TraceEventCodes},
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

/// What may be read as a whole, because it is the answer: the list of conversations (also as `c`), what is unsent.
const LISTS: [&str; 3] = ["conversations", "c", "outbox"];

struct Watched {
    conn: Connection,
    seen: Arc<Mutex<BTreeSet<String>>>,
}

impl Watched {
    fn open(fixture: &Fixture) -> Self {
        let path = fixture.folder.path().join("kith.db");
        let mut conn = schema::open_writer(&path, &fixture.key, schema::MIGRATIONS).unwrap();
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let noted = seen.clone();
        let note = move |event: TraceEvent<'_>| {
            if let TraceEvent::Stmt(_, sql) = event {
                noted.lock().unwrap().insert(sql.to_owned());
            }
        };
        conn.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note)).unwrap();
        Self { conn, seen }
    }

    /// The steps of each statement that ran, by statement.
    fn plans(&self) -> Vec<(String, Vec<String>)> {
        let ran: Vec<String> = self.seen.lock().unwrap().iter().cloned().collect();
        // What the search index asks of its own tables is not ours.
        let is_own = |sql: &String| {
            !sql.starts_with("--") && !sql.starts_with("PRAGMA") && !sql.contains("'main'.'search_")
        };
        let ran = ran.into_iter().filter(is_own);
        let plan = |sql: String| {
            let mut query = self.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            // A plan does not depend on what is asked for.
            let unsaid = vec![rusqlite::types::Null; query.parameter_count()];
            let rows = query.query_map(rusqlite::params_from_iter(unsaid), |row| row.get(3)).unwrap();
            let steps = rows.collect::<Result<_, _>>().unwrap();
            (sql, steps)
        };
        ran.map(plan).collect()
    }
}

/// Whether a step reads all that one conversation has of something that grows.
fn is_of_whole_conversation(step: &str) -> bool {
    let grows = ["events", "messages", "e"].iter().any(|name| step.starts_with(&format!("SEARCH {name} ")));
    grows && step.contains(" PRIMARY KEY (cid=?)")
}

/// Whether a step reads all of something that grows.
fn is_scan(step: &str, allowed: &[&str]) -> bool {
    let Some(rest) = step.strip_prefix("SCAN ") else { return false };
    let name = rest.split(' ').next().unwrap_or_default();
    let is_small = name == "CONSTANT" || name.starts_with('(') || rest.contains("VIRTUAL TABLE");
    !is_small && !allowed.contains(&name)
}

async fn filled() -> Fixture {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for at in 0..300 {
        fixture.says(bo, &format!("message {at} of many words"));
    }
    fixture.apply(vec![fixture.heads(false), fixture.append(1, 300)]).await;
    fixture.send("unsent").await;
    fixture
}

#[tokio::test]
async fn nothing_that_grows_is_read_as_a_whole() {
    let mut fixture = filled().await;
    let own = fixture.says(fixture.ada, "mine").id;
    fixture.apply(vec![fixture.append(301, 301)]).await;
    fixture.write(move |tx| doing::edit(tx, Fixture::CID, own, "mended")).await;
    let watched = Watched::open(&fixture);
    let (conversation, now) = (fixture.conversation, TimestampMs(1));
    let db = Db { conn: &watched.conn, me: fixture.ada, now };
    let page = |anchor| timeline::read(&db, conversation, &anchor, 50).unwrap();
    page(Anchor::Newest);
    page(Anchor::Before { order: 200.0 });
    page(Anchor::From { order: 100.0 });
    page(Anchor::FirstUnread);
    page(Anchor::Around { id: fixture.log[100].id });
    assert_eq!(search::search(&db, "words", None, 20).unwrap().hits.len(), 20);
    assert_eq!(search::search(&db, "words many", Some(conversation), 20).unwrap().hits.len(), 20);
    assert_eq!(list::conversations(&db).unwrap().len(), 1);
    list::numbers(&db).unwrap();
    list::detail(&db, conversation).unwrap();
    people::get(&db, fixture.bo).unwrap();
    assert_eq!(search::search(&db, "?!", None, 20).unwrap().hits.len(), 0);
    assert_eq!(search::search(&db, "?!", Some(conversation), 20).unwrap().hits.len(), 0);
    assert_eq!(search::search(&db, "mended", None, 20).unwrap().hits.len(), 1, "an edit that waits");
    let plans = watched.plans();
    assert!(plans.len() > 20, "{}", plans.len());
    let mut counted = plans.iter().filter(|(sql, _)| sql.contains("is_uncounted"));
    let by_index =
        |step: &String| step.contains("USING COVERING INDEX events_uncounted (cid=? AND seq>? AND seq<?)");
    assert!(counted.any(|(_, steps)| steps.iter().any(by_index)), "unread messages are counted one by one");
    for (sql, steps) in plans {
        let is_large = |step: &&String| is_scan(step, &LISTS) || is_of_whole_conversation(step);
        let scans: Vec<_> = steps.iter().filter(is_large).collect();
        assert!(scans.is_empty(), "{scans:?} in\n{sql}\n{steps:#?}");
    }
}

/// Statistics come late: a first sync stores all pages without any.
#[tokio::test]
async fn storing_a_page_reads_nothing_of_the_rest_of_its_conversation() {
    for has_statistics in [false, true] {
        let mut fixture = filled().await;
        let (ada, bo) = (fixture.ada, fixture.bo);
        let mine = fixture.send("mine").await.0;
        let (first, last) = (fixture.log[1].id, fixture.log[299].id);
        fixture.number(ada, mine, &message("mine"));
        let edited = fixture.says(bo, "edited").id;
        fixture.number(bo, EventId::mint(), &EventContent::Edit { target: edited, text: "again".into() });
        for target in [first, last, edited] {
            let reaction = kith_protocol::event::ReactionBody { emoji: "👍".into(), on: true };
            fixture.number(ada, EventId::mint(), &EventContent::Reaction { target, reaction });
        }
        let deleted = fixture.says(bo, "deleted").id;
        fixture.number(bo, EventId::mint(), &EventContent::Delete { target: deleted });
        fixture.number(bo, EventId::mint(), &EventContent::Delete { target: first });
        let at = fixture.log.iter().position(|event| event.id == deleted).unwrap();
        (fixture.log[at].redacted, fixture.log[at].body) = (true, None);
        let high = fixture.log.len() as u64;
        let ops = [fixture.append(301, high - 3), StoreOp::Page(fixture.page(high - 2, high))];
        if has_statistics {
            fixture.write(|tx| Ok(tx.conn.execute_batch("ANALYZE")?)).await;
        }
        let mut watched = Watched::open(&fixture);
        for op in ops {
            let transaction = watched.conn.transaction().unwrap();
            let mut tx = Tx::begin(&transaction, ada);
            apply::apply(&mut tx, op).unwrap();
            tx.finish().unwrap();
            transaction.commit().unwrap();
        }
        let plans = watched.plans();
        assert!(plans.iter().any(|(sql, _)| sql.contains("SET body = NULL")), "something is erased");
        for (sql, steps) in plans {
            let is_large = |step: &&String| is_scan(step, &LISTS) || is_of_whole_conversation(step);
            let scans: Vec<_> = steps.iter().filter(is_large).collect();
            assert!(scans.is_empty(), "{scans:?} in\n{sql}\n{steps:#?}");
        }
    }
}

#[tokio::test]
async fn a_rebuild_reads_its_batches_and_nothing_else() {
    let fixture = filled().await;
    let mut watched = Watched::open(&fixture);
    watched.conn.execute_batch("UPDATE meta SET value = '0' WHERE key = 'projection'").unwrap();
    assert!(rebuild::begin(&mut watched.conn, fixture.ada).unwrap().is_some());
    let transaction = watched.conn.transaction().unwrap();
    let mut tx = Tx::begin(&transaction, fixture.ada);
    rebuild::step(&mut tx).unwrap();
    tx.finish().unwrap();
    transaction.commit().unwrap();
    let plans = watched.plans();
    assert!(plans.iter().any(|(sql, _)| sql.contains("(cid, seq) > ")));
    for (sql, steps) in plans {
        // The ranges are a few for each conversation; the index holds what is not numbered.
        let is_large = |step: &&String| {
            is_scan(step, &["conversations", "c", "outbox", "log_range"]) && !step.contains("messages_local")
        };
        let scans: Vec<_> = steps.iter().filter(is_large).collect();
        assert!(scans.is_empty(), "{scans:?} in\n{sql}\n{steps:#?}");
    }
}

#[test]
fn a_scan_is_told_from_a_search() {
    assert!(is_scan("SCAN messages", &[]));
    assert!(is_scan("SCAN e USING INDEX events_target", &[]));
    assert!(!is_scan("SCAN conversations", &LISTS));
    assert!(!is_scan("SEARCH messages USING PRIMARY KEY (cid=?)", &[]));
    assert!(is_of_whole_conversation("SEARCH events USING PRIMARY KEY (cid=?)"));
    assert!(!is_of_whole_conversation("SEARCH events USING PRIMARY KEY (cid=? AND seq=?)"));
    assert!(!is_of_whole_conversation("SEARCH conversations USING PRIMARY KEY (cid=?)"));
    assert!(!is_scan("SCAN CONSTANT ROW", &[]));
    assert!(!is_scan("SCAN search VIRTUAL TABLE INDEX 0:M1", &[]));
}
