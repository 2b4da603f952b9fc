//! A past for the databases under measurement: other people's conversations, so that indexes are as deep as in use.

use crate::{rivals::Rival, server::Running};
use anyhow::Result;
use sqlx::{Connection as _, PgConnection};
use std::time::Instant;

/// Messages of each conversation of the past.
const MESSAGES: i64 = 100;
/// Messages of one statement.
const STEP: i64 = 500_000;
/// The text of a message, as long as most are.
const TEXT: &str = "'{\"text\":\"' || repeat('word ', 12) || n || '\"}'";

/// Before the messages, with how many conversations there are: `$1`. Triggers and foreign keys are off.
fn before(rival: Option<Rival>) -> &'static [&'static str] {
    match rival {
        None => &[
            "CREATE TEMP TABLE past (n bigint PRIMARY KEY, key bigint NOT NULL, one uuid NOT NULL, other uuid NOT NULL)",
            "INSERT INTO past SELECT n, (SELECT coalesce(max(key), 0) FROM conversations) + n, gen_random_uuid(), gen_random_uuid()
             FROM generate_series(1, $1) n",
            "INSERT INTO users (id, username, display_name, password_hash)
             SELECT one, 'one' || n, 'Person ' || n, '' FROM past UNION ALL SELECT other, 'other' || n, 'Person ' || n, '' FROM past",
            "INSERT INTO conversations (key, id, kind, created_by) OVERRIDING SYSTEM VALUE
             SELECT key, gen_random_uuid(), 'direct', one FROM past",
            "INSERT INTO members (conversation_key, user_id, role)
             SELECT key, one, 'member' FROM past UNION ALL SELECT key, other, 'member' FROM past",
            "INSERT INTO member_intervals (conversation_key, user_id, from_seq) SELECT conversation_key, user_id, 1 FROM members
             ON CONFLICT DO NOTHING",
            "INSERT INTO conversation_head (conversation_key, conversation_id, head, countable, chain, last_ts)
             SELECT p.key, c.id, 100, 100, '\\x0000000000000000', 1 FROM past p JOIN conversations c ON c.key = p.key",
            "SELECT setval(pg_get_serial_sequence('conversations', 'key'), (SELECT max(key) FROM conversations))",
        ],
        Some(Rival::Socketio) => &[
            "CREATE TEMP TABLE past (n bigint PRIMARY KEY, id uuid NOT NULL)",
            "INSERT INTO past SELECT n, gen_random_uuid() FROM generate_series(1, $1) n",
            "INSERT INTO conversations SELECT id FROM past",
        ],
        Some(_) => &[
            "CREATE TEMP TABLE past (n bigint PRIMARY KEY, id uuid NOT NULL)",
            "INSERT INTO past SELECT n, gen_random_uuid() FROM generate_series(1, $1) n",
        ],
    }
}

/// The messages of the conversations from `$1` to `$2`.
fn messages(rival: Option<Rival>) -> String {
    let from = format!("FROM past, generate_series(1, {MESSAGES}) AS m (n) WHERE past.n BETWEEN $1 AND $2");
    let text = TEXT.replace("|| n ||", "|| m.n ||");
    match rival {
        None => format!(
            "INSERT INTO events (conversation_key, seq, id, sender, ts, countable, chain, kind, body, body_hash)
             SELECT key, m.n, gen_random_uuid(), CASE WHEN m.n % 2 = 0 THEN one ELSE other END, m.n, m.n,
                    '\\x0000000000000000', 'message', {text}, sha256(m.n::text::bytea) {from}"
        ),
        Some(Rival::Socketio) => format!(
            "INSERT INTO messages (id, conversation_id, sender_id, content)
             SELECT gen_random_uuid(), id, id, {text} {from}"
        ),
        Some(_) => format!(
            "INSERT INTO events (conversation, seq, id, sender, body)
             SELECT id, m.n, gen_random_uuid(), id, {text} {from}"
        ),
    }
}

/// Writes so many messages into the database of what runs, and waits until PostgreSQL knows their figures. A relay stores
/// nothing and gets none.
pub async fn fill(running: &Running, rival: Option<Rival>, rows: u64) -> Result<()> {
    if rows == 0 || rival == Some(Rival::Raw) {
        return Ok(());
    }
    let begun = Instant::now();
    let url = if rival.is_some() { running.rival_database_url() } else { running.database_url() };
    let mut database = PgConnection::connect(&url?).await?;
    for setting in ["session_replication_role = replica", "synchronous_commit = off", "statement_timeout = 0"]
    {
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SET {setting}"))).execute(&mut database).await?;
    }
    let conversations = i64::try_from(rows.div_ceil(MESSAGES.unsigned_abs()))?;
    for statement in before(rival) {
        let mut query = sqlx::query(*statement);
        if statement.contains("$1") {
            query = query.bind(conversations);
        }
        query.execute(&mut database).await?;
    }
    let (statement, step) = (messages(rival), STEP / MESSAGES);
    for first in (1..=conversations).step_by(step as usize) {
        let query = sqlx::query(sqlx::AssertSqlSafe(statement.clone()));
        query.bind(first).bind(first + step - 1).execute(&mut database).await?;
    }
    sqlx::raw_sql("VACUUM (ANALYZE)").execute(&mut database).await?;
    sqlx::raw_sql("CHECKPOINT").execute(&mut database).await?;
    let name = rival.map_or("Kith", Rival::name);
    println!(
        "{name}: {} messages of others, in {:.0} s",
        conversations * MESSAGES,
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}
