//! Arbitrary input: seeded cases inside the tests, and coverage-guided targets (`fuzz/`), which libFuzzer leads to what no
//! case has reached. The targets check the same promises as the seeded cases.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::{
    process::{cargo, root, run, run_quiet, target_dir, which},
    steps::Steps,
    ui,
};

macro_rules! snapshot {
    ($name:literal) => {
        concat!("protocol/src/snapshots/kith_protocol__snapshots__", $name, ".snap")
    };
}

/// What is fed with arbitrary input: the package, and the test that plays its cases.
const SEEDED: [(&str, &str); 5] = [
    ("kith-protocol", "frame::tests::fuzz::fuzz_frames_of_both_directions"),
    ("kith-client", "store::tests::fuzz::i8_fuzz_pages_with_arbitrary_content"),
    ("kith-client", "store::tests::search_fuzz::sec_083_fuzz_searches"),
    ("kith-desktop", "link::tests::sec_056_fuzz_links"),
    ("kith-server", "settings::tests::fuzz_settings_files"),
];
/// The same in the interface: the markup of messages.
const SEEDED_UI: &str = "src/lib/markup.fuzz.test.ts";

/// The coverage-guided targets, and the file whose lines they begin with.
const GUIDED: [(&str, &str); 5] = [
    ("client_frames", snapshot!("every_frame_of_a_client_is_written_as_before")),
    ("server_frames", snapshot!("every_frame_of_a_server_is_written_as_before")),
    ("events", "fuzz/seeds/events.txt"),
    ("links", "fuzz/seeds/links.txt"),
    ("search", "fuzz/seeds/search.txt"),
];
/// No input is longer, in bytes.
const INPUT_BYTES_MAX: usize = 4_096;
/// An input that takes longer is a failure, in seconds.
const INPUT_WITHIN_S: u64 = 10;

/// Plays new cases of everything, each for so long.
pub fn fuzz(seconds: u64, seed: u64) -> Result<()> {
    let play = |mut tests: Command| {
        tests.env("KITH_FUZZ_SECONDS", seconds.to_string()).env("KITH_FUZZ_SEED", seed.to_string());
        ensure!(tests.status()?.success(), "a case failed: its seed is above; keep it in the test's list");
        Ok(())
    };
    for (package, name) in SEEDED {
        // A name that no test has would pass without having played anything.
        let listed =
            cargo(&["test", "-p", package, "--lib", "--quiet", "--", "--exact", name, "--list"]).output()?;
        let is_there = String::from_utf8_lossy(&listed.stdout).contains(&format!("{name}: test"));
        ensure!(is_there, "{package} has no test {name}: {}", String::from_utf8_lossy(&listed.stderr));
        play(cargo(&["test", "-p", package, "--lib", "--", "--exact", name, "--nocapture"]))?;
    }
    ui::packages(&mut Steps::new())?;
    play(ui::npm(&["run", "--silent", "test", "--", SEEDED_UI]))?;
    guided(seconds, seed)
}

/// Runs each coverage-guided target for so long, from what earlier runs found.
fn guided(seconds: u64, seed: u64) -> Result<()> {
    let compilers = ["c++", "g++", "clang++"];
    if !cfg!(target_os = "linux") || !compilers.iter().any(|name| which(name).is_some()) {
        println!("LEFT OUT: coverage-guided targets; they need Linux and a C++ compiler (package g++)");
        return Ok(());
    }
    let folder = target_dir().join("fuzz");
    let mut build = cargo(&["build", "--bins"]);
    // Its `.cargo/config.toml` puts the counters in.
    run(build.current_dir(root().join("fuzz")).env("CARGO_TARGET_DIR", &folder).env_remove("RUSTFLAGS"))?;
    let built = folder.join(host()?).join("debug");
    for (target, seeds) in GUIDED {
        let place = folder.join("corpus").join(target);
        let (corpus, beginnings, failures) =
            (place.join("found"), place.join("seeds"), place.join("failures"));
        for dir in [&corpus, &beginnings, &failures] {
            fs::create_dir_all(dir)?;
        }
        begin_with(&beginnings, &fs::read_to_string(root().join(seeds)).context(seeds)?)?;
        println!("{target}: cov counts the edges that were reached, ft what they were reached with");
        let mut fuzzer = Command::new(built.join(target));
        fuzzer.arg(format!("-max_total_time={seconds}")).arg(format!("-seed={}", seed.max(1)));
        fuzzer.arg(format!("-max_len={INPUT_BYTES_MAX}")).arg(format!("-timeout={INPUT_WITHIN_S}"));
        fuzzer.arg(format!("-artifact_prefix={}/", failures.display())).arg("-print_final_stats=1");
        let played = run(fuzzer.args([&corpus, &beginnings]));
        played.with_context(|| format!("{target} failed; the input is in {}", failures.display()))?;
    }
    Ok(())
}

/// Writes each seed into a file of its own, as libFuzzer reads them.
fn begin_with(folder: &Path, text: &str) -> Result<()> {
    for (at, seed) in seeds(text).enumerate() {
        fs::write(folder.join(format!("{at:04}")), seed)?;
    }
    Ok(())
}

/// The lines of a list, or of a snapshot below its head.
fn seeds(text: &str) -> impl Iterator<Item = &str> {
    let body = match text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n")) {
        Some((_, body)) => body,
        None => text,
    };
    body.lines().filter(|line| !line.is_empty())
}

/// The name of this system, as the compiler calls it.
fn host() -> Result<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let told = run_quiet(Command::new(rustc).args(["--print", "host-tuple"]).current_dir(root()))?;
    Ok(told.trim().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The folder is a workspace of its own that the tests do not build: this finds what was renamed or lost.
    #[test]
    fn every_coverage_guided_target_is_there_with_seeds_and_is_run() {
        let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
        let manifest: toml::Value = toml::from_str(&manifest).unwrap();
        let bins = manifest["bin"].as_array().unwrap();
        let named: Vec<&str> = bins.iter().map(|bin| bin["name"].as_str().unwrap()).collect();
        assert_eq!(named, GUIDED.map(|(target, _)| target));
        for bin in bins {
            let source = fs::read_to_string(root().join("fuzz").join(bin["path"].as_str().unwrap())).unwrap();
            assert!(source.contains("fuzz_target!"), "{source}");
            // Files that a target compiles from elsewhere.
            for path in source.lines().filter_map(|line| line.strip_prefix("#[path = \"../../")) {
                let path = path.trim_end_matches("\"]");
                assert!(root().join(path).is_file(), "{path}");
            }
        }
        for (target, from) in GUIDED {
            let text = fs::read_to_string(root().join(from)).unwrap();
            assert!(seeds(&text).count() >= 5, "{target} has no seeds in {from}");
            assert!(seeds(&text).all(|seed| seed.len() <= INPUT_BYTES_MAX), "{target}");
        }
        assert!(seeds("---\nsource: x\n---\n{\"a\":1}\n\n{\"b\":2}\n").eq(["{\"a\":1}", "{\"b\":2}"]));
    }
}
