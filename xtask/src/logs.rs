//! Looks through what the tests have logged: no token, password or text of a message may be there.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// The password of the tests' people.
const PASSWORD: &str = "correct horse battery";
/// Access tokens begin so.
const TOKEN: &str = "eyJ";
/// And are at least this long.
const TOKEN_BYTES_MIN: usize = 60;

/// An empty folder for the logs of a run.
pub fn folder() -> Result<PathBuf> {
    let folder = crate::process::target_dir().join("test-logs");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Fails with the file and the kind of what was found, and never with the thing itself.
pub fn judge(folder: &Path) -> Result<()> {
    let (mut logs, mut secrets) = (Vec::new(), BTreeSet::new());
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("secrets") => {
                secrets.extend(text.lines().filter_map(|line| serde_json::from_str::<String>(line).ok()))
            }
            _ => logs.push((path, text)),
        }
    }
    ensure!(!logs.is_empty() && !secrets.is_empty(), "no logs, or nothing known that they may not hold");
    let found: Vec<_> = logs
        .iter()
        .filter_map(|(path, text)| Some(format!("{}: {}", path.display(), finding(text, &secrets)?)))
        .collect();
    ensure!(found.is_empty(), "secrets in logs:\n{}", found.join("\n"));
    let bytes: usize = logs.iter().map(|(_, text)| text.len()).sum();
    println!("{} logs ({} KiB) hold none of {} secrets", logs.len(), bytes / 1024, secrets.len());
    Ok(())
}

fn finding(log: &str, secrets: &BTreeSet<String>) -> Option<&'static str> {
    if log.contains(PASSWORD) {
        return Some("a password");
    }
    let words = log.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
    let mut long = words.filter(|word| word.len() >= TOKEN_BYTES_MIN);
    if long.any(|word| word.starts_with(TOKEN)) {
        return Some("an access token");
    }
    secrets.iter().any(|secret| log.contains(secret.as_str())).then_some("a token or the text of a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_found_in_logs() {
        let secrets = BTreeSet::from(["see you at noon".to_owned()]);
        let token = format!("eyJ{}.{}.sig", "a".repeat(40), "b".repeat(40));
        assert_eq!(finding("all is well", &secrets), None);
        assert_eq!(finding("eyJ is short", &secrets), None);
        for log in [
            format!("Bearer {token}\n"),
            "pw=correct horse battery".to_owned(),
            "\"see you at noon\"".to_owned(),
        ] {
            assert!(finding(&log, &secrets).is_some(), "{log}");
        }
    }
}
