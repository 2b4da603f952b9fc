//! Whoever has not signed in takes little of the server: small bodies, few connections, and not for long.

use crate::support::World;
use kith_protocol::ConversationId;
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
