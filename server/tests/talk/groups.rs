//! Groups, visibility, and how conversations begin: R6, section 10, section 12.

use crate::support::{World, about, event, member, message};
use kith_protocol::{ConversationId, EventId, UserId};
use serde_json::{Value, json};

fn seqs(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn sec_041_r6_members_see_their_interval_and_nothing_else() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let (mut ada, mut bo_line, mut cy_line) = (ada.online().await, bo.online().await, cy.online().await);
    let group = ada.start_group(&[bo.user]).await;
    ada.ok(group, message("1")).await;
    ada.ok(group, member(cy.user, "added")).await;
    ada.ok(group, message("3")).await;

    // Announced before the first event, which is the one that adds.
    let heads = cy_line.until_type("heads").await;
    let item = &heads["items"][0];
    assert_eq!((&heads["full"], &item["visible"]), (&json!(false), &json!([[2, null]])));
    assert_eq!((&item["read"], &item["delivered"]), (&json!(1), &json!(1)));
    let events = cy_line.events_to(group, 3).await;
    assert_eq!(events[0]["seq"], 2);
    let page = cy_line.pull(group, json!({})).await;
    assert_eq!((seqs(&page), &page["end"]), (vec![2, 3], &json!(true)));
    let beyond = cy_line.pull(group, json!({"from": 1})).await;
    assert_eq!((seqs(&beyond), &beyond["low"], &beyond["high"]), (vec![], &json!(1), &json!(0)));

    ada.ok(group, member(bo.user, "removed")).await;
    ada.ok(group, message("5")).await;
    let last = bo_line.events_to(group, 4).await;
    assert_eq!(last.last().unwrap()["body"]["change"], "removed");
    assert!(bo_line.everything().await.iter().all(|frame| frame["type"] != "events"), "I4");
    let item = bo_line.item(group).await;
    assert_eq!((&item["head"], &item["visible"]), (&json!(4), &json!([[1, 4]])));
    let page = bo_line.pull(group, json!({})).await;
    assert_eq!((seqs(&page), &page["head"]), (vec![1, 2, 3, 4], &json!(4)));
    assert_eq!(bo_line.pull(group, json!({"from": 5})).await["events"], json!([]));
    assert_eq!(
        bo_line.call(json!({"type": "probe", "conversation": group, "seqs": [4, 5]})).await["chains"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn sec_041_r6_whoever_comes_again_sees_two_intervals() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo_line) = (ada.online().await, bo.online().await);
    let group = ada.start_group(&[bo.user]).await;
    ada.ok(group, message("1")).await;
    bo_line.ok(group, member(bo.user, "left")).await;
    let hidden = message("3");
    ada.ok(group, hidden.clone()).await;
    ada.ok(group, member(bo.user, "added")).await;
    ada.ok(group, message("5")).await;
    let item = bo_line.item(group).await;
    assert_eq!(item["visible"], json!([[1, 2], [4, null]]));
    assert_eq!((&item["read"], &item["unread"]), (&json!(3), &json!(1)));
    let page = bo_line.pull(group, json!({})).await;
    assert_eq!((seqs(&page), &page["end"]), (vec![4, 5], &json!(true)), "pages are per interval");
    let page = bo_line.pull(group, json!({"from": 2})).await;
    assert_eq!((seqs(&page), &page["end"]), (vec![1, 2], &json!(true)));
    let reaction = about("reaction", &hidden["id"], json!({"emoji": "👍", "on": true}));
    assert_eq!(bo_line.refused(group, reaction).await, "target_missing", "outside of the own intervals");
}

#[tokio::test]
async fn groups_are_managed_by_owners_and_admins() {
    let world = World::start().await;
    let [ada, bo, cy, di] = world.people(["ada", "bo", "cy", "di"]).await;
    let (mut ada_line, mut bo_line, mut cy_line) = (ada.online().await, bo.online().await, cy.online().await);
    let group = ada_line.start_group(&[bo.user, cy.user]).await;
    let role =
        |user: UserId, role: &str| event("member", json!({"user": user, "change": "role", "role": role}));

    for refused in [
        member(di.user, "added"),
        member(cy.user, "removed"),
        role(bo.user, "admin"),
        event("settings", json!({"x": 1})),
        member(cy.user, "left"),
    ] {
        assert_eq!(bo_line.refused(group, refused.clone()).await, "not_allowed", "{refused}");
    }
    ada_line.ok(group, role(bo.user, "admin")).await;
    assert_eq!(bo_line.refused(group, member(ada.user, "removed")).await, "not_allowed", "an owner stays");
    assert_eq!(bo_line.refused(group, role(bo.user, "owner")).await, "not_allowed");
    assert_eq!(bo_line.refused(group, member(UserId::mint(), "added")).await, "target_missing");
    assert_eq!(bo_line.refused(group, member(cy.user, "added")).await, "invalid", "is in it already");
    assert_eq!(bo_line.refused(group, member(di.user, "removed")).await, "target_missing");
    bo_line.ok(group, member(di.user, "added")).await;
    bo_line.ok(group, event("settings", json!({"x": 1}))).await;
    let by_other = message("by cy");
    cy_line.ok(group, by_other.clone()).await;
    bo_line.ok(group, about("delete", &by_other["id"], json!({}))).await;
    cy_line.ok(group, event("title", json!({"text": "another title"}))).await;
    cy_line.ok(group, member(cy.user, "left")).await;
    assert_eq!(cy_line.refused(group, message("x")).await, "not_member");

    let item = ada_line.item(group).await;
    assert_eq!((&item["title"], &item["member_count"]), (&json!("another title"), &json!(3)));
    let members = ada_line.call(json!({"type": "members", "conversation": group, "max": 2})).await;
    assert_eq!(members["items"].as_array().unwrap().len(), 2);
    let rest = ada_line
        .call(json!({"type": "members", "conversation": group, "max": 2, "after": members["next"]}))
        .await;
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (1, &Value::Null));
    let roles: Vec<_> = [&members, &rest]
        .iter()
        .flat_map(|part| part["items"].as_array().unwrap().iter())
        .map(|one| (one["user"].clone(), one["role"].as_str().unwrap().to_owned()))
        .collect();
    assert!(
        roles.contains(&(json!(ada.user), "owner".into()))
            && roles.contains(&(json!(bo.user), "admin".into()))
    );
    assert!(roles.contains(&(json!(di.user), "member".into())));
}

#[tokio::test]
async fn a_member_change_counts_for_the_rest_of_its_own_batch() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let (mut ada, mut cy_line) = (ada.online().await, cy.online().await);
    let group = ada.start_group(&[bo.user]).await;
    let results = ada
        .send(
            group,
            &[
                message("1"),
                member(cy.user, "added"),
                message("3"),
                member(cy.user, "removed"),
                message("5"),
                member(cy.user, "removed"),
            ],
        )
        .await;
    assert_eq!(results[5]["code"], "target_missing", "{results:?}");
    let events = cy_line.events_to(group, 4).await;
    let got: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(got, [2, 3, 4]);
    assert!(cy_line.everything().await.iter().all(|frame| frame["type"] != "events"));
    assert_eq!(cy_line.item(group).await["visible"], json!([[2, 4]]));
}

#[tokio::test]
async fn a_group_is_announced_when_it_is_made_and_not_again_with_its_first_event() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let group = ada_line.start_group(&[bo.user]).await;
    let announced = bo_line.next_frame().await;
    assert_eq!((&announced["type"], &announced["items"][0]["head"]), (&json!("heads"), &json!(0)));
    ada_line.ok(group, message("one")).await;
    let first = bo_line.next_frame().await;
    assert_eq!((&first["type"], &first["events"][0]["seq"]), (&json!("events"), &json!(1)), "{first}");
}

#[tokio::test]
async fn a_direct_conversation_belongs_to_its_creator_until_the_first_event() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let id = ConversationId::direct(ada.user, bo.user);
    let open = json!({"type": "open", "conversation": id, "kind": "direct", "members": [bo.user]});
    let heads = ada_line.call(open.clone()).await;
    assert_eq!((&heads["full"], &heads["items"][0]["head"]), (&json!(false), &json!(0)));
    assert_eq!(bo_line.item(id).await, Value::Null);
    assert!(bo_line.everything().await.iter().all(|frame| frame["type"] != "heads"));
    assert_eq!(ada_line.item(id).await["head"], 0);

    ada_line.ok(id, message("one")).await;
    let announced = bo_line.next_frame().await;
    assert_eq!((&announced["type"], &announced["full"]), (&json!("heads"), &json!(false)), "{announced}");
    assert_eq!(announced["items"][0]["unread"], 1);
    assert_eq!(bo_line.next_frame().await["type"], "events");
    // Opened again, also by the other one: the same conversation.
    assert_eq!(ada_line.call(open).await["items"][0]["head"], 1);
    let by_other = json!({"type": "open", "conversation": id, "kind": "direct", "members": [ada.user]});
    assert_eq!(bo_line.call(by_other).await["items"][0]["head"], 1);
    for refused in [
        event("title", json!({"text": "x"})),
        member(bo.user, "removed"),
        member(ada.user, "left"),
        event("settings", json!({})),
    ] {
        assert_eq!(ada_line.refused(id, refused).await, "not_allowed");
    }
}

#[tokio::test]
async fn both_start_the_same_chat_at_once_and_it_is_one() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let (one, other) =
        tokio::join!(ada_line.start_chat(bo.user, "from ada"), bo_line.start_chat(ada.user, "from bo"));
    assert_eq!(one, other);
    assert_eq!(ada_line.events_to(one, 2).await.len(), 2);
    assert_eq!(bo_line.events_to(one, 2).await.len(), 2);
}

#[tokio::test]
async fn openings_of_a_bad_form_are_refused() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let direct = ConversationId::direct(ada.user, bo.user);
    let open = |id: ConversationId, kind: &str, members: &[UserId]| json!({"type": "open", "conversation": id, "kind": kind, "members": members});
    let with = |mut frame: Value, key: &str, value: Value| {
        frame[key] = value;
        frame
    };
    let fresh = ConversationId::mint;
    for (frame, code) in [
        (open(fresh(), "direct", &[bo.user]), "invalid"),
        (open(direct, "group", &[bo.user]), "invalid"),
        (open(direct, "direct", &[bo.user, cy.user]), "invalid"),
        (open(ConversationId::direct(ada.user, ada.user), "direct", &[ada.user]), "invalid"),
        (with(open(direct, "direct", &[bo.user]), "title", "x".into()), "invalid"),
        (with(open(fresh(), "group", &[bo.user]), "title", "x".repeat(129).into()), "too_large"),
        (with(open(fresh(), "group", &[]), "context", json!({"kind": "Job!", "id": "1"})), "invalid"),
        (
            with(
                open(fresh(), "group", &[]),
                "context",
                json!({"kind": "job", "id": "1", "link": "ftp://x"}),
            ),
            "invalid",
        ),
        (with(open(direct, "direct", &[bo.user]), "first", message("")), "invalid"),
        (open(fresh(), "group", &[UserId::mint()]), "target_missing"),
    ] {
        assert_eq!(ada_line.error(frame.clone()).await, code, "{frame}");
    }
    assert_eq!(ada_line.item(direct).await, Value::Null, "nothing was begun");
    let group = ada_line.start_group(&[bo.user]).await;
    let mut cy_line = cy.online().await;
    assert_eq!(cy_line.error(open(group, "group", &[bo.user])).await, "id_conflict", "not a member");
    ada_line.ok(group, member(bo.user, "removed")).await;
    assert_eq!(bo_line.error(open(group, "group", &[ada.user])).await, "id_conflict", "no longer a member");
    let context = json!({"kind": "job", "id": "17", "title": "A job", "link": "https://example.org/17"});
    let about_job = with(open(fresh(), "group", &[bo.user]), "context", context.clone());
    assert_eq!(ada_line.call(about_job).await["items"][0]["context"], context);
}

#[tokio::test]
async fn i12_a_group_that_two_owners_open_again_is_one() {
    let world = World::start().await;
    let [ada, bo, cy, di] = world.people(["ada", "bo", "cy", "di"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let id = ConversationId::mint();
    let open = |members: &[UserId], title: &str| json!({"type": "open", "conversation": id, "kind": "group", "members": members, "title": title});
    let first = ada_line.call(open(&[bo.user, cy.user], "a group")).await;
    assert_eq!(first["items"][0]["conversation"], id.to_string(), "{first}");
    let second = bo_line.call(open(&[ada.user, cy.user, di.user], "another title")).await;
    let item = &second["items"][0];
    assert_eq!((&item["conversation"], &item["title"]), (&json!(id), &json!("a group")), "{second}");
    assert_eq!(di.online().await.item(id).await, Value::Null, "opening it again adds nobody");
    bo_line.ok(id, message("from the second owner")).await;
    assert_eq!(ada_line.events_to(id, 1).await.len(), 1);
}

#[tokio::test]
async fn every_kind_of_event_reaches_the_others() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let group = ada_line.start_group(&[bo.user]).await;
    let first = message("first");
    let events = [
        first.clone(),
        event("message", json!({"text": "re", "reply_to": first["id"]})),
        about("edit", &first["id"], json!({"text": "edited"})),
        about("reaction", &first["id"], json!({"emoji": "🎉", "on": true})),
        about("pin", &first["id"], json!({"on": true})),
        member(cy.user, "added"),
        event("title", json!({"text": "t"})),
        event("settings", json!({"who_may_add": "all"})),
        about("delete", &first["id"], json!({})),
    ];
    let results = ada_line.send(group, &events).await;
    assert!(results.iter().all(|one| one["status"] == "ok"), "{results:?}");
    let got = bo_line.events_to(group, events.len() as u64).await;
    for (event, sent) in got.iter().zip(&events) {
        for field in ["id", "kind", "target", "body"] {
            assert_eq!(event[field], sent[field]);
        }
    }
    assert_eq!(got.last().unwrap()["countable"], 2);
    let own = ada_line.events_to(group, events.len() as u64).await;
    assert_eq!(own, got, "the sending connection gets them too");
}

#[tokio::test]
async fn an_event_of_the_future_is_unsupported_and_stops_nothing_else() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let chat = ada.start_chat(bo.user, "x").await;
    assert_eq!(ada.refused(chat, event("poll", json!({"q": 1}))).await, "unsupported");
    let foreign = about("reaction", &json!(EventId::mint()), json!({"emoji": "👍", "on": true}));
    assert_eq!(ada.refused(chat, foreign).await, "target_missing");
    ada.ok(chat, message("y")).await;
}

#[tokio::test]
async fn a_user_opens_so_many_conversations_at_once_and_then_so_many_an_hour() {
    let opening = kith_server::config::HourlyBudget { at_once: 3, per_hour: 60 };
    let world = World::start_with(kith_server::Config { opening, ..kith_server::Config::for_tests() }).await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let first = line.start_group(&[bo.user]).await;
    for _ in 0..2 {
        line.start_group(&[bo.user]).await;
    }
    let open = |id: ConversationId| json!({"type": "open", "conversation": id, "kind": "group", "members": [bo.user]});
    let refused = line.call(open(ConversationId::mint())).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("error"), &json!("rate_limited")));
    let wait = refused["retry_after_ms"].as_u64().unwrap();
    assert!((50_000..=60_000).contains(&wait), "{wait}");
    assert_eq!(line.call(open(first)).await["type"], "heads", "one that exists is found");
    let body = json!({"kind": "group", "members": [bo.user]});
    assert_eq!(ada.ask(reqwest::Method::POST, "/v1/conversations", Some(body)).await.0, 429);
    // A refusal locks nobody's row, so that it holds nobody up.
    let mut holding = kith_server::db::begin(&world.server.pool).await.unwrap();
    let lock = "SELECT FROM users WHERE id = $1 FOR UPDATE";
    sqlx::query(lock).bind(bo.user.as_uuid()).execute(&mut *holding).await.unwrap();
    assert_eq!(line.error(open(ConversationId::mint())).await, "rate_limited");
    holding.rollback().await.unwrap();
    bo.online().await.start_group(&[ada.user]).await;
    // A minute later there is room for one.
    sqlx::query("UPDATE users SET opened_until = opened_until - interval '1 minute'")
        .execute(&world.server.pool)
        .await
        .unwrap();
    line.start_group(&[bo.user]).await;
    assert_eq!(line.error(open(ConversationId::mint())).await, "rate_limited");
}

#[tokio::test]
async fn the_members_of_new_groups_count_among_the_people_whom_a_user_adds() {
    let adding = kith_server::config::HourlyBudget { at_once: 3, per_hour: 60 };
    let world = World::start_with(kith_server::Config { adding, ..kith_server::Config::for_tests() }).await;
    let [ada, bo, cy, di, ed, flo] = world.people(["ada", "bo", "cy", "di", "ed", "flo"]).await;
    let mut line = ada.online().await;
    let pair = line.start_group(&[bo.user]).await;
    let large = line.start_group(&[bo.user, cy.user, di.user, ed.user]).await;
    let open = |id: ConversationId| json!({"type": "open", "conversation": id, "kind": "group", "members": [flo.user]});
    let refused = line.call(open(ConversationId::mint())).await;
    assert_eq!(refused["code"], "rate_limited");
    let wait = refused["retry_after_ms"].as_u64().unwrap();
    assert!((170_000..=180_000).contains(&wait), "five of three are in use: {wait}");
    assert_eq!(line.refused(pair, member(flo.user, "added")).await, "rate_limited");
    assert_eq!(line.call(open(large)).await["type"], "heads", "one that exists costs nothing");
    line.start_chat(flo.user, "a direct one names nobody else").await;
    let alone =
        json!({"type": "open", "conversation": ConversationId::mint(), "kind": "group", "members": []});
    assert_eq!(line.call(alone).await["type"], "heads");
    sqlx::query("UPDATE users SET added_until = added_until - interval '3 minutes'")
        .execute(&world.server.pool)
        .await
        .unwrap();
    line.start_group(&[flo.user]).await;
}

#[tokio::test]
async fn somebody_who_was_in_a_group_100_times_is_not_added_again() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let mut ada = ada.online().await;
    let group = ada.start_group(&[bo.user, cy.user]).await;
    // The first stay began with the group.
    let turns: Vec<Value> =
        (0..99).flat_map(|_| ["removed", "added"].map(|change| member(bo.user, change))).collect();
    let results = ada.send(group, &turns).await;
    assert!(results.iter().all(|result| result["status"] == "ok"), "{results:?}");
    ada.ok(group, member(bo.user, "removed")).await;
    assert_eq!(ada.refused(group, member(bo.user, "added")).await, "too_large");
    ada.ok(group, member(cy.user, "removed")).await;
    ada.ok(group, member(cy.user, "added")).await;
}

#[tokio::test]
async fn a_user_adds_so_many_people_at_once_and_then_so_many_an_hour() {
    let adding = kith_server::config::HourlyBudget { at_once: 3, per_hour: 60 };
    let world = World::start_with(kith_server::Config { adding, ..kith_server::Config::for_tests() }).await;
    let [ada, bo, cy, di, ed, flo, gus] = world.people(["ada", "bo", "cy", "di", "ed", "flo", "gus"]).await;
    let (mut ada_line, mut bo_line) = (ada.online().await, bo.online().await);
    let group = ada_line.start_group(&[bo.user]).await;
    let other = ada_line.start_group(&[bo.user, cy.user, di.user, ed.user]).await;
    // What these openings took is free again.
    sqlx::query("UPDATE users SET added_until = now()").execute(&world.server.pool).await.unwrap();
    let admin = event("member", json!({"user": bo.user, "change": "role", "role": "admin"}));
    ada_line.ok(group, admin).await;

    let added: Vec<Value> = [&cy, &di, &ed, &flo, &gus].map(|one| member(one.user, "added")).into();
    let results = ada_line.send(group, &added).await;
    let statuses: Vec<&str> = results.iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["ok", "ok", "ok", "error", "skipped"], "{results:?}");
    assert_eq!(results[3]["code"], "rate_limited");
    let wait = results[3]["retry_after_ms"].as_u64().unwrap();
    assert!((50_000..=60_000).contains(&wait), "{wait}");
    let again = ada_line.send(group, &added[..3]).await;
    assert!(again.iter().all(|one| one["status"] == "duplicate"), "known ids cost nothing: {again:?}");
    assert_eq!(ada_line.refused(other, member(flo.user, "added")).await, "rate_limited", "in every group");
    assert_eq!(ada_line.refused(group, member(cy.user, "added")).await, "invalid", "what is refused anyway");
    ada_line.ok(group, member(cy.user, "removed")).await;
    ada_line.ok(group, message("goes on")).await;
    bo_line.ok(group, member(flo.user, "added")).await;

    // A minute later there is room for one.
    sqlx::query("UPDATE users SET added_until = added_until - interval '1 minute'")
        .execute(&world.server.pool)
        .await
        .unwrap();
    ada_line.ok(group, member(gus.user, "added")).await;
    assert_eq!(ada_line.refused(other, member(flo.user, "added")).await, "rate_limited");
}
