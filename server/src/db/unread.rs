//! `event_blocks` and the ends of a log beside them: unread messages (W7) by sums of bounded length.
//!
//! Undeleted messages are counted in blocks of 128, 16,384 and 2,097,152 seqs (`event_blocks`, kept by triggers of
//! `events`). A stretch of a log is then at most 254 events, 254 blocks of each of the two lower levels, and the blocks of the
//! highest level between.

use kith_protocol::UserId;
use sqlx::PgConnection;
use std::collections::HashMap;
use uuid::Uuid;

/// Blocks of one level in a block of the next; events in a block of level 1.
const FANOUT: i64 = 128;
/// Levels of blocks; level 0 are the events.
const LEVELS: i16 = 3;

/// Stretches of one level by column: `(low, high]` of seqs, or blocks from `low` up to and without `high`.
#[derive(Default)]
struct Stretches {
    users: Vec<Uuid>,
    keys: Vec<i64>,
    levels: Vec<i16>,
    lows: Vec<i64>,
    highs: Vec<i64>,
}

impl Stretches {
    fn push(&mut self, user: Uuid, key: i64, level: i16, (low, high): (i64, i64)) {
        if low < high {
            self.users.push(user);
            self.keys.push(key);
            self.levels.push(level);
            self.lows.push(low);
            self.highs.push(high);
        }
    }
}

/// A person, a conversation, and seqs `(read, high]` of it.
type Asked = (Uuid, i64, i64, i64);

/// Divides the seqs of each conversation into events and whole blocks, as large as they fit.
fn divide(asked: &[Asked]) -> (Stretches, Stretches) {
    let (mut events, mut blocks) = (Stretches::default(), Stretches::default());
    for (user, key, read, high) in asked {
        let (mut low, mut high) = ((*read).max(0), *high);
        for level in 0..=LEVELS {
            let part = if level == 0 { &mut events } else { &mut blocks };
            let (up, down) = ((low + FANOUT - 1) / FANOUT, high / FANOUT);
            if level == LEVELS || up >= down {
                part.push(*user, *key, level, (low, high));
                break;
            }
            part.push(*user, *key, level, (low, up * FANOUT));
            part.push(*user, *key, level, (down * FANOUT, high));
            (low, high) = (up, down);
        }
    }
    (events, blocks)
}

/// Others' undeleted messages in the seqs `(read, high]` of conversations, asked for as (key, read, high), a conversation
/// once. Those without any may be left out.
///
/// # Errors
/// When the database fails.
pub async fn count(
    conn: &mut PgConnection,
    user: UserId,
    asked: &[(i64, i64, i64)],
) -> Result<HashMap<i64, i64>, sqlx::Error> {
    let asked: Vec<Asked> =
        asked.iter().map(|(key, read, high)| (user.as_uuid(), *key, *read, *high)).collect();
    let counted = count_each(conn, &asked).await?;
    Ok(counted.into_iter().map(|((_, key), unread)| (key, unread)).collect())
}

/// The same of several people, a person and conversation once.
///
/// # Errors
/// When the database fails.
pub async fn count_each(
    conn: &mut PgConnection,
    asked: &[Asked],
) -> Result<HashMap<(Uuid, i64), i64>, sqlx::Error> {
    let (events, blocks) = divide(asked);
    let mut unread: HashMap<(Uuid, i64), i64> = HashMap::new();
    if !events.keys.is_empty() {
        for (of, count) in in_events(conn, &events).await? {
            *unread.entry(of).or_default() += count;
        }
    }
    if !blocks.keys.is_empty() {
        for (of, count) in in_blocks(conn, &blocks).await? {
            *unread.entry(of).or_default() += count;
        }
    }
    Ok(unread)
}

async fn in_events(
    conn: &mut PgConnection,
    asked: &Stretches,
) -> Result<Vec<((Uuid, i64), i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT asked.user_id AS "user_id!", asked.key AS "key!", counted.messages AS "messages!"
           FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) AS asked (user_id, key, low, high)
           CROSS JOIN LATERAL (
               SELECT count(*) AS messages FROM events
               WHERE conversation_key = asked.key AND seq > asked.low AND seq <= asked.high
                 AND kind = 'message' AND body IS NOT NULL AND sender <> asked.user_id
           ) AS counted"#,
        &asked.users,
        &asked.keys,
        &asked.lows,
        &asked.highs,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| ((row.user_id, row.key), row.messages)).collect())
}

/// Everybody's messages (the nil sender's rows) less the person's own.
async fn in_blocks(
    conn: &mut PgConnection,
    asked: &Stretches,
) -> Result<Vec<((Uuid, i64), i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT asked.user_id AS "user_id!", asked.key AS "key!", counted.messages AS "messages!"
           FROM UNNEST($1::uuid[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[])
                AS asked (user_id, key, level, low, high)
           CROSS JOIN LATERAL (VALUES ('00000000-0000-0000-0000-000000000000'::uuid, 1), (asked.user_id, -1))
                AS of (sender, sign)
           CROSS JOIN LATERAL (
               SELECT coalesce(sum(messages) * of.sign, 0)::bigint AS messages FROM event_blocks
               WHERE conversation_key = asked.key AND sender = of.sender AND level = asked.level
                 AND block >= asked.low AND block < asked.high
           ) AS counted"#,
        &asked.users,
        &asked.keys,
        &asked.levels,
        &asked.lows,
        &asked.highs,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| ((row.user_id, row.key), row.messages)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Connection as _;

    /// The seqs of a stretch.
    fn seqs(stretches: &Stretches) -> Vec<(i64, i64)> {
        let units = stretches.levels.iter().map(|level| FANOUT.pow(u32::try_from(*level).unwrap()));
        let ends = stretches.lows.iter().zip(&stretches.highs);
        units.zip(ends).map(|(unit, (low, high))| (low * unit, high * unit)).collect()
    }

    #[test]
    fn w7_a_stretch_is_divided_without_a_hole_into_few_rows() {
        for (read, high) in [
            (0, 1),
            (0, 128),
            (127, 129),
            (5, 300),
            (128, 256),
            (1, 16_385),
            (0, 2_097_152),
            (3, 9_999_999),
            (127, 1_000_000_000),
        ] {
            let (events, blocks) = divide(&[(Uuid::nil(), 7, read, high)]);
            let mut parts = seqs(&events);
            parts.extend(seqs(&blocks));
            parts.sort_unstable();
            assert_eq!(parts.first().map(|part| part.0), Some(read), "{read}..{high}");
            assert_eq!(parts.last().map(|part| part.1), Some(high), "{read}..{high}");
            assert!(parts.windows(2).all(|two| two[0].1 == two[1].0), "{parts:?}");
            let rows = |part: &Stretches| -> i64 {
                part.highs.iter().zip(&part.lows).map(|(high, low)| high - low).sum()
            };
            assert!(rows(&events) <= 254, "{read}..{high}");
            assert!(rows(&blocks) <= 508 + high / 2_097_152, "{read}..{high}");
        }
        assert!(divide(&[(Uuid::nil(), 7, 5, 5), (Uuid::nil(), 8, 9, 3)]).0.keys.is_empty());
    }

    /// W7 word for word, one event after another.
    const BY_DEFINITION: &str = "
        SELECT count(*) FILTER (WHERE e.kind = 'message' AND e.sender <> $1)
             - count(*) FILTER (WHERE e.kind = 'delete' AND EXISTS (
                   SELECT FROM events t WHERE t.conversation_key = 1 AND t.id = e.target AND t.seq > $2 AND t.sender <> $1))
        FROM events e WHERE e.conversation_key = 1 AND e.seq > $2 AND e.seq <= $3";

    /// Three people write 40,000 events, of which every seventh is no message and every eleventh deletes one.
    const FILL: &str = "
        INSERT INTO events (conversation_key, seq, id, sender, ts, countable, chain, kind, target, body, body_hash)
        SELECT 1, n, md5(n::text)::uuid, ('00000000-0000-0000-0000-00000000000' || (n * 7919 % 3 + 1))::uuid, n, n, '\\x',
               CASE WHEN n % 11 = 0 THEN 'delete' WHEN n % 7 = 0 THEN 'reaction' ELSE 'message' END,
               CASE WHEN n % 11 = 0 THEN md5((n - n % 390 - 5)::text)::uuid END, '{}', '\\x'
        FROM generate_series(1, 40000) AS n";

    #[tokio::test]
    async fn w7_blocks_and_ends_count_what_the_log_says() {
        let database = crate::testing::database().await.unwrap();
        let mut conn = PgConnection::connect(database.url()).await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO users (id, username, display_name, password_hash)
             SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'u' || n, '', '' FROM generate_series(1, 3) n;
             INSERT INTO conversations (id, kind, created_by)
             VALUES (gen_random_uuid(), 'group', '00000000-0000-0000-0000-000000000001');
             INSERT INTO members (conversation_key, user_id, role) SELECT 1, id, 'member' FROM users;",
        )
        .execute(&mut conn)
        .await
        .unwrap();
        sqlx::query(FILL).execute(&mut conn).await.unwrap();
        // A delete counts once for a target that is a message, as the server lets no second one pass.
        sqlx::raw_sql(
            "UPDATE events SET kind = 'reaction' WHERE seq IN (
                 SELECT d.seq FROM (SELECT *, row_number() OVER (PARTITION BY target ORDER BY seq) AS nth FROM events
                                    WHERE kind = 'delete') d
                 LEFT JOIN events t ON t.conversation_key = 1 AND t.id = d.target AND t.seq < d.seq
                 WHERE nth > 1 OR t.kind IS DISTINCT FROM 'message');
             UPDATE events SET body = NULL WHERE kind = 'message' AND id IN (
                 SELECT target FROM events WHERE kind = 'delete');",
        )
        .execute(&mut conn)
        .await
        .unwrap();
        let deleted: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE body IS NULL")
            .fetch_one(&mut conn)
            .await
            .unwrap();
        assert!(deleted > 50, "{deleted}");
        let user = Uuid::from_u128(2);
        for read in [0, 1, 127, 128, 129, 5_000, 16_383, 16_384, 23_456, 32_768, 39_000, 39_999] {
            let expected: i64 = sqlx::query_scalar(BY_DEFINITION)
                .bind(user)
                .bind(read)
                .bind(40_000_i64)
                .fetch_one(&mut conn)
                .await
                .unwrap();
            let found = count(&mut conn, UserId::from_uuid(user), &[(1, read, 40_000)]).await.unwrap();
            assert_eq!(found.get(&1).copied().unwrap_or_default(), expected, "after {read}");
        }
    }
}
