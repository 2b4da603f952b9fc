//! Where a snapshot stands among all transactions, and of which life of the database it is (S5).

use sqlx::PgConnection;

/// The place of a snapshot.
pub struct MomentRow {
    /// Changes with whatever may bring an earlier state back: another lineage, another start of PostgreSQL, another
    /// file under the log.
    pub life: String,
    /// Every transaction below it has ended and is part of the snapshot, if it committed.
    pub xmin: i64,
    /// No transaction from it on has ended.
    pub xmax: i64,
}

/// The place of the transaction's snapshot.
pub async fn moment(conn: &mut PgConnection) -> Result<MomentRow, sqlx::Error> {
    let lineage = super::epoch::read(conn).await?;
    let row = sqlx::query!(
        r#"SELECT format('%s-%s', (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
                         coalesce(pg_relation_filenode('events')::text,
                                  (SELECT md5(string_agg(pg_relation_filenode(relid)::text, '.' ORDER BY relid))
                                   FROM pg_partition_tree('events') WHERE isleaf))) AS "life!",
                  pg_snapshot_xmin(snapshot)::text::bigint AS "xmin!",
                  pg_snapshot_xmax(snapshot)::text::bigint AS "xmax!"
           FROM pg_current_snapshot() AS snapshot"#,
    )
    .fetch_one(conn)
    .await?;
    Ok(MomentRow { life: format!("{lineage}-{}", row.life), xmin: row.xmin, xmax: row.xmax })
}
