//! Typing through a real input method with the display's keyboard (A18). No driver holds these windows: WebKit ignores the
//! keyboard of a window that is driven. What was sent is seen at the other end.

use anyhow::{Context, Result};
use kith_tests::{
    until,
    window::{Stage, password, run, windows_of},
};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// Pinyin: letters are collected, the space bar takes the first proposal, Enter takes the letters themselves.
const PINYIN: &str = "libpinyin";

/// The input method's service, until it is dropped.
async fn input_method() -> Result<Child> {
    // Without a panel the proposals are not drawn; the first one is taken all the same.
    let daemon = Command::new("ibus-daemon")
        .args(["--replace", "--panel=disable", "--emoji-extension=disable", "--cache=none"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .context("starting ibus-daemon: run cargo xtask setup")?;
    // Choosing reports a failure where there is no keyboard layout to change with it: what is chosen counts.
    let choose = || async {
        let _ = run("ibus", &["engine", PINYIN]).await;
        run("ibus", &["engine"]).await.unwrap_or_default()
    };
    until("the input method", choose, |chosen| chosen.trim() == PINYIN).await;
    Ok(daemon)
}

/// The window of a process, once its title is this.
async fn titled(pid: u32, title: &str) -> Result<String> {
    let look = || async { windows_of(pid).await.unwrap_or_default() };
    let found = until("the title", look, |all| all.iter().any(|(_, text)| text == title)).await;
    Ok(found.into_iter().next().context("a window")?.0)
}

/// Clicks into the field for a message: it is at the lower edge of the window, below the messages.
async fn click_composer(window: &str) -> Result<()> {
    let geometry = run("xdotool", &["getwindowgeometry", "--shell", window]).await?;
    let number = |name: &str| -> Result<u32> {
        let line = geometry.lines().find_map(|line| line.strip_prefix(name));
        Ok(line.with_context(|| format!("{name} in {geometry}"))?.parse()?)
    };
    let (x, y) = ((number("WIDTH=")? * 2 / 3).to_string(), (number("HEIGHT=")? - 40).to_string());
    run("xdotool", &["mousemove", "--sync", "--window", window, &x, &y, "click", "1"]).await.map(drop)
}

/// Presses keys one by one, by their names on the keyboard.
async fn press(keys: &[&str]) -> Result<()> {
    run("xdotool", &[&["key", "--delay", "50"], keys].concat()).await.map(drop)
}

/// Enter that ends a composition takes the letters and sends nothing; the next one sends.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn a18_enter_that_ends_a_composition_of_a_real_input_method_sends_nothing() -> Result<()> {
    let stage = Stage::set().await?;
    stage.account("ada", "Ada Lindqvist").await?;
    let (worked, said) = stage.sign_in("ada", "ada", &password("ada")).await?;
    assert!(worked, "{said}");
    let bob = stage.engine("bob").await?;
    let found = bob.engine().find_people("ada".to_owned()).await?;
    let ada = found.first().context("ada is found")?.id;
    let conversation = bob.engine().start_direct(ada, "first".to_owned()).await?;
    bob.sent().await;

    let _daemon = input_method().await?;
    let mut app = stage.start("ada", &[("GTK_IM_MODULE", "ibus".to_owned())])?;
    let pid = app.id().context("the app runs")?;
    let window = titled(pid, "(1) Kith").await?;
    assert!(stage.start_again("ada", &[&format!("kith://c/{conversation}")]).await?.success());
    run("wmctrl", &["-i", "-a", &window]).await?;
    // Read, so it is open and in view.
    titled(pid, "Kith").await?;
    click_composer(&window).await?;

    // Had the first or the second Enter sent anything, the letters would arrive in parts.
    press(&["n", "i", "h", "a", "o", "Return", "m", "a", "Return", "Return"]).await?;
    bob.until_texts(conversation, &["first", "nihaoma"]).await;
    press(&["n", "i", "h", "a", "o", "space", "Return"]).await?;
    bob.until_texts(conversation, &["first", "nihaoma", "你好"]).await;
    run("kill", &["-TERM", &pid.to_string()]).await?;
    app.wait().await?;
    Ok(())
}
