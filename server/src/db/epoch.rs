//! The lineage of the database: what a restore, a promotion or a new database changes.

use sqlx::PgConnection;

/// The database's clock, ms since 1970.
pub async fn clock(conn: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS "now!""#)
        .fetch_one(conn)
        .await
}

/// Which database it is.
pub struct LineageRow {
    /// System identifier, timeline, and the OIDs of the database and of the event table: what clients are told.
    pub epoch: String,
    /// The same and when PostgreSQL was started: whatever may bring an earlier state back changes it, also a folder that
    /// was set back and bears the same lineage.
    pub incarnation_id: String,
}

pub async fn read(conn: &mut PgConnection) -> Result<LineageRow, sqlx::Error> {
    sqlx::query_as!(
        LineageRow,
        r#"SELECT epoch AS "epoch!",
                  format('%s-%s', epoch, (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint) AS "incarnation_id!"
           FROM format('%s-%s-%s-%s',
                       to_hex((SELECT system_identifier FROM pg_control_system())),
                       (SELECT timeline_id FROM pg_control_checkpoint()),
                       (SELECT oid FROM pg_database WHERE datname = current_database()),
                       'events'::regclass::oid) AS epoch"#,
    )
    .fetch_one(conn)
    .await
}
