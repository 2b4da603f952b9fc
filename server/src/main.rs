//! Starts the Kith sync server.

use kith_server::cli;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match cli::run(cli::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kith-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}
