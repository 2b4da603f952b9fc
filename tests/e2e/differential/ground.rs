//! Where seeds are played: the real server, and people with devices.
//!
//! They are written into the database: to hash passwords would take longer than all that is done.

use anyhow::Result;
use kith_protocol::{ConversationId, DeviceId, UserId};
use kith_server::{Config, auth::Tokens};
use kith_tests::TestServer;
use sqlx::PgPool;

pub(super) struct Ground {
    server: TestServer,
    pool: PgPool,
    tokens: Tokens,
}

/// Place, id, kind and body of an event.
pub(super) type Stored = (i64, uuid::Uuid, String, Option<String>);

impl Ground {
    pub async fn lay() -> Result<Self> {
        let server = TestServer::start().await?;
        let pool = PgPool::connect(server.database_url()).await?;
        let tokens = Tokens::load(&pool, Config::for_tests().access_token, None).await?;
        Ok(Self { server, pool, tokens })
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub async fn person(&self, user: UserId) -> Result<()> {
        let query = "INSERT INTO users (id, username, display_name, password_hash) VALUES ($1, $2, $2, '')";
        sqlx::query(query).bind(user.as_uuid()).bind(user.to_string()).execute(&self.pool).await?;
        Ok(())
    }

    /// A signed-in device of somebody. Returns its token.
    pub async fn device(&self, user: UserId, device: DeviceId) -> Result<String> {
        let query = "INSERT INTO devices (id, user_id, name) VALUES ($1, $2, '')";
        sqlx::query(query).bind(device.as_uuid()).bind(user.as_uuid()).execute(&self.pool).await?;
        self.tokens.sign(user, device).map_err(|error| anyhow::anyhow!("{error:?}"))
    }

    /// Blocks a person, or ends that, as the device with this token.
    pub async fn block(&self, token: &str, user: UserId, on: bool) -> Result<()> {
        let method = if on { reqwest::Method::PUT } else { reqwest::Method::DELETE };
        let request = reqwest::Client::new().request(method, format!("{}/v1/blocks/{user}", self.url()));
        request.bearer_auth(token).send().await?.error_for_status()?;
        Ok(())
    }

    /// The log of a conversation as PostgreSQL holds it.
    pub async fn stored(&self, conversation: ConversationId) -> Result<Vec<Stored>> {
        let query = "SELECT e.seq, e.id, e.kind, e.body FROM events e JOIN conversations c ON c.key = e.conversation_key \
                     WHERE c.id = $1 ORDER BY e.seq";
        Ok(sqlx::query_as(query).bind(conversation.as_uuid()).fetch_all(&self.pool).await?)
    }
}
