//! Limits of reactions and pins, and what they may take of a page (W9, section 13).

use crate::support::{Line, World, about, member, message};
use kith_protocol::{ConversationId, limits};
use serde_json::{Value, json};

fn emoji(number: usize) -> String {
    char::from_u32(0x1F400 + u32::try_from(number).unwrap()).unwrap().to_string()
}

fn reaction(target: &Value, number: usize, on: bool) -> Value {
    about("reaction", target, json!({"emoji": emoji(number), "on": on}))
}

fn reactions(target: &Value, numbers: std::ops::Range<usize>) -> Vec<Value> {
    numbers.map(|number| reaction(target, number, true)).collect()
}

/// The codes of a send's results, `ok` where there is none.
async fn codes(line: &mut Line, chat: ConversationId, events: &[Value]) -> Vec<String> {
    let results = line.send(chat, events).await;
    let code = |result: &Value| result["code"].as_str().unwrap_or("ok").to_owned();
    results.iter().map(code).collect()
}

async fn all_ok(line: &mut Line, chat: ConversationId, events: &[Value]) {
    let codes = codes(line, chat, events).await;
    assert!(codes.iter().all(|code| code == "ok"), "{codes:?}");
}

#[tokio::test]
async fn a_message_has_at_most_20_different_emoji_and_8_of_one_person() {
    let world = World::start().await;
    let [ada, bo, cyn] = world.people(["ada", "bo", "cyn"]).await;
    let (mut ada, mut bo, mut cyn) = (ada.online().await, bo.online().await, cyn.online().await);
    let group = ada.start_group(&[bo.user, cyn.user]).await;
    let first = message("1");
    ada.ok(group, first.clone()).await;
    let id = &first["id"];

    all_ok(&mut ada, group, &reactions(id, 0..8)).await;
    assert_eq!(ada.refused(group, reaction(id, 8, true)).await, "too_large", "a ninth of one person");
    ada.ok(group, reaction(id, 0, true)).await;
    let exchanged = [reaction(id, 0, false), reaction(id, 8, true), reaction(id, 0, true)];
    assert_eq!(codes(&mut ada, group, &exchanged).await, ["ok", "ok", "too_large"], "within one send");

    // Ada has 1 to 8 on.
    all_ok(&mut bo, group, &reactions(id, 9..17)).await;
    let over = codes(&mut cyn, group, &reactions(id, 17..22)).await;
    assert_eq!(over, ["ok", "ok", "ok", "ok", "too_large"], "16 and 4 are 20");
    cyn.ok(group, reaction(id, 1, true)).await;
    ada.ok(group, reaction(id, 1, false)).await;
    assert_eq!(cyn.refused(group, reaction(id, 0, true)).await, "too_large", "cyn has the emoji still");
    cyn.ok(group, reaction(id, 1, false)).await;
    cyn.ok(group, reaction(id, 0, true)).await;

    let page = ada.pull(group, json!({})).await;
    let states = &page["states"][id.as_str().unwrap()]["reactions"];
    assert_eq!(states.as_object().unwrap().len(), limits::MESSAGE_EMOJI_MAX);
    assert_eq!(states[emoji(0)], json!([cyn.user]));
    let second = message("2");
    ada.ok(group, second.clone()).await;
    all_ok(&mut ada, group, &reactions(&second["id"], 0..8)).await;
}

#[tokio::test]
async fn a_conversation_has_at_most_50_pins_and_a_deletion_makes_room() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let chat = ada.start_chat(bo.user, "0").await;
    let messages: Vec<Value> = (0..52).map(|n| message(&n.to_string())).collect();
    ada.send(chat, &messages).await;
    let pin = |index: usize, on: bool| about("pin", &messages[index]["id"], json!({"on": on}));
    let pins: Vec<Value> = (0..51).map(|index| pin(index, true)).collect();
    let pinned = codes(&mut ada, chat, &pins).await;
    assert_eq!((&pinned[49], &pinned[50]), (&"ok".to_owned(), &"too_large".to_owned()));
    ada.ok(chat, pin(3, true)).await;
    let deletion = about("delete", &messages[0]["id"], json!({}));
    let exchanged = [deletion, pin(50, true), pin(51, true)];
    assert_eq!(codes(&mut ada, chat, &exchanged).await, ["ok", "ok", "too_large"]);
    ada.ok(chat, pin(7, false)).await;
    ada.ok(chat, pin(51, true)).await;
    assert_eq!(ada.refused(chat, pin(7, true)).await, "too_large");
}

#[tokio::test]
async fn a_message_has_at_most_1000_edits_so_that_its_deletion_stays_small() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let chat = ada.start_chat(bo.user, "0").await;
    let (first, second) = (message("1"), message("2"));
    ada.send(chat, &[first.clone(), second.clone()]).await;
    let edit = |message: &Value| about("edit", &message["id"], json!({"text": "x"}));
    for _ in 0..4 {
        let edits: Vec<Value> = (0..250).map(|_| edit(&first)).collect();
        all_ok(&mut ada, chat, &edits).await;
    }
    assert_eq!(ada.refused(chat, edit(&first)).await, "too_large");
    ada.ok(chat, edit(&second)).await;
    ada.ok(chat, about("delete", &first["id"], json!({}))).await;
}

#[tokio::test]
async fn w9_states_count_towards_the_128_kib_of_a_page() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let mut ada = ada.online().await;
    let chat = ada.start_chat(bo.user, "1").await;
    for text in ["2", "3", "4", "5"] {
        ada.ok(chat, message(text)).await;
    }
    // About 50 KiB of states for each message.
    sqlx::query(
        "INSERT INTO reactions (conversation_key, target, emoji, sender, seq)
         SELECT e.conversation_key, e.id, chr(128000 + n % 20), gen_random_uuid(), n
         FROM events e, generate_series(0, 1399) AS n",
    )
    .execute(&world.server.pool)
    .await
    .unwrap();
    let mut seen = Vec::new();
    let mut from = 5;
    while from > 0 {
        let page = ada.pull(chat, json!({"from": from})).await;
        let size = page["events"].to_string().len() + page["states"].to_string().len();
        assert!(size <= limits::PAGE_BYTES_MAX, "{size}");
        let (low, high) = (page["low"].as_u64().unwrap(), page["high"].as_u64().unwrap());
        assert_eq!((high, page["end"].as_bool().unwrap()), (from, low == 1));
        assert_eq!(page["states"].as_object().unwrap().len() as u64, high - low + 1);
        for state in page["states"].as_object().unwrap().values() {
            let listed = state["reactions"][emoji_at_128_000()].as_array().unwrap().len();
            assert_eq!((listed, &state["reaction_counts"][emoji_at_128_000()]), (64, &json!(70)));
        }
        seen.push(low);
        from = low - 1;
    }
    assert_eq!(seen, [4, 2, 1]);
    let forward = ada.pull(chat, json!({"from": 1, "direction": "forward"})).await;
    assert_eq!((&forward["high"], &forward["end"]), (&json!(2), &json!(false)));
}

#[tokio::test]
async fn w9_of_many_reactions_the_readers_own_is_among_those_with_names() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo) = (ada.online().await, bo.online().await);
    let group = ada.start_group(&[bo.user]).await;
    let said = message("many like this");
    ada.ok(group, said.clone()).await;
    sqlx::query(
        "INSERT INTO reactions (conversation_key, target, emoji, sender, seq)
         SELECT e.conversation_key, e.id, $2, gen_random_uuid(), 0
         FROM events e, generate_series(1, 64) WHERE e.id = $1",
    )
    .bind(uuid::Uuid::parse_str(said["id"].as_str().unwrap()).unwrap())
    .bind(emoji(0))
    .execute(&world.server.pool)
    .await
    .unwrap();
    bo.ok(group, reaction(&said["id"], 0, true)).await;
    let listed = |page: &Value| page["states"][said["id"].as_str().unwrap()].clone();
    let own = listed(&bo.pull(group, json!({})).await);
    let users = own["reactions"][emoji(0)].as_array().unwrap();
    assert_eq!(
        (users.len(), users[0].clone(), &own["reaction_counts"][emoji(0)]),
        (64, json!(bo.user), &json!(65))
    );
    let others = listed(&ada.pull(group, json!({})).await);
    assert!(
        !others["reactions"][emoji(0)].as_array().unwrap().contains(&json!(bo.user)),
        "theirs is the last"
    );
}

fn emoji_at_128_000() -> String {
    char::from_u32(128_000).unwrap().to_string()
}

#[tokio::test]
async fn r6_a_former_member_sees_the_reactions_of_the_membership_and_at_most_the_newest_1000() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let (mut ada, mut bo) = (ada.online().await, bo.online().await);
    let group = ada.start_group(&[bo.user]).await;
    let first = message("1");
    ada.ok(group, first.clone()).await;
    let id = &first["id"];
    ada.ok(group, reaction(id, 0, true)).await;
    for _ in 0..4 {
        let toggled: Vec<Value> = (0..250).map(|n| reaction(id, 1, n % 2 == 1)).collect();
        all_ok(&mut ada, group, &toggled).await;
    }
    ada.ok(group, member(bo.user, "removed")).await;
    ada.ok(group, reaction(id, 1, false)).await;
    ada.ok(group, reaction(id, 2, true)).await;
    let of = |page: &Value| page["states"][id.as_str().unwrap()]["reactions"].clone();
    let present = ada.pull(group, json!({"from": 1})).await;
    assert_eq!(of(&present), json!({emoji(0): [ada.user], emoji(2): [ada.user]}));
    let former = bo.pull(group, json!({"from": 1})).await;
    assert_eq!(of(&former), json!({emoji(1): [ada.user]}));
}
