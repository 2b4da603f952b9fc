//! Gives the window's commands their permissions, and embeds configuration and icons.

use std::{error::Error, fs, path::Path};

/// Shown when the interface has not been built; building it replaces the folder.
const PLACEHOLDER: &str =
    "<!doctype html><title>Kith</title><p>The interface has not been built: run npm run build in ui/.";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=commands.txt");
    let dist = Path::new("../ui/dist");
    if !dist.join("index.html").exists() {
        fs::create_dir_all(dist)?;
        fs::write(dist.join("index.html"), PLACEHOLDER)?;
    }
    let names: Vec<&'static str> = include_str!("commands.txt").lines().collect();
    let app = tauri_build::AppManifest::new().commands(names.leak());
    tauri_build::try_build(tauri_build::Attributes::new().app_manifest(app))?;
    Ok(())
}
