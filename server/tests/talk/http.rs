//! The HTTP twins of the socket's frames (section 11).

use crate::support::{World, message};
use kith_protocol::{ConversationId, EventId};
use reqwest::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn a_conversation_starts_and_goes_on_over_http_and_is_seen_live() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut bo_line = bo.online().await;
    let start = json!({"kind": "direct", "members": [ada.user, bo.user], "first": {"text": "hello"}});
    let (status, item) = ada.ask(Method::POST, "/v1/conversations", Some(start)).await;
    assert_eq!((status, &item["head"]), (201, &json!(1)));
    let chat = ConversationId::direct(ada.user, bo.user);
    assert_eq!(item["conversation"], json!(chat));
    assert_eq!(bo_line.next_frame().await["type"], "heads");
    assert_eq!(bo_line.events_to(chat, 1).await[0]["body"]["text"], "hello");
    let again = json!({"kind": "direct", "members": [bo.user]});
    assert_eq!(ada.ask(Method::POST, "/v1/conversations", Some(again)).await.0, 200);

    let path = format!("/v1/conversations/{chat}/messages");
    let post = json!({"id": EventId::mint(), "text": "two"});
    let (status, posted) = ada.ask(Method::POST, &path, Some(post.clone())).await;
    assert_eq!((status, &posted["seq"], &posted["id"]), (201, &json!(2), &post["id"]));
    let (status, same) = ada.ask(Method::POST, &path, Some(post.clone())).await;
    assert_eq!((status, &same), (200, &posted));
    let other = json!({"id": post["id"], "text": "other"});
    let (status, refused) = ada.ask(Method::POST, &path, Some(other)).await;
    assert_eq!((status, &refused["code"]), (409, &json!("id_conflict")));
    let (status, _) = ada.ask(Method::POST, &path, Some(json!({"text": "three"}))).await;
    assert_eq!(status, 201);
    bo_line.events_to(chat, 3).await;

    let (status, _) =
        bo.ask(Method::PUT, &format!("/v1/conversations/{chat}/read"), Some(json!({"up_to": 2}))).await;
    assert_eq!(status, 204);
    let own = bo_line.until_type("own_state").await;
    assert_eq!((&own["items"][0]["read"], &own["items"][0]["unread"]), (&json!(2), &json!(1)));
    let seen = bo.get(&format!("/v1/conversations/{chat}")).await;
    assert_eq!((&seen["unread"], seen["profiles"].as_array().unwrap().len()), (&json!(1), 2));
    assert_eq!(bo_line.item(chat).await["read"], 2);
}

#[tokio::test]
async fn messages_are_paged_before_after_and_around() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let chat = line.start_chat(bo.user, "1").await;
    let events: Vec<_> = (2..=80).map(|n| message(&n.to_string())).collect();
    line.send(chat, &events).await;
    let seqs = |page: &Value| -> (u64, u64, bool) {
        (page["low"].as_u64().unwrap(), page["high"].as_u64().unwrap(), page["end"].as_bool().unwrap())
    };
    let path = |query: &str| format!("/v1/conversations/{chat}/messages{query}");
    let page = ada.get(&path("")).await;
    assert_eq!(seqs(&page), (31, 80, false));
    assert_eq!(page["type"], Value::Null);
    assert_eq!(seqs(&ada.get(&path("?before=31&limit=10")).await), (21, 30, false));
    assert_eq!(seqs(&ada.get(&path("?before=11")).await), (1, 10, true));
    assert_eq!(seqs(&ada.get(&path("?after=70&limit=500")).await), (71, 80, true));
    let around = ada.get(&path("?around=40&limit=10")).await;
    assert_eq!((seqs(&around), around["events"].as_array().unwrap().len()), ((36, 45, false), 10));
    for bad in ["?before=1&after=2", "?limit=0", "?limit=-1", "?other=1", "?before=x"] {
        let (status, answer) = ada.ask(Method::GET, &path(bad), None).await;
        assert_eq!((status, &answer["code"]), (400, &json!("invalid")), "{bad}");
    }
}

#[tokio::test]
async fn the_list_is_paged_by_the_newest_event() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let mut groups = Vec::new();
    for n in 0..5 {
        let group = line.start_group(&[bo.user]).await;
        line.ok(group, message(&n.to_string())).await;
        groups.push(group);
    }
    line.ok(groups[0], message("the newest")).await;
    let (mut path, mut seen) = ("/v1/conversations?limit=2".to_owned(), Vec::new());
    loop {
        let part = bo.get(&path).await;
        let items = part["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item["profiles"].as_array().unwrap().len() == 2));
        seen.extend(
            items.iter().map(|item| (item["last_ts"].as_u64().unwrap(), item["conversation"].clone())),
        );
        let Some(next) = part["next"].as_str() else { break };
        path = format!("/v1/conversations?limit=2&after={next}");
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.iter().rev().is_sorted_by_key(|(ts, _)| *ts));
    for group in &groups {
        assert!(seen.iter().any(|(_, id)| *id == json!(group)));
    }
    assert_eq!(bo.ask(Method::GET, "/v1/conversations?after=x", None).await.1["code"], "invalid");
}

#[tokio::test]
async fn deleting_leaves_a_group_and_hides_a_chat() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let (chat, group) = (line.start_chat(bo.user, "1").await, line.start_group(&[bo.user]).await);
    let path = |id: ConversationId| format!("/v1/conversations/{id}");
    assert_eq!(bo.ask(Method::DELETE, &path(chat), None).await.0, 204);
    assert_eq!(bo.ask(Method::DELETE, &path(group), None).await.0, 204);
    let left = line.events_to(group, 1).await;
    assert_eq!(left[0]["body"], json!({"user": bo.user, "change": "left"}));
    let items = bo.get("/v1/conversations").await["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 1, "the chat is hidden, the group's past stays");
    assert_eq!(bo.ask(Method::DELETE, &path(group), None).await.0, 404);
    line.ok(chat, message("2")).await;
    assert_eq!(bo.get("/v1/conversations").await["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn sec_040_strangers_and_unknown_ids_are_the_same_not_member_over_http() {
    let world = World::start().await;
    let [ada, bo, eve] = world.people(["ada", "bo", "eve"]).await;
    let mut line = ada.online().await;
    let chat = line.start_chat(bo.user, "1").await;
    for id in [chat, ConversationId::mint()] {
        let path = format!("/v1/conversations/{id}");
        for (method, path, body) in [
            (Method::GET, path.clone(), None),
            (Method::DELETE, path.clone(), None),
            (Method::GET, format!("{path}/messages"), None),
            (Method::POST, format!("{path}/messages"), Some(json!({"text": "x"}))),
            (Method::PUT, format!("{path}/read"), Some(json!({"up_to": 1}))),
        ] {
            let (status, answer) = eve.ask(method.clone(), &path, body.clone()).await;
            assert_eq!((status, &answer["code"]), (404, &json!("not_member")), "{method} {path}");
            let (status, _) = world.ask(method, &path, None, body).await;
            assert_eq!(status, 401);
        }
    }
    let taken = json!({"id": chat, "kind": "group", "members": []});
    assert_eq!(eve.ask(Method::POST, "/v1/conversations", Some(taken)).await.0, 400);
    let group = line.start_group(&[]).await;
    let taken = json!({"id": group, "kind": "group", "members": []});
    let (status, answer) = eve.ask(Method::POST, "/v1/conversations", Some(taken)).await;
    assert_eq!((status, &answer["code"]), (409, &json!("id_conflict")));
}

#[tokio::test]
async fn l2_routes_have_rates_and_the_search_of_people_one_for_all_devices_of_a_user() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let two = world.sign_in("ada").await;
    let asked = (0..200).map(|_| ada.ask(Method::GET, "/v1/users?query=a", None));
    let answers = futures_util::future::join_all(asked).await;
    let refused: Vec<_> = answers.iter().filter(|(status, _)| *status == 429).collect();
    let served = answers.iter().filter(|(status, _)| *status == 200).count();
    assert!(served >= 30 && !refused.is_empty() && served + refused.len() == 200, "{served}");
    assert_eq!(refused[0].1["code"], "rate_limited");
    assert!(refused[0].1["retry_after_ms"].as_u64().is_some_and(|ms| ms >= 1));
    let more =
        futures_util::future::join_all((0..50).map(|_| two.ask(Method::GET, "/v1/users?query=a", None)));
    assert!(more.await.iter().any(|(status, _)| *status == 429), "a second device brings no second burst");
    ada.get("/v1/conversations").await;
    let accounts = (0..80).map(|_| ada.ask(Method::GET, "/v1/me", None));
    let answers = futures_util::future::join_all(accounts).await;
    assert!(answers.iter().any(|(status, _)| *status == 429));
    two.get("/v1/me").await;
}

#[tokio::test]
async fn a_user_name_of_a_bad_form_is_an_unknown_one() {
    let world = World::start().await;
    for username in ["a\u{0}b", "", "x", "no such person", &"x".repeat(500)] {
        let body =
            json!({"username": username, "password": "a long enough password", "device": {"name": "x"}});
        let (status, answer) = world.ask(Method::POST, "/v1/sessions", None, Some(body)).await;
        assert_eq!((status, &answer["code"]), (401, &json!("credentials_invalid")), "{username:?}");
    }
}

#[tokio::test]
async fn heads_with_long_drafts_come_in_parts_of_a_bounded_length() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let mut line = ada.online().await;
    for _ in 0..6 {
        let group = line.start_group(&[]).await;
        let draft = json!({"text": "ä".repeat(16_000), "base": 0});
        line.call(json!({"type": "state", "conversation": group, "draft": draft})).await;
    }
    line.everything().await;
    let mut part = line.call(json!({"type": "heads", "full": true})).await;
    let mut parts = 1;
    while part["more"] == true {
        part = line.until_type("heads").await;
        parts += 1;
    }
    assert!(parts >= 2);
}

#[tokio::test]
async fn l2_what_a_message_weighs_is_billed_over_http_too() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    // Who sends nowhere is billed all the same.
    let path = format!("/v1/conversations/{}/messages", ConversationId::mint());
    let heavy = json!({"text": "🎉".repeat(15_000)});
    let mut sent = 0;
    while ada.ask(Method::POST, &path, Some(heavy.clone())).await.0 != 429 {
        sent += 1;
        assert!(sent < 1_000, "by the number alone nobody is stopped before 2,000");
    }
}
