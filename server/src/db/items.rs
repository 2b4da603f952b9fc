//! What a heads item is made of: one row per conversation of a user, over several tables.

use kith_protocol::UserId;
use sqlx::PgConnection;
use uuid::Uuid;

/// A conversation as one user sees it.
pub struct ItemRow {
    pub key: i64,
    pub id: Uuid,
    /// `direct` or `group`.
    pub kind: String,
    /// A group's title; for a former member as it was at the end.
    pub title: Option<String>,
    /// What it is about.
    pub context: Option<serde_json::Value>,
    /// Whether the user is in it at present.
    pub is_active: bool,
    /// The newest seq that the user sees.
    pub head: i64,
    /// Messages up to it.
    pub countable: i64,
    /// The chain's value there.
    pub chain: Vec<u8>,
    pub last_ts: i64,
    /// Read up to here.
    pub read_seq: i64,
    /// What a former member left unread; `None` for a member.
    pub last_unread: Option<i64>,
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

impl ItemRow {
    /// Hidden until the next event.
    pub fn is_hidden(&self) -> bool {
        self.hidden_at_seq.is_some_and(|at| self.head <= at)
    }
}

/// The user's conversations as [`ItemRow`]s, `$rest` saying which and in which order. For a former member the head is
/// the last interval's end.
macro_rules! items {
    ($rest:tt, $($argument:expr),*) => {
        sqlx::query_as!(
            ItemRow,
            r#"SELECT key AS "key!", id AS "id!", kind AS "kind!", title, context, is_active AS "is_active!",
                      head AS "head!", countable AS "countable!", chain AS "chain!", last_ts AS "last_ts!",
                      read_seq AS "read_seq!", last_unread, delivered_seq AS "delivered_seq!", unread_flag AS "unread_flag!",
                      mute_until AS "mute_until!", pin AS "pin!", archive AS "archive!", hidden_at_seq, draft,
                      draft_version AS "draft_version!", version AS "version!"
               FROM (
                   SELECT m.conversation_key AS key, c.id, c.kind, c.context, c.created_by, m.user_id, m.is_active,
                          CASE WHEN m.is_active THEN c.title ELSE m.last_title END AS title,
                          coalesce(edge.seq, h.head) AS head, coalesce(edge.countable, h.countable) AS countable,
                          coalesce(edge.chain, h.chain) AS chain, coalesce(edge.ts, h.last_ts) AS last_ts,
                          m.read_seq, CASE WHEN NOT m.is_active THEN m.last_unread END AS last_unread,
                          m.delivered_seq, m.unread_flag, m.mute_until, m.pin, m.archive,
                          m.hidden_at_seq, m.draft, m.draft_version, m.version
                   FROM members m
                   JOIN conversations c ON c.key = m.conversation_key
                   JOIN conversation_head h ON h.conversation_key = m.conversation_key
                   LEFT JOIN events edge ON NOT m.is_active AND edge.conversation_key = m.conversation_key
                        AND edge.seq = (SELECT max(i.to_seq) FROM member_intervals i
                                        WHERE i.conversation_key = m.conversation_key AND i.user_id = m.user_id)
               ) AS item
               WHERE user_id = $1 AND "# + $rest,
            $($argument),*
        )
    };
}

/// The user's conversations, the one with the newest event first, after (`after_ts`, `after_id`). A direct one without
/// events is its creator's alone.
pub async fn page(
    conn: &mut PgConnection,
    user: UserId,
    after: Option<(i64, Uuid)>,
    limit: i64,
) -> Result<Vec<ItemRow>, sqlx::Error> {
    items!(
        "(kind <> 'direct' OR head > 0 OR created_by = $1)
         AND ($2::bigint IS NULL OR (last_ts, id) < ($2, $3::uuid))
         ORDER BY last_ts DESC, id DESC
         LIMIT $4",
        user.as_uuid(),
        after.map(|(ts, _)| ts),
        after.map(|(_, id)| id),
        limit
    )
    .fetch_all(conn)
    .await
}

/// Like [`page`], of those only in which something is different since the snapshot that included every transaction below
/// `xmin` and own state up to `user_seq` (S5): an event, own state, or a member's profile. One without events is always
/// among them. The user's conversations are gone through one by one (`LATERAL … LIMIT 1`): as a plain join, all members of
/// everybody were read for each hello. What bears a transaction above the snapshot was written in another cluster, from which a dump was restored.
pub async fn changed(
    conn: &mut PgConnection,
    user: UserId,
    (xmin, user_seq): (i64, i64),
    after: Option<(i64, Uuid)>,
    limit: i64,
) -> Result<Vec<ItemRow>, sqlx::Error> {
    items!(
        "(kind <> 'direct' OR head > 0 OR created_by = $1)
         AND (version > $2 OR head = 0
              OR EXISTS (SELECT FROM events e
                         WHERE e.conversation_key = key AND e.seq = head AND e.xid >= $3::bigint::text::xid8
                           AND e.xid < pg_snapshot_xmax(pg_current_snapshot()))
              OR key = ANY(ARRAY(
                  SELECT mine.conversation_key
                  FROM members mine
                  CROSS JOIN LATERAL (
                      SELECT FROM members other JOIN users u ON u.id = other.user_id
                      WHERE other.conversation_key = mine.conversation_key AND other.is_active
                        AND u.changed >= $3::bigint::text::xid8
                        AND u.changed < pg_snapshot_xmax(pg_current_snapshot())
                      LIMIT 1) AS changed
                  WHERE mine.user_id = $1 AND mine.is_active)))
         AND ($4::bigint IS NULL OR (last_ts, id) < ($4, $5::uuid))
         ORDER BY last_ts DESC, id DESC
         LIMIT $6",
        user.as_uuid(),
        user_seq,
        xmin,
        after.map(|(ts, _)| ts),
        after.map(|(_, id)| id),
        limit
    )
    .fetch_all(conn)
    .await
}

/// Those of these conversations that the user is or was a member of.
pub async fn of(conn: &mut PgConnection, user: UserId, ids: &[Uuid]) -> Result<Vec<ItemRow>, sqlx::Error> {
    // By key, so that the user's other conversations are left out before anything is joined.
    items!("key = ANY(ARRAY(SELECT c.key FROM conversations c WHERE c.id = ANY($2)))", user.as_uuid(), ids)
        .fetch_all(conn)
        .await
}

/// How many active members these conversations have.
pub async fn member_counts(conn: &mut PgConnection, keys: &[i64]) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT conversation_key, count(*) AS "count!" FROM members
           WHERE conversation_key = ANY($1) AND is_active GROUP BY conversation_key"#,
        keys,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.conversation_key, row.count)).collect())
}

/// A member in a heads item.
pub struct ItemMemberRow {
    pub conversation_key: i64,
    pub user_id: Uuid,
    pub role: String,
    pub profile_version: i64,
}

/// The active members of these (small) conversations with their profiles' versions.
pub async fn members(conn: &mut PgConnection, keys: &[i64]) -> Result<Vec<ItemMemberRow>, sqlx::Error> {
    sqlx::query_as!(
        ItemMemberRow,
        "SELECT m.conversation_key, m.user_id, m.role, u.version AS profile_version
         FROM members m JOIN users u ON u.id = m.user_id
         WHERE m.conversation_key = ANY($1) AND m.is_active
         ORDER BY m.conversation_key, m.user_id",
        keys,
    )
    .fetch_all(conn)
    .await
}
