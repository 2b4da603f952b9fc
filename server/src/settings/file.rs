//! The settings' file.

use super::Settings;
use anyhow::{Context, bail};
use std::path::Path;

/// The file is no longer than this.
const BYTES_MAX: u64 = 256 * 1024;

/// Reads settings from TOML.
///
/// # Errors
/// A sentence with file and line for what is no TOML, an unknown key, or a value of another kind. It never quotes a
/// value, which may be a secret.
pub fn read_file(path: &Path) -> anyhow::Result<Settings> {
    let shown = path.display();
    let meta = std::fs::metadata(path).with_context(|| format!("cannot read {shown}"))?;
    if meta.len() > BYTES_MAX {
        bail!("{shown} is too long to be a settings' file");
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let settings = parse(&text).map_err(|(line, problem)| anyhow::anyhow!("{shown}:{line}: {problem}"))?;
    if settings.database_url.is_some() {
        // The whole file is a secret then.
        super::read_private(path).context("the file holds the database's address")?;
    }
    Ok(settings)
}

/// Reads the text; a failure is a line, from 1, and what is wrong there.
pub(super) fn parse(text: &str) -> Result<Settings, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        (line, error.message().replace('\n', " "))
    })
}
