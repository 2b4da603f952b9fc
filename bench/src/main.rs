//! What Kith costs, measured: `cargo xtask bench quick`.
//!
//! Starts the real server on a private PostgreSQL with durable settings, drives it through its own protocol with real
//! accounts, and prints figures. Figures are printed, never judged: a loaded machine must not make anything fail.

mod abuse;
mod active;
mod client;
mod crowd;
mod desktop;
mod engine;
mod fill;
mod instances;
mod load;
mod people;
mod rivals;
mod rounds;
mod server;
mod summary;
mod verdict;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

#[derive(Parser)]
#[command(about = "What Kith costs, measured")]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Durable messages per second, delivery times, memory per idle connection, cold open of the engine.
    Quick {
        /// The server's binary.
        #[arg(long, env = "KITH_SERVER")]
        server: PathBuf,
        /// Pairs of people who write to each other.
        #[arg(long, default_value_t = 200)]
        pairs: usize,
        /// Seconds of each measurement.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Idle connections.
        #[arg(long, default_value_t = 2000)]
        idle: usize,
        /// Messages in the engine's store.
        #[arg(long, default_value_t = 100_000)]
        messages: usize,
    },
    /// Kith beside a relay that stores nothing, a lean table and Socket.IO: rounds in turns, ratios of the same round.
    Server(rounds::Arguments),
    /// Idle connections: memory of each, and how fast they come.
    Idle(crowd::idle::Arguments),
    /// Everybody is cut off at once and comes back, while others talk.
    Storm(crowd::storm::Arguments),
    /// A large group, all of it connected.
    Group(crowd::group::Arguments),
    /// Messages to each of many conversations in turn.
    Active(active::Arguments),
    /// kill -9 in mid-run.
    Crash(crowd::crash::Arguments),
    /// What the bus between two instances costs, beside one instance without it. Needs nats-server.
    Bus(instances::Arguments),

    /// The engine on a million messages beside bare SQLite in turns, and a new device's history; `--messages 20000
    /// --history 2000` judges only what is read.
    Client(client::Arguments),

    /// The app in a real window beside an empty one: starts, opening, writing, search, memory, idle CPU.
    Desktop(desktop::Arguments),

    /// One page, with bars, of what measurements wrote with `--json`.
    Page(summary::Arguments),
    /// One of those that Kith is measured beside, until it is ended.
    #[command(hide = true)]
    Rival {
        rival: rivals::Rival,
        /// Where it keeps its data.
        #[arg(long)]
        folder: PathBuf,
        /// The Node server's folder.
        #[arg(long)]
        socketio: Option<PathBuf>,
    },
    /// Times of sign-ins that fail, and what a connection that reads nothing costs.
    Abuse(abuse::Arguments),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Cli::parse().what {
        What::Quick { server, pairs, seconds, idle, messages } => {
            quick(&server, pairs, seconds, idle, messages).await
        }
        What::Server(arguments) => rounds::run(&arguments).await,
        What::Idle(arguments) => crowd::idle::run(&arguments).await,
        What::Storm(arguments) => crowd::storm::run(&arguments).await,
        What::Group(arguments) => crowd::group::run(&arguments).await,
        What::Active(arguments) => active::run(&arguments).await,
        What::Crash(arguments) => crowd::crash::run(&arguments).await,
        What::Bus(arguments) => instances::run(&arguments).await,

        What::Client(arguments) => client::run(&arguments).await,

        What::Desktop(arguments) => desktop::run(&arguments).await,
        What::Page(arguments) => summary::run(&arguments),
        What::Rival { rival, folder, socketio } => rivals::run(rival, &folder, socketio.as_deref()).await,
        What::Abuse(arguments) => abuse::run(&arguments).await,
    }
}

async fn quick(server: &Path, pairs: usize, seconds: u64, idle: usize, messages: usize) -> Result<()> {
    let running = server::Running::start(server).await?;
    let people = people::sign_up(&running.url, pairs * 2).await?;
    let pairs = load::connect_pairs(&running.url, load::Wire::Kith, &people).await?;
    let length = Duration::from_secs(seconds);
    println!("{:<44}{:>14}", "pairs, each with its own conversation", pairs.len());
    for depth in [1, 16] {
        let before = running.cpu_seconds()?;
        let closed = load::closed_loop(&pairs, depth, length).await?;
        let cpu = (running.cpu_seconds()? - before) / closed.acknowledged as f64 * 10_000.0;
        println!(
            "{:<44}{:>14.0}",
            format!("durable messages/s, depth {depth}"),
            closed.acknowledged as f64 / closed.seconds
        );
        println!("{:<44}{:>14.2}", "  CPU-s of server and PostgreSQL per 10,000", cpu);
        println!(
            "{:<44}{:>14}",
            "  lost / doubled / out of order",
            format!("{} / {} / {}", closed.lost, closed.doubled, closed.disordered)
        );
    }
    let open = load::open_loop(&pairs, 500, length).await?;
    println!("{:<44}{:>14}", "delivery at 500/s: p50 / p99 / p99.9, ms", open.percentiles());
    drop(pairs);
    let per_connection = load::idle(&running, &people, idle).await?;
    println!("{:<44}{:>14.1}", format!("KB resident per idle connection, at {idle}"), per_connection);
    running.stop().await?;
    let opened = engine::cold_open(server, messages).await?;
    println!("{:<44}{:>14}", "messages in the engine's store", opened.messages);
    println!("{:<44}{:>14.1}", "  fetched from the server as a new device, s", opened.import_s);
    println!("{:<44}{:>14.1}", "  engine opened and list read, ms", opened.list_ms);
    println!("{:<44}{:>14.1}", "  newest 50 of a conversation, ms", opened.page_ms);
    println!("{:<44}{:>14.1}", "  search of a word, ms", opened.search_ms);
    Ok(())
}
