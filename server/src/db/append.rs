//! `events` and `conversation_head` in one statement, which is a transaction of its own.

use super::events::EventColumns;
use sqlx::PgConnection;

/// Where several logs must stand, and where they come to stand then, by column.
#[derive(Default)]
pub struct Moves {
    pub keys: Vec<i64>,
    /// The heads as remembered.
    pub was_heads: Vec<i64>,
    /// The chain's values there.
    pub was_chains: Vec<Vec<u8>>,
    /// The access versions, before and after.
    pub access_versions: Vec<i64>,
    pub heads: Vec<i64>,
    pub countables: Vec<i64>,
    pub chains: Vec<Vec<u8>>,
    pub last_ts: Vec<i64>,
}

/// What became of a log, and where it stands.
pub struct AppendedRow {
    pub key: i64,
    /// Whether its events were appended.
    pub is_appended: bool,
    /// Whether one of the ids exists already.
    pub has_known: bool,
    pub head: i64,
    /// Messages up to it.
    pub countable: i64,
    /// The chain's value there.
    pub chain: Vec<u8>,
    /// The newest event's time.
    pub last_ts: i64,
    /// The version of its access.
    pub access_version: i64,
}

/// Locks the heads in ascending order of id (W1), and appends to those logs that stand as remembered and have none of
/// the ids. The other logs are left as they are; for them the answer says where they stood under the lock.
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
) -> Result<Vec<AppendedRow>, sqlx::Error> {
    sqlx::query_as!(
        AppendedRow,
        r#"WITH locked AS MATERIALIZED (
               SELECT h.conversation_key AS key, h.head, h.countable, h.chain, h.last_ts, h.access_version,
                      n.was_head, n.was_chain, n.was_version, n.head AS new_head, n.countable AS new_countable,
                      n.chain AS new_chain, n.last_ts AS new_ts
               FROM UNNEST($1::bigint[], $2::bigint[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[],
                           $7::bytea[], $8::bigint[])
                    AS n (key, was_head, was_chain, was_version, head, countable, chain, last_ts)
               JOIN conversation_head AS h ON h.conversation_key = n.key
               ORDER BY h.conversation_id
               FOR NO KEY UPDATE OF h
           ), known AS MATERIALIZED (
               SELECT asked.key FROM UNNEST($9::bigint[], $11::uuid[]) AS asked (key, id)
               CROSS JOIN LATERAL (
                   SELECT FROM events WHERE conversation_key = asked.key AND id = asked.id LIMIT 1
               ) AS one
           ), moved AS (
               UPDATE conversation_head AS h
               SET head = l.new_head, countable = l.new_countable, chain = l.new_chain, last_ts = l.new_ts
               FROM locked AS l
               WHERE h.conversation_key = l.key AND l.head = l.was_head AND l.chain = l.was_chain
                 AND l.access_version = l.was_version AND l.key <> ALL (ARRAY(SELECT known.key FROM known))
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
           SELECT key AS "key!", key = ANY (ARRAY(SELECT moved.key FROM moved)) AS "is_appended!",
                  key = ANY (ARRAY(SELECT known.key FROM known)) AS "has_known!", head AS "head!",
                  countable AS "countable!", chain AS "chain!", last_ts AS "last_ts!",
                  access_version AS "access_version!"
           FROM locked"#,
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

/// What the tests of the fast path find and change.
#[cfg(test)]
pub(crate) mod testing {
    use crate::db;
    use kith_protocol::{ConversationId, UserId};
    use sqlx::PgConnection;

    /// Accounts, and a direct conversation of them without events.
    pub(crate) async fn chat(conn: &mut PgConnection, id: ConversationId, users: &[UserId; 2]) {
        person(conn, users[0]).await;
        chat_with(conn, id, users[0], users[1]).await;
    }

    async fn person(conn: &mut PgConnection, user: UserId) {
        sqlx::query("INSERT INTO users (id, username, display_name, password_hash) VALUES ($1, $2, '', '')")
            .bind(user.as_uuid())
            .bind(user.to_string())
            .execute(conn)
            .await
            .unwrap();
    }

    /// An account, and a direct conversation without events of it and somebody who has one.
    pub(crate) async fn chat_with(conn: &mut PgConnection, id: ConversationId, own: UserId, other: UserId) {
        person(conn, other).await;
        let key: i64 = sqlx::query_scalar(
            "INSERT INTO conversations (id, kind, created_by) VALUES ($1, 'direct', $2) RETURNING key",
        )
        .bind(id.as_uuid())
        .bind(own.as_uuid())
        .fetch_one(&mut *conn)
        .await
        .unwrap();
        db::heads::insert(conn, key, id).await.unwrap();
        for user in [own, other] {
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

    /// As if somebody else had changed who may write.
    pub(crate) async fn change_access(conn: &mut PgConnection) {
        sqlx::query("UPDATE conversation_head SET access_version = access_version + 1")
            .execute(conn)
            .await
            .unwrap();
    }

    /// The head's chain value, and the one of the newest event.
    pub(crate) async fn last_chain(conn: &mut PgConnection) -> (Vec<u8>, Vec<u8>) {
        sqlx::query_as(
            "SELECT h.chain, (SELECT chain FROM events ORDER BY seq DESC LIMIT 1) FROM conversation_head h",
        )
        .fetch_one(conn)
        .await
        .unwrap()
    }
}
