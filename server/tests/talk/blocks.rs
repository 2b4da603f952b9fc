//! Blocking: what a block stands in the way of, and what it does not say (sec_048).

use crate::support::{Line, Person, World, about, member, message};
use kith_protocol::{ConversationId, UserId, limits};
use reqwest::Method;
use serde_json::{Value, json};

async fn block(by: &Person, user: UserId) {
    let (status, answer) = by.ask(Method::PUT, &format!("/v1/blocks/{user}"), None).await;
    assert_eq!(status, 204, "{answer}");
}

async fn unblock(by: &Person, user: UserId) {
    let (status, answer) = by.ask(Method::DELETE, &format!("/v1/blocks/{user}"), None).await;
    assert_eq!(status, 204, "{answer}");
}

async fn blocked(by: &Person) -> Vec<Value> {
    by.get("/v1/blocks").await["items"].as_array().unwrap().clone()
}

fn opening(kind: &str, id: ConversationId, members: &[UserId]) -> Value {
    json!({"type": "open", "conversation": id, "kind": kind, "members": members})
}

/// An answer without what belongs to its request.
fn bare(mut answer: Value) -> Value {
    answer["reply_to"] = Value::Null;
    answer
}

/// The result of one event, without its id.
async fn result(line: &mut Line, conversation: ConversationId, event: Value) -> Value {
    let mut results = line.send(conversation, &[event]).await;
    results[0]["id"] = Value::Null;
    results.remove(0)
}

/// Whom of these people a connection is told the presence of, once it watches them.
async fn seen(line: &mut Line, users: &[UserId]) -> Vec<Value> {
    line.everything().await;
    let watch = json!({"type": "presence.watch", "users": users});
    line.call(watch).await;
    let told = line.everything().await.into_iter().filter(|frame| frame["type"] == "ephemeral");
    told.flat_map(|frame| frame["presence"].as_array().cloned().unwrap_or_default()).collect()
}

#[tokio::test]
async fn sec_048_neither_opens_a_conversation_with_the_other_and_the_refusal_is_that_of_a_stranger() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    block(&ada, bo.user).await;
    block(&ada, bo.user).await;

    let nobody = UserId::mint();
    for (line, own, other) in [(&mut bo_line, bo.user, ada.user), (&mut ada_line, ada.user, bo.user)] {
        let direct = line.call(opening("direct", ConversationId::direct(own, other), &[other])).await;
        let unknown = line.call(opening("direct", ConversationId::direct(own, nobody), &[nobody])).await;
        assert_eq!(direct["code"], "target_missing", "{direct}");
        assert_eq!(bare(direct), bare(unknown), "a block looks like an unknown person");
        let group = line.call(opening("group", ConversationId::mint(), &[cy.user, other])).await;
        let unknown = line.call(opening("group", ConversationId::mint(), &[cy.user, nobody])).await;
        assert_eq!(bare(group), bare(unknown));
    }
    let body = |user: UserId| Some(json!({"kind": "direct", "members": [user], "first": {"text": "hello"}}));
    let refused = bo.ask(Method::POST, "/v1/conversations", body(ada.user)).await;
    assert_eq!(refused, bo.ask(Method::POST, "/v1/conversations", body(nobody)).await);
    assert_eq!(refused.0, 404);
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM conversations").fetch_one(&world.server.pool).await.unwrap();
    assert_eq!(count, 0, "nothing was begun");

    // A third person's group may hold both, and nobody else is concerned.
    let mut cy_line = cy.online().await;
    let group = cy_line.start_group(&[ada.user, bo.user]).await;
    bo_line.ok(group, message("to all")).await;
    assert_eq!(ada_line.events_to(group, 1).await.len(), 1);
    bo_line.start_chat(cy.user, "to another").await;

    unblock(&ada, bo.user).await;
    bo_line.start_chat(ada.user, "again").await;
}

#[tokio::test]
async fn sec_048_neither_adds_the_other_to_a_group_and_the_refusal_is_that_of_a_stranger() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let group = bo_line.start_group(&[cy.user, ada.user]).await;
    // Leaving and blocking: the block first.
    block(&ada, bo.user).await;
    ada_line.ok(group, member(ada.user, "left")).await;
    let refused = result(&mut bo_line, group, member(ada.user, "added")).await;
    let unknown = result(&mut bo_line, group, member(UserId::mint(), "added")).await;
    assert_eq!(refused["code"], "target_missing", "{refused}");
    assert_eq!(refused, unknown);
    let own = ada_line.start_group(&[cy.user]).await;
    assert_eq!(ada_line.refused(own, member(bo.user, "added")).await, "target_missing");
    // In one send with others: what was before is in the log, what is behind is not tried.
    let events = [message("1"), member(ada.user, "added"), message("2")];
    let results = bo_line.send(group, &events).await;
    let statuses: Vec<&str> = results.iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["ok", "error", "skipped"]);

    unblock(&ada, bo.user).await;
    bo_line.ok(group, member(ada.user, "added")).await;
    assert_eq!(ada_line.item(group).await["visible"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn sec_048_nothing_is_written_in_a_direct_conversation_until_the_block_ends() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let (first, second) = (message("1"), message("2"));
    let chat = ada_line.start_chat(bo.user, "0").await;
    bo_line.ok(chat, first.clone()).await;
    bo_line.ok(chat, second.clone()).await;
    // What the lane remembers of the conversation is from before the block.
    block(&ada, bo.user).await;

    for (line, name) in [(&mut bo_line, "blocked"), (&mut ada_line, "blocker")] {
        for refused in [
            message("x"),
            about("edit", &first["id"], json!({"text": "x"})),
            about("reaction", &first["id"], json!({"emoji": "👎", "on": true})),
            about("pin", &first["id"], json!({"on": true})),
        ] {
            assert_eq!(line.refused(chat, refused.clone()).await, "not_allowed", "{name} {refused}");
        }
    }
    let post = Some(json!({"text": "over HTTP"}));
    let (status, answer) = bo.ask(Method::POST, &format!("/v1/conversations/{chat}/messages"), post).await;
    assert_eq!((status, &answer["code"]), (403, &json!("not_allowed")));
    let again = bo_line.send(chat, std::slice::from_ref(&first)).await;
    assert_eq!(again[0]["status"], "duplicate", "what was acknowledged stays so");
    // Opened, it is found as before; both read on, and each takes back what is theirs.
    let direct = opening("direct", chat, &[ada.user]);
    let mut with_first = direct.clone();
    with_first["first"] = message("beside the opening");
    assert_eq!(bo_line.call(direct).await["items"][0]["head"], 3);
    assert_eq!(bo_line.error(with_first).await, "not_allowed");
    assert_eq!(bo_line.pull(chat, json!({})).await["events"].as_array().unwrap().len(), 3);
    bo_line.ok(chat, about("delete", &second["id"], json!({}))).await;
    let (id, head) = (chat.to_string(), 4);
    let item = ada_line.item(chat).await;
    assert_eq!((&item["conversation"], &item["head"]), (&json!(id), &json!(head)));

    unblock(&ada, bo.user).await;
    unblock(&ada, bo.user).await;
    bo_line.ok(chat, message("again")).await;
    ada_line.ok(chat, message("yes")).await;
}

#[tokio::test]
async fn sec_048_typing_markers_and_presence_do_not_pass_a_block() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let chat = ada_line.start_chat(bo.user, "1").await;
    ada_line.ok(chat, message("2")).await;
    let mut cy_line = cy.online().await;
    cy_line.start_group(&[ada.user, bo.user]).await;
    assert_eq!(seen(&mut bo_line, &[ada.user, cy.user]).await.len(), 2);
    assert_eq!(seen(&mut ada_line, &[bo.user]).await.len(), 1);

    block(&ada, bo.user).await;
    for (line, other) in [(&mut bo_line, ada.user), (&mut ada_line, bo.user)] {
        let gone = line.until_type("ephemeral").await;
        assert_eq!(gone["presence"], json!([[other, "offline"]]), "as if they had gone");
    }
    ada_line.call(json!({"type": "presence.set", "state": "busy"})).await;
    for line in [&mut ada_line, &mut bo_line] {
        line.call(json!({"type": "typing", "conversation": chat, "on": true})).await;
        line.call(json!({"type": "delivered", "markers": [[chat, 1]]})).await;
        line.call(json!({"type": "state", "conversation": chat, "read": 2})).await;
    }
    for (line, own) in [(&mut bo_line, bo.user), (&mut ada_line, ada.user)] {
        let markers = line.call(json!({"type": "markers", "conversation": chat})).await;
        assert_eq!(markers["markers"], json!([[own, 2, 2]]), "one's own alone");
        let told = line.everything().await;
        let foreign = |frame: &&Value| frame["type"] == "ephemeral" || frame["type"] == "markers";
        assert_eq!(told.iter().filter(foreign).count(), 0, "{told:?}");
    }
    let seen_by_bo = seen(&mut bo_line, &[ada.user, cy.user]).await;
    assert_eq!(seen_by_bo, [json!([cy.user, "online"])], "not by way of a group either");
    assert_eq!(seen(&mut ada_line, &[bo.user]).await, [Value::Null; 0]);

    unblock(&ada, bo.user).await;
    assert_eq!(seen(&mut bo_line, &[ada.user]).await, [json!([ada.user, "busy"])]);
    ada_line.call(json!({"type": "typing", "conversation": chat, "on": true})).await;
    let typing = bo_line.until_type("ephemeral").await;
    assert_eq!(typing["typing"], json!([[chat, ada.user, true]]));
    ada_line.ok(chat, message("3")).await;
    bo_line.call(json!({"type": "state", "conversation": chat, "read": 3})).await;
    assert_eq!(ada_line.until_type("markers").await["markers"], json!([[bo.user, 3, 3]]));
}

#[tokio::test]
async fn sec_048_a_list_of_blocked_people_is_its_owners_alone_and_limited() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    block(&ada, bo.user).await;
    block(&ada, cy.user).await;
    block(&bo, cy.user).await;
    let names = |items: &[Value]| -> Vec<String> {
        let mut names: Vec<_> =
            items.iter().map(|one| one["username"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&blocked(&ada).await), ["bo.test", "cy.test"]);
    assert_eq!(names(&blocked(&bo).await), ["cy.test"]);
    assert!(blocked(&cy).await.is_empty(), "nobody learns who has blocked them");
    assert!(
        blocked(&ada)
            .await
            .iter()
            .all(|one| one.get("email").is_none() && one.get("show_presence").is_none())
    );
    let part = ada.get("/v1/blocks?limit=1").await;
    let rest = ada.get(&format!("/v1/blocks?limit=1&after={}", part["next"].as_str().unwrap())).await;
    assert_ne!(part["items"], rest["items"]);
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));

    // Nobody ends another's block, and ending none is harmless.
    unblock(&cy, ada.user).await;
    assert_eq!(blocked(&ada).await.len(), 2);
    for (path, status, code) in [
        (format!("/v1/blocks/{}", UserId::mint()), 404, "target_missing"),
        (format!("/v1/blocks/{}", ada.user), 400, "invalid"),
        ("/v1/blocks/nobody".to_owned(), 400, "invalid"),
    ] {
        let (answered, answer) = ada.ask(Method::PUT, &path, None).await;
        assert_eq!((answered, &answer["code"]), (status, &json!(code)), "{path}");
    }
    // People of another platform are unknown ones.
    sqlx::query("UPDATE users SET tenant = 'another' WHERE id = $1")
        .bind(cy.user.as_uuid())
        .execute(&world.server.pool)
        .await
        .unwrap();
    let (status, answer) = bo.ask(Method::PUT, &format!("/v1/blocks/{}", cy.user), None).await;
    assert_eq!((status, &answer["code"]), (404, &json!("target_missing")));
    unblock(&bo, cy.user).await;

    sqlx::query(
        "WITH people AS (
             INSERT INTO users (id, username, display_name, password_hash)
             SELECT gen_random_uuid(), 'many.' || n, 'Many', '' FROM generate_series(1, $2) n RETURNING id)
         INSERT INTO blocks (user_id, blocked_id) SELECT $1, id FROM people",
    )
    .bind(bo.user.as_uuid())
    .bind(limits::BLOCKS_MAX)
    .execute(&world.server.pool)
    .await
    .unwrap();
    let (status, answer) = bo.ask(Method::PUT, &format!("/v1/blocks/{}", ada.user), None).await;
    assert_eq!((status, &answer["code"]), (413, &json!("too_large")));
    let one: UserId = serde_json::from_value(blocked(&bo).await[0]["id"].clone()).unwrap();
    block(&bo, one).await; // Again is no further one.
    unblock(&bo, one).await;
    block(&bo, ada.user).await;
    // A deleted account takes its blocks with it, on both sides.
    sqlx::query("DELETE FROM users WHERE id = $1")
        .bind(ada.user.as_uuid())
        .execute(&world.server.pool)
        .await
        .unwrap();
    assert!(blocked(&bo).await.iter().all(|one| one["id"] != ada.user.to_string()));
}

/// A block and an opening that meet end in one of two ways: refused, or begun and then closed to both.
#[tokio::test]
async fn sec_048_w1_a_block_beside_an_opening_leaves_no_way_to_write() {
    let world = World::start().await;
    for round in 0..10 {
        let ada = world.person(&format!("ada{round}")).await;
        let bo = world.person(&format!("bo{round}")).await;
        let mut bo_line = bo.online().await;
        let id = ConversationId::direct(ada.user, bo.user);
        let mut open = opening("direct", id, &[ada.user]);
        open["first"] = message("1");
        let ((), opened) = tokio::join!(block(&ada, bo.user), bo_line.call(open));
        match opened["code"].as_str() {
            Some("target_missing") => assert_eq!(bo_line.refused(id, message("2")).await, "not_member"),
            Some("not_allowed") | None => {
                assert_eq!(bo_line.refused(id, message("2")).await, "not_allowed", "{opened}");
            }
            Some(other) => panic!("{other}"),
        }
    }
}
