//! What committed since a snapshot, for an instance that was not told of it (L4).

use sqlx::PgConnection;
use uuid::Uuid;

/// Where a snapshot stands among all transactions.
#[derive(Debug, Clone)]
pub struct StandRow {
    /// No transaction from it on has ended.
    pub xmax: i64,
    /// Transactions below it that have not ended either, at most as many as there are connections.
    pub open: Vec<i64>,
}

/// The place of the transaction's snapshot. The transaction reads by index from here on: what a plan thinks of the size
/// of a log that grows all the time is always old.
pub async fn stand(conn: &mut PgConnection) -> Result<StandRow, sqlx::Error> {
    sqlx::query!("SET LOCAL enable_seqscan = off").execute(&mut *conn).await?;
    sqlx::query_as!(
        StandRow,
        r#"SELECT pg_snapshot_xmax(snapshot)::text::bigint AS "xmax!",
                  ARRAY(SELECT xid::text::bigint FROM pg_snapshot_xip(snapshot) AS xid) AS "open!"
           FROM pg_current_snapshot() AS snapshot"#,
    )
    .fetch_one(conn)
    .await
}

/// A part of a log that committed.
pub struct StretchRow {
    pub key: i64,
    pub id: Uuid,
    /// The first of its seqs.
    pub low: i64,
    pub high: i64,
}

/// What was written by transactions that ended since the snapshot `last` and up to and without `to`, at most `limit`
/// conversations. A transaction that stays open for long is named, so that what came after it is read once. What bears a
/// transaction above `to` was written in another cluster, from which a dump was restored.
pub async fn since(
    conn: &mut PgConnection,
    last: &StandRow,
    to: i64,
    limit: i64,
) -> Result<Vec<StretchRow>, sqlx::Error> {
    sqlx::query_as!(
        StretchRow,
        r#"WITH rows AS MATERIALIZED (
               -- On its own, so that no order of the log tempts a plan to read all of it.
               SELECT conversation_key, seq FROM events WHERE xid::text::bigint >= $1 AND xid::text::bigint < $2
               UNION ALL
               SELECT conversation_key, seq FROM events WHERE xid::text::bigint = ANY ($4)
           )
           SELECT h.conversation_key AS key, h.conversation_id AS id, written.low AS "low!", written.high AS "high!"
           FROM (SELECT conversation_key, min(seq) AS low, max(seq) AS high FROM rows
                 GROUP BY conversation_key LIMIT $3) AS written
           JOIN conversation_head h ON h.conversation_key = written.conversation_key"#,
        last.xmax,
        to,
        limit,
        &last.open,
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
    pub user_id: Uuid,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{append::testing::chat, begin_snapshot};
    use kith_protocol::{ConversationId, UserId};
    use sqlx::PgPool;

    const WRITE: &str =
        "INSERT INTO events (conversation_key, seq, id, sender, ts, countable, chain, kind, body_hash)
                         VALUES (1, $1, gen_random_uuid(), gen_random_uuid(), 0, 0, '', 'message', '')";

    /// The highest seq that was written since `last`, and where the log stands.
    async fn look(pool: &PgPool, last: Option<&StandRow>) -> (Vec<(i64, i64)>, StandRow) {
        let mut tx = begin_snapshot(pool).await.unwrap();
        let stand = stand(&mut tx).await.unwrap();
        let found = match last {
            Some(last) => since(&mut tx, last, stand.xmax, 100).await.unwrap(),
            None => Vec::new(),
        };
        (found.into_iter().map(|row| (row.low, row.high)).collect(), stand)
    }

    #[tokio::test]
    async fn l4_a_transaction_that_stays_open_lets_nothing_be_read_twice_and_is_not_missed() {
        let database = crate::testing::database().await.unwrap();
        let pool = crate::db::connect(database.url(), 4).await.unwrap();
        let (ada, bo) = (UserId::mint(), UserId::mint());
        chat(&mut pool.acquire().await.unwrap(), ConversationId::direct(ada, bo), &[ada, bo]).await;
        let (_, begun) = look(&pool, None).await;
        let mut open = crate::db::begin(&pool).await.unwrap();
        sqlx::query(WRITE).bind(9_i64).execute(&mut *open).await.unwrap();
        for seq in 1..=5_i64 {
            sqlx::query(WRITE).bind(seq).execute(&pool).await.unwrap();
        }
        let (found, stand) = look(&pool, Some(&begun)).await;
        assert_eq!(found, [(1, 5)]);
        let (found, stand) = look(&pool, Some(&stand)).await;
        assert!(found.is_empty(), "read again: {found:?}");
        open.commit().await.unwrap();
        let (found, stand) = look(&pool, Some(&stand)).await;
        assert_eq!(found, [(9, 9)]);
        assert!(look(&pool, Some(&stand)).await.0.is_empty());
    }
}
