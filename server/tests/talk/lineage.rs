//! Which database it is (S5, S6), and what of it the rules rely on (W1, W10).

use crate::support::{World, message};
use serde_json::json;

#[tokio::test]
async fn s5_s6_an_unknown_cursor_and_a_foreign_epoch_get_full_heads_and_no_error() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    ada.online().await.start_chat(bo.user, "one").await;
    let mut hello = bo.hello(0);
    hello["cursor"] = json!("of another time");
    hello["epoch"] = json!("of another database");
    let mut line = bo.connect_raw(&hello).await;
    assert_eq!(line.next_frame().await["type"], "welcome");
    let heads = line.next_frame().await;
    assert_eq!((&heads["type"], &heads["full"]), (&json!("heads"), &json!(true)));
    assert_eq!(heads["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn s6_another_lineage_makes_everybody_compare_anew() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.connect_as(0).await;
    let before = line.next_frame().await["epoch"].clone();
    let chat = line.start_chat(bo.user, "one").await;
    // What a restore from a dump does to the table of events: its contents come back, it itself is another one.
    let restored = "CREATE TABLE restored (LIKE events INCLUDING ALL);
        INSERT INTO restored SELECT * FROM events;
        DROP TABLE events;
        ALTER TABLE restored RENAME TO events;";
    sqlx::raw_sql(restored).execute(&world.server.pool).await.unwrap();
    assert_eq!(line.closed().await, 4010);
    let mut line = ada.connect_as(0).await;
    let welcome = line.next_frame().await;
    assert!(before.is_string() && welcome["epoch"].is_string() && welcome["epoch"] != before, "{welcome}");
    assert_eq!(line.item(chat).await["head"], 1, "nothing of anybody's was dropped");
}

#[tokio::test]
async fn w1_a_head_is_one_narrow_row_and_no_index_holds_what_changes() {
    let world = World::start().await;
    let options: Option<Vec<String>> =
        sqlx::query_scalar("SELECT reloptions FROM pg_class WHERE relname = 'conversation_head'")
            .fetch_one(&world.server.pool)
            .await
            .unwrap();
    assert_eq!(options, Some(vec!["fillfactor=50".to_owned()]));
    let mut indexed: Vec<String> = sqlx::query_scalar(
        "SELECT a.attname::text FROM pg_index i
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey)
         WHERE i.indrelid = 'conversation_head'::regclass",
    )
    .fetch_all(&world.server.pool)
    .await
    .unwrap();
    indexed.sort();
    assert_eq!(indexed, ["conversation_id", "conversation_key"]);
}

#[tokio::test]
async fn w1_w2_a_removal_and_a_send_at_the_same_time_have_an_order_and_the_later_one_sees_the_earlier() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo_line) = (ada.online().await, bo.online().await);
    for _ in 0..10 {
        let group = ada.start_group(&[bo.user]).await;
        let removal = [json!({"id": kith_protocol::EventId::mint(), "kind": "member",
            "body": {"user": bo.user, "change": "removed"}})];
        let words = [message("still here")];
        let (removed, said) = tokio::join!(ada.send(group, &removal), bo_line.send(group, &words));
        let removed = removed[0]["seq"].as_u64().unwrap();
        match said[0]["seq"].as_u64() {
            Some(said) => assert!(said < removed, "numbered after the removal"),
            None => assert_eq!(said[0]["code"], "not_member"),
        }
    }
}

#[tokio::test]
async fn w10_what_is_acknowledged_is_on_the_disk_and_nothing_listens_inside_a_transaction() {
    let world = World::start().await;
    let setting: String =
        sqlx::query_scalar("SHOW synchronous_commit").fetch_one(&world.server.pool).await.unwrap();
    assert_eq!(setting, "on");
    let notifies: Vec<String> = sqlx::query_scalar(
        "SELECT t.tgname::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
         WHERE NOT t.tgisinternal AND p.prosrc ~* 'notify'",
    )
    .fetch_all(&world.server.pool)
    .await
    .unwrap();
    assert!(notifies.is_empty(), "a trigger notifies while the log's lock is held: {notifies:?}");
}
