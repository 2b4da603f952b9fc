//! The edges of HTTP: routes, bodies, headers.

use crate::support::{World, answer};
use kith_protocol::ErrorCode;
use kith_server::router::{Access, route_list};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{interval, timeout},
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
    // The answer of the database is kept for a second.
    let refused = timeout(Duration::from_secs(10), async {
        let mut pause = interval(Duration::from_millis(100));
        loop {
            pause.tick().await;
            let ready = world.client.get(world.server.url("/readyz")).send().await.unwrap();
            if ready.status() != 200 {
                return ready;
            }
        }
    });
    answer(refused.await.unwrap()).await.refused(503, ErrorCode::Unavailable);
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
    // Each differs from the good body in what it is refused for, and is closed as JSON has to be.
    let with = |field: &str| {
        let mut body = good.clone();
        body.truncate(good.len() - 1);
        body.extend_from_slice(format!(",{field}}}").as_bytes());
        body
    };
    let deep = format!(r#""invite":{}{}"#, "[".repeat(5_000), "]".repeat(5_000));
    for field in [r#""username":"bob""#, r#""invite":NaN"#, r#""invite":9223372036854775808"#, &deep] {
        let answer = send("application/json", with(field)).await;
        answer.refused(400, ErrorCode::Invalid);
    }
    let answer = send("application/json", vec![b'['; 10_000]).await;
    answer.refused(400, ErrorCode::Invalid);
    send("application/json", vec![b' '; 1024 * 1024 + 1]).await.refused(413, ErrorCode::TooLarge);
    assert_eq!(send("application/json; charset=utf-8", with(r#""invite":null"#)).await.status, 201);
}

/// How long a connection stays open that begins with `begun` and then sends a byte of a header every tenth of a second,
/// and how many bytes it sent.
async fn dribbled(world: &World, begun: &str, dribbles: bool) -> (Duration, usize) {
    let mut stream = TcpStream::connect(world.server.address).await.unwrap();
    let began = Instant::now();
    stream.write_all(begun.as_bytes()).await.unwrap();
    let (mut read, mut write) = stream.split();
    let mut sent = 0;
    let mut beat = interval(Duration::from_millis(100));
    let (mut buffer, mut is_open) = ([0; 1_024], true);
    while is_open && began.elapsed() < Duration::from_secs(20) {
        tokio::select! {
            _ = beat.tick() => if dribbles && write.write_all(b"x").await.is_ok() {
                sent += 1;
            },
            came = read.read(&mut buffer) => is_open = came.is_ok_and(|bytes| bytes > 0),
        }
    }
    (began.elapsed(), sent)
}

#[tokio::test]
async fn sec_037_headers_that_dribble_in_are_cut_off() {
    let world = World::start().await;
    let half = "GET /v1/socket HTTP/1.1\r\nHost: kith\r\nX-Slow: ";
    let second = format!("GET /healthz HTTP/1.1\r\nHost: kith\r\n\r\n{half}");
    let (silent, first, later) = tokio::join!(
        dribbled(&world, "", false),
        dribbled(&world, half, true),
        dribbled(&world, &second, true),
    );
    for (open_for, _) in [silent, first, later] {
        assert!(open_for <= Duration::from_secs(10), "{open_for:?}");
    }
    for (open_for, sent) in [first, later] {
        assert!(sent >= 20, "it dribbled for {open_for:?}: {sent} bytes");
    }
}

/// What a connection answers that sends this.
async fn answered(world: &World, sent: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.server.address).await.unwrap();
    stream.write_all(sent).await.unwrap();
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    let reading = async {
        loop {
            match stream.read(&mut buffer).await {
                // What was not read of the request resets the connection.
                Ok(0) | Err(_) => return,
                Ok(bytes) => answer.extend_from_slice(&buffer[..bytes]),
            }
        }
    };
    timeout(Duration::from_secs(5), reading).await.expect("still open");
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn sec_037_headers_over_16_kib_are_refused() {
    const LIMIT: usize = 16 * 1024;
    let world = World::start().await;
    let one = |bytes: usize| format!("X-Long: {}\r\n", "x".repeat(bytes - 10));
    let head =
        |headers: String| format!("GET /healthz HTTP/1.1\r\nHost: kith\r\nConnection: close\r\n{headers}");
    let many = |bytes: usize| (0..bytes / 200).map(|_| one(200)).collect::<String>();
    for headers in [one(LIMIT - 200), many(LIMIT - 200)] {
        let answer = answered(&world, format!("{}\r\n", head(headers)).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "just below the limit: {answer}");
    }
    for headers in [one(2 * LIMIT), many(2 * LIMIT)] {
        // No byte more than the server reads, so that its answer arrives.
        let answer = answered(&world, &head(headers.clone()).as_bytes()[..LIMIT]).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "at the limit: {answer}");
        let whole = answered(&world, format!("{}\r\n", head(headers)).as_bytes()).await;
        assert!(whole.is_empty() || whole.starts_with("HTTP/1.1 431"), "over the limit: {whole}");
    }
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
