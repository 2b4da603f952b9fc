//! How PostgreSQL goes about every statement of the server: nothing that grows with history is read as a whole.
//!
//! The statements are those of the checked-in metadata (`.sqlx/`), so that a new one is looked at without being named here.
//! A scan must be by an index. Unless it finds at most one row by a unique index, it must be in
//! [`RANGES`], with the reason for which it is bounded.

use super::*;
use crate::domain::{fetch, heads};
use kith_pgbox::testing::TestDb;
use kith_protocol::{ConversationId, UserId, frame::Pull};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Row as _};
use std::{collections::HashMap, fs, path::Path};
use uuid::Uuid;

/// Asks whether there is a row at all.
const FIRST_ROW: &str = "AS \"is_first!\"";

/// Scans of several rows by an index: what the statement contains (nothing for any statement that gives the index's first
/// column), the index, and what bounds the rows.
const RANGES: &[(&str, &str, &str)] = &[
    ("", "members_active_idx", "the members of one conversation: at most 1,000 at a time"),
    ("", "member_intervals_end_idx", "who left a conversation by its newest event"),
    ("", "member_intervals_pkey", "the memberships of one conversation, or of one member in it"),
    ("", "members_user_idx", "the conversations of one person"),
    ("", "members_drafts_idx", "the drafts of one person: 1 MiB"),
    (
        "",
        "devices_user_idx",
        "the devices of one person: 10, and those that were signed out in the last months",
    ),
    (
        "",
        "refresh_tokens_exchanged_idx",
        "one device: at most 10,000 exchanged tokens; several devices: LIMIT",
    ),
    ("AS gone", "users_disabled_idx", "who was disabled in the last minute"),
    ("AS gone", "devices_revoked_idx", "who was signed out in the last minute"),
    ("", "notifications_user_idx", "the notifications of one person: 50 are kept"),
    ("", "notifications_unseen_idx", "the notifications of one person: 50 are kept"),
    ("", "blocks_pkey", "the people whom one person has blocked: at most 1,000"),
    ("", "pins_pkey", "the pins of one conversation: at most 50"),
    (
        "",
        "reactions_pkey",
        "the reactions to one message: at most 20 emoji by as many people as there are members",
    ),
    (
        "FROM events WHERE xid::text::bigint",
        "events_xid_idx",
        "what was written since the last look, a second ago",
    ),
    ("AS counted", "events_pkey", "at most 254 events of a log (db::unread)"),
    (
        "AS counted",
        "event_blocks_pkey",
        "at most 254 blocks of a level, and one of the highest for each 2,097,152 events",
    ),
    ("OVER (ORDER BY seq)", "events_pkey", "LIMIT: a page"),
    ("OVER (ORDER BY seq DESC)", "events_pkey", "LIMIT: a page"),
    ("ORDER BY seq DESC LIMIT", "events_relation_idx", "LIMIT: the newest of one kind, or as many as count"),
    ("SET body = NULL", "events_relation_idx", "the edits of one message"),
    ("FROM user_words", "user_words_pkey", "LIMIT"),
    ("username > $2", "users_username_key", "LIMIT: a page"),
    ("username > $1", "users_username_key", "LIMIT: a page"),
    ("FROM devices WHERE id > $1 ORDER BY id LIMIT", "devices_pkey", "LIMIT: a step of cleaning"),
    ("FROM invites WHERE hash > $1 ORDER BY hash LIMIT", "invites_pkey", "LIMIT: a step of cleaning"),
    (FIRST_ROW, "users_changed_idx", "the first row is enough"),
    (FIRST_ROW, "invites_pkey", "the first row is enough"),
    (FIRST_ROW, "invites_used_by_idx", "the first row is enough"),
];

/// Tables with few rows, whatever happens.
const SMALL: &[&str] = &["server_keys", "pg_database", "pg_class", "pg_authid", "pg_stat_get_activity"];

/// A million events, half of them in one conversation of a thousand people that 58,000 have left, and what stands around
/// them.
const FILL: &str = "
    SET session_replication_role = replica;
    INSERT INTO users (id, username, display_name, password_hash, email)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 'user' || n, 'Person ' || md5(n::text), '', NULL
        FROM generate_series(1, 100000) n;
    INSERT INTO devices (id, user_id, name, revoked_at)
        SELECT lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n % 50000 + 1), 32, '0')::uuid, 'desk', now()
        FROM generate_series(1, 200000) n;
    INSERT INTO refresh_tokens (hash, device_id, exchanged_at)
        SELECT sha256(n::text::bytea), lpad(to_hex(n % 200000 + 1), 32, '0')::uuid, now() FROM generate_series(1, 200000) n;
    INSERT INTO invites (hash, expires_at, used_at)
        SELECT sha256(n::text::bytea), now(), now() FROM generate_series(1, 100000) n;
    INSERT INTO notifications (id, user_id, kind, title, text)
        SELECT gen_random_uuid(), lpad(to_hex(n % 100 + 1), 32, '0')::uuid, 'k', 't', 't' FROM generate_series(1, 100000) n;
    INSERT INTO blocks (user_id, blocked_id)
        SELECT lpad(to_hex(n % 1000 + 1), 32, '0')::uuid, lpad(to_hex(n + 1), 32, '0')::uuid FROM generate_series(1000, 99999) n;
    INSERT INTO conversations (id, kind, created_by)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 'group', lpad(to_hex(n), 32, '0')::uuid FROM generate_series(1, 50000) n;
    INSERT INTO members (conversation_key, user_id, role)
        SELECT n, lpad(to_hex((n + k) % 100000 + 1), 32, '0')::uuid, 'member'
        FROM generate_series(1, 50000) n, generate_series(0, 2) k
        UNION SELECT 1, lpad(to_hex(n), 32, '0')::uuid, 'member' FROM generate_series(1, 1000) n
        UNION SELECT n, lpad(to_hex(1), 32, '0')::uuid, 'member' FROM generate_series(1, 300) n;
    INSERT INTO member_intervals (conversation_key, user_id, from_seq) SELECT conversation_key, user_id, 1 FROM members WHERE is_active;
    INSERT INTO members (conversation_key, user_id, role, is_active)
        SELECT 1, lpad(to_hex(n), 32, '0')::uuid, 'member', false FROM generate_series(2000, 60000) n
        ON CONFLICT DO NOTHING;
    INSERT INTO pins (conversation_key, target)
        SELECT n % 20000 + 1, lpad(to_hex(n), 32, '0')::uuid FROM generate_series(1, 20000) n;
    INSERT INTO reactions (conversation_key, target, emoji, sender, seq)
        SELECT n % 20000 + 1, lpad(to_hex(n), 32, '0')::uuid, 'e' || k, lpad(to_hex(n + k), 32, '0')::uuid, n
        FROM generate_series(1, 20000) n, generate_series(1, 3) k;
    SET session_replication_role = origin;
    INSERT INTO events (conversation_key, seq, id, sender, ts, countable, chain, kind, target, body, body_hash)
        SELECT CASE WHEN n <= 500000 THEN 1 ELSE n % 49999 + 2 END, CASE WHEN n <= 500000 THEN n ELSE (n - 500001) / 49999 + 1 END,
               lpad(to_hex(n), 32, '0')::uuid, lpad(to_hex(n % 3 + 1), 32, '0')::uuid, n, n, '\\x', 'message', NULL, '{}', '\\x'
        FROM generate_series(1, 1000000) n;
    INSERT INTO conversation_head (conversation_key, conversation_id, head, countable, chain, last_ts)
        SELECT c.key, c.id, e.head, e.head, '\\x', e.ts
        FROM conversations c
        CROSS JOIN LATERAL (SELECT seq AS head, ts FROM events WHERE conversation_key = c.key ORDER BY seq DESC LIMIT 1) e;
    ANALYZE;";

async fn filled() -> (TestDb, PgPool) {
    let database = crate::testing::database().await.unwrap();
    let pool = connect(database.url(), 2).await.unwrap();
    let mut conn = pool.acquire().await.unwrap().detach();
    sqlx::raw_sql("SET statement_timeout = 0").execute(&mut conn).await.unwrap();
    sqlx::raw_sql(FILL).execute(&mut conn).await.unwrap();
    (database, pool)
}

/// The statements of the checked-in metadata that have plans.
fn statements() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.sqlx");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = |path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let mut all: Vec<String> = files.map(|path| text(path)["query"].as_str().unwrap().to_owned()).collect();
    all.retain(|sql| !sql.starts_with("SET "));
    all.sort_unstable();
    all
}

/// The columns of each index, and whether it is unique.
async fn indexes(conn: &mut PgConnection) -> HashMap<String, (bool, Vec<String>)> {
    let rows = sqlx::query(
        "SELECT c.relname AS name, i.indisunique AS is_unique,
                ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, true) FROM generate_series(1, i.indnkeyatts) n) AS columns
         FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
         WHERE c.relnamespace = 'public'::regnamespace",
    )
    .fetch_all(conn)
    .await
    .unwrap();
    rows.iter().map(|row| (row.get("name"), (row.get("is_unique"), row.get("columns")))).collect()
}

/// Whether a condition gives a value for a column.
fn gives(condition: &str, column: &str) -> bool {
    condition.contains(&format!("({column} = ")) || condition.contains(&format!(" {column} = "))
}

struct Scan {
    /// The index, or the table of a scan without one.
    of: String,
    /// The condition of the index.
    condition: String,
    is_sequential: bool,
}

fn scans(node: &Value, found: &mut Vec<Scan>) {
    let text = |name: &str| node[name].as_str().unwrap_or_default().to_owned();
    match node["Node Type"].as_str().unwrap_or_default() {
        "Seq Scan" | "Sample Scan" | "Tid Range Scan" => {
            found.push(Scan { of: text("Relation Name"), condition: String::new(), is_sequential: true });
        }
        "Index Scan" | "Index Only Scan" | "Bitmap Index Scan" => {
            let (of, condition) = (text("Index Name"), text("Index Cond"));
            found.push(Scan { of, condition, is_sequential: false });
        }
        _ => {}
    }
    for part in node["Plans"].as_array().into_iter().flatten() {
        scans(part, found);
    }
}

/// What is wrong with a statement's plan.
async fn faults(
    conn: &mut PgConnection,
    sql: &str,
    indexes: &HashMap<String, (bool, Vec<String>)>,
) -> Vec<String> {
    sqlx::raw_sql("DEALLOCATE ALL").execute(&mut *conn).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("PREPARE one AS {sql}"))).execute(&mut *conn).await.unwrap();
    let count: i32 = sqlx::raw_sql(
        "SELECT cardinality(parameter_types) AS count FROM pg_prepared_statements WHERE name = 'one'",
    )
    .fetch_one(&mut *conn)
    .await
    .unwrap()
    .get("count");
    let unsaid = vec!["NULL"; usize::try_from(count).unwrap()].join(", ");
    let arguments = if count == 0 { String::new() } else { format!("({unsaid})") };
    let plan: Value = sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN (FORMAT JSON) EXECUTE one{arguments}")))
        .fetch_one(&mut *conn)
        .await
        .unwrap()
        .get(0);
    let mut found = Vec::new();
    scans(&plan[0]["Plan"], &mut found);
    let fault = |scan: Scan| {
        if SMALL.iter().any(|name| scan.of.starts_with(name)) {
            return None;
        }
        if scan.is_sequential {
            return Some(format!("reads all of {}", scan.of));
        }
        let (is_unique, columns) = indexes.get(&scan.of)?;
        let is_one = *is_unique && columns.iter().all(|column| gives(&scan.condition, column));
        let has_first = columns.first().is_some_and(|column| gives(&scan.condition, column));
        let names = |(part, index, _): &(&str, &str, &str)| {
            let is_bounded = match *part {
                "" => has_first,
                FIRST_ROW => true,
                _ => !scan.condition.is_empty(),
            };
            sql.contains(part) && *index == scan.of && is_bounded
        };
        let is_named = RANGES.iter().any(names);
        let is_fine = is_one || is_named;
        (!is_fine).then(|| format!("{} by {:?}", scan.of, scan.condition))
    };
    found.into_iter().filter_map(fault).collect()
}

/// Rows that the transaction has read so far.
async fn rows_read(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar(
        "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_xact_user_tables",
    )
    .fetch_one(conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn no_statement_reads_what_grows_with_history() {
    let (_database, pool) = filled().await;
    let mut conn = pool.acquire().await.unwrap();
    let indexes = indexes(&mut conn).await;
    let all = statements();
    assert!(all.len() > 90, "{}", all.len());
    let mut wrong = Vec::new();
    for sql in &all {
        for fault in faults(&mut conn, sql, &indexes).await {
            wrong.push(format!("{fault}\n    {}", sql.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    let unused: Vec<_> = RANGES
        .iter()
        .filter(|(part, ..)| !all.iter().any(|sql| sql.contains(part)))
        .map(|(part, ..)| part)
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(unused.is_empty(), "no statement contains {unused:?}");

    let (user, conversation) =
        (UserId::from_uuid(Uuid::from_u128(1)), ConversationId::from_uuid(Uuid::from_u128(1)));
    let mut tx = begin_snapshot(&pool).await.unwrap();
    let snapshot = heads::snapshot_in(&mut tx, user, None).await.unwrap();
    let own = &snapshot
        .parts
        .iter()
        .flat_map(|part| &part.items)
        .find(|item| item.own.conversation == conversation);
    // The user wrote a third of the half million.
    assert_eq!(own.unwrap().own.unread, 500_000 - 500_000 / 3);
    let read = rows_read(&mut tx).await;
    // 9,000; a second statement for the second part would look at all 300 again.
    assert!(read < 9_500, "heads of 300 conversations read {read} rows");
    let pull = Pull { conversation, from: Some(kith_protocol::Seq(250_000)), ..pull(conversation) };
    let page = fetch::page(&mut tx, user, &pull).await.unwrap();
    assert_eq!(page.events.len(), 50);
    let read = rows_read(&mut tx).await - read;
    assert!(read < 2_000, "a page read {read} rows");
}

fn pull(conversation: ConversationId) -> Pull {
    serde_json::from_value(serde_json::json!({
        "conversation": conversation, "direction": "backward", "max": 50,
    }))
    .unwrap()
}
