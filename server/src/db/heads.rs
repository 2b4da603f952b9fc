//! `conversation_head`: where each log stands. Its row is the log's lock (W1).

use kith_protocol::{Chain, ConversationId};
use sqlx::PgConnection;
use uuid::Uuid;

/// A head, read with its lock.
#[derive(Debug, Clone)]
pub struct HeadRow {
    pub conversation_key: i64,
    pub conversation_id: Uuid,
    pub head: i64,
    /// Messages up to it.
    pub countable: i64,
    /// The chain's value there.
    pub chain: Vec<u8>,
    /// The newest event's time.
    pub last_ts: i64,
    /// Raised by every change of members or policy.
    pub access_version: i64,
}

/// Locks the heads of these conversations in ascending order of id. The locks are held until commit, so a log's
/// events become visible in the order of their seqs, without holes.
pub async fn lock(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<HeadRow>, sqlx::Error> {
    sqlx::query_as!(
        HeadRow,
        "SELECT conversation_key, conversation_id, head, countable, chain, last_ts, access_version
         FROM conversation_head WHERE conversation_id = ANY($1)
         ORDER BY conversation_id FOR NO KEY UPDATE",
        ids,
    )
    .fetch_all(conn)
    .await
}

/// As [`lock`], without waiting: those that another transaction holds are left out.
pub async fn lock_free(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<HeadRow>, sqlx::Error> {
    sqlx::query_as!(
        HeadRow,
        "SELECT conversation_key, conversation_id, head, countable, chain, last_ts, access_version
         FROM conversation_head WHERE conversation_id = ANY($1)
         ORDER BY conversation_id FOR NO KEY UPDATE SKIP LOCKED",
        ids,
    )
    .fetch_all(conn)
    .await
}

/// The newest seq of a conversation; 0 if there is none.
pub async fn head(conn: &mut PgConnection, id: ConversationId) -> Result<i64, sqlx::Error> {
    let head =
        sqlx::query_scalar!("SELECT head FROM conversation_head WHERE conversation_id = $1", id.as_uuid(),)
            .fetch_optional(conn)
            .await?;
    Ok(head.unwrap_or_default())
}

/// Those of these conversations that exist.
pub async fn existing(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!("SELECT conversation_id FROM conversation_head WHERE conversation_id = ANY($1)", ids)
        .fetch_all(conn)
        .await
}

/// Adds the head of an empty log.
pub async fn insert(conn: &mut PgConnection, key: i64, id: ConversationId) -> Result<(), sqlx::Error> {
    let chain = Chain::empty(id);
    sqlx::query!(
        "INSERT INTO conversation_head (conversation_key, conversation_id, chain) VALUES ($1, $2, $3)",
        key,
        id.as_uuid(),
        chain.as_bytes(),
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Where several heads come to stand, by column.
#[derive(Default)]
pub struct HeadColumns {
    pub keys: Vec<i64>,
    pub heads: Vec<i64>,
    pub countables: Vec<i64>,
    pub chains: Vec<Vec<u8>>,
    pub last_ts: Vec<i64>,
    pub access_versions: Vec<i64>,
}

pub async fn update(conn: &mut PgConnection, columns: &HeadColumns) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE conversation_head AS h
         SET head = n.head, countable = n.countable, chain = n.chain, last_ts = n.last_ts,
             access_version = n.access_version
         FROM UNNEST($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bigint[])
              AS n (key, head, countable, chain, last_ts, access_version)
         WHERE h.conversation_key = n.key",
        &columns.keys,
        &columns.heads,
        &columns.countables,
        &columns.chains,
        &columns.last_ts,
        &columns.access_versions,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Makes every cache of this conversation's members void.
pub async fn raise_access_version(conn: &mut PgConnection, key: i64) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE conversation_head SET access_version = access_version + 1 WHERE conversation_key = $1",
        key,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// A member of a conversation.
pub struct AudienceRow {
    pub conversation_id: Uuid,
    pub user_id: Uuid,
}

/// The members of these conversations that have begun; former ones too, where the newest event is the one that ended it.
pub async fn audience(conn: &mut PgConnection, ids: &[Uuid]) -> Result<Vec<AudienceRow>, sqlx::Error> {
    sqlx::query_as!(
        AudienceRow,
        r#"SELECT h.conversation_id AS "conversation_id!", m.user_id AS "user_id!"
           FROM conversation_head h JOIN members m ON m.conversation_key = h.conversation_key AND m.is_active
           WHERE h.conversation_id = ANY($1) AND h.head > 0
           UNION
           SELECT h.conversation_id, i.user_id
           FROM conversation_head h
           JOIN member_intervals i ON i.conversation_key = h.conversation_key AND i.to_seq = h.head
           WHERE h.conversation_id = ANY($1) AND h.head > 0"#,
        ids,
    )
    .fetch_all(conn)
    .await
}
