//! The server is set back: to a copy of its database that was made earlier, in another database, so with another lineage.
//! The first copy is from before any conversation, so that whole conversations are lost as well.

use super::run::{Run, TICK};
use anyhow::{Context, Result, ensure};
use sqlx::{Connection, PgConnection};
use std::time::{Duration, Instant};
use tokio::{task::JoinHandle, time::sleep};

/// A copy waits so long until nobody is connected to the original any more, and PostgreSQL is there.
const COPIED_WITHIN: Duration = Duration::from_secs(30);

impl Run {
    /// Copies the database, with the server down for that moment.
    pub(super) async fn back_up(&mut self) -> Result<()> {
        let name = format!("backup-{}", self.tally.backups);
        self.copy_database(&self.database.clone(), &name).await?;
        self.tally.backups += 1;
        self.backup = Some(name);
        self.server_back_at = Some(Instant::now());
        Ok(())
    }

    /// Puts a copy of the newest backup in the database's place.
    pub(super) async fn restore(&mut self, back_after: Duration) -> Result<()> {
        let backup = self.backup.clone().context("no backup")?;
        let name = format!("restored-{}", self.tally.restores);
        self.copy_database(&backup, &name).await?;
        self.tally.restores += 1;
        self.database = name;
        for hand in &mut self.hands {
            let deeds = hand.heard().deeds.len();
            hand.set_back_at = deeds;
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

    /// As the server's setting has it.
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
