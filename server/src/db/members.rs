//! `members` and `member_intervals`: who is in a conversation, what each sees of it, and each one's own state there.

use super::unread;
use kith_protocol::{ConversationId, UserId};
use sqlx::PgConnection;
use std::collections::HashMap;
use uuid::Uuid;

pub struct MemberRow {
    pub conversation_key: i64,
    pub user_id: Uuid,
    /// `owner`, `admin` or `member`.
    pub role: String,
    /// Hidden until the next event.
    pub is_hidden: bool,
}

/// The active members of these conversations.
pub async fn active(conn: &mut PgConnection, keys: &[i64]) -> Result<Vec<MemberRow>, sqlx::Error> {
    sqlx::query_as!(
        MemberRow,
        r#"SELECT conversation_key, user_id, role, hidden_at_seq IS NOT NULL AS "is_hidden!"
           FROM members WHERE conversation_key = ANY($1) AND is_active"#,
        keys,
    )
    .fetch_all(conn)
    .await
}

/// An interval of somebody's membership.
pub struct IntervalRow {
    pub conversation_key: i64,
    pub user_id: Uuid,
    pub from_seq: i64,
    /// Its last seq, if it has ended.
    pub to_seq: Option<i64>,
}

/// The intervals of the active members of these conversations who did not see all of it from the first event.
pub async fn partial_intervals(
    conn: &mut PgConnection,
    keys: &[i64],
) -> Result<Vec<IntervalRow>, sqlx::Error> {
    sqlx::query_as!(
        IntervalRow,
        "SELECT i.conversation_key, i.user_id, i.from_seq, i.to_seq
         FROM member_intervals i
         JOIN members m ON m.conversation_key = i.conversation_key AND m.user_id = i.user_id
         WHERE i.conversation_key = ANY($1) AND m.is_active AND NOT (i.from_seq = 1 AND i.to_seq IS NULL)
         ORDER BY i.conversation_key, i.user_id, i.from_seq",
        keys,
    )
    .fetch_all(conn)
    .await
}

/// The intervals of one user in these conversations, ascending.
pub async fn intervals_of(
    conn: &mut PgConnection,
    user: UserId,
    keys: &[i64],
) -> Result<Vec<IntervalRow>, sqlx::Error> {
    sqlx::query_as!(
        IntervalRow,
        "SELECT conversation_key, user_id, from_seq, to_seq FROM member_intervals
         WHERE conversation_key = ANY($2) AND user_id = $1
         ORDER BY conversation_key, from_seq",
        user.as_uuid(),
        keys,
    )
    .fetch_all(conn)
    .await
}

/// Those of these people, each in a conversation of theirs, who have at least `count` intervals there.
pub async fn with_intervals(
    conn: &mut PgConnection,
    keys: &[i64],
    users: &[Uuid],
    count: i64,
) -> Result<Vec<(i64, Uuid)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT asked.key AS "key!", asked.user_id AS "user_id!"
           FROM UNNEST($1::bigint[], $2::uuid[]) AS asked (key, user_id)
           WHERE (SELECT count(*) FROM (SELECT FROM member_intervals
                                        WHERE conversation_key = asked.key AND user_id = asked.user_id
                                        LIMIT $3) AS known) >= $3"#,
        keys,
        users,
        count,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.key, row.user_id)).collect())
}

/// Adds the members of a new conversation, who see it from the first event on.
pub async fn insert_first(
    conn: &mut PgConnection,
    key: i64,
    users: &[Uuid],
    roles: &[String],
    versions: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO members (conversation_key, user_id, role, version)
         SELECT $1, u, r, v FROM UNNEST($2::uuid[], $3::text[], $4::bigint[]) AS n (u, r, v)",
        key,
        users,
        roles,
        versions,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO member_intervals (conversation_key, user_id, from_seq)
         SELECT $1, u, 1 FROM UNNEST($2::uuid[]) AS n (u)",
        key,
        users,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Changes of several people's memberships, by column; each person once.
#[derive(Default)]
pub struct MemberColumns {
    pub users: Vec<Uuid>,
    pub roles: Vec<String>,
    /// The events that change them.
    pub seqs: Vec<i64>,
    /// The `user_seq` of the change.
    pub versions: Vec<i64>,
}

/// Makes them members from the events `seqs` on (R6): `read` and `delivered` start before them.
pub async fn add(conn: &mut PgConnection, key: i64, new: &MemberColumns) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO members AS m (conversation_key, user_id, role, read_seq, delivered_seq, version)
         SELECT $1, n.user_id, n.role, n.seq - 1, n.seq - 1, n.version
         FROM UNNEST($2::uuid[], $3::text[], $4::bigint[], $5::bigint[]) AS n (user_id, role, seq, version)
         ON CONFLICT ON CONSTRAINT members_pkey DO UPDATE
         SET role = excluded.role, is_active = true, hidden_at_seq = NULL, version = excluded.version,
             read_seq = GREATEST(m.read_seq, excluded.read_seq),
             delivered_seq = GREATEST(m.delivered_seq, excluded.delivered_seq)",
        key,
        &new.users,
        &new.roles,
        &new.seqs,
        &new.versions,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "INSERT INTO member_intervals (conversation_key, user_id, from_seq)
         SELECT $1, n.user_id, n.seq FROM UNNEST($2::uuid[], $3::bigint[]) AS n (user_id, seq)",
        key,
        &new.users,
        &new.seqs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Ends their memberships with the events `seqs`, the last ones that they see; title and unread stay as they are.
pub async fn remove(conn: &mut PgConnection, key: i64, gone: &MemberColumns) -> Result<(), sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT user_id, read_seq FROM members WHERE conversation_key = $1 AND is_active AND user_id = ANY($2)",
        key,
        &gone.users,
    )
    .fetch_all(&mut *conn)
    .await?;
    let reads: HashMap<Uuid, i64> = rows.into_iter().map(|row| (row.user_id, row.read_seq)).collect();
    let asked: Vec<_> = gone
        .users
        .iter()
        .zip(&gone.seqs)
        .filter_map(|(user, seq)| Some((*user, key, *reads.get(user)?, *seq)))
        .collect();
    let counted = unread::count_each(conn, &asked).await?;
    let unreads: Vec<i64> =
        gone.users.iter().map(|user| counted.get(&(*user, key)).copied().unwrap_or_default()).collect();
    sqlx::query!(
        "UPDATE members AS m
         SET is_active = false, version = n.version, last_title = c.title, last_unread = n.unread
         FROM UNNEST($2::uuid[], $3::bigint[], $4::bigint[]) AS n (user_id, version, unread), conversations c
         WHERE m.conversation_key = $1 AND m.is_active AND m.user_id = n.user_id AND c.key = $1",
        key,
        &gone.users,
        &gone.versions,
        &unreads,
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE member_intervals AS i SET to_seq = n.seq
         FROM UNNEST($2::uuid[], $3::bigint[]) AS n (user_id, seq)
         WHERE i.conversation_key = $1 AND i.user_id = n.user_id AND i.to_seq IS NULL",
        key,
        &gone.users,
        &gone.seqs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn set_roles(conn: &mut PgConnection, key: i64, new: &MemberColumns) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE members AS m SET role = n.role
         FROM UNNEST($2::uuid[], $3::text[]) AS n (user_id, role)
         WHERE m.conversation_key = $1 AND m.is_active AND m.user_id = n.user_id",
        key,
        &new.users,
        &new.roles,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Shows a hidden conversation again.
pub async fn unhide(
    conn: &mut PgConnection,
    key: i64,
    users: &[Uuid],
    versions: &[i64],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE members AS m SET hidden_at_seq = NULL, version = n.version
         FROM UNNEST($2::uuid[], $3::bigint[]) AS n (user_id, version)
         WHERE m.conversation_key = $1 AND m.is_active AND m.user_id = n.user_id",
        key,
        users,
        versions,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The active members of a conversation that `user` is an active member of, at most `limit`; empty for anybody else. In
/// a direct one nobody else is met before its first event, and while one of the two has blocked the other.
pub async fn peers(
    conn: &mut PgConnection,
    conversation: ConversationId,
    user: UserId,
    limit: i64,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT m.user_id
         FROM members own
         JOIN conversation_head h ON h.conversation_key = own.conversation_key
         JOIN conversations c ON c.key = own.conversation_key
         JOIN members m ON m.conversation_key = own.conversation_key AND m.is_active
         WHERE h.conversation_id = $1 AND own.user_id = $2 AND own.is_active
           AND (c.kind <> 'direct' OR m.user_id = own.user_id
                OR h.head > 0
                   AND (SELECT true FROM blocks b
                        WHERE b.user_id = m.user_id AND b.blocked_id = own.user_id LIMIT 1) IS NULL
                   AND (SELECT true FROM blocks b
                        WHERE b.user_id = own.user_id AND b.blocked_id = m.user_id LIMIT 1) IS NULL)
         LIMIT $3",
        conversation.as_uuid(),
        user.as_uuid(),
        limit,
    )
    .fetch_all(conn)
    .await
}

/// Which of these conversations `user` is an active member of.
pub async fn active_among(
    conn: &mut PgConnection,
    user: UserId,
    ids: &[Uuid],
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        // Each by its id, however many conversations the user has.
        "SELECT own.conversation_id
         FROM UNNEST($2::uuid[]) AS asked (id)
         CROSS JOIN LATERAL (
             SELECT h.conversation_id
             FROM conversation_head h JOIN members m ON m.conversation_key = h.conversation_key AND m.user_id = $1
             WHERE h.conversation_id = asked.id AND m.is_active
             LIMIT 1
         ) AS own",
        user.as_uuid(),
        ids,
    )
    .fetch_all(conn)
    .await
}

/// A member for a list.
pub struct ListedRow {
    pub user_id: Uuid,
    pub role: String,
}

/// The active members by id, after `after`.
pub async fn list(
    conn: &mut PgConnection,
    key: i64,
    after: Uuid,
    limit: i64,
) -> Result<Vec<ListedRow>, sqlx::Error> {
    sqlx::query_as!(
        ListedRow,
        "SELECT user_id, role FROM members
         WHERE conversation_key = $1 AND is_active AND user_id > $2
         ORDER BY user_id LIMIT $3",
        key,
        after,
        limit,
    )
    .fetch_all(conn)
    .await
}

pub struct MarkerRow {
    pub user_id: Uuid,
    /// Stored on some device up to here.
    pub delivered_seq: i64,
    /// Read up to here.
    pub read_seq: i64,
}

/// The active members' markers.
pub async fn markers(conn: &mut PgConnection, key: i64, limit: i64) -> Result<Vec<MarkerRow>, sqlx::Error> {
    sqlx::query_as!(
        MarkerRow,
        "SELECT user_id, delivered_seq, read_seq FROM members
         WHERE conversation_key = $1 AND is_active ORDER BY user_id LIMIT $2",
        key,
        limit,
    )
    .fetch_all(conn)
    .await
}

/// A delivered marker that rose.
pub struct DeliveredRow {
    pub conversation_id: Uuid,
    /// Delivered up to here.
    pub delivered_seq: i64,
    /// Read up to here.
    pub read_seq: i64,
}

/// Raises delivered markers, clamped to the heads, outside the conversations' locks (R2). Returns those that rose.
pub async fn raise_delivered(
    conn: &mut PgConnection,
    user: UserId,
    ids: &[Uuid],
    seqs: &[i64],
) -> Result<Vec<DeliveredRow>, sqlx::Error> {
    sqlx::query_as!(
        DeliveredRow,
        "WITH asked AS (
             SELECT id, max(seq) AS seq FROM UNNEST($2::uuid[], $3::bigint[]) AS asked (id, seq) GROUP BY id
         ), locked AS (
             -- In the order of effects, so that nobody waits in a circle.
             SELECT m.conversation_key, h.conversation_id, LEAST(asked.seq, h.head) AS seq
             FROM asked
             JOIN conversation_head h ON h.conversation_id = asked.id
             JOIN members m ON m.conversation_key = h.conversation_key
             WHERE m.user_id = $1 AND m.is_active AND m.delivered_seq < LEAST(asked.seq, h.head)
             ORDER BY h.conversation_id FOR NO KEY UPDATE OF m
         )
         UPDATE members AS m SET delivered_seq = GREATEST(m.delivered_seq, locked.seq)
         FROM locked
         WHERE m.conversation_key = locked.conversation_key AND m.user_id = $1
         RETURNING locked.conversation_id, m.delivered_seq, m.read_seq",
        user.as_uuid(),
        ids,
        seqs,
    )
    .fetch_all(conn)
    .await
}

/// The own state as it is to be stored.
pub struct OwnColumns {
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
    /// The `user_seq` of this change.
    pub version: i64,
}

/// Bytes of a user's drafts in other conversations than this one.
pub async fn draft_bytes(conn: &mut PgConnection, user: UserId, except: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT coalesce(sum(octet_length(draft)), 0)::bigint AS "bytes!" FROM members
           WHERE user_id = $1 AND draft IS NOT NULL AND conversation_key <> $2"#,
        user.as_uuid(),
        except,
    )
    .fetch_one(conn)
    .await
}

/// Writes a member's own state; markers never fall.
pub async fn set_own(
    conn: &mut PgConnection,
    key: i64,
    user: UserId,
    own: &OwnColumns,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE members
         SET read_seq = GREATEST(read_seq, $3), delivered_seq = GREATEST(delivered_seq, $4), unread_flag = $5,
             mute_until = $6, pin = $7, archive = $8, hidden_at_seq = $9, draft = $10, draft_version = $11,
             version = $12
         WHERE conversation_key = $1 AND user_id = $2",
        key,
        user.as_uuid(),
        own.read_seq,
        own.delivered_seq,
        own.unread_flag,
        own.mute_until,
        own.pin,
        own.archive,
        own.hidden_at_seq,
        own.draft,
        own.draft_version,
        own.version,
    )
    .execute(conn)
    .await?;
    Ok(())
}
