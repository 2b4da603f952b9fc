//! The reference server is no fiction: the same frames go to it and to the real server with real PostgreSQL, one after
//! the other, and everything that comes back has to be the same: the answers, what each connection is told, and in the
//! end every user's heads and logs.
//!
//! Everything follows from a seed, which a failure prints with all that was done. `KITH_DIFF_SEED=…` plays it again,
//! `KITH_DIFF_RUNS=N KITH_DIFF_FIRST=S` plays others, `KITH_DIFF_OPERATIONS=N` makes them longer.
//!
//! Not compared: times of the clock, texts for developers, rates, tokens, presence, profiles, what several connections do
//! in the same moment, and frames that cannot be read.

mod events;
mod ground;
mod line;
mod operations;
mod plain;
mod play;

use anyhow::Result;
use ground::Ground;
use play::Play;
use std::{ops::Range, sync::Arc};
use tokio::task::JoinSet;

/// Seeds of the ordinary run.
const SEEDS: Range<u64> = 0..40;
/// What is done under each.
const OPERATIONS: u64 = 150;
/// Seeds that found something once; the first two tell a server that reads outside of the intervals (R6).
const FOUND: [u64; 2] = [103, 104];
/// Seeds that are played beside each other.
const WORKERS: usize = 4;

/// Plays seeds. Returns those that failed, with what happened.
async fn play_all(seeds: Vec<u64>, operations: u64) -> Result<Vec<String>> {
    let ground = Arc::new(Ground::lay().await?);
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (ground, seeds) = (Arc::clone(&ground), seeds.clone());
        workers.spawn(async move {
            let mut failed = Vec::new();
            for seed in seeds.into_iter().skip(worker).step_by(WORKERS) {
                if let Err(error) = Play::run(&ground, seed, operations).await {
                    failed.push(format!("KITH_DIFF_SEED={seed}\n{error:#}"));
                }
            }
            failed
        });
    }
    Ok(workers.join_all().await.concat())
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

async fn hold(seeds: Vec<u64>) -> Result<()> {
    let operations = number("KITH_DIFF_OPERATIONS").unwrap_or(OPERATIONS);
    let failed = play_all(seeds, operations).await?;
    let brief = |story: &String| story.lines().next().unwrap_or_default().to_owned();
    let seeds: Vec<String> = failed.iter().map(brief).collect();
    assert!(failed.is_empty(), "{} failed: {seeds:?}; the first:\n{}", failed.len(), failed[0]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w2_w3_o4_r6_the_model_and_the_server_answer_alike() -> Result<()> {
    let seeds = match (number("KITH_DIFF_SEED"), number("KITH_DIFF_RUNS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, Some(runs)) => {
            let first = number("KITH_DIFF_FIRST").unwrap_or(1_000_000);
            first..first + runs
        }
        (None, None) => SEEDS,
    };
    hold(seeds.collect()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_once_told_model_and_server_apart_does_so_no_more() -> Result<()> {
    hold(FOUND.to_vec()).await
}
