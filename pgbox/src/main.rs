//! `kith-pgbox DIR [--throwaway] [--connections N] [--database NAME] [--migrations DIR]`
//!
//! Starts the cluster in a folder, prints the address of the database, and runs until its standard input ends or it is asked to
//! end: a program that holds the other end of the pipe therefore takes PostgreSQL with it, however it ends.

use std::{
    io::{Read, Write},
    path::PathBuf,
    process::ExitCode,
};

use kith_pgbox::{BoxError, Cluster, Durability, Options};
use sqlx::Connection;

struct Arguments {
    options: Options,
    database: String,
    migrations: Option<PathBuf>,
}

impl Arguments {
    fn parse() -> Result<Self, BoxError> {
        let mut words = std::env::args_os().skip(1);
        let dir = words.next().ok_or("the folder of the cluster is missing")?;
        let mut parsed = Self { options: Options::new(dir), database: "postgres".into(), migrations: None };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{} wants a value", word.display()));
            match word.to_str() {
                Some("--throwaway") => parsed.options.durability = Durability::Throwaway,
                Some("--connections") => {
                    parsed.options.max_connections = value()?.to_string_lossy().parse()?
                }
                Some("--database") => parsed.database = value()?.to_string_lossy().into_owned(),
                Some("--migrations") => parsed.migrations = Some(value()?.into()),
                _ => return Err(format!("{} is not an option", word.display()).into()),
            }
        }
        Ok(parsed)
    }
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kith-pgbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), BoxError> {
    let arguments = Arguments::parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> Result<(), BoxError> {
    let cluster = Cluster::start(arguments.options).await?;
    let url = cluster.url(&arguments.database);
    cluster.ensure_database(&arguments.database).await?;
    if let Some(migrations) = arguments.migrations {
        let migrator = sqlx::migrate::Migrator::new(migrations.as_path()).await?;
        let mut connection = sqlx::PgConnection::connect(&url).await?;
        migrator.run(&mut connection).await?;
        connection.close().await?;
    }
    println!("{url}");
    std::io::stdout().flush()?;
    tokio::select! {
        _ = end_of_input() => {}
        _ = asked_to_end() => {}
    }
    cluster.stop().await?;
    Ok(())
}

/// A thread of its own, because a read of the standard input cannot be given up.
async fn end_of_input() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 64];
        while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
        let _ = sender.send(());
    });
    let _ = receiver.await;
}

#[cfg(unix)]
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}

#[cfg(windows)]
async fn asked_to_end() {
    let _ = tokio::signal::ctrl_c().await;
}
