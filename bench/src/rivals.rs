//! What Kith is measured beside, in the same run on the same machine: a relay that stores nothing (the limit), the same
//! with a group commit into a lean table (what durability costs at least), and Socket.IO with node-postgres (what people
//! would write).
//!
//! The first two speak as many of Kith's frames as the load needs, so that the load is the same program for all.

mod lean;
mod relay;
pub mod socketio;

use anyhow::Result;
use std::path::{Path, PathBuf};

/// Whom the load drives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Rival {
    /// Relays, stores nothing.
    Raw,
    /// Relays behind a group commit into a lean table.
    Lean,
    /// Socket.IO 4 with one INSERT for each message.
    Socketio,
}

impl Rival {
    /// How figures call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw relay",
            Self::Lean => "lean table",
            Self::Socketio => "Socket.IO + pg",
        }
    }
}

/// Runs one of them in this process until it is asked to end; says where it listens as Kith does.
pub async fn run(rival: Rival, folder: &Path, socketio: Option<&Path>) -> Result<()> {
    match rival {
        Rival::Raw => relay::serve(None).await,
        Rival::Lean => relay::serve(Some(lean::Table::open(folder).await?)).await,
        Rival::Socketio => socketio::serve(folder, socketio.unwrap_or(Path::new("bench/socketio"))).await,
    }
}

/// The folder of the Node server if its packages are installed.
pub fn installed_socketio(root: &Path) -> Option<PathBuf> {
    let folder = root.join("bench/socketio");
    folder.join("node_modules/socket.io/package.json").exists().then_some(folder)
}

/// Where the PostgreSQL of one of them lies, below its folder.
pub const FOLDER: &str = "pg";
/// Its database.
pub const DATABASE: &str = "bench";

/// A durable PostgreSQL of one's own, and a database in it.
async fn database(folder: &Path) -> Result<(kith_pgbox::Cluster, String)> {
    let cluster = kith_pgbox::Cluster::start(kith_pgbox::Options::new(folder.join(FOLDER))).await?;
    cluster.ensure_database(DATABASE).await?;
    let url = cluster.url(DATABASE);
    Ok((cluster, url))
}

/// Waits until somebody wants the end.
async fn until_asked_to_end() -> Result<()> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut end = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = end.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        Ok(())
    }
    #[cfg(not(unix))]
    Ok(tokio::signal::ctrl_c().await?)
}
