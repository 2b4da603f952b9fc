//! Runs the Rust tests: by nextest where it is installed, else by cargo itself.

use std::{env, process::Command};

use anyhow::{Result, bail, ensure};

use crate::{
    database::{FEATURES, TestCluster},
    desk::{Desk, Display},
    logs,
    process::{built, cargo, root, run_seen},
    setup,
    steps::Steps,
};

/// The tests that open real windows: those of the binary `e2e` whose names begin so. They are `#[ignore]`d,
/// so that no other run counts them as passed.
const WINDOWS: &str = "binary(e2e) & test(/^window/)";

/// The simulation's thousands of seeds.
const SEEDS: &str =
    "package(kith-client) & (test(seeded_interleavings) | test(every_mutation) | test(both_stores))";

/// Everything but real windows.
pub fn headless(cluster: &TestCluster, steps: &mut Steps) -> Result<()> {
    let nextest = ["--workspace", "--no-fail-fast", "-E"];
    let filter = format!("not ({WINDOWS})");
    let mut tests = runner(&[&nextest[..], &[&filter]].concat(), &["--workspace", "--no-fail-fast"]);
    tests.args(FEATURES).env("KITH_TEST_PG", &cluster.url).env("KITH_BINDINGS", "check");
    tests.env("KITH_SERVER", built("kith-server"));
    leave_out(&mut tests);
    let folder = logs::folder()?;
    judge(tests.env("KITH_TEST_LOGS", &folder), steps)?;
    logs::judge(&folder)
}

/// Tells tests that cannot run on this machine that they may be left out, and says which those are.
fn leave_out(tests: &mut Command) {
    if !setup::may_mount() {
        println!(
            "LEFT OUT: tests of full and read-only disks; they mount a small disk, which only root may do"
        );
        tests.env("KITH_TEST_WITHOUT_DISKS", "1");
    }
    if !setup::has_bus() {
        println!("LEFT OUT: tests of several instances; nats-server is not installed");
        tests.env("KITH_TEST_WITHOUT_NATS", "1");
    }
}

/// The tests inside the crates, which need neither windows nor a whole system; without the thousands of seeds.
pub fn unit(steps: &mut Steps) -> Result<()> {
    let all = ["--workspace", "--exclude", "kith-tests", "--lib", "--bins"];
    let filter = format!("not ({SEEDS})");
    let mut tests = runner(&[&all[..], &["-E", &filter]].concat(), &all);
    tests.args(FEATURES);
    leave_out(&mut tests);
    if !has_nextest() {
        let seeds = ["seeded_interleavings", "every_mutation", "both_stores"];
        tests.arg("--").args(seeds.iter().flat_map(|name| ["--skip", name]));
    }
    judge(&mut tests, steps)
}

/// Seeded runs of the sync rules against a model of the server (`client/src/sim`).
pub fn simulate(runs: u64, seed: u64) -> Result<()> {
    let mut tests = simulation("sim::runs::simulate", runs);
    tests.env("KITH_SIM_FIRST", seed.to_string());
    ensure!(tests.status()?.success(), "a run failed: the seed is above");
    Ok(())
}

/// The simulation with known faults in: the judge has to find each.
pub fn mutants(runs: u64) -> Result<()> {
    let mut tests = simulation("sim::mutants::mutants", runs);
    // Each fault found is a panic that was caught: the table says what it was.
    tests.env("RUST_BACKTRACE", "0");
    ensure!(tests.status()?.success(), "a fault was not found: its name is above");
    Ok(())
}

fn simulation(name: &str, runs: u64) -> Command {
    let client = ["test", "-p", "kith-client", "--lib", "--profile", "simulation", "--", "--exact", name];
    let mut tests = cargo(&client);
    tests.args(["--ignored", "--nocapture"]).env("KITH_SIM_RUNS", runs.to_string());
    tests
}

/// Real windows on a display of their own.
pub fn windows(cluster: &TestCluster, steps: &mut Steps) -> Result<()> {
    let home = env::temp_dir().join(format!("kith-desk-{}", std::process::id()));
    let desk = Desk::start(&home, Display::Private)?;
    // The whole workspace is named, so that nothing is compiled again with other features.
    let only = ["--workspace", "--test", "e2e"];
    let mut nextest = only.to_vec();
    nextest.extend(["--no-fail-fast", "--no-tests=fail", "--run-ignored", "all", "-E", WINDOWS]);
    let mut tests = runner(&nextest, &only);
    tests.args(FEATURES);
    if !has_nextest() {
        tests.args(["--", "window", "--include-ignored", "--test-threads=1"]);
    }
    tests.env("KITH_TEST_PG", &cluster.url);
    tests.env("KITH_APP", built("kith")).env("KITH_SERVER", built("kith-server"));
    tests.env("KITH_PICTURES", root().join("target").join("windows"));
    let result = judge(desk.enter(&mut tests), steps);
    drop(desk);
    let _ = std::fs::remove_dir_all(&home);
    result
}

fn has_nextest() -> bool {
    let asked = cargo(&["nextest", "--version"]).output();
    asked.is_ok_and(|output| output.status.success())
}

fn runner(nextest: &[&str], plain: &[&str]) -> Command {
    let mut command = if has_nextest() { cargo(&["nextest", "run"]) } else { cargo(&["test"]) };
    command.args(if has_nextest() { nextest } else { plain });
    command
}

fn judge(tests: &mut Command, steps: &mut Steps) -> Result<()> {
    let (success, text) = run_seen(tests)?;
    let counts = counts(&text);
    if let Some((passed, failed)) = counts {
        steps.count(passed, failed);
    }
    match counts {
        _ if success => Ok(()),
        Some((_, failed)) if failed > 0 => bail!("{failed} failed"),
        _ => {
            ensure!(success, "the tests did not run to their end");
            Ok(())
        }
    }
}

/// The sum of the last nextest summary, or of all results of cargo's own runner.
fn counts(text: &str) -> Option<(u64, u64)> {
    let number = |line: &str, what: &str| -> u64 {
        let words: Vec<&str> =
            line.split([' ', ',', ';', '(', ')']).filter(|word| !word.is_empty()).collect();
        let at = words.iter().position(|word| *word == what);
        at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok()).unwrap_or(0)
    };
    if let Some(line) = text.lines().rev().find(|line| line.trim_start().starts_with("Summary [")) {
        let failed = ["failed", "timed", "exec"].iter().map(|what| number(line, what)).sum();
        return Some((number(line, "passed"), failed));
    }
    let results: Vec<&str> = text.lines().filter(|line| line.starts_with("test result:")).collect();
    let sum = |what: &str| results.iter().map(|line| number(line, what)).sum();
    (!results.is_empty()).then(|| (sum("passed"), sum("failed")))
}

#[cfg(test)]
mod unit_tests {
    use super::*;

    #[test]
    fn sums_of_both_runners_are_read() {
        let nextest =
            "  Summary [  10.1s] 20/21 tests run: 17 passed (1 slow), 2 failed, 1 timed out, 3 skipped\n";
        assert_eq!(counts(nextest), Some((17, 3)));
        let cargo = "test result: ok. 4 passed; 0 failed; 0 ignored\n\ntest result: FAILED. 2 passed; 1 failed; 0 ignored\n";
        assert_eq!(counts(cargo), Some((6, 1)));
        assert_eq!(counts("error: could not compile"), None);
    }
}
