//! `reactions`: the reactions that are on at a log's head.

use kith_protocol::limits;
use sqlx::PgConnection;
use uuid::Uuid;

/// An emoji of a message.
pub struct EmojiRow {
    pub conversation_key: i64,
    pub target: Uuid,
    pub emoji: String,
    /// How many people have it on.
    pub users: i64,
}

/// The emoji of each of these messages.
pub async fn emoji(
    conn: &mut PgConnection,
    keys: &[i64],
    targets: &[Uuid],
) -> Result<Vec<EmojiRow>, sqlx::Error> {
    sqlx::query_as!(
        EmojiRow,
        r#"SELECT r.conversation_key, r.target, r.emoji, r.users AS "users!"
           FROM UNNEST($1::bigint[], $2::uuid[]) AS asked (key, target)
           CROSS JOIN LATERAL (
               SELECT conversation_key, target, emoji, count(*) AS users FROM reactions
               WHERE conversation_key = asked.key AND target = asked.target
               GROUP BY conversation_key, target, emoji
           ) AS r"#,
        keys,
        targets,
    )
    .fetch_all(conn)
    .await
}

pub struct ReactionRow {
    pub conversation_key: i64,
    pub target: Uuid,
    pub sender: Uuid,
    pub emoji: String,
}

/// The reactions of these people on each of these messages.
pub async fn of(
    conn: &mut PgConnection,
    keys: &[i64],
    targets: &[Uuid],
    senders: &[Uuid],
) -> Result<Vec<ReactionRow>, sqlx::Error> {
    sqlx::query_as!(
        ReactionRow,
        r#"SELECT r.conversation_key, r.target, r.sender, r.emoji
           FROM UNNEST($1::bigint[], $2::uuid[]) AS asked (key, target)
           CROSS JOIN LATERAL (
               SELECT * FROM reactions
               WHERE conversation_key = asked.key AND target = asked.target AND sender = ANY($3)
           ) AS r"#,
        keys,
        targets,
        senders,
    )
    .fetch_all(conn)
    .await
}

#[derive(Default)]
pub struct ReactionColumns {
    pub keys: Vec<i64>,
    pub targets: Vec<Uuid>,
    pub emoji: Vec<String>,
    pub senders: Vec<Uuid>,
    /// Places of the events; not needed for what is taken off.
    pub seqs: Vec<i64>,
}

/// Puts reactions on; each one is named once.
pub async fn put(conn: &mut PgConnection, on: &ReactionColumns) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO reactions (conversation_key, target, emoji, sender, seq)
         SELECT * FROM UNNEST($1::bigint[], $2::uuid[], $3::text[], $4::uuid[], $5::bigint[])
         ON CONFLICT (conversation_key, target, emoji, sender) DO UPDATE SET seq = excluded.seq",
        &on.keys,
        &on.targets,
        &on.emoji,
        &on.senders,
        &on.seqs,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn take(conn: &mut PgConnection, off: &ReactionColumns) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM reactions AS r
         USING UNNEST($1::bigint[], $2::uuid[], $3::text[], $4::uuid[]) AS off (key, target, emoji, sender)
         WHERE r.conversation_key = off.key AND r.target = off.target AND r.emoji = off.emoji
           AND r.sender = off.sender",
        &off.keys,
        &off.targets,
        &off.emoji,
        &off.senders,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes all reactions off a message.
pub async fn clear(conn: &mut PgConnection, key: i64, target: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query!("DELETE FROM reactions WHERE conversation_key = $1 AND target = $2", key, target)
        .execute(conn)
        .await?;
    Ok(())
}

/// A reaction as a page lists it.
pub struct ListedRow {
    pub target: Uuid,
    pub sender: Uuid,
    pub emoji: String,
    /// How many people have this emoji on.
    pub users: i64,
}

/// The reactions of these messages at the log's head, the reader's own first, then oldest first; at most `users_max`
/// people an emoji, and no more emoji of a message than one may have now: an older version set no limit.
pub async fn at_head(
    conn: &mut PgConnection,
    key: i64,
    targets: &[Uuid],
    reader: Uuid,
    users_max: i64,
) -> Result<Vec<ListedRow>, sqlx::Error> {
    sqlx::query_as!(
        ListedRow,
        r#"SELECT target, sender, emoji, users AS "users!"
           FROM (SELECT target, sender, emoji, count(*) OVER (PARTITION BY target, emoji) AS users,
                        row_number() OVER (PARTITION BY target, emoji ORDER BY sender <> $3, seq) AS place,
                        dense_rank() OVER (PARTITION BY target ORDER BY emoji) AS emoji_place
                 FROM reactions WHERE conversation_key = $1 AND target = ANY($2)) AS listed
           WHERE place <= $4 AND emoji_place <= $5
           ORDER BY target, emoji, place"#,
        key,
        targets,
        reader,
        users_max,
        i64::try_from(limits::MESSAGE_EMOJI_MAX).unwrap_or(i64::MAX),
    )
    .fetch_all(conn)
    .await
}

/// The reactions of these messages as the given intervals show them, listed as [`at_head`] lists them. Of each message and
/// interval the newest `events_max` events count.
pub async fn within(
    conn: &mut PgConnection,
    key: i64,
    targets: &[Uuid],
    reader: Uuid,
    (lows, highs): (&[i64], &[i64]),
    events_max: i64,
    users_max: i64,
) -> Result<Vec<ListedRow>, sqlx::Error> {
    sqlx::query_as!(
        ListedRow,
        r#"SELECT target AS "target!", sender AS "sender!", emoji AS "emoji!", users AS "users!"
           FROM (SELECT target, sender, emoji, count(*) OVER (PARTITION BY target, emoji) AS users,
                        row_number() OVER (PARTITION BY target, emoji ORDER BY sender <> $6, seq) AS place
                 FROM (SELECT DISTINCT ON (e.target, e.sender, e.body::jsonb ->> 'emoji')
                              e.target, e.sender, e.seq, e.body::jsonb ->> 'emoji' AS emoji,
                              e.body::jsonb ->> 'on' AS is_on
                       FROM UNNEST($2::uuid[]) AS asked (target)
                       CROSS JOIN UNNEST($3::bigint[], $4::bigint[]) AS v (low, high)
                       CROSS JOIN LATERAL (
                           SELECT * FROM events
                           WHERE conversation_key = $1 AND target = asked.target AND kind = 'reaction'
                             AND seq BETWEEN v.low AND v.high
                           ORDER BY seq DESC LIMIT $5
                       ) AS e
                       ORDER BY e.target, e.sender, e.body::jsonb ->> 'emoji', e.seq DESC) AS last
                 WHERE is_on = 'true') AS listed
           WHERE place <= $7
           ORDER BY target, emoji, place"#,
        key,
        targets,
        lows,
        highs,
        events_max,
        reader,
        users_max,
    )
    .fetch_all(conn)
    .await
}
