//! The settings' file.

use super::Settings;
use crate::config::BusCredentials;
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
    let has_secret = settings.database_url.is_some()
        || settings.bus.as_ref().is_some_and(|bus| bus.credentials() != BusCredentials::Nothing);
    if has_secret {
        // The whole file is a secret then.
        super::read_private(path).context("the file holds an address with a password")?;
    }
    Ok(settings)
}

/// Reads the text; a failure is a line, from 1, and what is wrong there.
pub(super) fn parse(text: &str) -> Result<Settings, (usize, String)> {
    toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count() + 1;
        (line, without_values(error.message()).replace('\n', " "))
    })
}

/// What serde quotes of a file is cut out, unless it is a key that somebody may have mistyped.
fn without_values(message: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let quotes = [
        ("string \"", "\", expected"),
        ("unknown variant `", "`, expected"),
        ("unknown field `", "`, expected"),
    ];
    for (before, after) in quotes {
        let Some(start) = message.find(before).map(|at| at + before.len()) else { continue };
        let Some(end) = message.rfind(after).filter(|end| *end >= start) else { continue };
        let quoted = &message[start..end];
        let is_key = before.contains("field") && quoted.len() <= 64 && quoted.bytes().all(plain);
        return if is_key {
            message.to_owned()
        } else {
            format!("{}…{}", &message[..start], &message[end..])
        };
    }
    message.to_owned()
}
