//! Drawing that fails, with the real program (A44).

use anyhow::Result;
use kith_tests::{
    until,
    window::{Stage, is_running, run},
};
use std::fs;

const SAFE: &str = "WEBKIT_DISABLE_DMABUF_RENDERER=1";
const SMALL_HEAP: &str = "JSC_forceRAMSize=33554432";
const RESTARTED: &str = "KITH_RENDERING_RESTARTED=1";

/// Whether a process was started with this in its environment.
fn has(pid: u32, variable: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(|each| each == variable.as_bytes())
}

/// The process that draws for this one.
fn drawing(pid: u32) -> Option<u32> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let other: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (name, rest) = stat.rsplit_once(')')?;
        let mut fields = rest.split_whitespace();
        // One that was ended stays as a zombie: who started it has become another program.
        let (is_zombie, parent) = (fields.next()? == "Z", fields.next()?.parse::<u32>().ok()?);
        (name.contains("WebKitWebProces") && parent == pid && !is_zombie).then_some(other)
    })
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn a44_safe_rendering_is_there_from_the_start_as_it_was_asked_for() -> Result<()> {
    let stage = Stage::set().await?;
    for (wanted, is_safe) in [("--safe-rendering", true), ("--safe-rendering=false", false)] {
        let window = stage.window_with("ada", &[wanted]).await?;
        window.find("signin-submit").await?;
        let drawing = drawing(window.pid()).expect("something draws");
        assert_eq!((has(drawing, SAFE), has(drawing, RESTARTED)), (is_safe, false), "{wanted}");
        assert!(has(drawing, SMALL_HEAP));
        window.quit().await?;
    }
    Ok(())
}

/// Where drawing may break, a start whose drawing process gets nowhere is repeated, once, in the safe way.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn a44_a_start_that_draws_nothing_is_repeated_in_the_safe_way() -> Result<()> {
    let stage = Stage::set().await?;
    let mut app = stage.start("ada", &[("WAYLAND_DISPLAY", "somewhere".to_owned())])?;
    let pid = app.id().unwrap_or_default();
    let found = until("the drawing process", || async { drawing(pid) }, Option::is_some).await;
    let stuck = found.unwrap_or_default().to_string();
    run("kill", &["-STOP", &stuck]).await?;
    until("another start", || async { has(pid, RESTARTED) && has(pid, SAFE) }, |again| *again).await;
    // It may have been ended with the first start.
    let _ = run("kill", &["-KILL", &stuck]).await;
    until(
        "a new drawing process",
        || async { drawing(pid) },
        |found| found.is_some_and(|found| found.to_string() != stuck),
    )
    .await;
    assert!(is_running(pid));
    run("kill", &["-TERM", &pid.to_string()]).await?;
    app.wait().await?;
    Ok(())
}
