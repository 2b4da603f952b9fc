//! Conversations over HTTP: the twins of the socket's frames (section 11).

use crate::support::{Answer, World};
use kith_protocol::{ConversationId, ErrorCode, EventId, api::Session};
use reqwest::Method;
use serde_json::{Value, json};

impl World {
    async fn as_of(&self, who: &Session, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.ask(method, path, Some(&who.access_token), body).await
    }

    async fn start_direct(&self, who: &Session, with: &Session) -> String {
        let body = json!({"kind": "direct", "members": [with.user.id]});
        let answer = self.as_of(who, Method::POST, "/v1/conversations", Some(body)).await;
        assert!(answer.status.is_success(), "{answer:?}");
        answer.body["conversation"].as_str().unwrap().to_owned()
    }

    async fn say(&self, who: &Session, conversation: &str, text: &str) -> Answer {
        let path = format!("/v1/conversations/{conversation}/messages");
        self.as_of(who, Method::POST, &path, Some(json!({"text": text}))).await
    }

    async fn page(&self, who: &Session, conversation: &str, query: &str) -> Value {
        let path = format!("/v1/conversations/{conversation}/messages?{query}");
        let answer = self.get(&path, &who.access_token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }
}

fn seqs(page: &Value) -> Vec<u64> {
    page["events"].as_array().unwrap().iter().map(|event| event["seq"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn the_same_direct_conversation_whoever_starts_it() {
    let world = World::start().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let body = json!({"kind": "direct", "members": [bob.user.id, ada.user.id], "first": {"text": "hello"}});
    let created = world.as_of(&ada, Method::POST, "/v1/conversations", Some(body)).await;
    assert_eq!((created.status.as_u16(), created.body["head"].as_u64()), (201, Some(1)));
    let body = json!({"kind": "direct", "members": [ada.user.id]});
    let again = world.as_of(&bob, Method::POST, "/v1/conversations", Some(body)).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.body["conversation"], json!(ConversationId::direct(ada.user.id, bob.user.id)));
    assert_eq!(again.body["unread"], 1);
}

#[tokio::test]
async fn the_list_goes_on_in_pages_with_the_profiles_of_the_members() {
    let world = World::start().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let mut expected = Vec::new();
    for n in 0..5 {
        let body = json!({"kind": "group", "members": [bob.user.id], "title": format!("group {n}"), "first": {"text": "hi"}});
        let created = world.as_of(&ada, Method::POST, "/v1/conversations", Some(body)).await;
        assert_eq!(created.status, 201, "{created:?}");
        expected.push(created.body["conversation"].as_str().unwrap().to_owned());
    }
    expected.reverse();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let list = world.get(&format!("/v1/conversations?limit=2{after}"), &bob.access_token).await.body;
        for item in list["items"].as_array().unwrap() {
            found.push(item["conversation"].as_str().unwrap().to_owned());
            let mut names: Vec<&str> =
                item["profiles"].as_array().unwrap().iter().filter_map(|p| p["username"].as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["ada", "bob"]);
        }
        match list["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(found, expected, "newest first");
    for bad in ["limit=0", "after=x", "after=1.x", "what=1"] {
        let answer = world.get(&format!("/v1/conversations?{bad}"), &bob.access_token).await;
        answer.refused(400, ErrorCode::Invalid);
    }
}

#[tokio::test]
async fn a_message_posted_again_with_its_id_is_the_same_one() {
    let world = World::start().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let conversation = world.start_direct(&ada, &bob).await;
    let path = format!("/v1/conversations/{conversation}/messages");
    let body = |text: &str, id: EventId| Some(json!({"id": id, "text": text}));
    let id = EventId::mint();
    let first = world.as_of(&ada, Method::POST, &path, body("hello", id)).await;
    assert_eq!((first.status.as_u16(), first.body["seq"].as_u64()), (201, Some(1)));
    let again = world.as_of(&ada, Method::POST, &path, body("hello", id)).await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &first.body));
    world.as_of(&ada, Method::POST, &path, body("other", id)).await.refused(409, ErrorCode::IdConflict);
    world.as_of(&bob, Method::POST, &path, body("hello", id)).await.refused(409, ErrorCode::IdConflict);
    for bad in ["", &"x".repeat(16_001), "a\0b"] {
        let answer = world.as_of(&ada, Method::POST, &path, body(bad, EventId::mint())).await;
        assert!(matches!(answer.code(), ErrorCode::Invalid | ErrorCode::TooLarge), "{answer:?}");
    }
    let forged = json!({"text": "x", "seq": 7, "sender": bob.user.id});
    world.as_of(&ada, Method::POST, &path, Some(forged)).await.refused(400, ErrorCode::Invalid);
    assert_eq!(seqs(&world.page(&bob, &conversation, "").await), [1]);
}

#[tokio::test]
async fn pages_are_read_before_after_and_around_a_place() {
    let world = World::start().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let conversation = world.start_direct(&ada, &bob).await;
    for n in 1..=20 {
        assert_eq!(world.say(&ada, &conversation, &format!("number {n}")).await.status, 201);
    }
    let page = world.page(&bob, &conversation, "limit=5").await;
    assert_eq!((seqs(&page), page["end"].as_bool()), ((16..=20).collect(), Some(false)));
    assert!(page.get("type").is_none());
    assert_eq!(
        seqs(&world.page(&bob, &conversation, "before=6&limit=50").await),
        (1..=5).collect::<Vec<_>>()
    );
    assert_eq!(seqs(&world.page(&bob, &conversation, "after=5&limit=3").await), [6, 7, 8]);
    let around = seqs(&world.page(&bob, &conversation, "around=10&limit=6").await);
    assert!(around.contains(&10) && around.len() == 6 && around[0] < 10 && around[5] > 10, "{around:?}");
    let empty = world.page(&bob, &conversation, "before=1").await;
    assert_eq!((seqs(&empty).len(), empty["end"].as_bool()), (0, Some(true)));
    assert_eq!(seqs(&world.page(&bob, &conversation, "after=20").await).len(), 0);
    for bad in ["limit=0", "before=1&after=1", "before=-1", "around=x", "sender=1"] {
        let path = format!("/v1/conversations/{conversation}/messages?{bad}");
        world.get(&path, &bob.access_token).await.refused(400, ErrorCode::Invalid);
    }
}

#[tokio::test]
async fn w7_reading_lowers_the_unread_count_and_never_goes_back() {
    let world = World::start().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let conversation = world.start_direct(&ada, &bob).await;
    for _ in 0..3 {
        world.say(&ada, &conversation, "hello").await;
    }
    let path = format!("/v1/conversations/{conversation}");
    let unread = async || world.get(&path, &bob.access_token).await.body["unread"].as_u64().unwrap();
    let read = async |up_to: Value| {
        let body = Some(json!({"up_to": up_to}));
        world.as_of(&bob, Method::PUT, &format!("{path}/read"), body).await
    };
    assert_eq!(unread().await, 3);
    assert_eq!(read(json!(2)).await.status, 204);
    assert_eq!(unread().await, 1);
    assert_eq!(read(json!(1)).await.status, 204);
    assert_eq!(unread().await, 1);
    assert_eq!(read(json!(1_000)).await.status, 204);
    assert_eq!(unread().await, 0);
    for bad in [json!(-1), json!(1.5), json!("1"), json!(1_u64 << 60)] {
        read(bad).await.refused(400, ErrorCode::Invalid);
    }
}

#[tokio::test]
async fn deleting_leaves_a_group_and_hides_a_direct_conversation_until_its_next_event() {
    let world = World::start().await;
    let (ada, bob) = (world.person("ada").await, world.person("bob").await);
    let group = json!({"kind": "group", "members": [bob.user.id], "title": "us", "first": {"text": "hi"}});
    let group = world.as_of(&ada, Method::POST, "/v1/conversations", Some(group)).await;
    let group = group.body["conversation"].as_str().unwrap().to_owned();
    let direct = world.start_direct(&ada, &bob).await;
    world.say(&ada, &direct, "hello").await;
    let delete = async |id: &str| {
        world.as_of(&bob, Method::DELETE, &format!("/v1/conversations/{id}"), None).await.status.as_u16()
    };
    let listed = async || {
        let list = world.get("/v1/conversations", &bob.access_token).await.body;
        let ids = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["conversation"].as_str().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    assert_eq!(delete(&direct).await, 204);
    assert!(!listed().await.contains(&direct));
    world.say(&ada, &direct, "again").await;
    assert!(listed().await.contains(&direct));
    assert_eq!(delete(&group).await, 204);
    world.say(&bob, &group, "still here").await.refused(404, ErrorCode::NotMember);
    let last = world.page(&ada, &group, "limit=1").await;
    assert_eq!(last["events"].as_array().unwrap().last().unwrap()["kind"], "member");
}

#[tokio::test]
async fn sec_040_unknown_and_foreign_conversations_look_the_same_on_every_route() {
    let world = World::start().await;
    let (ada, bob, eve) = (world.person("ada").await, world.person("bob").await, world.person("eve").await);
    let foreign = world.start_direct(&ada, &bob).await;
    world.say(&ada, &foreign, "between us").await;
    let unknown = ConversationId::mint().to_string();
    let asked = [
        (Method::GET, "", None),
        (Method::DELETE, "", None),
        (Method::GET, "/messages", None),
        (Method::POST, "/messages", Some(json!({"text": "let me in"}))),
        (Method::PUT, "/read", Some(json!({"up_to": 1}))),
    ];
    for (method, path, body) in asked {
        let ask = async |id: &str| {
            world.as_of(&eve, method.clone(), &format!("/v1/conversations/{id}{path}"), body.clone()).await
        };
        let (one, other) = (ask(&foreign).await, ask(&unknown).await);
        one.refused(404, ErrorCode::NotMember);
        assert_eq!((one.status, one.body), (other.status, other.body), "{method} {path}");
    }
}
