//! Starts the Kith sync server.

use kith_server::cli;
use std::process::ExitCode;

/// Many small texts are made in one thread and freed in another: the system's allocator takes a quarter of the server's
/// time for that (docs/develop/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
