//! People who talk HTTP to a server.

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
};
use kith_protocol::{
    DeviceId, ErrorCode,
    api::{ErrorBody, Session},
};
use kith_server::{
    Config,
    auth::Tokens,
    router::router,
    state::{AppState, Ending},
    testing::TestServer,
};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::{net::SocketAddr, time::Duration};
use tower::ServiceExt;

pub const PASSWORD: &str = "correct horse battery";

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub retry_after: Option<String>,
    pub body: Value,
}

impl Answer {
    pub fn code(&self) -> ErrorCode {
        let body: ErrorBody = serde_json::from_value(self.body.clone()).expect("an error body");
        assert_eq!(body.retry_after_ms.is_some(), self.retry_after.is_some(), "{self:?}");
        body.code
    }

    pub fn refused(&self, status: u16, code: ErrorCode) {
        assert_eq!((self.status.as_u16(), self.code()), (status, code), "{self:?}");
    }

    pub fn session(&self) -> Session {
        assert_eq!(self.status, 200, "{self:?}");
        serde_json::from_value(self.body.clone()).unwrap()
    }
}

/// A server and a way to ask it.
pub struct World {
    pub server: TestServer,
    pub client: Client,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(Config::for_tests()).await
    }

    pub async fn start_with(config: Config) -> Self {
        Self { server: TestServer::start_with(config).await.unwrap(), client: Client::new() }
    }

    pub async fn ask(&self, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
        let mut request = self.client.request(method, self.server.url(path));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        answer(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.ask(Method::GET, path, Some(token), None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, None, Some(body)).await
    }

    pub async fn sign_up(&self, username: &str) -> Answer {
        let body = json!({"username": username, "password": PASSWORD, "display_name": username});
        self.post("/v1/accounts", body).await
    }

    pub async fn try_sign_in(&self, username: &str, password: &str) -> Answer {
        let device = json!({"name": "a laptop"});
        self.post("/v1/sessions", json!({"username": username, "password": password, "device": device})).await
    }

    pub async fn sign_in(&self, username: &str) -> Session {
        self.try_sign_in(username, PASSWORD).await.session()
    }

    /// An account with one session.
    pub async fn person(&self, username: &str) -> Session {
        assert_eq!(self.sign_up(username).await.status, 201);
        self.sign_in(username).await
    }

    pub async fn refresh(&self, session: &Session) -> Answer {
        self.refresh_with(&session.refresh_token, json!(session.device.id)).await
    }

    pub async fn refresh_with(&self, token: &str, device: Value) -> Answer {
        self.post("/v1/sessions/refresh", json!({"refresh_token": token, "device": device})).await
    }

    /// Shows the server a generation that is neither the one last issued nor the one last presented, as a copy of the
    /// profile would; the server answers `device_forked`.
    pub async fn handshake_as_a_copy(&self, session: &Session) {
        sqlx::query("UPDATE devices SET generation_issued = 9, generation_presented = 8 WHERE id = $1")
            .bind(session.device.id.as_uuid())
            .execute(&self.server.pool)
            .await
            .unwrap();
        self.handshake(session, 3).await.refused(409, ErrorCode::DeviceForked);
    }

    /// Performs the handshake with a generation, without a socket.
    pub async fn handshake(&self, session: &Session, generation: u64) -> Answer {
        let hello = json!({"type": "hello", "request": 1, "protocol": 1, "device": session.device.id,
                           "generation": generation, "user_seq": 0, "app": "test/0"});
        let body = Some(json!({"frames": [hello]}));
        self.ask(Method::POST, "/v1/exchange", Some(&session.access_token), body).await
    }

    /// Parts a new device from a copied profile.
    pub async fn fork(&self, copied: &Session) -> Session {
        self.handshake_as_a_copy(copied).await;
        self.refresh_with(&copied.refresh_token, Value::Null).await.session()
    }

    /// Whether the session's access token is accepted.
    pub async fn is_live(&self, session: &Session) -> bool {
        self.get("/v1/me", &session.access_token).await.status == 200
    }
}

pub async fn answer(response: reqwest::Response) -> Answer {
    let status = response.status();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert!(header("x-request-id").is_some(), "every answer names its request");
    let retry_after = header("retry-after");
    let text = response.text().await.unwrap();
    Answer { status, retry_after, body: serde_json::from_str(&text).unwrap_or(Value::Null) }
}

/// A second server on the same database, without a network: requests come from whatever address they are to come from,
/// and the test sees what the server counts.
pub struct Inside {
    pub state: AppState,
    router: Router,
}

impl Inside {
    pub async fn of(world: &World) -> Self {
        Self::with(Config::for_tests(), world).await
    }

    pub async fn with(config: Config, world: &World) -> Self {
        let pool = world.server.pool.clone();
        let secret = config.secret_key.clone();
        let tokens = Tokens::load(&pool, Duration::from_secs(600), secret).await.unwrap();
        let state = AppState::new(config, pool, tokens, Ending::default());
        // The hash for unknown users is made before it is asked for, as a server does when it starts.
        state.passwords.verify(String::new(), None).await.unwrap();
        Self { router: router(state.clone()), state }
    }

    pub async fn post(&self, from: &str, path: &str, body: Value) -> Answer {
        let peer = SocketAddr::new(from.parse().unwrap(), 40_000);
        let request = Request::post(path)
            .extension(ConnectInfo(peer))
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let header =
            |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (status, retry_after) = (response.status(), header("retry-after"));
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        Answer { status, retry_after, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
    }

    pub async fn sign_in(
        &self,
        from: &str,
        username: &str,
        password: &str,
        device: Option<DeviceId>,
    ) -> Answer {
        let device = json!({"id": device, "name": "a laptop"});
        let body = json!({"username": username, "password": password, "device": device});
        self.post(from, "/v1/sessions", body).await
    }
}
