//! Drawing that fails, with the real program (A44).

use anyhow::{Context, Result};
use kith_tests::{
    until,
    window::{Stage, is_running, password, run, windows_of},
};
use std::{collections::HashSet, fs, path::Path};

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

/// A picture of a window as the display shows it: the driver has none of the safe way.
struct Picture {
    width: usize,
    rgb: Vec<u8>,
}

impl Picture {
    async fn of(window: &str, file: &Path) -> Result<Self> {
        run("import", &["-silent", "-window", window, "-depth", "8", &format!("ppm:{}", file.display())])
            .await?;
        let bytes = fs::read(file)?;
        // P6, width, height, the highest value, one white space, then three bytes a pixel.
        let mut fields = bytes.splitn(5, u8::is_ascii_whitespace);
        let mut next = || Ok::<_, anyhow::Error>(std::str::from_utf8(fields.next().context("a header")?)?);
        let (kind, width, height, highest) = (next()?, next()?.parse()?, next()?.parse::<usize>()?, next()?);
        anyhow::ensure!((kind, highest) == ("P6", "255"), "not a picture: {kind} {highest}");
        let rgb = fields.next().context("pixels")?.to_vec();
        anyhow::ensure!(rgb.len() == width * height * 3, "{} bytes for {width} x {height}", rgb.len());
        Ok(Self { width, rgb })
    }

    /// Distinct colours in a rectangle of these columns and rows.
    fn colours(&self, columns: std::ops::Range<usize>, rows: std::ops::Range<usize>) -> usize {
        let lines = self.rgb.chunks(self.width * 3).enumerate().filter(|(row, _)| rows.contains(row));
        let pixels = lines.flat_map(|(_, line)| line.chunks(3).skip(columns.start).take(columns.len()));
        pixels.collect::<HashSet<_>>().len()
    }

    fn height(&self) -> usize {
        self.rgb.len() / 3 / self.width
    }
}

/// The window says that it has drawn also where nothing reaches the screen, so the screen is looked at.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn a44_the_safe_way_reaches_the_screen() -> Result<()> {
    let stage = Stage::set().await?;
    stage.account("ada", "Ada Lindqvist").await?;
    let (worked, said) = stage.sign_in("ada", "ada", &password("ada")).await?;
    assert!(worked, "{said}");
    let bob = stage.engine("bob").await?;
    let ada = bob.engine().find_people("ada".to_owned()).await?.first().context("ada is found")?.id;
    let conversation = bob.engine().start_direct(ada, "drawn in the safe way".to_owned()).await?;
    bob.sent().await;

    let mut app = stage.start("ada", &[("KITH_SAFE_RENDERING", "true".to_owned())])?;
    let pid = app.id().context("the app runs")?;
    let look = || async { windows_of(pid).await.unwrap_or_default() };
    let window = until("the window", look, |all| all.iter().any(|(_, title)| title == "(1) Kith")).await;
    let window = window.into_iter().next().context("a window")?.0;
    assert!(stage.start_again("ada", &[&format!("kith://c/{conversation}")]).await?.success());
    run("wmctrl", &["-i", "-a", &window]).await?;
    until("the conversation", look, |all| all.iter().any(|(_, title)| title == "Kith")).await;
    let safe = drawing(pid).context("something draws")?;
    assert!(has(safe, SAFE), "the safe way was asked for");

    let file = stage.data_dir().join("window.ppm");
    // What is left and below, in pixels: the list with its row, the newest message, and the field for the next.
    let parts = || async {
        let picture = Picture::of(&window, &file).await.ok()?;
        let (width, height) = (picture.width, picture.height());
        let list = picture.colours(10..330, 130..190);
        let message = picture.colours(345..width, height - 150..height - 70);
        let composer = picture.colours(345..width, height - 70..height);
        Some([list, message, composer])
    };
    // Smooth letters have dozens of colours; a blank window has one, a window without letters a few.
    until("the window on the screen", parts, |parts| {
        parts.is_some_and(|parts| parts.iter().all(|colours| *colours > 20))
    })
    .await;
    run("kill", &["-TERM", &pid.to_string()]).await?;
    app.wait().await?;
    Ok(())
}
