//! Starts the Kith sync server.

use clap::Parser;
use kith_server::{cli, telemetry};
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    telemetry::init();
    match cli::run(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kith-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}
