//! The app in a real window, beside an empty window in the same run: starts, opening, writing, search, memory, idle CPU.
//!
//! Runs on a desk of its own (`cargo xtask bench desktop`): display, session bus, keyring. Nobody else's window should be
//! open: what two processes map counts half for each.

mod history;
mod judge;
mod page;
mod program;
mod story;
mod tree;

use crate::{
    server::Running,
    verdict::{Judgement, conclude},
};
use anyhow::{Context, Result};
use history::PROFILE;
use program::Program;
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// What `bench desktop` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The server's binary.
    #[arg(long, env = "KITH_SERVER")]
    server: PathBuf,
    /// The app's binary.
    #[arg(long, env = "KITH_APP")]
    app: PathBuf,
    /// The empty window's binary.
    #[arg(long, env = "KITH_BENCH_WINDOW")]
    window: PathBuf,
    /// The app's package, of which only the size is looked at.
    #[arg(long, env = "KITH_DEB")]
    deb: Option<PathBuf>,
    /// Messages in the profile's store.
    #[arg(long, default_value_t = 1_000_000)]
    messages: usize,
    /// Conversations that they are in.
    #[arg(long, default_value_t = 1_000)]
    conversations: usize,
    /// Conversations that are opened before memory is looked at again.
    #[arg(long, default_value_t = 200)]
    opened: usize,
    /// Starts of each kind.
    #[arg(long, default_value_t = 5)]
    starts: usize,
    /// Seconds over which nothing is done.
    #[arg(long, default_value_t = 30)]
    idle: u64,
    #[command(flatten)]
    judgement: Judgement,
}

/// Everything that was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    messages: u32,
    conversations: usize,
    deb_mb: Option<f64>,
    cold_ms: Vec<f64>,
    warm_ms: Vec<f64>,
    empty_ms: Vec<f64>,
    start_memory: Vec<tree::Memory>,
    empty_memory: Vec<tree::Memory>,
    /// Seconds from a start until what was left over from before was done.
    tidied_s: f64,
    idle_percent: f64,
    empty_idle_percent: f64,
    story: story::Story,
}

/// After a start: until nothing moves any more.
const SETTLE: Duration = Duration::from_secs(5);
/// Then what was left over from before is done: the store tidies up when it is quiet. Whoever is not through with it by
/// then is not idle.
const TIDY_MAX: Duration = Duration::from_secs(60);
/// Less than this, percent of a core over [`SETTLE`], and it is through.
const TIDY_PERCENT: f64 = 1.0;

/// `bench desktop`
pub async fn run(arguments: &Arguments) -> Result<()> {
    let server = Running::start(&arguments.server).await?;
    let measured = measure(arguments, &server).await;
    server.stop().await?;
    let figures = measured?;
    judge::table(&figures);
    conclude(&arguments.judgement, &figures, &judge::targets(&figures))
}

async fn measure(arguments: &Arguments, server: &Running) -> Result<Figures> {
    let deb_mb = arguments.deb.as_ref().map(std::fs::metadata).transpose()?;
    let folder = tempfile::tempdir()?;
    println!("a history of {} messages is made and fetched", arguments.messages);
    let history = history::make(server, folder.path(), arguments.messages, arguments.conversations).await?;
    let own = ["--profile", PROFILE, "--data-dir", &folder.path().to_string_lossy(), "--server", &server.url]
        .map(str::to_owned);
    let listed = ["painted", "List"];
    let (mut cold_ms, mut warm_ms, mut empty_ms) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.starts {
        forget(&folder.path().join(PROFILE), &arguments.app)?;
        cold_ms.push(start(&arguments.app, &own, &listed).await?);
        warm_ms.push(start(&arguments.app, &own, &listed).await?);
        empty_ms.push(start(&arguments.window, &[], &["painted"]).await?);
    }
    let idle = Duration::from_secs(arguments.idle);
    let (empty_memory, _, empty_idle_percent) = rest(&arguments.window, &[], &["painted"], idle).await?;
    let (start_memory, tidied_s, idle_percent) = rest(&arguments.app, &own, &listed, idle).await?;
    let story = story::play(&arguments.app, &own, server, &history, arguments.opened).await?;
    Ok(Figures {
        messages: history.messages,
        conversations: history.conversations.len(),
        deb_mb: deb_mb.map(|deb| deb.len() as f64 / 1e6),
        cold_ms,
        warm_ms,
        empty_ms,
        start_memory,
        empty_memory,
        tidied_s,
        idle_percent,
        empty_idle_percent,
        story,
    })
}

async fn start(program: &Path, arguments: &[String], says: &[&str]) -> Result<f64> {
    let mut program = Program::start(program, arguments)?;
    let after = program.says(says).await?;
    program.end().await?;
    Ok(after)
}

/// Memory once it has settled, for how many seconds it tidied up, and what it takes while nothing is done.
async fn rest(
    program: &Path,
    arguments: &[String],
    says: &[&str],
    idle: Duration,
) -> Result<(Vec<tree::Memory>, f64, f64)> {
    let mut program = Program::start(program, arguments)?;
    program.says(says).await?;
    let began = Instant::now();
    tokio::time::sleep(SETTLE).await;
    let memory = tree::memory(program.id)?;
    while program.cpu_percent(SETTLE).await? >= TIDY_PERCENT && began.elapsed() < TIDY_MAX {}
    let tidied = began.elapsed().as_secs_f64();
    let percent = program.cpu_percent(idle).await?;
    program.end().await?;
    Ok((memory, tidied, percent))
}

/// Makes the system forget what it has read of the profile and of the program: the next start reads from the disk.
fn forget(profile: &Path, program: &Path) -> Result<()> {
    let mut files = vec![program.to_owned()];
    for entry in std::fs::read_dir(profile)? {
        files.extend(Some(entry?.path()).filter(|path| path.is_file()));
    }
    Command::new("sync").status().context("starting sync")?;
    for file in files {
        // Reads nothing, and gives the file's pages back.
        let name = format!("if={}", file.display());
        let done = Command::new("dd").args([&name, "iflag=nocache", "count=0", "status=none"]).status()?;
        anyhow::ensure!(done.success(), "{} stays in memory", file.display());
    }
    Ok(())
}
