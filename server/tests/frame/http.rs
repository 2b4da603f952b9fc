//! The edges of HTTP: routes, bodies, headers.

use crate::support::{World, answer};
use kith_protocol::ErrorCode;
use kith_server::router::{Access, route_list};
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

#[tokio::test]
async fn health_and_readiness_answer_without_a_token() {
    let world = World::start().await;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(world.client.get(world.server.url(path)).send().await.unwrap().status(), 200, "{path}");
    }
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (99999999999999, 'later', true, '', 0)",
    )
    .execute(&world.server.pool)
    .await
    .unwrap();
    let ready = world.client.get(world.server.url("/readyz")).send().await.unwrap();
    answer(ready).await.refused(503, ErrorCode::Unavailable);
}

#[tokio::test]
async fn unknown_routes_and_methods_are_unsupported() {
    let world = World::start().await;
    for (method, path) in
        [("GET", "/"), ("GET", "/v1/nothing"), ("DELETE", "/v1/me"), ("GET", "/v1/accounts")]
    {
        let request = world.client.request(method.parse().unwrap(), world.server.url(path));
        answer(request.send().await.unwrap()).await.refused(404, ErrorCode::Unsupported);
    }
}

/// A path with some id in it.
fn example(path: &str) -> String {
    let part =
        |part: &str| if part.starts_with('{') { uuid::Uuid::now_v7().to_string() } else { part.to_owned() };
    path.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn sec_039_every_route_but_the_open_ones_asks_for_a_token() {
    let world = World::start().await;
    for (method, path, access) in route_list() {
        let request =
            world.client.request(method.to_uppercase().parse().unwrap(), world.server.url(&example(path)));
        let response = request.json(&serde_json::json!({})).send().await.unwrap();
        let is_refused = response.status() == 401;
        assert_eq!(is_refused, access == Access::SignedIn, "{method} {path}: {}", response.status());
    }
}

#[tokio::test]
async fn the_description_names_every_route() {
    let world = World::start().await;
    let response = world.client.get(world.server.url("/openapi.json")).send().await.unwrap();
    let description: serde_json::Value = response.json().await.unwrap();
    for (method, path, access) in route_list() {
        let operation = &description["paths"][path][method];
        assert!(operation["summary"].is_string(), "{method} {path}");
        let asks = operation["security"].as_array().is_some_and(|security| !security.is_empty());
        assert_eq!(asks, access == Access::SignedIn, "{method} {path}");
    }
}

#[tokio::test]
async fn sec_033_bodies_that_are_not_plain_json_are_refused() {
    let world = World::start().await;
    let send = async |kind: &str, body: Vec<u8>| {
        let request = world.client.post(world.server.url("/v1/accounts")).header("content-type", kind);
        answer(request.body(body).send().await.unwrap()).await
    };
    let good = br#"{"username":"ada","password":"correct horse","display_name":"Ada"}"#.to_vec();
    send("text/plain", good.clone()).await.refused(400, ErrorCode::Invalid);
    send("application/json", vec![b'x'; 100]).await.refused(400, ErrorCode::Invalid);
    send("application/json", b"{\"username\":\"\xff\"}".to_vec()).await.refused(400, ErrorCode::Invalid);
    send("application/json", vec![b'['; 10_000]).await.refused(400, ErrorCode::Invalid);
    send("application/json", br#"{"username":"ada","username":"bob"}"#.to_vec())
        .await
        .refused(400, ErrorCode::Invalid);
    send("application/json", b"NaN".to_vec()).await.refused(400, ErrorCode::Invalid);
    send("application/json", vec![b' '; 1024 * 1024 + 1]).await.refused(413, ErrorCode::TooLarge);
    assert_eq!(send("application/json; charset=utf-8", good).await.status, 201);
}

#[tokio::test]
async fn sec_037_headers_that_dribble_in_are_cut_off() {
    let world = World::start().await;
    let mut cut = Vec::new();
    // Nothing at all, half a request, and half of one after a whole one on the same connection.
    for begun in [
        "",
        "GET /v1/socket HTTP/1.1\r\nHost: kith\r\nX-Slow: ",
        "GET /healthz HTTP/1.1\r\nHost: kith\r\n\r\nGET",
    ] {
        let mut stream = TcpStream::connect(world.server.address).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        cut.push(async move {
            let mut rest = Vec::new();
            timeout(Duration::from_secs(30), stream.read_to_end(&mut rest))
                .await
                .expect("still open")
                .map(drop)
        });
    }
    for ended in futures_util::future::join_all(cut).await {
        ended.unwrap();
    }
}

#[tokio::test]
async fn sec_037_headers_over_16_kib_are_refused() {
    let world = World::start().await;
    let request = world.client.get(world.server.url("/healthz")).header("x-long", "x".repeat(20_000));
    match request.send().await {
        Ok(response) => assert_eq!(response.status(), 431),
        Err(error) => assert!(!error.is_timeout(), "{error}"),
    }
    assert_eq!(world.client.get(world.server.url("/healthz")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn no_cache_keeps_an_answer_with_tokens() {
    let world = World::start().await;
    let ada = world.person("ada").await;
    let body = json!({"refresh_token": ada.refresh_token, "device": ada.device.id});
    let url = world.server.url("/v1/sessions/refresh");
    let answer = world.client.post(url).json(&body).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let refused = world.client.get(world.server.url("/v1/me")).send().await.unwrap();
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["cache-control"]),
        (401, &"no-store".parse().unwrap())
    );
}
