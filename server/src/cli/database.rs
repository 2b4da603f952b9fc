//! The database that the settings name: one of the operator's, or the server's own.

use crate::{
    config::{DatabaseUrl, database_url_from},
    settings::Settings,
};
use anyhow::{Context, bail};
use kith_pgbox::{Cluster, Options, PgBoxError};
use sqlx::PgPool;
use std::path::PathBuf;

const EMBEDDED_DATABASE: &str = "kith";

/// Where the database is.
#[derive(Debug)]
pub(super) enum Address {
    Given(DatabaseUrl),
    /// A private PostgreSQL in this folder.
    Embedded(PathBuf),
}

/// Reads off the settings where the database is.
///
/// # Errors
/// A sentence that names both ways, when neither is said.
pub(super) fn address(settings: &Settings) -> anyhow::Result<Address> {
    if settings.embedded_db == Some(true) {
        let Some(dir) = settings.data_dir.clone() else {
            bail!("the private PostgreSQL needs a folder: --data-dir DIR (KITH_DATA_DIR)");
        };
        return Ok(Address::Embedded(dir));
    }
    let url = match &settings.database_url_file {
        Some(file) => database_url_from(file)?,
        None => settings.database_url.clone().context(
            "no database: set DATABASE_URL (postgres://user:password@host/database), \
             or let the server run its own with --embedded-db --data-dir DIR",
        )?,
    };
    settings.check_database(&url)?;
    Ok(Address::Given(url))
}

pub(super) struct Database {
    pub(super) pool: PgPool,
    /// Runs for as long as this is open, unless a server runs it.
    cluster: Option<Cluster>,
}

impl Database {
    /// Closes it; a private PostgreSQL that was started for this ends.
    pub(super) async fn close(self) -> anyhow::Result<()> {
        self.pool.close().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await?;
        }
        Ok(())
    }
}

/// Opens the database that the settings name; a private PostgreSQL is started, or found running under a server.
///
/// # Errors
/// A sentence when none is named or it cannot be reached.
pub(super) async fn open(settings: &Settings, connections: u32) -> anyhow::Result<Database> {
    let (cluster, url) = match address(settings)? {
        Address::Given(url) => {
            if !url.tls().is_safe() {
                tracing::warn!(
                    "what is said to the database can be read or changed on the way (trusted_network)"
                );
            }
            (None, url.reveal())
        }
        Address::Embedded(dir) => match Cluster::start(Options::new(&dir)).await {
            Ok(cluster) => {
                cluster.ensure_database(EMBEDDED_DATABASE).await?;
                let url = cluster.url(EMBEDDED_DATABASE);
                (Some(cluster), url)
            }
            Err(PgBoxError::LockHeld { .. }) => (None, Cluster::url_of_running(&dir, EMBEDDED_DATABASE)?),
            Err(error) => return Err(error.into()),
        },
    };
    let pool = crate::connect(&url, connections).await.context("cannot reach the database")?;
    Ok(Database { pool, cluster })
}

/// As [`open`], and refuses a private PostgreSQL that another server runs.
///
/// # Errors
/// As [`open`].
pub(super) async fn open_alone(settings: &Settings, connections: u32) -> anyhow::Result<Database> {
    let database = open(settings, connections).await?;
    if let (Address::Embedded(dir), None) = (address(settings)?, &database.cluster) {
        bail!("another server works with {}: end it, or choose another folder", dir.display());
    }
    Ok(database)
}
