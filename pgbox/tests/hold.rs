//! Starts the cluster in the folder named by the first argument, prints its address, and waits to be killed.

use std::io::Write;

use kith_pgbox::{Cluster, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args_os().nth(1).ok_or("the folder is missing")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let cluster = Cluster::start(Options::new(dir)).await?;
        println!("{}", cluster.url("postgres"));
        std::io::stdout().flush()?;
        std::future::pending::<()>().await;
        Ok(())
    })
}
