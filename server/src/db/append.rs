//! `events` and `conversation_head` in one statement, which is a transaction of its own.

use super::events::EventColumns;
use sqlx::PgConnection;

/// Where several logs must stand, and where they come to stand then, by column.
#[derive(Default)]
pub struct Moves {
    /// Keys.
    pub keys: Vec<i64>,
    /// The heads as remembered.
    pub was_heads: Vec<i64>,
    /// The chain's values there.
    pub was_chains: Vec<Vec<u8>>,
    /// The access versions, before and after.
    pub access_versions: Vec<i64>,
    /// Newest seqs.
    pub heads: Vec<i64>,
    /// Messages.
    pub countables: Vec<i64>,
    /// Chain values.
    pub chains: Vec<Vec<u8>>,
    /// Times.
    pub last_ts: Vec<i64>,
}

/// Locks the heads in ascending order of id (W1), and appends to those logs that stand as remembered and have none of
/// the ids; answers their keys. The other logs are left as they are.
///
/// A log gains an event only under its head's lock, and then its head is another one. So ids that are looked up in the
/// statement's snapshot, which may be from before a wait for the lock, are all there are if the head is the same.
///
/// # Errors
/// When the database fails; nothing of the statement is stored, or nobody knows.
pub async fn append(
    conn: &mut PgConnection,
    moves: &Moves,
    new: &EventColumns,
) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"WITH ready AS MATERIALIZED (
               SELECT h.conversation_key AS key, n.head, n.countable, n.chain, n.last_ts
               FROM UNNEST($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[],
                           $7::bytea[], $8::bigint[])
                    AS n (key, was_head, was_chain, access_version, head, countable, chain, last_ts)
               JOIN conversation_head AS h ON h.conversation_key = n.key
               WHERE h.head = n.was_head AND h.chain = n.was_chain AND h.access_version = n.access_version
                 AND n.key <> ALL (ARRAY(
                     SELECT asked.key FROM UNNEST($9::bigint[], $11::uuid[]) AS asked (key, id)
                     CROSS JOIN LATERAL (
                         SELECT FROM events WHERE conversation_key = asked.key AND id = asked.id LIMIT 1
                     ) AS known))
               ORDER BY h.conversation_id
               FOR NO KEY UPDATE OF h
           ), moved AS (
               UPDATE conversation_head AS h
               SET head = r.head, countable = r.countable, chain = r.chain, last_ts = r.last_ts
               FROM ready AS r WHERE h.conversation_key = r.key
               RETURNING h.conversation_key AS key
           ), appended AS (
               INSERT INTO events (conversation_key, seq, id, sender, ts, written_at, countable, chain, kind, target,
                                   body, body_hash)
               SELECT e.* FROM UNNEST($9::bigint[], $10::bigint[], $11::uuid[], $12::uuid[], $13::bigint[],
                                      $14::bigint[], $15::bigint[], $16::bytea[], $17::text[], $18::uuid[],
                                      $19::text[], $20::bytea[])
                               AS e (key, seq, id, sender, ts, written_at, countable, chain, kind, target, body, hash)
               WHERE e.key = ANY (ARRAY(SELECT key FROM moved))
           )
           SELECT key AS "key!" FROM moved"#,
        &moves.keys,
        &moves.was_heads,
        &moves.was_chains,
        &moves.access_versions,
        &moves.heads,
        &moves.countables,
        &moves.chains,
        &moves.last_ts,
        &new.keys,
        &new.seqs,
        &new.ids,
        &new.senders,
        &new.ts,
        &new.written_at as &[Option<i64>],
        &new.countables,
        &new.chains,
        &new.kinds,
        &new.targets as &[Option<uuid::Uuid>],
        &new.bodies,
        &new.hashes,
    )
    .fetch_all(conn)
    .await
}

/// What the tests of the short way find and change.
#[cfg(test)]
pub(crate) mod testing {
    use crate::db;
    use kith_protocol::{ConversationId, UserId};
    use sqlx::PgConnection;

    /// Accounts, and a direct conversation of them without events.
    pub(crate) async fn chat(conn: &mut PgConnection, id: ConversationId, users: &[UserId]) {
        for user in users {
            sqlx::query(
                "INSERT INTO users (id, username, display_name, password_hash) VALUES ($1, $2, '', '')",
            )
            .bind(user.as_uuid())
            .bind(user.to_string())
            .execute(&mut *conn)
            .await
            .unwrap();
        }
        let key: i64 = sqlx::query_scalar(
            "INSERT INTO conversations (id, kind, created_by) VALUES ($1, 'direct', $2) RETURNING key",
        )
        .bind(id.as_uuid())
        .bind(users[0].as_uuid())
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        db::heads::insert(conn, key, id).await.unwrap();
        for user in users {
            sqlx::query("INSERT INTO members (conversation_key, user_id, role) VALUES ($1, $2, 'member')")
                .bind(key)
                .bind(user.as_uuid())
                .execute(&mut *conn)
                .await
                .unwrap();
        }
    }

    /// The places of all events.
    pub(crate) async fn seqs(conn: &mut PgConnection) -> Vec<i64> {
        sqlx::query_scalar("SELECT seq FROM events ORDER BY seq").fetch_all(conn).await.unwrap()
    }

    /// As if somebody else had changed who may write, or what was written.
    pub(crate) async fn change_heads(conn: &mut PgConnection, is_access: bool) {
        let change = if is_access {
            "UPDATE conversation_head SET access_version = access_version + 1"
        } else {
            "UPDATE conversation_head SET chain = decode('0102030405060708', 'hex')"
        };
        sqlx::query(change).execute(conn).await.unwrap();
    }
}
