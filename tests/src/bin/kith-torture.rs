//! `kith-torture --seconds N --seed S --restores 0|1`: a run of the whole system under faults (`cargo xtask torture`).
//!
//! `kith-server` and `kith-agent` lie beside this program. Exits with success only if nothing was lost, doubled, reordered or
//! different.

use anyhow::{Context, Result, bail};
use kith_tests::torture::{Plan, run};
use std::{path::PathBuf, process::ExitCode, time::Duration};

struct Arguments {
    seconds: u64,
    seed: u64,
    pause_ms: u64,
    restores: u64,
}

impl Arguments {
    fn parse() -> Result<Self> {
        let mut parsed = Self { seconds: 90, seed: 1, pause_ms: 40, restores: 0 };
        let mut words = std::env::args().skip(1);
        while let Some(word) = words.next() {
            let value = words.next().with_context(|| format!("{word} wants a number"))?.parse()?;
            match word.as_str() {
                "--seconds" => parsed.seconds = value,
                "--seed" => parsed.seed = value,
                "--pause-ms" => parsed.pause_ms = value,
                "--restores" => parsed.restores = value,
                _ => bail!("{word} is not an option"),
            }
        }
        Ok(parsed)
    }
}

/// A program beside this one.
fn beside(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    if path.exists() { Ok(path) } else { bail!("{} is not built", path.display()) }
}

// One thread: the programs that it starts end with the thread that started them.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match torture().await {
        Ok(is_clean) => ExitCode::from(u8::from(!is_clean)),
        Err(error) => {
            eprintln!("kith-torture: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn torture() -> Result<bool> {
    let arguments = Arguments::parse()?;
    let plan = Plan {
        seed: arguments.seed,
        during: Duration::from_secs(arguments.seconds),
        pause: Duration::from_millis(arguments.pause_ms),
        with_restores: arguments.restores > 0,
        server: beside("kith-server")?,
        agent: beside("kith-agent")?,
    };
    println!("seed {}, {} s of faults", plan.seed, arguments.seconds);
    let tally = tokio::select! {
        tally = run(plan) => tally?,
        () = asked_to_end() => bail!("interrupted"),
    };
    println!("{tally}");
    Ok(tally.is_clean())
}

#[cfg(unix)]
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn asked_to_end() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending().await
    }
}
