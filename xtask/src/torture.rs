//! Runs the whole system under faults, for as long as one likes (docs/develop/reliability.md).

use anyhow::{Result, ensure};

use crate::{
    database::FEATURES,
    process::{built, cargo, command, run},
    setup,
    steps::Steps,
};

#[derive(clap::Args)]
pub struct Arguments {
    /// How long faults go on
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Decides what is done to whom and when
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Set the server back to a backup about once a minute
    #[arg(long)]
    restores: bool,
}

pub fn torture(arguments: &Arguments) -> Result<()> {
    let seconds = arguments.minutes * 60.0;
    ensure!((1.0..=604_800.0).contains(&seconds), "between a second and a week");
    let mut steps = Steps::new();
    setup::run(setup::For::Desktop, &mut steps)?;
    // The whole workspace's features, so that the tests' builds serve here too.
    let binaries = ["kith-server", "kith-agent", "kith-torture"].map(|name| ["--bin", name]);
    let build =
        |_: &mut Steps| run(cargo(&["build", "--workspace"]).args(binaries.as_flattened()).args(FEATURES));
    steps.step("build", build)?;
    let mut torture = command(built("kith-torture"));
    torture.args(["--seconds", &format!("{seconds:.0}"), "--seed", &arguments.seed.to_string()]);
    torture.args(["--restores", &u8::from(arguments.restores).to_string()]);
    steps.step("torture", |_| run(&mut torture))
}
