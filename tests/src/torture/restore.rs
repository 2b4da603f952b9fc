//! Backups and restores. A restore starts the server on a copy of an earlier backup, as another database with another
//! lineage. The first backup has no conversations, so a restore can lose whole conversations.

use super::run::{Run, TICK};
use anyhow::{Context, Result, ensure};
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};
use tokio::{task::JoinHandle, time::sleep};

/// Time limit for a copy. It waits for PostgreSQL, and until nobody is connected to the original.
const COPIED_WITHIN: Duration = Duration::from_secs(30);

impl Run {
    /// Copies the database while the server is stopped.
    pub(super) async fn back_up(&mut self) -> Result<()> {
        let name = format!("backup-{}", self.tally.backups);
        self.copy_database(&self.database.clone(), &name).await?;
        self.tally.backups += 1;
        self.backup = Some(name);
        self.server_back_at = Some(Instant::now());
        Ok(())
    }

    /// Replaces the server's database with a copy of the newest backup.
    pub(super) async fn restore(&mut self, back_after: Duration) -> Result<()> {
        let backup = self.backup.clone().context("no backup")?;
        let name = format!("restored-{}", self.tally.restores);
        self.copy_database(&backup, &name).await?;
        self.tally.restores += 1;
        self.database = name;
        for agent in &mut self.agents {
            let operations = agent.heard().operations.len();
            agent.set_back_at = operations;
        }
        self.restored_at = Some(self.time_of_database().await?);
        self.server_back_at = Some(Instant::now() + back_after);
        Ok(())
    }

    async fn copy_database(&mut self, from: &str, to: &str) -> Result<()> {
        let end = Instant::now() + COPIED_WITHIN;
        while self.restarting.as_ref().is_some_and(|restarting| !JoinHandle::is_finished(restarting)) {
            ensure!(Instant::now() < end, "PostgreSQL does not come back");
            sleep(TICK).await;
        }
        if let Some(server) = self.server.take() {
            server.kill().await;
            self.tally.server_kills += 1;
        }
        while let Err(error) = self.cluster.create_from_template(to, from).await {
            // The killed server's connections end a moment later.
            ensure!(Instant::now() < end, "{from} is not copied: {error}");
            sleep(TICK).await;
        }
        Ok(())
    }

    /// The time in the format of `KITH_RESTORED_AT`.
    async fn time_of_database(&self) -> Result<String> {
        let mut connection = PgConnection::connect(&self.cluster.url("postgres")).await?;
        let time =
            sqlx::query_scalar(r#"SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')"#)
                .fetch_one(&mut connection)
                .await?;
        connection.close().await?;
        Ok(time)
    }
}
