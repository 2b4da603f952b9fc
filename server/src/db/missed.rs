//! What committed since a snapshot, for an instance that was not told of it (L4).

use sqlx::PgConnection;
use uuid::Uuid;

/// Where a snapshot stands among all transactions.
#[derive(Debug, Clone, Copy)]
pub struct StandRow {
    /// Every transaction below it has ended and is part of the snapshot, if it committed.
    pub xmin: i64,
    /// No transaction from it on has ended.
    pub xmax: i64,
}

/// The place of the transaction's snapshot. The transaction reads by index from here on: what a plan thinks of the size
/// of a log that grows all the time is always old.
pub async fn stand(conn: &mut PgConnection) -> Result<StandRow, sqlx::Error> {
    sqlx::query!("SET LOCAL enable_seqscan = off").execute(&mut *conn).await?;
    sqlx::query_as!(
        StandRow,
        r#"SELECT pg_snapshot_xmin(snapshot)::text::bigint AS "xmin!",
                  pg_snapshot_xmax(snapshot)::text::bigint AS "xmax!"
           FROM pg_current_snapshot() AS snapshot"#,
    )
    .fetch_one(conn)
    .await
}

/// A part of a log that committed.
pub struct StretchRow {
    /// The conversation's key.
    pub key: i64,
    /// The conversation.
    pub id: Uuid,
    /// The first of its seqs.
    pub low: i64,
    /// The last one.
    pub high: i64,
}

/// What was written by transactions from `from` up to and without `to`, at most `limit` conversations. What bears a
/// higher transaction was written in another cluster, from which a dump was restored.
pub async fn since(
    conn: &mut PgConnection,
    from: i64,
    to: i64,
    limit: i64,
) -> Result<Vec<StretchRow>, sqlx::Error> {
    sqlx::query_as!(
        StretchRow,
        r#"SELECT h.conversation_key AS key, h.conversation_id AS id, written.low AS "low!", written.high AS "high!"
           FROM (SELECT conversation_key, min(seq) AS low, max(seq) AS high FROM events
                 WHERE xid::text::bigint >= $1 AND xid::text::bigint < $2
                 GROUP BY conversation_key LIMIT $3) AS written
           JOIN conversation_head h ON h.conversation_key = written.conversation_key"#,
        from,
        to,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Where a conversation is.
pub async fn key(conn: &mut PgConnection, conversation: Uuid) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT conversation_key FROM conversation_head WHERE conversation_id = $1",
        conversation
    )
    .fetch_optional(conn)
    .await
}

/// Who sees a part of a log.
pub struct SeesRow {
    /// The user.
    pub user_id: Uuid,
    /// From here on.
    pub from_seq: i64,
    /// Up to here, if it has ended.
    pub to_seq: Option<i64>,
}

/// Who sees anything from `low` to `high` (R6), with the intervals.
pub async fn who_sees(
    conn: &mut PgConnection,
    key: i64,
    low: i64,
    high: i64,
) -> Result<Vec<SeesRow>, sqlx::Error> {
    sqlx::query_as!(
        SeesRow,
        "SELECT user_id, from_seq, to_seq FROM member_intervals
         WHERE conversation_key = $1 AND from_seq <= $3 AND (to_seq IS NULL OR to_seq >= $2)
         ORDER BY user_id",
        key,
        low,
        high,
    )
    .fetch_all(conn)
    .await
}
