//! What heads items for many people are made of, read with one statement for all of them.

use super::items::ItemRow;
use sqlx::PgConnection;
use uuid::Uuid;

/// A conversation as one of several people sees it.
pub struct AnnouncedRow {
    pub user_id: Uuid,
    pub user_seq: i64,
    /// Messages up to what they have read.
    pub read_countable: i64,
    pub item: ItemRow,
}

/// An interval of one of several people's memberships.
pub struct IntervalRow {
    pub user_id: Uuid,
    pub conversation_key: i64,
    pub from_seq: i64,
    /// Its last seq, if it has ended.
    pub to_seq: Option<i64>,
}

/// The conversations as these people see them, who are or were members; pair by pair.
pub async fn items(
    conn: &mut PgConnection,
    users: &[Uuid],
    ids: &[Uuid],
) -> Result<Vec<AnnouncedRow>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT m.user_id, u.user_seq, m.conversation_key AS key, c.id, c.kind, c.context, m.is_active,
                  CASE WHEN m.is_active THEN c.title ELSE m.last_title END AS title,
                  coalesce(edge.seq, h.head) AS "head!", coalesce(edge.countable, h.countable) AS "countable!",
                  coalesce(edge.chain, h.chain) AS "chain!", coalesce(edge.ts, h.last_ts) AS "last_ts!",
                  m.read_seq,
                  CASE WHEN NOT m.is_active THEN m.last_unread END AS last_unread, m.delivered_seq, m.unread_flag, m.mute_until, m.pin, m.archive, m.hidden_at_seq,
                  m.draft, m.draft_version, m.version,
                  coalesce((SELECT e.countable FROM events e
                            WHERE e.conversation_key = m.conversation_key AND e.seq = m.read_seq), 0)
                      AS "read_countable!"
           FROM UNNEST($1::uuid[], $2::uuid[]) AS asked (user_id, id)
           JOIN conversations c ON c.id = asked.id
           CROSS JOIN LATERAL (
               -- Each by its key, however many have been members.
               SELECT * FROM members WHERE conversation_key = c.key AND members.user_id = asked.user_id LIMIT 1
           ) AS m
           JOIN users u ON u.id = asked.user_id
           JOIN conversation_head h ON h.conversation_key = c.key
           LEFT JOIN events edge ON NOT m.is_active AND edge.conversation_key = m.conversation_key
                AND edge.seq = (SELECT max(i.to_seq) FROM member_intervals i
                                WHERE i.conversation_key = m.conversation_key AND i.user_id = m.user_id)"#,
        users,
        ids,
    )
    .fetch_all(conn)
    .await?;
    let announced = rows.into_iter().map(|row| AnnouncedRow {
        user_id: row.user_id,
        user_seq: row.user_seq,
        read_countable: row.read_countable,
        item: ItemRow {
            key: row.key,
            id: row.id,
            kind: row.kind,
            title: row.title,
            context: row.context,
            is_active: row.is_active,
            head: row.head,
            countable: row.countable,
            chain: row.chain,
            last_ts: row.last_ts,
            read_seq: row.read_seq,
            last_unread: row.last_unread,
            delivered_seq: row.delivered_seq,
            unread_flag: row.unread_flag,
            mute_until: row.mute_until,
            pin: row.pin,
            archive: row.archive,
            hidden_at_seq: row.hidden_at_seq,
            draft: row.draft,
            draft_version: row.draft_version,
            version: row.version,
        },
    });
    Ok(announced.collect())
}

/// The intervals of these people in these conversations, ascending; pair by pair.
pub async fn intervals(
    conn: &mut PgConnection,
    users: &[Uuid],
    keys: &[i64],
) -> Result<Vec<IntervalRow>, sqlx::Error> {
    sqlx::query_as!(
        IntervalRow,
        "SELECT i.user_id, i.conversation_key, i.from_seq, i.to_seq
         FROM UNNEST($1::uuid[], $2::bigint[]) AS asked (user_id, key)
         JOIN member_intervals i ON i.conversation_key = asked.key AND i.user_id = asked.user_id
         ORDER BY i.conversation_key, i.user_id, i.from_seq",
        users,
        keys,
    )
    .fetch_all(conn)
    .await
}
