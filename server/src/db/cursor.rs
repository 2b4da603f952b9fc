//! Where a snapshot stands among all transactions, and of which incarnation_id of the database it is (S5).

use kith_protocol::UserId;
use sqlx::PgConnection;

/// The place of a snapshot.
pub struct MomentRow {
    /// Changes with whatever may bring an earlier state back: another lineage, another start of PostgreSQL, another
    /// file under the log.
    pub incarnation_id: String,
    /// Every transaction below it has ended and is part of the snapshot, if it committed.
    pub xmin: i64,
    /// No transaction from it on has ended.
    pub xmax: i64,
    /// The user's own counter in it.
    pub user_seq: i64,
}

/// The place of the transaction's snapshot, and of a user in it.
pub async fn moment(conn: &mut PgConnection, user: UserId) -> Result<MomentRow, sqlx::Error> {
    sqlx::query_as!(
        MomentRow,
        r#"SELECT format('%s-%s-%s-%s-%s-%s',
                         to_hex((SELECT system_identifier FROM pg_control_system())),
                         (SELECT timeline_id FROM pg_control_checkpoint()),
                         (SELECT oid FROM pg_database WHERE datname = current_database()),
                         'events'::regclass::oid,
                         (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint,
                         coalesce(pg_relation_filenode('events')::text,
                                  (SELECT md5(string_agg(pg_relation_filenode(relid)::text, '.' ORDER BY relid))
                                   FROM pg_partition_tree('events') WHERE isleaf))) AS "incarnation_id!",
                  pg_snapshot_xmin(snapshot)::text::bigint AS "xmin!",
                  pg_snapshot_xmax(snapshot)::text::bigint AS "xmax!",
                  users.user_seq
           FROM pg_current_snapshot() AS snapshot, users
           WHERE users.id = $1"#,
        user.as_uuid(),
    )
    .fetch_one(conn)
    .await
}
