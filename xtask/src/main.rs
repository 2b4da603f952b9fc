//! The chores of this repository: `cargo xtask demo`, `test`, `check`, `simulate`, `fuzz`, `torture`, `bench`,
//! `bindings`, `sqlx`, `rules`, `package`, `supply`, `setup`.
//!
//! Small on purpose: it starts programs, waits for them, shows what takes how long, and ends all of them when it ends.

mod bench;
#[cfg(unix)]
mod container;
mod database;
mod demo;
mod desk;
mod fuzz;
mod generated;
mod http;
mod logs;
mod package;
mod process;
mod release;
mod rules;
mod security;
mod setup;
mod stages;
mod steps;
mod supply;
mod tests;
mod torture;
mod ui;
mod webdriver;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The chores of this repository", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Builds everything and starts a server and two windows; without a display it plays a short talk and takes pictures
    Demo(demo::Arguments),
    /// Runs everything that has to pass: formatting, lints, generated files, tests, real windows
    Test {
        /// Only this part
        part: Option<stages::Part>,
    },
    /// Runs the quick part of `test`, for daily work
    Check,
    /// Kills, cuts, stalls, fills and damages everything while engines write, then judges what they and PostgreSQL hold
    Torture(torture::Arguments),
    /// Makes the desktop's packages for this system and lays out the server's image, and judges their sizes
    Package(package::Arguments),
    /// Writes and checks what a release offers to the copies that are out there (docs/operate/releases.md)
    #[command(subcommand)]
    Release(release::Release),
    /// Checks the reasons of all dependencies, npm's settings, and the hosted workflows
    Supply,
    /// Measures; `bench quick` prints the main figures
    Bench {
        /// quick, server, desktop, abuse; and what each of them takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Plays seeded runs of the sync rules against a model of the server, as many as one likes
    Simulate {
        /// How many
        #[arg(long, default_value_t = 20_000)]
        runs: u64,
        /// The first seed; a run each from there on
        #[arg(long, default_value_t = 1_000_000)]
        seed: u64,
        /// Puts known faults in, one at a time, and fails if no seed finds one; `--runs` is for each
        #[arg(long, conflicts_with = "seed")]
        mutants: bool,
    },
    /// Feeds arbitrary input to the frame parsers, an engine's store, its search, and the readers of links, markup and settings
    Fuzz {
        /// For how long, each of them
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// The first case; a failure says which one to begin with
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Writes the TypeScript bindings of the desktop shell
    Bindings {
        /// Only compares with what is there
        #[arg(long)]
        check: bool,
    },
    /// Writes the query metadata for builds without a database
    Sqlx {
        /// Only compares with what is there
        #[arg(long)]
        check: bool,
    },
    /// Writes which test checks which rule of the protocol
    Rules {
        /// Only compares with what is there
        #[arg(long)]
        check: bool,
    },
    /// Runs a command on a display, session bus and keyring of its own, as the tests of real windows do
    Desk {
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Checks that this machine has what the other chores need, and installs what is missing
    Setup,
}

fn main() {
    if let Err(error) = run() {
        eprintln!("\nxtask: {error:#}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    process::catch_interrupts()?;
    match arguments.chore {
        Chore::Demo(arguments) => demo::run(&arguments),
        Chore::Test { part } => stages::test(part),
        Chore::Check => stages::check(),
        Chore::Torture(arguments) => torture::torture(&arguments),
        Chore::Package(arguments) => package::run(&arguments),
        Chore::Release(release) => release::run(&release),
        Chore::Supply => supply::check(),
        Chore::Bench { arguments } => bench::bench(&arguments),
        Chore::Simulate { runs, mutants: true, .. } => tests::mutants(runs),
        Chore::Simulate { runs, seed, mutants: false } => tests::simulate(runs, seed),
        Chore::Fuzz { seconds, seed } => fuzz::fuzz(seconds, seed),
        Chore::Bindings { check } => generated::bindings(check),
        Chore::Sqlx { check } => generated::sqlx(check),
        Chore::Rules { check } => rules::table(check),
        Chore::Desk { command } => desk::run(&command),
        Chore::Setup => setup::run(setup::For::Tests, &mut steps::Steps::new()),
    }
}
