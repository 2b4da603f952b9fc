//! What becomes of conversations when a person's account is deleted.

use crate::support::{World, message};
use kith_protocol::UserId;
use kith_server::domain::accounts;
use serde_json::{Value, json};
use sqlx::PgPool;

async fn count(pool: &PgPool, sql: &'static str, user: UserId) -> i64 {
    sqlx::query_scalar(sql).bind(user.as_uuid()).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn w1_who_is_deleted_leaves_their_groups_and_what_they_wrote_stays() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let pool = &world.server.pool;
    let (mut line, mut bo_line) = (ada.online().await, bo.online().await);
    let chat = line.start_chat(bo.user, "between us").await;
    let group = line.start_group(&[bo.user, cy.user]).await;
    line.ok(group, message("to all")).await;
    bo_line.ok(group, message("heard")).await;

    assert_eq!(accounts::delete(pool, "ada.test").await.unwrap(), 1);

    let members = bo_line.call(json!({"type": "members", "conversation": group, "max": 10})).await;
    let names: Vec<&Value> = members["items"].as_array().unwrap().iter().map(|item| &item["user"]).collect();
    assert!(names.len() == 2 && !names.contains(&&json!(ada.user)), "{members}");
    let page = bo_line.pull(group, json!({})).await;
    let events = page["events"].as_array().unwrap();
    assert_eq!(events[0]["body"]["text"], "to all");
    assert_eq!(events.last().unwrap()["body"], json!({"change": "left", "user": ada.user}));
    // The lane's memory of members is void: the next message has an audience without her.
    assert_eq!(bo_line.ok(group, message("without her")).await, 4);

    let page = bo_line.pull(chat, json!({})).await;
    assert_eq!(page["events"][0]["body"]["text"], "between us");
    assert_eq!(bo_line.ok(chat, message("to nobody")).await, 2);
    assert_eq!(bo_line.item(chat).await["members"].as_array().unwrap().len(), 1);
    for sql in [
        "SELECT count(*) FROM members WHERE user_id = $1",
        "SELECT count(*) FROM member_intervals WHERE user_id = $1",
        "SELECT count(*) FROM devices WHERE user_id = $1",
        "SELECT count(*) FROM user_words WHERE user_id = $1",
        "SELECT count(*) FROM conversations WHERE created_by = $1",
    ] {
        assert_eq!(count(pool, sql, ada.user).await, 0, "{sql}");
    }
    assert_eq!(count(pool, "SELECT count(*) FROM events WHERE sender = $1", ada.user).await, 3);
    assert!(accounts::delete(pool, "ada.test").await.is_err(), "nobody of this name");
}

#[tokio::test]
async fn w1_a_row_that_is_deleted_by_hand_voids_what_lanes_remember_of_members() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let (mut line, mut cy_line) = (ada.online().await, cy.online().await);
    let group = line.start_group(&[bo.user, cy.user]).await;
    line.ok(group, message("all here")).await;
    cy_line.events_to(group, 1).await;
    sqlx::query("DELETE FROM users WHERE id = $1")
        .bind(cy.user.as_uuid())
        .execute(&world.server.pool)
        .await
        .unwrap();
    line.ok(group, message("two of us")).await;
    assert!(cy_line.everything().await.iter().all(|frame| frame["type"] != "events"), "I4");
    assert_eq!(cy_line.refused(group, message("still here?")).await, "not_member");
}
