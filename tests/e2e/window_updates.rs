//! Newer versions: what is refused, and that the one which is accepted runs (A35; rule 60 of docs/develop/security.md).

use anyhow::Result;
use kith_tests::{
    releases::{Answer, Releases, stranger},
    until,
    window::{Stage, Window, is_running, run, windows_of},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Newer than this build.
const NEWER: &str = "9.9.9";
const NAME: &str = "Kith_9.9.9_amd64.AppImage";

/// A copy of the app that believes to be an AppImage: what runs lies where that is mounted, and its file can be replaced.
struct Copy {
    folder: TempDir,
    app: Vec<u8>,
}

impl Copy {
    fn make(stage: &Stage) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let copy = Self { app: fs::read(stage.app())?, folder };
        fs::create_dir_all(copy.mounted())?;
        fs::copy(stage.app(), copy.program())?;
        fs::copy(stage.app(), copy.file())?;
        Ok(copy)
    }

    fn mounted(&self) -> PathBuf {
        self.folder.path().join("mounted")
    }

    fn program(&self) -> PathBuf {
        self.mounted().join("kith")
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("Kith.AppImage")
    }

    fn is_unchanged(&self) -> Result<bool> {
        Ok(fs::read(self.file())? == self.app)
    }

    async fn open(&self, stage: &Stage, more: &[&str]) -> Result<Window> {
        let variable = |path: PathBuf| path.to_string_lossy().into_owned();
        let environment = [("APPDIR", variable(self.mounted())), ("APPIMAGE", variable(self.file()))];
        stage.window_of(&self.program(), "ada", more, &environment).await
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Asks for a newer version; the code of the refusal.
async fn refusal(window: &Window) -> Result<String> {
    window.seen("update-error").await?;
    window.click("update-look").await?;
    window.next("update-error", "data-kind").await
}

/// Asks, is offered it, and wants it; the code of the refusal.
async fn late_refusal(window: &Window) -> Result<String> {
    window.click("update-look").await?;
    window.seen("update-error").await?;
    window.click("update-install").await?;
    window.next("update-error", "data-kind").await
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_060_a35_updates_that_are_not_kiths_are_refused_and_one_that_is_runs() -> Result<()> {
    let stage = Stage::set().await?;
    let place = tempfile::tempdir()?;
    let releases = Releases::open(place.path())?;
    let copy = Copy::make(&stage)?;
    let (url, ca, key) = (releases.url(), text(&releases.ca_file()), text(&releases.key_file()));
    let window =
        copy.open(&stage, &["--update-url", &url, "--ca-file", &ca, "--update-key-file", &key]).await?;
    stage.sign_up(&window, "ada", "Ada").await?;
    window.click("settings-button").await?;

    // --- the manifest ---
    releases.announce_raw(Answer::Broken);
    assert_eq!(refusal(&window).await?, "update_unreachable");
    let package = [copy.app.as_slice(), b"the newer one"].concat();
    let good = releases.offer(&package, NEWER, (None, NEWER, NAME))?;
    let platform = format!("/platforms/linux-{}-appimage", std::env::consts::ARCH);
    let mutated = |mutate: &dyn Fn(&mut Value)| {
        let mut manifest = good.clone();
        mutate(manifest.pointer_mut(&platform).expect("a package"));
        manifest
    };
    for (manifest, code) in [
        (json!({ "version": NEWER }), "update_bad_manifest"),
        (json!({ "version": "newest", "platforms": good["platforms"] }), "update_bad_manifest"),
        (json!({ "version": NEWER, "platforms": { "linux-sparc-appimage": {} } }), "update_bad_manifest"),
        (
            mutated(&|package| drop(package.as_object_mut().map(|it| it.remove("signature")))),
            "update_bad_manifest",
        ),
        (mutated(&|package| package["url"] = releases.at("http", "/x").into()), "update_insecure"),
        (json!({ "version": NEWER, "notes": "x".repeat(70_000) }), "update_too_large"),
    ] {
        releases.announce(&manifest);
        assert_eq!(refusal(&window).await?, code, "{manifest}");
    }
    let older = releases.offer(&package, "0.0.9", (None, "0.0.9", NAME))?;
    releases.announce(&older);
    window.click("update-look").await?;
    window.sees("update[data-state=\"current\"]", "newest version").await?;

    // --- the package ---
    let keys = stranger()?;
    for (what, manifest) in [
        ("no signature", mutated(&|package| package["signature"] = "".into())),
        ("another key", releases.offer(&package, NEWER, (Some(&keys), NEWER, NAME))?),
        ("an older release under a new number", releases.offer(&package, NEWER, (None, "0.0.9", NAME))?),
        ("another product", releases.offer(&package, NEWER, (None, NEWER, "Other_9.9.9_amd64.AppImage"))?),
        ("no program", releases.offer(b"#!/bin/sh", NEWER, (None, NEWER, "Kith_9.9.9_x64.AppImage"))?),
    ] {
        releases.announce(&manifest);
        assert_eq!(late_refusal(&window).await?, "update_untrusted", "{what}");
        assert!(copy.is_unchanged()?, "{what}");
    }
    releases.announce(&good);
    let path = format!("/{NAME}");
    for (what, answer, code) in [
        ("changed bytes", Answer::Body([package.as_slice(), b"!"].concat()), "update_untrusted"),
        ("half of it", Answer::Body(package[..package.len() / 2].to_vec()), "update_untrusted"),
        ("sent on to http", Answer::Elsewhere(releases.at("http", "/x")), "update_insecure"),
        ("gone", Answer::Broken, "update_unreachable"),
    ] {
        releases.put(&path, answer);
        assert_eq!(late_refusal(&window).await?, code, "{what}");
        assert!(copy.is_unchanged()?, "{what}");
    }
    window.picture("update-refused").await?;
    assert!(is_running(window.pid()));

    // --- the one that is Kith's ---
    releases.put(&path, Answer::Body(package.clone()));
    window.click("update-look").await?;
    window.sees("update", "Kith 9.9.9 is available").await?;
    window.sees("update", "<b>Bolder.</b>").await?;
    window.picture("update-offered").await?;
    window.click("update-install").await?;
    let (pid, file) = (window.pid(), copy.file());
    let runs = || async { fs::read_link(format!("/proc/{pid}/exe")).ok() };
    until("the newer version runs", runs, |program| program.as_ref() == Some(&file)).await;
    assert_eq!(fs::read(copy.file())?, package);
    assert_eq!(fs::read_dir(copy.folder.path())?.count(), 2, "nothing is left beside it");
    let windows = || async { windows_of(pid).await.unwrap_or_default() };
    until("its window", windows, |windows| windows.len() == 1).await;
    run("kill", &["-TERM", &pid.to_string()]).await?;
    window.ended().await;
    Ok(())
}

/// Nobody is asked over plain HTTP, or behind a certificate that is not believed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "opens real windows: cargo xtask test windows"]
async fn sec_060_a_place_of_updates_that_cannot_be_trusted_is_not_asked() -> Result<()> {
    let stage = Stage::set().await?;
    let place = tempfile::tempdir()?;
    let releases = Releases::open(place.path())?;
    let copy = Copy::make(&stage)?;
    let (plain, url) = (releases.at("http", "/latest.json"), releases.url());
    let (ca, key) = (text(&releases.ca_file()), text(&releases.key_file()));
    let good = releases.offer(&copy.app, NEWER, (None, NEWER, NAME))?;
    releases.announce(&good);
    let window = copy.open(&stage, &["--update-url", &url, "--update-key-file", &key]).await?;
    stage.sign_up(&window, "ada", "Ada").await?;
    window.click("settings-button").await?;
    assert_eq!(refusal(&window).await?, "update_bad_certificate");
    window.quit().await?;
    let window = copy.open(&stage, &["--update-url", &plain, "--ca-file", &ca]).await?;
    window.click("settings-button").await?;
    assert_eq!(refusal(&window).await?, "update_insecure");
    window.quit().await?;
    // Signed, and not by the key of this build.
    let window = copy.open(&stage, &["--update-url", &url, "--ca-file", &ca]).await?;
    window.click("settings-button").await?;
    assert_eq!(late_refusal(&window).await?, "update_untrusted");
    assert!(copy.is_unchanged()?);
    window.quit().await?;
    // A build without an address, or a copy that is no package, asks nobody.
    let window = stage.window("ada").await?;
    window.click("settings-button").await?;
    window.sees("update[data-state=\"off\"]", "does not check").await?;
    window.quit().await
}
