//! The real server in this process, on a PostgreSQL database of its own.

use crate::{Client, Proxy};
use anyhow::{Context, Result};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use kith_pgbox::testing::TestDb;
use kith_protocol::{ConversationId, EventId};
use kith_server::{Listeners, config::Config, tls::Tls};
use sqlx::PgPool;
use std::{net::SocketAddr, sync::Arc};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

pub struct TestServer {
    address: SocketAddr,
    database_url: String,
    config: Config,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
    task: Option<JoinHandle<()>>,
    _db: Option<TestDb>,
}

/// One event as PostgreSQL holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub seq: u64,
    pub id: EventId,
    pub kind: String,
    pub text: String,
}

impl TestServer {
    /// Starts on a fresh database.
    pub async fn start() -> Result<Self> {
        Self::start_with(Config::for_tests()).await
    }

    /// Starts on a fresh database, differently configured.
    pub async fn start_with(config: Config) -> Result<Self> {
        let db = kith_pgbox::testing::fresh_database("bare", |_| async { Ok(()) }).await?;
        let mut server = Self::start_on(db.url(), config).await?;
        server._db = Some(db);
        Ok(server)
    }

    /// Starts on a fresh database and ends TLS itself.
    pub async fn start_with_tls(tls: Arc<Tls>) -> Result<Self> {
        let db = kith_pgbox::testing::fresh_database("bare", |_| async { Ok(()) }).await?;
        let mut server = Self::begin(db.url(), Config::for_tests(), Some(tls)).await?;
        server._db = Some(db);
        Ok(server)
    }

    /// Starts on a database that somebody else owns.
    pub async fn start_on(database_url: &str, config: Config) -> Result<Self> {
        Self::begin(database_url, config, None).await
    }

    async fn begin(database_url: &str, config: Config, tls: Option<Arc<Tls>>) -> Result<Self> {
        kith_server::testing::record_logs();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let mut server = Self {
            address: listener.local_addr()?,
            database_url: database_url.to_owned(),
            config,
            tls,
            shutdown: CancellationToken::new(),
            task: None,
            _db: None,
        };
        server.serve(listener).await?;
        Ok(server)
    }

    async fn serve(&mut self, listener: TcpListener) -> Result<()> {
        let pool = kith_server::connect(&self.database_url, 10).await.context("no database")?;
        kith_server::migrate(&pool).await?;
        self.shutdown = CancellationToken::new();
        let (config, shutdown) = (self.config.clone(), self.shutdown.clone());
        let listeners = Listeners { clients: listener, tls: self.tls.clone(), metrics: None };
        self.task = Some(tokio::spawn(async move {
            if let Err(error) = kith_server::serve(listeners, config, pool, shutdown).await {
                panic!("the server failed: {error}");
            }
        }));
        Ok(())
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a conversation is about, as it is stored.
    ///
    /// # Errors
    /// When there is no such conversation.
    pub async fn context_of(&self, conversation: ConversationId) -> Result<Option<serde_json::Value>> {
        let pool = kith_server::connect(&self.database_url, 1).await?;
        let asked = sqlx::query_scalar("SELECT context FROM conversations WHERE id = $1");
        Ok(asked.bind(conversation.as_uuid()).fetch_one(&pool).await?)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it in order; its address stays reserved for [`Self::restart`].
    pub async fn stop(&mut self) -> Result<()> {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            task.await?;
        }
        Ok(())
    }

    /// Starts it again at the same address.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        let listener = TcpListener::bind(self.address).await?;
        self.serve(listener).await
    }

    /// Where its database is.
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Starts it again at the same address on another database, which somebody else owns: the first one stays.
    pub async fn restart_on(&mut self, database_url: &str) -> Result<()> {
        database_url.clone_into(&mut self.database_url);
        self.restart().await
    }

    /// Starts it again at the same address with other settings.
    pub async fn restart_with(&mut self, config: Config) -> Result<()> {
        self.config = config;
        self.restart().await
    }

    /// Signs up people with these names, each with an engine behind a network of its own.
    pub async fn people<const N: usize>(&self, names: [&str; N]) -> Result<[Client; N]> {
        let mut people = Vec::with_capacity(N);
        for name in names {
            let client = Client::new(name, Proxy::start(self.address).await?).await?;
            client.sign_up().await?;
            people.push(client);
        }
        people.try_into().map_err(|_| anyhow::anyhow!("as many people as names"))
    }

    /// One more device of somebody.
    pub async fn device_of(&self, person: &Client) -> Result<Client> {
        let client = Client::new(person.name(), Proxy::start(self.address).await?).await?;
        client.sign_in().await?;
        Ok(client)
    }

    /// The token, as it would be after its end: signed by the server's key.
    pub async fn ended(&self, token: &str) -> Result<String> {
        let pool = PgPool::connect(&self.database_url).await?;
        let (kid, secret): (String, Vec<u8>) =
            sqlx::query_as("SELECT kid, secret FROM server_keys WHERE purpose = 'access'")
                .fetch_one(&pool)
                .await?;
        let payload = token.split('.').nth(1).context("not a token")?;
        let mut claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
        for claim in ["iat", "nbf", "exp"] {
            claims[claim] = (claims[claim].as_u64().context("no time")? - 3600).into();
        }
        let mut header = jsonwebtoken::decode_header(token)?;
        header.kid = Some(kid);
        Ok(jsonwebtoken::encode(&header, &claims, &jsonwebtoken::EncodingKey::from_secret(&secret))?)
    }

    /// The log of a conversation as PostgreSQL holds it.
    pub async fn log(&self, conversation: ConversationId) -> Result<Vec<Row>> {
        let pool = PgPool::connect(&self.database_url).await?;
        let rows: Vec<(i64, uuid::Uuid, String, Option<String>)> = sqlx::query_as(
            "SELECT e.seq, e.id, e.kind, e.body FROM events e JOIN conversations c ON c.key = e.conversation_key \
             WHERE c.id = $1 ORDER BY e.seq",
        )
        .bind(conversation.as_uuid())
        .fetch_all(&pool)
        .await?;
        rows.into_iter()
            .map(|(seq, id, kind, body)| {
                let body: serde_json::Value = serde_json::from_str(body.as_deref().unwrap_or("null"))?;
                let text = body["text"].as_str().unwrap_or_default().to_owned();
                Ok(Row { seq: seq as u64, id: EventId::from_uuid(id), kind, text })
            })
            .collect()
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}
