//! The whole system under faults, briefly: `cargo xtask torture` does it for as long as one likes.

use anyhow::{Context, Result};
use kith_tests::torture::{Plan, run};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// The server's program: named by who runs the tests, else beside the agent's.
fn server(agent: &Path) -> Result<PathBuf> {
    let path =
        std::env::var_os("KITH_SERVER").map_or_else(|| agent.with_file_name("kith-server"), PathBuf::from);
    let path =
        if path.extension().is_none() { path.with_extension(std::env::consts::EXE_EXTENSION) } else { path };
    path.exists().then_some(path).context("kith-server is not built: cargo build -p kith-server")
}

/// I1–I3, I5–I7, I9, S11: six devices of four people write for 90 seconds while connections are cut and stalled, engines,
/// server and PostgreSQL are killed, tokens end, disks are full, files are damaged, and clocks jump. Then nothing is lost,
/// nothing is there twice, everybody has one order, and unread numbers, edits and reactions are those that PostgreSQL's log
/// gives.
#[tokio::test]
async fn torture_of_90_seconds_loses_doubles_and_reorders_nothing() -> Result<()> {
    let agent = PathBuf::from(env!("CARGO_BIN_EXE_kith-agent"));
    let during = Duration::from_secs(90);
    let plan = Plan {
        seed: 20_261_121,
        during,
        pause: Duration::from_millis(40),
        with_restores: false,
        server: server(&agent)?,
        agent,
    };
    let tally = run(plan).await?;
    println!("{tally}");
    assert!(tally.is_clean(), "{tally}");
    assert!(tally.messages > 500 && tally.cuts > 20, "too little was done: {tally}");
    assert!(tally.server_kills > 1 && tally.engine_kills > 5 && tally.database_restarts > 0, "{tally}");
    assert!(tally.damaged > 0 && tally.clock_jumps > 2, "{tally}");
    assert!(!tally.has_disks || (tally.full_disks > 1 && tally.refused_for_space() > 0), "{tally}");
    Ok(())
}
