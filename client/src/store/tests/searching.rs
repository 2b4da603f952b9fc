use super::*;
use crate::{store::search, view::SearchView};
use std::{sync::mpsc, time::Duration};

async fn find(fixture: &Fixture, query: &str) -> SearchView {
    let query = query.to_owned();
    fixture.read(move |db| crate::store::search::search(db, &query, None, 50)).await
}

async fn texts(fixture: &Fixture, query: &str) -> Vec<String> {
    let hits = find(fixture, query).await.hits;
    hits.into_iter().map(|hit| hit.snippet.into_iter().map(|part| part.text).collect()).collect()
}

async fn with(lines: &[&str]) -> Fixture {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for line in lines {
        fixture.says(bo, line);
    }
    let high = fixture.log.len() as u64;
    fixture.apply(vec![fixture.append(1, high)]).await;
    fixture
}

#[tokio::test]
async fn a22_inner_characters_of_scripts_without_spaces_are_found() {
    let fixture = with(&["我们明天下午见面", "東京タワーへ行きました", "회의는내일입니다", "plain"]).await;
    assert_eq!(texts(&fixture, "明天").await, ["我们明天下午见面"]);
    assert_eq!(texts(&fixture, "午").await, ["我们明天下午见面"]);
    assert_eq!(texts(&fixture, "タワ").await, ["東京タワーへ行きました"]);
    assert_eq!(texts(&fixture, "내일").await, ["회의는내일입니다"]);
    assert_eq!(texts(&fixture, "天明").await, Vec::<String>::new());
    let hit = find(&fixture, "明天").await.hits.remove(0);
    assert_eq!(hit.snippet[1].text, "明天");
    assert!(hit.snippet[1].hit);
}

#[tokio::test]
async fn a23_the_beginning_of_a_word_finds_it() {
    let fixture = with(&["Ask Marvell about the offer", "Žluťoučký kůň", "nothing"]).await;
    assert_eq!(texts(&fixture, "Marvel").await, ["Ask Marvell about the offer"]);
    assert_eq!(texts(&fixture, "marvel offer").await, ["Ask Marvell about the offer"]);
    assert_eq!(texts(&fixture, "zlutoucky").await, ["Žluťoučký kůň"]);
    assert_eq!(texts(&fixture, "marvel nothing").await, Vec::<String>::new());
}

#[tokio::test]
async fn sec_083_a23_no_input_is_a_syntax_error() {
    let fixture = with(&["C++ and \"quotes\" 👍", "a AND b OR (c)"]).await;
    for query in [
        "\" OR * NEAR( ^ -",
        "a\" OR \"b",
        "search MATCH 'x'; DROP TABLE messages; --",
        "\"",
        "*",
        "a AND",
        "NOT",
        "(",
        "text:x",
        "^",
        "NEAR(a b)",
        "-",
        "''",
        "a\0b",
        "  ",
        "",
        "{a}",
        "a-b+c",
    ] {
        find(&fixture, query).await;
    }
    assert_eq!(texts(&fixture, "👍").await.len(), 1);
    assert_eq!(texts(&fixture, "++ quotes").await.len(), 1);
    assert_eq!(texts(&fixture, "\"quotes\"").await.len(), 1);
    assert_eq!(texts(&fixture, "b (c)").await.len(), 1);
}

#[tokio::test]
async fn search_follows_edits_and_deletes_and_says_how_much_it_saw() {
    let mut fixture = with(&["first banana", "second", "third banana"]).await;
    let bo = fixture.bo;
    let (first, third) = (fixture.log[0].id, fixture.log[2].id);
    assert_eq!(texts(&fixture, "banana").await, ["third banana", "first banana"]);
    fixture.number(bo, EventId::mint(), &EventContent::Edit { target: first, text: "first apple".into() });
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target: third });
    fixture.apply(vec![fixture.append(4, 5)]).await;
    assert_eq!(texts(&fixture, "banana").await, Vec::<String>::new());
    assert_eq!(texts(&fixture, "apple").await, ["first apple"]);
    let view = find(&fixture, "apple").await;
    assert_eq!((view.searched, view.total, view.more), (3, 3, false));
    for at in 0..50 {
        fixture.says(bo, &format!("unseen {at}"));
    }
    fixture.says(bo, "newest");
    fixture.apply(vec![fixture.heads(true), fixture.append(56, 56)]).await;
    let view = find(&fixture, "newest").await;
    assert_eq!((view.hits.len(), view.searched, view.total), (1, 4, 54));
}

#[tokio::test]
async fn a22_pages_that_come_the_newest_first_in_one_transaction_are_all_found() {
    let mut fixture = Fixture::new().await;
    let bo = fixture.bo;
    for number in 1..=60 {
        fixture.says(bo, &format!("word {number}"));
    }
    let (target, edited) = (fixture.log[29].id, fixture.log[39].id);
    fixture.number(bo, EventId::mint(), &EventContent::Delete { target });
    fixture.number(bo, EventId::mint(), &EventContent::Edit { target: edited, text: "mended".into() });
    let page = |low, high| StoreOp::Page(fixture.page(low, high));
    fixture.apply(vec![fixture.heads(false), page(41, 62), page(21, 40), page(1, 20)]).await;
    let wanted: Vec<_> =
        (1..=60).rev().filter(|at| ![30, 40].contains(at)).take(50).map(|at| format!("word {at}")).collect();
    assert_eq!(texts(&fixture, "wor").await, wanted);
    assert_eq!(texts(&fixture, "mend").await, ["mended"]);
    assert_eq!(find(&fixture, "word").await.hits.len(), 50);
    // Again, and nothing is there twice.
    fixture.apply(vec![StoreOp::Page(fixture.page(1, 62))]).await;
    assert_eq!(texts(&fixture, "word 30").await, Vec::<String>::new());
    assert_eq!(texts(&fixture, "word 31").await.len(), 1);
}

#[tokio::test]
async fn a22_a_word_beside_characters_without_spaces_is_found_from_the_index_and_from_the_newest() {
    let fixture = with(&["我的iPhone坏了", "我的iPhone坏了"]).await;
    assert_eq!(texts(&fixture, "iphone").await.len(), 2);
    assert_eq!(texts(&fixture, "iPhone坏").await.len(), 2);
    assert_eq!(texts(&fixture, "phone").await, Vec::<String>::new());
    // As many as are asked for are found by the look at the newest.
    let one = fixture.read(|db| search::search(db, "iphone", None, 1)).await;
    assert_eq!((one.hits.len(), one.more), (1, true));
    assert!(one.hits[0].snippet.iter().any(|part| part.hit && part.text == "iPhone"));
}

#[tokio::test]
async fn a23_symbols_of_a_word_count() {
    let lines = ["my cat is cute", "C++ is a language", "so is C#", "50% of 9€ 👍🏽"];
    let fixture = with(&lines).await;
    for (query, wanted) in
        [("C++", 1), ("c+", 1), ("C#", 2), ("50%", 3), ("9€", 3), ("👍", 3), ("#", 2), ("++", 1)]
    {
        assert_eq!(texts(&fixture, query).await, [lines[wanted]], "{query}");
    }
    assert_eq!(texts(&fixture, "c").await.len(), 3);
    assert_eq!(texts(&fixture, "C++ cat").await, Vec::<String>::new());
}

#[tokio::test]
async fn o7_what_waits_in_the_outbox_is_found_as_it_will_be() {
    let mut fixture = Fixture::new().await;
    let ada = fixture.ada;
    let target = fixture.says(ada, "plum").id;
    fixture.says(ada, "other");
    fixture.apply(vec![fixture.heads(false), fixture.append(1, 2)]).await;
    let ((), _, update) = fixture.write(move |tx| doing::edit(tx, Fixture::CID, target, "peach")).await;
    assert_eq!(texts(&fixture, "plum").await, Vec::<String>::new());
    assert_eq!(texts(&fixture, "peach").await, ["peach"]);
    assert!(find(&fixture, "peach").await.hits[0].snippet[0].hit);
    let edit = update.changed[0].item;
    fixture.write(move |tx| doing::cancel(tx, edit as f64)).await;
    assert_eq!(texts(&fixture, "plum").await, ["plum"]);
    fixture.write(move |tx| doing::delete(tx, Fixture::CID, target)).await;
    assert_eq!(texts(&fixture, "plum").await, Vec::<String>::new());
    assert_eq!(texts(&fixture, "other").await, ["other"]);
    // What is unsent is changed in place.
    let (id, _) = fixture.send("cherry").await;
    fixture.write(move |tx| doing::edit(tx, Fixture::CID, id, "berry")).await;
    assert_eq!((texts(&fixture, "cherry").await.len(), texts(&fixture, "berry").await.len()), (0, 1));
}

#[tokio::test]
async fn a23_marks_alone_are_looked_for_in_the_newest_messages_and_the_answer_says_so() {
    let fixture = with(&["really?! yes", "plain"]).await;
    assert_eq!(texts(&fixture, "?!").await, ["really?! yes"]);
    assert_eq!(find(&fixture, "?!").await.searched, 2);
    let conversation = fixture.conversation;
    let within = move |db: &Db<'_>| search::search(db, "?!", Some(conversation), 10);
    assert_eq!(fixture.read(within).await.hits.len(), 1);
    let (_, item) = fixture.send("what?!").await;
    assert_eq!(fixture.read(within).await.hits.len(), 2);
    fixture.write(move |tx| doing::cancel(tx, item as f64)).await;
    let fill = "
        INSERT INTO messages (mid, cid, id, seq, sender, ts, text)
            WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 20020)
            SELECT (1 << 62) + i, cid, randomblob(16), i, sender, ts, 'plain' FROM n, (SELECT * FROM messages LIMIT 1);
        UPDATE conversations SET stored = 20013;";
    fixture.store.write(move |tx| Ok(tx.conn.execute_batch(fill)?)).await.unwrap();
    for view in [find(&fixture, "?!").await, fixture.read(within).await] {
        assert_eq!((view.hits.len(), view.searched, view.total), (0, 20_000, 20_013), "the rest is not read");
    }
}

#[tokio::test]
async fn a23_a_word_in_one_conversation_is_looked_for_in_a_bounded_part_and_the_answer_says_so() {
    let fixture = with(&["needle and plain", "nothing"]).await;
    let conversation = fixture.conversation;
    let within = move |db: &Db<'_>| search::search(db, "plain", Some(conversation), 10);
    // The word is in more messages of another conversation than are looked at.
    let elsewhere = "
        INSERT INTO conversations (cid, id, kind, created_at) VALUES (99, randomblob(16), 'group', 1);
        INSERT INTO messages (mid, cid, id, seq, sender, ts, text)
            WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 20020)
            SELECT (1 << 62) + i, 99, randomblob(16), i, sender, ts, 'plain' FROM n, (SELECT * FROM messages LIMIT 1);
        INSERT INTO search (rowid, text) SELECT mid, 'plain' FROM messages WHERE cid = 99;";
    fixture.store.write(move |tx| Ok(tx.conn.execute_batch(elsewhere)?)).await.unwrap();
    let view = fixture.read(within).await;
    assert_eq!((view.hits.len(), view.searched, view.more), (1, 2, false), "its own are found all the same");
    // And the conversation has more messages than are read one by one.
    let own = "
        INSERT INTO messages (mid, cid, id, seq, sender, ts, text)
            WITH RECURSIVE n (i) AS (SELECT 10 UNION ALL SELECT i + 1 FROM n WHERE i < 20020)
            SELECT (1 << 62) + 100000 + i, cid, randomblob(16), i, sender, ts, 'other'
            FROM n, (SELECT * FROM messages WHERE cid <> 99 LIMIT 1);
        UPDATE conversations SET stored = 20013 WHERE cid <> 99;";
    fixture.store.write(move |tx| Ok(tx.conn.execute_batch(own)?)).await.unwrap();
    let view = fixture.read(within).await;
    assert_eq!((view.hits.len(), view.searched, view.total), (0, 20_000, 20_013), "the rest is not read");
    let view = fixture.read(move |db| search::search(db, "needle", Some(conversation), 10)).await;
    assert_eq!((view.hits.len(), view.searched), (1, 20_013), "a rarer word is found wherever it is");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_search_ends_when_the_next_one_begins() {
    let fixture = with(&["one message"]).await;
    // All connections are busy until both have begun.
    let mut busy = Vec::new();
    for _ in 0..3 {
        let (done, wait) = mpsc::channel::<()>();
        let (store, (began, begun)) = (fixture.store.clone(), tokio::sync::oneshot::channel());
        let read = tokio::spawn(async move {
            let work = move |_: &Db<'_>| {
                let _ = began.send(());
                let _ = wait.recv_timeout(Duration::from_secs(20));
                Ok(())
            };
            store.read(work).await
        });
        begun.await.unwrap();
        busy.push((done, read));
    }
    let searches = fixture.store.searches.clone();
    let first = fixture.store.search("message".into(), None, 10);
    let second = fixture.store.search("message".into(), None, 10);
    let release = async {
        while searches.load(std::sync::atomic::Ordering::Relaxed) < 2 {
            tokio::task::yield_now().await;
        }
        drop(busy);
    };
    let (first, second, ()) = tokio::join!(first, second, release);
    assert!(matches!(first, Err(ClientError::Superseded)));
    assert_eq!(second.unwrap().hits.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_that_is_over_ends_and_its_connection_serves_on() {
    let fixture = with(&["one message"]).await;
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (over, begun) = (is_over.clone(), is_over.clone());
    let endless = move |conn: &rusqlite::Connection| {
        begun.store(true, std::sync::atomic::Ordering::Relaxed);
        let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        Ok(conn.query_row(sql, [], |row| row.get::<_, i64>(0))?)
    };
    let read =
        fixture.store.readers.read_until(move || over.load(std::sync::atomic::Ordering::Relaxed), endless);
    let ended = tokio::time::timeout(Duration::from_secs(20), read).await.unwrap();
    assert!(matches!(ended, Err(ClientError::Superseded)));
    assert_eq!(texts(&fixture, "message").await.len(), 1);
}
