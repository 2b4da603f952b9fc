//! `pins`: the messages that are pinned at a log's head.

use sqlx::PgConnection;
use uuid::Uuid;

/// How many pins each of these conversations has, counted up to `max`.
pub async fn counts(conn: &mut PgConnection, keys: &[i64], max: i64) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT asked.key AS "key!", counted.pins AS "pins!"
           FROM UNNEST($1::bigint[]) AS asked (key)
           CROSS JOIN LATERAL (
               SELECT count(*) AS pins
               FROM (SELECT FROM pins WHERE conversation_key = asked.key LIMIT $2) AS pinned
           ) AS counted"#,
        keys,
        max,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.key, row.pins)).collect())
}

/// Those of these messages that are pinned, as (key, message).
pub async fn among(
    conn: &mut PgConnection,
    keys: &[i64],
    targets: &[Uuid],
) -> Result<Vec<(i64, Uuid)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT p.conversation_key, p.target
         FROM UNNEST($1::bigint[], $2::uuid[]) AS asked (key, target)
         JOIN pins p ON p.conversation_key = asked.key AND p.target = asked.target",
        keys,
        targets,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| (row.conversation_key, row.target)).collect())
}

pub async fn put(conn: &mut PgConnection, keys: &[i64], targets: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "INSERT INTO pins (conversation_key, target) SELECT * FROM UNNEST($1::bigint[], $2::uuid[])
         ON CONFLICT (conversation_key, target) DO NOTHING",
        keys,
        targets,
    )
    .execute(conn)
    .await?;
    Ok(())
}

pub async fn take(conn: &mut PgConnection, keys: &[i64], targets: &[Uuid]) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "DELETE FROM pins AS p USING UNNEST($1::bigint[], $2::uuid[]) AS off (key, target)
         WHERE p.conversation_key = off.key AND p.target = off.target",
        keys,
        targets,
    )
    .execute(conn)
    .await?;
    Ok(())
}
