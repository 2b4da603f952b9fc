//! Whoever has not signed in takes little of the server: small bodies, few connections, and not for long.

use crate::support::World;
use futures_util::future::join_all;
use kith_protocol::{ConversationId, api::Session};
use kith_server::Config;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{interval, timeout},
};

const TEXT: &str = "text/plain";

#[tokio::test]
async fn sec_028_a_body_of_a_stranger_has_at_most_16_kib() {
    let world = World::start().await;
    for path in ["/v1/sessions", "/v1/sessions/refresh", "/v1/accounts"] {
        for (bytes, status) in [(16 * 1024 + 1, 413), (16 * 1024, 400)] {
            let asked = world.client.post(world.server.url(path)).header("content-type", "application/json");
            let answer = asked.body(vec![b' '; bytes]).send().await.unwrap();
            assert_eq!(answer.status(), status, "{path} with {bytes}");
        }
    }
}

#[tokio::test]
async fn sec_029_a_body_has_the_limit_of_its_route_also_from_people_who_are_signed_in() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    for (method, path, _) in kith_server::router::route_list() {
        if !["post", "put", "patch"].contains(&method) || path.starts_with("/v1/blocks") {
            continue;
        }
        let limit = kith_server::router::body_bytes_max(method, path);
        assert!(
            limit <= 16 * 1024 || ["/v1/exchange", "/v1/conversations"].iter().any(|p| path.starts_with(p))
        );
        let url = world.server.url(&path.replace("{id}", &ConversationId::mint().to_string()));
        let asked = world.client.request(method.to_uppercase().parse().unwrap(), url);
        let asked = asked.bearer_auth(&ada.access_token).header("content-type", "application/json");
        let answer = asked.body(vec![b' '; limit + 1]).send().await.unwrap();
        assert_eq!(answer.status(), 413, "{method} {path}");
    }
}

#[tokio::test]
async fn sec_008_an_address_is_counted_before_its_body_is_read() {
    let world = World::start_with(Config { loopback_is_limited: true, ..Config::for_tests() }).await;
    // Refused by its first header line, so that no body is waited for.
    let ask = || world.client.post(world.server.url("/v1/sessions")).header("content-type", TEXT).send();
    let mut answers = Vec::new();
    for _ in 0..62 {
        answers.push(ask().await.unwrap().status().as_u16());
    }
    assert!(answers[..60].iter().all(|status| *status == 400), "{answers:?}");
    assert!(answers.contains(&429), "{answers:?}");
}

#[tokio::test]
async fn sec_028_connections_of_one_address_beyond_the_limit_are_closed_at_once() {
    let config = Config { loopback_is_limited: true, connections_per_address: 3, ..Config::for_tests() };
    let world = World::start_with(config).await;
    let dial = || TcpStream::connect(world.server.address);
    let mut held = vec![dial().await.unwrap(), dial().await.unwrap(), dial().await.unwrap()];
    // Each of them is in: it answers.
    for stream in &mut held {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'H');
    }
    assert_eq!(dial().await.unwrap().read(&mut [0; 1]).await.unwrap_or_default(), 0, "a fourth is closed");
    drop(held);
    let room = async {
        loop {
            let mut stream = dial().await.unwrap();
            let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
            if asked.is_ok() && stream.read_u8().await.is_ok() {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), room).await.expect("whoever goes makes room");
}

/// Sends `head`, then a byte five times a second, until the server closes. Returns what it said.
async fn dribble(address: SocketAddr, head: &str) -> String {
    let (mut reader, mut writer) = TcpStream::connect(address).await.unwrap().into_split();
    writer.write_all(head.as_bytes()).await.unwrap();
    let (mut ticks, mut said) = (interval(Duration::from_millis(200)), Vec::new());
    loop {
        tokio::select! {
            read = reader.read_buf(&mut said) => if read.unwrap_or_default() == 0 { break },
            _ = ticks.tick() => if writer.write_all(b" ").await.is_err() { break },
        }
    }
    String::from_utf8(said).unwrap()
}

#[tokio::test]
async fn sec_028_a_dribble_of_bytes_does_not_hold_a_connection() {
    let world = World::start().await;
    let address = world.server.address;
    let header = "GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: ";
    let body = "POST /v1/sessions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                content-length: 10000\r\n\r\n";
    let both = async { tokio::join!(dribble(address, header), dribble(address, body)) };
    let (of_header, of_body) = timeout(Duration::from_secs(25), both).await.expect("held for ever");
    assert!(!of_header.contains("200 OK"), "{of_header}");
    assert!(of_body.starts_with("HTTP/1.1 400"), "{of_body}");
}

/// Begins a request of this session with a large body that does not arrive.
async fn begin_body(world: &World, session: &Session, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.server.address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\n\
         content-type: application/json\r\ncontent-length: 200000\r\n\r\n",
        session.access_token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

/// The first line of the answer.
async fn first_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test]
async fn sec_029_few_large_bodies_of_one_user_are_read_at_the_same_time() {
    let world = World::start().await;
    let (ada, too, bob) = (world.person("ada").await, world.sign_in("ada").await, world.person("bob").await);
    let messages = format!("/v1/conversations/{}/messages", ConversationId::mint());
    let paths = ["/v1/exchange", "/v1/conversations", &messages, "/v1/exchange"];
    let mut reading = Vec::new();
    for (session, path) in [&ada, &too, &ada, &too].into_iter().zip(paths) {
        let mut stream = begin_body(&world, session, path).await;
        assert!(first_line(&mut stream).await.contains("100 Continue"), "the body is read");
        reading.push(stream);
    }
    let refused = [&ada, &too].into_iter().flat_map(|session| paths.map(|path| (session, path)));
    let refused = refused.map(async |(session, path)| {
        let mut stream = begin_body(&world, session, path).await;
        let line = timeout(Duration::from_secs(10), first_line(&mut stream)).await.expect("no answer");
        assert!(line.starts_with("HTTP/1.1 503"), "{path}: {line}");
    });
    join_all(refused).await;
    // Small bodies and other people have their own places.
    let answer = world.ask(reqwest::Method::DELETE, "/v1/sessions", Some(&too.access_token), None).await;
    assert_eq!(answer.status, 400);
    let mut stream = begin_body(&world, &bob, "/v1/exchange").await;
    assert!(first_line(&mut stream).await.contains("100 Continue"));
    // A body that ends makes room.
    drop(reading);
    let room = async {
        loop {
            let mut stream = begin_body(&world, &ada, "/v1/exchange").await;
            if first_line(&mut stream).await.contains("100 Continue") {
                return;
            }
        }
    };
    timeout(Duration::from_secs(20), room).await.expect("no room");
}

#[tokio::test]
async fn sec_029_an_exchange_takes_its_place_before_its_body_is_read() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let mut waiting = Vec::new();
    let hello = serde_json::json!({"type": "hello", "request": 1, "protocol": 1, "device": ada.device.id,
                                   "generation": 0, "user_seq": 0, "app": "test/0"});
    let body = serde_json::json!({"frames": [hello], "wait_ms": 25_000}).to_string();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(world.server.address).await.unwrap();
        let head = format!(
            "POST /v1/exchange HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nexpect: 100-continue\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            ada.access_token,
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(first_line(&mut stream).await.contains("100 Continue"));
        stream.write_all(body.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    let mut fifth = begin_body(&world, &ada, "/v1/exchange").await;
    let line = timeout(Duration::from_secs(10), first_line(&mut fifth)).await.expect("no answer");
    assert!(line.starts_with("HTTP/1.1 503"), "{line}");
}
