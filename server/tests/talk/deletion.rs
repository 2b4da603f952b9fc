//! What a deletion leaves: W9.

use crate::support::{World, about, event, message};
use serde_json::json;

#[tokio::test]
async fn w9_a_delete_redacts_the_message_and_its_edits_and_nothing_follows_it() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo_line) = (ada.online().await, bo.online().await);
    let conversation = ada.start_chat(bo.user, "one").await;
    let secret = message("secret");
    ada.ok(conversation, secret.clone()).await;
    let edit = about("edit", &secret["id"], json!({"text": "secret too"}));
    ada.ok(conversation, edit.clone()).await;
    let states = ada.pull(conversation, json!({})).await["states"].clone();
    let state = &states[secret["id"].as_str().unwrap()];
    assert_eq!((&state["text"], &state["edited_seq"]), (&json!("secret too"), &json!(3)));

    let by_other = about("edit", &secret["id"], json!({"text": "x"}));
    assert_eq!(bo_line.refused(conversation, by_other).await, "not_allowed");
    let delete = about("delete", &secret["id"], json!({}));
    assert_eq!(bo_line.refused(conversation, delete.clone()).await, "not_allowed");
    ada.ok(conversation, delete.clone()).await;

    let page = ada.pull(conversation, json!({})).await;
    assert!(!page.to_string().contains("secret"), "{page}");
    assert_eq!(page["events"].as_array().unwrap().len(), 4);
    assert_eq!(page["events"][1]["redacted"], true);
    assert_eq!(page["states"][secret["id"].as_str().unwrap()]["deleted"], true);
    for late in [
        about("edit", &secret["id"], json!({"text": "x"})),
        about("reaction", &secret["id"], json!({"emoji": "👍", "on": true})),
        about("pin", &secret["id"], json!({"on": true})),
        about("delete", &secret["id"], json!({})),
        event("message", json!({"text": "re", "reply_to": secret["id"]})),
    ] {
        assert_eq!(ada.refused(conversation, late.clone()).await, "target_missing", "{late}");
    }
    // The hash outlives redaction: sent again, all three are known.
    let again = ada.send(conversation, &[secret, edit, delete]).await;
    assert!(again.iter().all(|one| one["status"] == "duplicate"), "{again:?}");
}

#[tokio::test]
async fn w9_a_message_deleted_in_its_own_batch_is_redacted() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let conversation = ada.start_chat(bo.user, "one").await;
    let gone = message("gone");
    let results = ada
        .send(
            conversation,
            &[
                gone.clone(),
                about("delete", &gone["id"], json!({})),
                about("reaction", &gone["id"], json!({"emoji": "👍", "on": true})),
            ],
        )
        .await;
    assert_eq!(results[2]["code"], "target_missing", "{results:?}");
    let page = ada.pull(conversation, json!({})).await;
    assert_eq!(page["events"][1]["redacted"], true);
}
