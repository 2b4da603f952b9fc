//! `events`: the log.

use kith_protocol::{Chain, ConversationId, Event, EventId, Seq, TimestampMs, UserId};
use sqlx::PgConnection;
use uuid::Uuid;

/// An event that exists, without its payload.
pub struct KnownRow {
    pub conversation_key: i64,
    pub id: Uuid,
    pub seq: i64,
    pub sender: Uuid,
    /// When it was numbered.
    pub ts: i64,
    /// Messages up to it.
    pub countable: i64,
    pub chain: Vec<u8>,
    pub kind: String,
    /// What W3 compares.
    pub body_hash: Vec<u8>,
    /// Whether the payload was erased.
    pub is_redacted: bool,
}

/// Finds which of the pairs (key, id) exist.
///
/// `LATERAL … LIMIT 1` keeps this a look-up by index for each pair: as a plain join, a plan made while the table was
/// small scans all of it for each batch until the next `ANALYZE`.
pub async fn known(
    conn: &mut PgConnection,
    keys: &[i64],
    ids: &[Uuid],
) -> Result<Vec<KnownRow>, sqlx::Error> {
    sqlx::query_as!(
        KnownRow,
        r#"SELECT e.conversation_key, e.id, e.seq, e.sender, e.ts, e.countable, e.chain, e.kind, e.body_hash,
                  e.body IS NULL AS "is_redacted!"
           FROM UNNEST($1::bigint[], $2::uuid[]) AS asked (key, id)
           CROSS JOIN LATERAL (
               SELECT * FROM events WHERE conversation_key = asked.key AND id = asked.id LIMIT 1
           ) AS e"#,
        keys,
        ids,
    )
    .fetch_all(conn)
    .await
}

/// Numbered events, by column.
#[derive(Default)]
pub struct EventColumns {
    pub keys: Vec<i64>,
    pub seqs: Vec<i64>,
    pub ids: Vec<Uuid>,
    pub senders: Vec<Uuid>,
    pub ts: Vec<i64>,
    pub written_at: Vec<Option<i64>>,
    /// Messages up to each.
    pub countables: Vec<i64>,
    pub chains: Vec<Vec<u8>>,
    pub kinds: Vec<String>,
    pub targets: Vec<Option<Uuid>>,
    pub bodies: Vec<String>,
    /// Hashes (W3).
    pub hashes: Vec<Vec<u8>>,
}

/// Appends numbered events, all in one statement.
pub async fn insert(conn: &mut PgConnection, new: &EventColumns) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO events (conversation_key, seq, id, sender, ts, written_at, countable, chain, kind, target,
                             body, body_hash)
         SELECT * FROM UNNEST($1::bigint[], $2::bigint[], $3::uuid[], $4::uuid[], $5::bigint[], $6::bigint[],
                              $7::bigint[], $8::bytea[], $9::text[], $10::uuid[], $11::text[], $12::bytea[])",
        &new.keys,
        &new.seqs,
        &new.ids,
        &new.senders,
        &new.ts,
        &new.written_at as &[Option<i64>],
        &new.countables,
        &new.chains,
        &new.kinds,
        &new.targets as &[Option<Uuid>],
        &new.bodies,
        &new.hashes,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Erases the payloads of messages and of their edits (W9). The positions stay. Returns how many events of each sender were
/// erased, and how many bytes in all.
pub async fn redact(
    conn: &mut PgConnection,
    key: i64,
    targets: &[Uuid],
) -> Result<Vec<(Uuid, i64, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"WITH old AS (
               SELECT seq, sender, octet_length(body) AS bytes FROM events
               WHERE conversation_key = $1 AND body IS NOT NULL
                 AND (id = ANY($2) OR (target = ANY($2) AND kind = 'edit'))
           ), erased AS (
               UPDATE events AS e SET body = NULL FROM old WHERE e.conversation_key = $1 AND e.seq = old.seq
           )
           SELECT sender, count(*) AS "events!", sum(bytes)::bigint AS "bytes!" FROM old GROUP BY sender"#,
        key,
        targets,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.sender, row.events, row.bytes)).collect())
}

/// How many edits each of these messages has, counted up to `max`, as (key, message, edits).
pub async fn edit_counts(
    conn: &mut PgConnection,
    keys: &[i64],
    targets: &[Uuid],
    max: i64,
) -> Result<Vec<(i64, Uuid, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT asked.key AS "key!", asked.target AS "target!", known.edits AS "edits!"
           FROM UNNEST($1::bigint[], $2::uuid[]) AS asked (key, target)
           CROSS JOIN LATERAL (
               SELECT count(*) AS edits
               FROM (SELECT FROM events
                     WHERE conversation_key = asked.key AND target = asked.target AND kind = 'edit'
                     ORDER BY seq DESC LIMIT $3) AS edit
           ) AS known"#,
        keys,
        targets,
        max,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.key, row.target, row.edits)).collect())
}

/// An event as stored.
pub struct EventRow {
    seq: i64,
    id: Uuid,
    sender: Uuid,
    ts: i64,
    written_at: Option<i64>,
    countable: i64,
    chain: Vec<u8>,
    kind: String,
    target: Option<Uuid>,
    body: Option<String>,
}

impl EventRow {
    /// As it goes out.
    pub fn into_event(self, conversation: ConversationId) -> Event {
        let body = self.body.and_then(|text| serde_json::from_str(&text).ok());
        Event {
            seq: Seq::from_i64(self.seq),
            id: EventId::from_uuid(self.id),
            kind: self.kind,
            sender: UserId::from_uuid(self.sender),
            ts: TimestampMs::from_i64(self.ts),
            written_at: self.written_at.map(TimestampMs::from_i64),
            countable: self.countable.unsigned_abs(),
            chain: Chain::from_slice(&self.chain).unwrap_or_else(|| Chain::empty(conversation)),
            target: self.target.map(EventId::from_uuid),
            redacted: body.is_none(),
            body,
        }
    }
}

/// At most `limit` events from `low` to `high`, ascending from `low`; about `bytes` of payload.
pub async fn forward(
    conn: &mut PgConnection,
    key: i64,
    low: i64,
    high: i64,
    limit: i64,
    bytes: i64,
) -> Result<Vec<EventRow>, sqlx::Error> {
    sqlx::query_as!(
        EventRow,
        r#"SELECT seq, id, sender, ts, written_at, countable, chain, kind, target, body
           FROM (SELECT *, sum(coalesce(octet_length(body), 0)) OVER (ORDER BY seq) - coalesce(octet_length(body), 0) AS before
                 FROM events WHERE conversation_key = $1 AND seq BETWEEN $2 AND $3
                 ORDER BY seq LIMIT $4) AS slice
           WHERE before <= $5
           ORDER BY seq"#,
        key,
        low,
        high,
        limit,
        bytes,
    )
    .fetch_all(conn)
    .await
}

/// At most `limit` events from `high` down to `low`, descending from `high`; about `bytes` of payload.
pub async fn backward(
    conn: &mut PgConnection,
    key: i64,
    low: i64,
    high: i64,
    limit: i64,
    bytes: i64,
) -> Result<Vec<EventRow>, sqlx::Error> {
    sqlx::query_as!(
        EventRow,
        r#"SELECT seq, id, sender, ts, written_at, countable, chain, kind, target, body
           FROM (SELECT *, sum(coalesce(octet_length(body), 0)) OVER (ORDER BY seq DESC) - coalesce(octet_length(body), 0) AS before
                 FROM events WHERE conversation_key = $1 AND seq BETWEEN $2 AND $3
                 ORDER BY seq DESC LIMIT $4) AS slice
           WHERE before <= $5
           ORDER BY seq DESC"#,
        key,
        low,
        high,
        limit,
        bytes,
    )
    .fetch_all(conn)
    .await
}

/// The chain's values at these seqs, ascending.
pub async fn chains_at(
    conn: &mut PgConnection,
    key: i64,
    seqs: &[i64],
) -> Result<Vec<(i64, Vec<u8>)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT seq, chain FROM events WHERE conversation_key = $1 AND seq = ANY($2) ORDER BY seq",
        key,
        seqs,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.seq, row.chain)).collect())
}

/// The newest edit, delete or pin of a message.
pub struct RelationRow {
    pub target: Uuid,
    /// `edit`, `delete` or `pin`.
    pub kind: String,
    pub seq: i64,
    pub body: Option<String>,
}

/// The newest edit, delete and pin of each of these messages, within the given intervals. Each is found by index, however
/// many there are.
pub async fn relations(
    conn: &mut PgConnection,
    key: i64,
    targets: &[Uuid],
    lows: &[i64],
    highs: &[i64],
) -> Result<Vec<RelationRow>, sqlx::Error> {
    sqlx::query_as!(
        RelationRow,
        r#"SELECT DISTINCT ON (e.target, e.kind) e.target AS "target!", e.kind, e.seq, e.body
           FROM UNNEST($2::uuid[]) AS asked (target)
           CROSS JOIN (VALUES ('edit'), ('delete'), ('pin')) AS k (kind)
           CROSS JOIN UNNEST($3::bigint[], $4::bigint[]) AS v (low, high)
           CROSS JOIN LATERAL (
               SELECT * FROM events
               WHERE conversation_key = $1 AND target = asked.target AND kind = k.kind
                 AND seq BETWEEN v.low AND v.high
               ORDER BY seq DESC LIMIT 1
           ) AS e
           ORDER BY e.target, e.kind, e.seq DESC"#,
        key,
        targets,
        lows,
        highs,
    )
    .fetch_all(conn)
    .await
}
