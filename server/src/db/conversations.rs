//! `conversations`: what a conversation is.

use kith_protocol::{
    ConversationId, UserId,
    frame::{Context, ConversationKind},
};
use sqlx::PgConnection;
use uuid::Uuid;

/// A conversation as stored.
pub struct ConversationRow {
    /// The dense stand-in for the id.
    pub key: i64,
    pub id: Uuid,
    /// `direct` or `group`.
    pub kind: String,
    /// Whose platform's it is.
    pub tenant: String,
    /// Whether it takes no more events.
    pub is_closed: bool,
}

pub async fn find(
    conn: &mut PgConnection,
    id: ConversationId,
) -> Result<Option<ConversationRow>, sqlx::Error> {
    sqlx::query_as!(
        ConversationRow,
        r#"SELECT key, id, kind, tenant, closed_at IS NOT NULL AS "is_closed!"
           FROM conversations WHERE id = $1"#,
        id.as_uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// The conversations of these keys.
pub async fn by_keys(conn: &mut PgConnection, keys: &[i64]) -> Result<Vec<ConversationRow>, sqlx::Error> {
    sqlx::query_as!(
        ConversationRow,
        r#"SELECT key, id, kind, tenant, closed_at IS NOT NULL AS "is_closed!"
           FROM conversations WHERE key = ANY($1)"#,
        keys,
    )
    .fetch_all(conn)
    .await
}

/// What a new conversation is made of.
pub struct NewConversation<'a> {
    pub id: ConversationId,
    pub kind: ConversationKind,
    /// Whose platform's it is.
    pub tenant: &'a str,
    pub title: Option<&'a str>,
    /// What it is about.
    pub context: Option<&'a Context>,
    pub created_by: UserId,
}

/// Adds a conversation; `None` if the id is taken.
pub async fn insert(conn: &mut PgConnection, new: NewConversation<'_>) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "INSERT INTO conversations (id, kind, tenant, title, context, created_by)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT ON CONSTRAINT conversations_id_key DO NOTHING
         RETURNING key",
        new.id.as_uuid(),
        new.kind.as_str(),
        new.tenant,
        new.title,
        new.context.map(sqlx::types::Json) as _,
        new.created_by.as_uuid(),
    )
    .fetch_optional(conn)
    .await
}

/// Replaces a group's title; an empty one removes it.
pub async fn set_title(conn: &mut PgConnection, key: i64, title: &str) -> Result<(), sqlx::Error> {
    sqlx::query!("UPDATE conversations SET title = NULLIF($2, '') WHERE key = $1", key, title)
        .execute(conn)
        .await?;
    Ok(())
}
