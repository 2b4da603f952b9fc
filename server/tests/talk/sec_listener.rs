//! What comes through a socket's door that is no talk: silence, floods, endless frames, readers who do not read.

use crate::support::{Line, Person, SOON, World, closed, message};
use futures_util::{SinkExt, StreamExt, future::join_all};
use kith_protocol::{ConversationId, DeviceId, Seq, UserId, limits};
use kith_server::{
    Config,
    hub::{Hub, Outbox, Published},
    metrics::Metrics,
};
use reqwest::Method;
use serde_json::json;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame, FrameHeader,
        coding::{Data, OpCode},
    },
};

/// What an upgrade of this person's is answered with.
async fn dialled(world: &World, person: &Person) -> u16 {
    let upgrade = world
        .http
        .get(world.server.url("/v1/socket"))
        .bearer_auth(&person.token)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    upgrade.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn sec_028_sockets_that_say_nothing_are_few_for_each_address() {
    let world = World::start_with(Config { loopback_is_limited: true, ..Config::for_tests() }).await;
    let [ada, bo, cy] = world.people(["ada", "bo", "cy"]).await;
    let handshake = bo.online().await;
    let mut silent = join_all((0..10).map(|_| ada.dial())).await;
    silent.extend(join_all((0..10).map(|_| bo.dial())).await);
    assert_eq!(dialled(&world, &cy).await, 503);
    // Whoever says hello makes room, and so does whoever goes.
    let mut one = silent.pop().unwrap();
    one.close(None).await.unwrap();
    while one.next().await.is_some_and(|message| message.is_ok()) {}
    let room = async {
        while dialled(&world, &cy).await == 503 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), room).await.expect("no room");
    drop(handshake);
}

fn fragment(bytes: usize, opcode: OpCode, is_final: bool) -> Message {
    Message::Frame(Frame::message(vec![b' '; bytes], opcode, is_final))
}

/// Sends until the server closes. Returns its code.
async fn closed_while_sending(mut line: Line, frames: impl IntoIterator<Item = Message>) -> u16 {
    for frame in frames {
        if line.socket.send(frame).await.is_err() {
            break;
        }
    }
    line.closed().await
}

#[tokio::test]
async fn sec_029_endless_fragments_close_1009_and_what_is_compressed_or_binary_4000() {
    let world = World::start().await;
    let [ada, bo, cy, dee] = world.people(["ada", "bo", "cy", "dee"]).await;
    let (first, more) = (OpCode::Data(Data::Text), OpCode::Data(Data::Continue));
    // A little over the limit in small pieces, and in large ones, with no end in sight.
    for (person, size) in [(&ada, 4 * 1024), (&bo, 100 * 1024)] {
        let count = limits::INBOUND_FRAME_BYTES_MAX / size + 1;
        let fragments = (0..count).map(|n| fragment(size, if n == 0 { first } else { more }, false));
        assert_eq!(closed_while_sending(person.online().await, fragments).await, 1009);
    }
    // Nothing was agreed on that would make these bits mean anything.
    let header = FrameHeader { rsv1: true, opcode: first, ..FrameHeader::default() };
    let compressed = Frame::from_payload(header, vec![0x4a, 0x04, 0x00].into());
    assert_eq!(closed_while_sending(cy.online().await, [Message::Frame(compressed)]).await, 4000);
    let binary = [fragment(10, OpCode::Data(Data::Binary), false), fragment(10, more, true)];
    assert_eq!(closed_while_sending(dee.online().await, binary).await, 4000);
}

#[tokio::test]
async fn sec_029_too_much_before_hello_is_refused_with_the_same_codes() {
    let world = World::start().await;
    let [ada] = world.people(["ada"]).await;
    let mut socket = ada.dial().await;
    socket.send(Message::text("x".repeat(limits::INBOUND_FRAME_BYTES_MAX + 1))).await.unwrap();
    assert_eq!(closed(&mut socket).await, 1009);
    let mut socket = ada.dial().await;
    let bad = Frame::message(vec![0xff, 0xfe], OpCode::Data(Data::Text), true);
    socket.send(Message::Frame(bad)).await.unwrap();
    assert_eq!(closed(&mut socket).await, 1007);
}

/// How a flood ended.
struct Flood {
    code: u16,
    sent: usize,
    lasted: Duration,
}

/// Sends `at_once` of the same every four milliseconds, and reads what comes, until the server closes.
async fn flood(line: Line, what: Message, at_once: usize) -> Flood {
    let (mut sink, mut stream) = line.socket.split();
    let began = Instant::now();
    let mut sent = 0;
    let sending = async {
        let mut beat = interval(Duration::from_millis(4));
        loop {
            beat.tick().await;
            for _ in 0..at_once {
                // Refused once the close is on its way; that is read below.
                sent += usize::from(sink.feed(what.clone()).await.is_ok());
            }
            drop(sink.flush().await);
        }
    };
    let reading = async {
        loop {
            match stream.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                Some(Ok(_)) => {}
                other => panic!("ended without a code: {other:?}"),
            }
        }
    };
    let code = tokio::select! {
        () = sending => unreachable!(),
        code = timeout(Duration::from_secs(60), reading) => code.expect("nobody minds"),
    };
    Flood { code, sent, lasted: began.elapsed() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sec_030_sec_038_floods_of_frames_and_of_pings_close_4009_and_others_go_on() {
    let world = World::start().await;
    let [ada, bo, cy, dee] = world.people(["ada", "bo", "cy", "dee"]).await;
    let (mut cy_line, mut dee_line) = (cy.online().await, dee.online().await);
    let chat = cy_line.start_chat(dee.user, "0").await;
    let tiny = Message::text(r#"{"type":"typing"}"#);
    let floods = async {
        // Ten thousand frames a second, and some hundred pings.
        tokio::join!(
            flood(ada.online().await, tiny, 40),
            flood(bo.online().await, Message::Ping("x".into()), 1)
        )
    };
    let mut exchanges: Vec<Duration> = Vec::new();
    let talking = async {
        let mut beat = interval(Duration::from_millis(20));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            let began = Instant::now();
            let seq = cy_line.ok(chat, message("all is well")).await;
            dee_line.events_to(chat, seq).await;
            cy_line.unread.clear();
            exchanges.push(began.elapsed());
        }
    };
    let (frames, pings) = tokio::select! {
        floods = floods => floods,
        () = talking => unreachable!(),
    };
    assert_eq!((frames.code, pings.code), (4009, 4009));
    exchanges.sort_unstable();
    let p99 = exchanges[exchanges.len().saturating_sub(1) * 99 / 100];
    println!(
        "{} frames in {:?}; meanwhile {} messages were exchanged, p50 {:?}, p99 {p99:?}",
        frames.sent,
        frames.lasted,
        exchanges.len(),
        exchanges[exchanges.len() / 2],
    );
    let per_s = frames.sent as f64 / frames.lasted.as_secs_f64();
    assert!(per_s > 5_000.0, "{per_s:.0} frames a second are no flood");
    assert!(exchanges.len() >= 50, "only {} messages were exchanged during the flood", exchanges.len());
    assert!(p99 < Duration::from_secs(1), "{p99:?}: the others wait for the flood");
    // Coming again at once helps nobody who floods: the device's buckets are still empty.
    let mut again = ada.online_as(1).await;
    for _ in 0..50 {
        drop(again.socket.feed(Message::text(r#"{"type":"typing"}"#)).await);
    }
    drop(again.socket.flush().await);
    for passed in 0.. {
        assert!(passed < 50, "fifty more passed");
        match again.socket.next().await.unwrap().unwrap() {
            Message::Text(text) if text.contains("rate_limited") => break,
            Message::Close(Some(frame)) if u16::from(frame.code) == 4009 => break,
            Message::Text(_) | Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// The socket's own buffer holds one frame more than the queue, and the writer has taken [`TAKEN`].
const SOCKET_COSTS_MAX: usize = 2 * 1024 * 1024;
const TAKEN: usize = 64 * 1024;

#[tokio::test]
async fn sec_031_a_socket_that_reads_nothing_of_10_000_events_costs_its_queue_and_the_others_nothing() {
    let hub = Hub::default();
    let (ada, bo, chat) = (UserId::mint(), UserId::mint(), ConversationId::mint());
    let outbox = || Arc::new(Outbox::new(true, Metrics::default()));
    let (stalled, reading) = (outbox(), outbox());
    let _places = (
        hub.connect(ada, DeviceId::mint(), Arc::clone(&stalled), Some(1)),
        hub.connect(bo, DeviceId::mint(), Arc::clone(&reading), Some(1)),
    );
    let (audience, json): (Arc<[UserId]>, Arc<str>) =
        ([ada, bo].into(), format!(r#""{}""#, "x".repeat(1_000)).into());
    let (mut seen, mut most) = (0, 0);
    for seq in 1..=10_000 {
        let (json, audience) = (Arc::clone(&json), Arc::clone(&audience));
        hub.publish(&[], &[Published { conversation: chat, seq: Seq(seq), json, audience }]);
        for frame in reading.take_all() {
            let frame: serde_json::Value = serde_json::from_str(&frame).unwrap();
            seen += frame["events"].as_array().map_or(0, Vec::len);
        }
        most = most.max(stalled.waiting_bytes());
    }
    assert_eq!(seen, 10_000, "whoever reads gets all of them");
    assert!(most > limits::OUTBOUND_BYTES_MAX / 2, "{most}: there was something to bound");
    assert!(most + TAKEN + limits::PAGE_BYTES_MAX <= SOCKET_COSTS_MAX, "{most}");
    assert_eq!(stalled.closing(), None, "it is not closed for being slow as long as bytes leave");
    let last: serde_json::Value = serde_json::from_str(stalled.take_all().last().unwrap()).unwrap();
    assert_eq!(last["heads"], json!([[chat, 10_000]]), "and it learns where the log stands");
}

#[tokio::test]
async fn sec_032_s11_a_token_that_ends_while_connected_closes_4100_and_another_one_keeps_the_socket() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    // Accepted for the leeway, of which a few seconds are left.
    let (mut line, mut renewed) =
        (world.ended(&ada, 15).await.online().await, world.ended(&bo, 15).await.online().await);
    renewed.until_type("auth_expiring").await;
    assert_eq!(renewed.call(json!({"type": "auth", "token": bo.token})).await["type"], "ack");
    line.until_type("auth_expiring").await;
    assert_eq!(line.closed().await, 4100);
    renewed.call(json!({"type": "heads"})).await;
}

#[tokio::test]
async fn sec_030_l2_requests_of_one_user_leave_connections_of_the_pool_to_others() {
    let world = World::start().await;
    let [ada, bo] = world.people(["ada", "bo"]).await;
    let pool = &world.server.pool;
    let mut line = ada.online().await;
    let chat = line.start_chat(bo.user, "1").await;
    // Whatever reads or writes a conversation waits, by all ways: requests, exchanges and the socket.
    let mut locked = kith_server::db::begin(pool).await.unwrap();
    sqlx::query("LOCK TABLE members IN ACCESS EXCLUSIVE MODE").execute(&mut *locked).await.unwrap();
    let path = format!("/v1/conversations/{chat}/messages");
    let floods = join_all((0..30).map(|_| ada.ask(Method::GET, &path, None)));
    let body = json!({"frames": [ada.hello(1)]});
    let exchanges = join_all((0..4).map(|_| ada.ask(Method::POST, "/v1/exchange", Some(body.clone()))));
    line.write(&json!({"type": "pull", "conversation": chat, "direction": "backward", "max": 1})).await;
    let others = async {
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let deadline = Instant::now() + SOON;
        while sqlx::query_scalar::<_, i64>(waits).fetch_one(pool).await.unwrap() < 4 {
            assert!(Instant::now() < deadline, "nobody waits");
            tokio::task::yield_now().await;
        }
        // The server has ten connections. A second is enough for many requests that need no lock.
        let begun = Instant::now();
        for _ in 0..20 {
            assert_eq!(bo.get("/v1/me").await["username"], "bo.test");
        }
        let waiting = sqlx::query_scalar::<_, i64>(waits).fetch_one(pool).await.unwrap();
        assert!(waiting <= 4, "{waiting} connections wait for one user");
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        locked.rollback().await.unwrap();
    };
    let (answers, _, ()) = tokio::join!(floods, exchanges, others);
    assert!(answers.iter().all(|(status, _)| [200, 503].contains(status)), "{answers:?}");
    assert!(answers.iter().any(|(status, _)| *status == 200));
}
