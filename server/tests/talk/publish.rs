//! Writing the log: W1–W6, O4.

use crate::support::{World, about, member, message};
use kith_protocol::{Chain, ConversationId, EventId, Seq};
use kith_server::Config;
use serde_json::{Value, json};
use std::collections::HashMap;

#[tokio::test]
async fn i2_seqs_are_dense_and_time_countable_and_chain_follow() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo_line) = (ada.online().await, bo.online().await);
    let conversation = ada.start_chat(bo.user, "one").await;
    let two = message("two");
    ada.ok(conversation, two.clone()).await;
    bo_line.ok(conversation, about("reaction", &two["id"], json!({"emoji": "👍", "on": true}))).await;
    bo_line.ok(conversation, message("three")).await;

    let page = ada.pull(conversation, json!({})).await;
    let events = page["events"].as_array().unwrap();
    let column = |name: &str| events.iter().map(|event| event[name].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(column("seq"), [1, 2, 3, 4]);
    assert_eq!(column("countable"), [1, 2, 2, 3]);
    assert!(column("ts").is_sorted());
    let mut chain = Chain::empty(conversation);
    for event in events {
        let seq = Seq(event["seq"].as_u64().unwrap());
        let id = EventId::parse(event["id"].as_str().unwrap()).unwrap();
        chain = chain.then(conversation, seq.previous(), id);
        assert_eq!(event["chain"], chain.to_string());
    }
    assert_eq!(ada.item(conversation).await["chain"], chain.to_string());
}

/// Who claims to write two hours ahead is neither sorted nor dated by that.
#[tokio::test]
async fn a11_w6_a_clock_two_hours_ahead_changes_neither_order_nor_time() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo_line) = (ada.online().await, bo.online().await);
    let chat = ada.start_chat(bo.user, "0").await;
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64;
    let begun = now();
    for _ in 0..3 {
        let mut ahead = message("from the future");
        ahead["written_at"] = json!(now() + 2 * 3_600_000);
        ada.ok(chat, ahead).await;
        bo_line.ok(chat, message("from today")).await;
    }
    let page = bo_line.pull(chat, json!({})).await;
    let events = page["events"].as_array().unwrap();
    let texts: Vec<_> = events[1..].iter().map(|event| event["body"]["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["from the future", "from today"].repeat(3));
    let times: Vec<_> = events[1..].iter().map(|event| event["ts"].as_u64().unwrap()).collect();
    assert!(times.is_sorted() && times.iter().all(|ts| (begun..=now()).contains(ts)), "{times:?}");
}

#[tokio::test]
async fn w3_same_id_same_body_is_a_duplicate_and_another_body_a_conflict() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo_line) = (ada.online().await, bo.online().await);
    let conversation = ada.start_chat(bo.user, "one").await;
    let mut two = message("two");
    let first = ada.send(conversation, &[two.clone()]).await;
    two["written_at"] = 5.into();
    two["resubmitted"] = true.into();
    let again = ada.send(conversation, &[two.clone(), message("three")]).await;
    assert_eq!(again[0]["status"], "duplicate");
    for field in ["seq", "ts", "countable", "chain"] {
        assert_eq!(again[0][field], first[0][field]);
    }
    assert_eq!(
        (&again[1]["status"], &again[1]["seq"]),
        (&json!("ok"), &json!(3)),
        "a duplicate stops nothing"
    );

    two["body"]["text"] = "other".into();
    assert_eq!(ada.refused(conversation, two.clone()).await, "id_conflict");
    two["body"]["text"] = "two".into();
    assert_eq!(bo_line.refused(conversation, two).await, "id_conflict", "another sender");
    assert_eq!(ada.item(conversation).await["head"], 3);
}

#[tokio::test]
async fn w3_an_id_belongs_to_its_conversation_alone() {
    let world = World::start().await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let mut ada = ada.online().await;
    let (one, other) = (ada.start_chat(bo.user, "x").await, ada.start_chat(cy.user, "x").await);
    let event = message("twice");
    assert_eq!(ada.ok(one, event.clone()).await, 2);
    assert_eq!(ada.ok(other, event).await, 2);
}

#[tokio::test]
async fn w2_a_duplicate_is_answered_to_an_ex_member_and_nothing_else() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo_line) = (ada.online().await, bo.online().await);
    let group = ada.start_group(&[bo.user]).await;
    let own = message("mine");
    bo_line.ok(group, own.clone()).await;
    ada.ok(group, member(bo.user, "removed")).await;
    let results = bo_line.send(group, &[own.clone(), message("more"), message("skipped")]).await;
    let statuses: Vec<_> = results.iter().map(|one| one["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["duplicate", "error", "skipped"]);
    assert_eq!((&results[1]["code"], &results[2]["code"]), (&json!("not_member"), &json!("skipped")));
    let mut forged = own;
    forged["body"]["text"] = "changed".into();
    assert_eq!(bo_line.refused(group, forged).await, "not_member", "an ex-member learns of no conflict");
}

#[tokio::test]
async fn o4_a_prefix_is_committed_and_the_rest_skipped() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let conversation = ada.start_chat(bo.user, "one").await;
    let missing = json!(EventId::mint());
    let statuses = |results: &[Value]| -> Vec<String> {
        results.iter().map(|one| one["status"].as_str().unwrap().to_owned()).collect()
    };
    let results = ada
        .send(conversation, &[message("a"), about("edit", &missing, json!({"text": "b"})), message("c")])
        .await;
    assert_eq!(statuses(&results), ["ok", "error", "skipped"]);
    assert_eq!(results[1]["code"], "target_missing");

    // A bad form stops the same way, also behind an item that the log refuses.
    let bad = json!({"id": "nonsense", "kind": "message", "body": {"text": "x"}});
    let results = ada.send(conversation, &[message("d"), bad.clone(), message("e")]).await;
    assert_eq!(statuses(&results), ["ok", "error", "skipped"]);
    assert_eq!((&results[1]["code"], &results[1]["id"]), (&json!("invalid"), &Value::Null));
    let results = ada.send(conversation, &[about("delete", &missing, json!({})), bad]).await;
    assert_eq!(statuses(&results), ["error", "skipped"]);
    assert_eq!(ada.item(conversation).await["head"], 3);
}

#[tokio::test]
async fn sec_035_w5_what_is_not_of_the_form_is_refused_before_the_log() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let conversation = ada.start_chat(bo.user, "one").await;
    let with = |key: &str, value: Value| {
        let mut event = message("x");
        event[key] = value;
        event
    };
    for (refused, code) in [
        (message(""), "invalid"),
        (message("a\0b"), "invalid"),
        (message(&"é".repeat(16_001)), "too_large"),
        (with("seq", 7.into()), "invalid"),
        (with("ts", 7.into()), "invalid"),
        (with("sender", json!(bo.user)), "invalid"),
        (with("id", json!(uuid::Uuid::new_v4())), "invalid"),
        (with("body", json!({"text": "x", "html": "y"})), "invalid"),
        (with("kind", "poll".into()), "unsupported"),
        (with("written_at", (-1).into()), "invalid"),
        (with("target", json!(EventId::mint())), "invalid"),
    ] {
        assert_eq!(ada.refused(conversation, refused.clone()).await, code, "{refused}");
    }
    assert_eq!(ada.ok(conversation, message(&"é".repeat(16_000))).await, 2);
    let send = |events: Value| json!({"type": "send", "conversation": conversation, "events": events});
    assert_eq!(ada.error(send(json!([]))).await, "invalid");
    assert_eq!(ada.error(send(json!("x"))).await, "invalid");
    let many: Vec<_> = (0..257).map(|_| message("x")).collect();
    assert_eq!(ada.error(send(json!(many))).await, "invalid");
    assert_eq!(ada.item(conversation).await["head"], 2);
}

#[tokio::test]
async fn sec_034_strangers_ex_members_and_unknown_ids_are_the_same_not_member() {
    let world = World::start().await;
    let [ada, bo, eve] = world.people(["ada", "bo", "eve"]).await;
    let (mut ada, mut bo_line, mut eve) = (ada.online().await, bo.online().await, eve.online().await);
    let group = ada.start_group(&[bo.user]).await;
    ada.ok(group, message("one")).await;
    ada.ok(group, member(bo.user, "removed")).await;
    let frames = |id: ConversationId| {
        vec![
            json!({"type": "state", "conversation": id, "read": 1}),
            json!({"type": "delivered", "markers": [[id, 1]]}),
            json!({"type": "typing", "conversation": id, "on": true}),
            json!({"type": "focus", "conversations": [id]}),
            json!({"type": "members", "conversation": id, "max": 10}),
            json!({"type": "markers", "conversation": id}),
        ]
    };
    for line in [&mut bo_line, &mut eve] {
        for id in [group, ConversationId::mint()] {
            for frame in frames(id) {
                assert_eq!(line.error(frame.clone()).await, "not_member", "{frame}");
            }
            assert_eq!(line.refused(id, message("x")).await, "not_member");
        }
    }
    for id in [group, ConversationId::mint()] {
        let pull = json!({"type": "pull", "conversation": id, "direction": "backward", "max": 5});
        assert_eq!(eve.error(pull).await, "not_member");
        assert_eq!(eve.error(json!({"type": "probe", "conversation": id, "seqs": [1]})).await, "not_member");
    }
    let frames = ada.everything().await;
    assert!(
        frames.iter().all(|frame| frame["type"] != "ephemeral" && frame["type"] != "markers"),
        "{frames:?}"
    );
}

#[tokio::test]
async fn w4_concurrent_publishes_stay_dense_ordered_and_exactly_once() {
    const PEOPLE: usize = 4;
    const ROUNDS: usize = 30;
    let world = World::start().await;
    let people = world.people(["ada", "bo", "cy", "di"]).await;
    let mut starter = people[0].online().await;
    let users: Vec<_> = people.iter().map(|person| person.user).collect();
    let mut groups = Vec::new();
    for _ in 0..3 {
        groups.push(starter.start_group(&users[1..]).await);
    }
    let talking = people.iter().enumerate().map(|(index, person)| {
        let groups = groups.clone();
        async move {
            let mut line = person.online_as(u64::from(index == 0)).await;
            let mut asked: HashMap<u64, (ConversationId, Vec<Value>)> = HashMap::new();
            for round in 0..ROUNDS {
                let group = groups[round % groups.len()];
                let events: Vec<_> = (0..3).map(|n| message(&format!("{index} {round} {n}"))).collect();
                let mut frame = json!({"type": "send", "conversation": group, "events": events});
                let request = line.start(&mut frame).await;
                asked.insert(request, (group, events));
            }
            let mut accepted: HashMap<(ConversationId, String), u64> = HashMap::new();
            for (request, (group, events)) in asked {
                let ack = line.until(|frame| frame["reply_to"] == request).await;
                for (result, event) in ack["results"].as_array().unwrap().iter().zip(&events) {
                    assert_eq!(result["status"], "ok", "{ack}");
                    accepted.insert((group, event["id"].to_string()), result["seq"].as_u64().unwrap());
                }
            }
            accepted
        }
    });
    let accepted = futures_util::future::join_all(talking).await;
    for group in &groups {
        let rows: Vec<(i64, uuid::Uuid)> = sqlx::query_as(
            "SELECT seq, events.id FROM events JOIN conversations c ON c.key = conversation_key
             WHERE c.id = $1 ORDER BY seq",
        )
        .bind(group.as_uuid())
        .fetch_all(&world.server.pool)
        .await
        .unwrap();
        assert_eq!(rows.len(), PEOPLE * ROUNDS);
        for (index, (seq, id)) in rows.iter().enumerate() {
            assert_eq!(*seq, index as i64 + 1);
            let key = (*group, json!(id).to_string());
            let by = accepted.iter().find_map(|one| one.get(&key)).expect("acknowledged");
            assert_eq!(*by, seq.unsigned_abs(), "I1");
        }
    }
    // I5: what one person sent to one conversation stands in the order of sending.
    let page = people[0].online_as(2).await.pull(groups[0], json!({"from": 1, "direction": "forward"})).await;
    let mut last: HashMap<String, Vec<u64>> = HashMap::new();
    for event in page["events"].as_array().unwrap() {
        let numbers: Vec<u64> =
            event["body"]["text"].as_str().unwrap().split(' ').map(|n| n.parse().unwrap()).collect();
        let before = last.insert(event["sender"].to_string(), numbers.clone());
        assert!(before.is_none_or(|before| before < numbers));
    }
}

/// Makes the database refuse events with this text, at the insert or only at the commit.
async fn poison(world: &World, text: &str, at_commit: bool) {
    let timing = if at_commit { "DEFERRABLE INITIALLY DEFERRED" } else { "" };
    let statements = [
        format!(
            "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN IF NEW.body LIKE '%{text}%' THEN RAISE EXCEPTION 'refused'; END IF; RETURN NULL; END $$"
        ),
        format!(
            "CREATE CONSTRAINT TRIGGER poison AFTER INSERT ON events {timing}
             FOR EACH ROW EXECUTE FUNCTION refuse()"
        ),
    ];
    for statement in statements {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&world.server.pool).await.unwrap();
    }
}

#[tokio::test]
async fn w4_a_poison_row_fails_alone() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    poison(&world, "poison", false).await;
    let mut ada = ada.online().await;
    let mut groups = Vec::new();
    for _ in 0..16 {
        groups.push(ada.start_group(&[]).await);
    }
    for round in 0..5 {
        let mut asked = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            let text = if index == 3 { "poison" } else { "fine" };
            let mut frame = json!({"type": "send", "conversation": group, "events": [message(text)]});
            asked.push(ada.start(&mut frame).await);
        }
        for (index, request) in asked.into_iter().enumerate() {
            let answer = ada.until(|frame| frame["reply_to"] == request).await;
            if index == 3 {
                assert_eq!((&answer["type"], &answer["code"]), (&json!("error"), &json!("unavailable")));
            } else {
                assert_eq!(answer["results"][0]["seq"], round + 1, "{answer}");
            }
        }
    }
}

#[tokio::test]
async fn w6_a_commit_that_fails_is_retryable_and_leaves_nothing() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let chat = ada.start_chat(bo.user, "1").await;
    poison(&world, "stuck", true).await;
    let frame = json!({"type": "send", "conversation": chat, "events": [message("stuck")]});
    let refused = ada.call(frame.clone()).await;
    assert_eq!(refused["code"], "unavailable");
    assert!(refused["retry_after_ms"].is_u64());
    sqlx::raw_sql("DROP TRIGGER poison ON events").execute(&world.server.pool).await.unwrap();
    assert_eq!(ada.call(frame).await["results"][0]["seq"], 2);
}

#[tokio::test]
async fn whoever_has_no_room_left_gets_some_by_deleting_short_messages() {
    let config = Config { user_storage_bytes: Some(2_000), ..Config::for_tests() };
    let world = World::start_with(config).await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut line = ada.online().await;
    let chat = line.start_chat(bo.user, "1").await;
    let short: Vec<_> = (0..13).map(|_| message("k")).collect();
    for one in &short {
        line.ok(chat, one.clone()).await;
    }
    line.ok(chat, message("k")).await;
    assert_eq!(line.refused(chat, message("k")).await, "not_allowed");
    for one in &short {
        line.ok(chat, about("delete", &one["id"], json!({}))).await;
    }
    line.ok(chat, message("k")).await;
}

#[tokio::test]
async fn a_user_stores_as_much_as_they_may_and_can_still_make_room() {
    let config = Config { user_storage_bytes: Some(2_000), ..Config::for_tests() };
    let world = World::start_with(config).await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut line, mut bo_line) = (ada.online().await, bo.online().await);
    let chat = line.start_chat(bo.user, "1").await;
    let long = || message(&"x".repeat(1_000));
    let (first, late) = (long(), long());
    assert_eq!(line.ok(chat, first.clone()).await, 2);
    assert_eq!(line.ok(chat, long()).await, 3);
    assert_eq!(line.refused(chat, late.clone()).await, "not_allowed");
    let again = line.send(chat, std::slice::from_ref(&first)).await;
    assert_eq!(again[0]["status"], "duplicate", "what is stored is stored");
    assert_eq!(bo_line.ok(chat, long()).await, 4, "others have room of their own");
    assert_eq!(line.ok(chat, about("delete", &first["id"], json!({}))).await, 5);
    assert_eq!(line.ok(chat, late).await, 6);
    let deadline = std::time::Instant::now() + crate::support::SOON;
    let counted = async || -> (i64, i64) {
        let sql = "SELECT coalesce((SELECT bytes FROM user_storage WHERE user_id = $1), 0),
                          (SELECT sum(coalesce(octet_length(body) + 128, 0)) FROM events WHERE sender = $1)";
        sqlx::query_as(sql).bind(ada.user.as_uuid()).fetch_one(&world.server.pool).await.unwrap()
    };
    loop {
        let (bytes, stored) = counted().await;
        if bytes == stored {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{bytes} counted, {stored} stored");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn w4_requests_that_take_the_whole_pool_do_not_delay_the_first_send_of_a_user() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut line, mut bo_line) = (ada.online().await, bo.online().await);
    // The server has not read how much ada has stored.
    let chat = bo_line.start_chat(ada.user, "1").await;
    let mut held = Vec::new();
    for _ in 0..world.server.pool.options().get_max_connections() {
        held.push(world.server.pool.acquire().await.unwrap());
    }
    let begun = std::time::Instant::now();
    assert_eq!(line.ok(chat, message("hello")).await, 2);
    assert!(begun.elapsed() < std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
}
