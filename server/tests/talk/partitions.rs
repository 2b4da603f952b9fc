//! The log divided by conversation (docs/operate/scale.md) serves as the undivided one does.

use crate::support::{World, about, message};
use kith_protocol::error::close;
use serde_json::json;

#[tokio::test]
async fn a_log_divided_by_conversation_keeps_everything_and_takes_more() {
    let world = World::start().await;
    let [ada, bo, cy, di] = world.people(["ada", "bo", "cy", "di"]).await;
    let mut line = ada.online().await;
    let mut chats = Vec::new();
    for other in [bo.user, cy.user, di.user] {
        let chat = line.start_chat(other, "one").await;
        let two = message("two");
        line.ok(chat, two.clone()).await;
        chats.push((chat, two));
    }

    let divide = include_str!("../../../deploy/partition-events.sql");
    sqlx::raw_sql(divide).execute(&world.server.pool).await.unwrap();
    // It is another table of events: clients compare their logs anew.
    assert_eq!(line.closed().await, close::EPOCH);
    let mut line = ada.online_as(1).await;

    for (chat, two) in &chats {
        assert_eq!(line.ok(*chat, message("three")).await, 3);
        let again = line.send(*chat, std::slice::from_ref(two)).await;
        assert_eq!((&again[0]["status"], &again[0]["seq"]), (&json!("duplicate"), &json!(2)));
        let thumb = about("reaction", &two["id"], json!({"emoji": "👍", "on": true}));
        assert_eq!(line.ok(*chat, thumb).await, 4);
        assert_eq!(line.ok(*chat, about("delete", &two["id"], json!({}))).await, 5);
        let page = line.pull(*chat, json!({})).await;
        let kinds: Vec<_> = page["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
        assert_eq!(kinds, ["message", "message", "message", "reaction", "delete"]);
    }
    // Whoever comes with a cursor from before gets all heads: the files below the log are others.
    let heads = bo.online().await.item(chats[0].0).await;
    assert_eq!(heads["head"], 5);
    let parts: i64 = sqlx::query_scalar("SELECT count(DISTINCT tableoid) FROM events")
        .fetch_one(&world.server.pool)
        .await
        .unwrap();
    assert!(parts > 1, "three conversations, {parts} parts");
    // Unread is counted by blocks as before.
    for count in [200, 95] {
        let more: Vec<_> = (0..count).map(|_| message("more")).collect();
        assert_eq!(line.send(chats[0].0, &more).await.len(), count);
    }
    assert_eq!(bo.online().await.item(chats[0].0).await["unread"], 297);
    let blocks: i64 = sqlx::query_scalar("SELECT count(*) FROM event_blocks WHERE level = 1")
        .fetch_one(&world.server.pool)
        .await
        .unwrap();
    assert_eq!(blocks, 4, "two blocks: everybody's and the sender's");
}
