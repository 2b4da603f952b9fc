//! Markers of many people in many conversations, raised by one statement that waits for nobody.

use sqlx::PgConnection;
use uuid::Uuid;

/// Markers as asked for, by column: a person and conversation once, and at most one conversation that a person reads.
#[derive(Debug, Default)]
pub struct ReceiptColumns {
    pub users: Vec<Uuid>,
    pub conversations: Vec<Uuid>,
    /// Stored on some device up to here.
    pub delivered: Vec<i64>,
    /// Read up to here; 0 for not.
    pub read: Vec<i64>,
}

/// A marker of an active member, and what became of it.
#[derive(Debug)]
pub struct ReceiptRow {
    pub user_id: Uuid,
    pub conversation_id: Uuid,
    /// Whether it would rise.
    pub rises: bool,
    /// The row as it is now, if it has risen. Else it does not rise, or somebody has its row or its user's locked.
    pub risen: Option<sqlx::types::Json<RisenRow>>,
}

/// The own state of a member whose markers have risen.
#[derive(Debug, serde::Deserialize)]
pub struct RisenRow {
    pub key: i64,
    pub head: i64,
    /// Whether the read marker was asked to rise: then the own state is another one.
    pub reads: bool,
    /// The other person of a direct conversation, while there is one and neither has blocked the other.
    pub peer: Option<Uuid>,
    /// Read up to here.
    pub read_seq: i64,
    /// Delivered up to here.
    pub delivered_seq: i64,
    /// Marked unread by hand.
    pub unread_flag: bool,
    pub mute_until: i64,
    /// Pinned in the list.
    pub pin: bool,
    pub archive: bool,
    /// Hidden while the head is not above this.
    pub hidden_at_seq: Option<i64>,
    /// The text not yet sent.
    pub draft: Option<String>,
    /// How often the draft has changed.
    pub draft_version: i64,
    /// The `user_seq` of the own state's last change.
    pub version: i64,
}

/// Raises markers, clamped to the heads; those of anybody but active members are left out of the answer.
///
/// It is a transaction of its own. User rows are locked before members' (W1), and what somebody else has locked is skipped:
/// it neither waits nor is waited for in a circle, in whatever order others lock.
pub async fn raise(conn: &mut PgConnection, asked: &ReceiptColumns) -> Result<Vec<ReceiptRow>, sqlx::Error> {
    sqlx::query_as!(
        ReceiptRow,
        r#"WITH found AS MATERIALIZED (
               SELECT a.user_id, h.conversation_id, h.conversation_key, h.head, LEAST(a.read, h.head) AS read,
                      LEAST(GREATEST(a.delivered, a.read), h.head) AS delivered,
                      m.read_seq < LEAST(a.read, h.head) AS reads,
                      m.delivered_seq < LEAST(GREATEST(a.delivered, a.read), h.head) AS delivers
               FROM UNNEST($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[])
                    AS a (user_id, conversation_id, delivered, read)
               JOIN conversation_head h ON h.conversation_id = a.conversation_id
               JOIN members m ON m.conversation_key = h.conversation_key AND m.user_id = a.user_id
               WHERE m.is_active
           ), counters AS MATERIALIZED (
               SELECT id, user_seq FROM users WHERE id = ANY (ARRAY(SELECT user_id FROM found WHERE reads))
               FOR NO KEY UPDATE SKIP LOCKED
           ), locked AS MATERIALIZED (
               SELECT f.user_id, f.conversation_key, f.head, f.read, f.delivered, f.reads, c.user_seq + 1 AS version
               FROM found f
               JOIN members m ON m.conversation_key = f.conversation_key AND m.user_id = f.user_id
               LEFT JOIN counters c ON f.reads AND c.id = f.user_id
               WHERE m.is_active AND CASE WHEN f.reads THEN c.id IS NOT NULL ELSE f.delivers END
               FOR NO KEY UPDATE OF m SKIP LOCKED
           ), counted AS (
               UPDATE users SET user_seq = l.version FROM locked l WHERE l.reads AND users.id = l.user_id
           ), risen AS (
               UPDATE members m
               SET delivered_seq = GREATEST(m.delivered_seq, l.delivered),
                   read_seq = CASE WHEN l.reads THEN GREATEST(m.read_seq, l.read) ELSE m.read_seq END,
                   unread_flag = m.unread_flag AND NOT l.reads,
                   version = coalesce(l.version, m.version)
               FROM locked l
               WHERE m.conversation_key = l.conversation_key AND m.user_id = l.user_id
               RETURNING m.user_id, m.conversation_key, jsonb_build_object(
                   'key', m.conversation_key, 'head', l.head, 'reads', l.reads,
                   'peer', (SELECT other.user_id FROM conversations c
                            JOIN members other ON other.conversation_key = c.key AND other.user_id <> m.user_id
                            WHERE c.key = m.conversation_key AND c.kind = 'direct' AND other.is_active
                              AND (SELECT true FROM blocks b
                                   WHERE b.user_id = other.user_id AND b.blocked_id = m.user_id LIMIT 1) IS NULL
                              AND (SELECT true FROM blocks b
                                   WHERE b.user_id = m.user_id AND b.blocked_id = other.user_id LIMIT 1) IS NULL
                            LIMIT 1),
                   'read_seq', m.read_seq, 'delivered_seq', m.delivered_seq, 'unread_flag', m.unread_flag,
                   'mute_until', m.mute_until, 'pin', m.pin, 'archive', m.archive,
                   'hidden_at_seq', m.hidden_at_seq, 'draft', m.draft, 'draft_version', m.draft_version,
                   'version', m.version) AS item
           )
           SELECT f.user_id AS "user_id!", f.conversation_id AS "conversation_id!", f.reads OR f.delivers AS "rises!",
                  risen.item AS "risen: sqlx::types::Json<RisenRow>"
           FROM found f
           LEFT JOIN risen ON risen.conversation_key = f.conversation_key AND risen.user_id = f.user_id"#,
        &asked.users,
        &asked.conversations,
        &asked.delivered,
        &asked.read,
    )
    .fetch_all(conn)
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{self, append::testing::chat};
    use kith_pgbox::testing::TestDb;
    use kith_protocol::{ConversationId, UserId};
    use sqlx::PgPool;

    /// Two people with twenty conversations of ten events each.
    async fn talks() -> (TestDb, PgPool, [UserId; 2], Vec<ConversationId>) {
        let database = crate::testing::database().await.unwrap();
        let pool = db::connect(database.url(), 3).await.unwrap();
        let people = [UserId::mint(), UserId::mint()];
        let first = ConversationId::direct(people[0], people[1]);
        let mut conn = pool.acquire().await.unwrap();
        chat(&mut conn, first, &people).await;
        let groups: Vec<ConversationId> = (1..20).map(|_| ConversationId::mint()).collect();
        for group in &groups {
            sqlx::query("INSERT INTO conversations (id, kind, created_by) VALUES ($1, 'group', $2)")
                .bind(group.as_uuid())
                .bind(people[0].as_uuid())
                .execute(&mut *conn)
                .await
                .unwrap();
        }
        sqlx::raw_sql(
            "INSERT INTO conversation_head (conversation_key, conversation_id, chain)
                 SELECT key, id, '' FROM conversations WHERE kind = 'group';
             INSERT INTO members (conversation_key, user_id, role)
                 SELECT key, users.id, 'member' FROM conversations, users WHERE kind = 'group';
             UPDATE conversation_head SET head = 10;",
        )
        .execute(&mut *conn)
        .await
        .unwrap();
        let all = [first].into_iter().chain(groups).collect();
        drop(conn);
        (database, pool, people, all)
    }

    fn asked(user: UserId, conversations: &[ConversationId], read: i64) -> ReceiptColumns {
        let count = conversations.len();
        ReceiptColumns {
            users: vec![user.as_uuid(); count],
            conversations: conversations.iter().map(|id| id.as_uuid()).collect(),
            delivered: vec![7; count],
            read: vec![read; count],
        }
    }

    #[tokio::test]
    async fn r2_one_statement_raises_many_markers_and_none_twice_or_beyond_the_head() {
        let (_database, pool, [ada, bo], all) = talks().await;
        let mut conn = pool.acquire().await.unwrap();
        let rows = raise(&mut conn, &asked(ada, &all, 0)).await.unwrap();
        assert_eq!(rows.len(), 20);
        assert!(
            rows.iter().all(|row| row.rises && row.risen.as_ref().is_some_and(|row| row.delivered_seq == 7))
        );
        let peers = rows.iter().filter_map(|row| row.risen.as_ref()?.peer);
        assert_eq!(peers.collect::<Vec<_>>(), [bo.as_uuid()], "of the direct conversation alone");
        let again = raise(&mut conn, &asked(ada, &all, 0)).await.unwrap();
        assert!(again.iter().all(|row| !row.rises && row.risen.is_none()));
        let stranger = raise(&mut conn, &asked(UserId::mint(), &all, 0)).await.unwrap();
        assert!(stranger.is_empty());
        let read = raise(&mut conn, &asked(ada, &all[..1], 99)).await.unwrap();
        let risen = read[0].risen.as_ref().unwrap();
        assert_eq!((risen.read_seq, risen.delivered_seq, risen.version, risen.reads), (10, 10, 1, true));
        let counter: i64 = sqlx::query_scalar("SELECT user_seq FROM users WHERE id = $1")
            .bind(ada.as_uuid())
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(counter, 1);
    }

    #[tokio::test]
    async fn w1_markers_skip_what_somebody_has_locked_and_wait_for_nobody() {
        let (_database, pool, [ada, bo], all) = talks().await;
        let mut holder = db::begin(&pool).await.unwrap();
        sqlx::query("SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE")
            .bind(bo.as_uuid())
            .execute(&mut *holder)
            .await
            .unwrap();
        sqlx::query("UPDATE members SET pin = true WHERE user_id = $1 AND conversation_key <= 2")
            .bind(ada.as_uuid())
            .execute(&mut *holder)
            .await
            .unwrap();
        let mut conn = pool.acquire().await.unwrap();
        // With the pool's lock_timeout a statement that waits would fail.
        let rows = raise(&mut conn, &asked(ada, &all, 0)).await.unwrap();
        assert_eq!(rows.iter().filter(|row| row.risen.is_some()).count(), 18);
        assert_eq!(rows.iter().filter(|row| row.rises && row.risen.is_none()).count(), 2);
        let read = raise(&mut conn, &asked(bo, &all[..1], 5)).await.unwrap();
        assert!(read[0].rises && read[0].risen.is_none(), "the counter is locked");
        holder.commit().await.unwrap();
        let read = raise(&mut conn, &asked(ada, &all[..1], 5)).await.unwrap();
        let risen = read[0].risen.as_ref().unwrap();
        assert!(risen.pin, "the row as it is, not as it was");
        assert_eq!((risen.read_seq, risen.delivered_seq), (5, 7));
    }

    #[tokio::test]
    async fn a_read_marker_changes_its_row_in_place() {
        let (_database, pool, [ada, _], all) = talks().await;
        let mut tx = db::begin(&pool).await.unwrap();
        raise(&mut tx, &asked(ada, &all[..1], 5)).await.unwrap();
        raise(&mut tx, &asked(ada, &all[1..2], 5)).await.unwrap();
        let hot = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'members'";
        let (updated, hot): (i64, i64) = sqlx::query_as(hot).fetch_one(&mut *tx).await.unwrap();
        assert_eq!((updated, hot), (2, 2));
    }
}
