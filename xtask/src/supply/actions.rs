//! The hosted workflows: readable, with as few rights as they need, and every foreign action pinned to a commit.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

pub fn check(folder: &Path) -> Result<()> {
    let mut count = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        count += sound(&text).with_context(|| path.display().to_string())?;
    }
    println!("{count} uses of foreign actions are pinned to commits");
    Ok(())
}

/// Returns how many actions it uses.
fn sound(text: &str) -> Result<usize> {
    let workflow: Value = serde_saphyr::from_str(text)?;
    ensure!(workflow["permissions"].is_object(), "permissions are said for the whole workflow");
    let jobs = workflow["jobs"].as_object().context("jobs")?;
    let mut count = 0;
    for (name, job) in jobs {
        ensure!(job["runs-on"].is_string(), "{name} runs on something");
        ensure!(job["timeout-minutes"].is_number(), "{name} has a limit of time");
        for step in job["steps"].as_array().context("steps")? {
            ensure!(
                step["uses"].is_string() != step["run"].is_string(),
                "{name}: a step uses or runs: {step}"
            );
            let Some(action) = step["uses"].as_str() else { continue };
            let commit = action.rsplit('@').next().unwrap_or_default();
            let pinned = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            ensure!(pinned, "{name}: {action} is not pinned to a commit");
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::root;

    #[test]
    fn sec_061_every_action_is_pinned_to_a_commit() {
        check(&root().join(".github").join("workflows")).unwrap();
        let workflow = |action: &str| {
            format!(
                "permissions: {{}}\njobs:\n  a:\n    runs-on: x\n    timeout-minutes: 1\n    steps:\n      - uses: {action}\n"
            )
        };
        assert_eq!(sound(&workflow(&format!("a/b@{}", "0a".repeat(20)))).unwrap(), 1);
        for loose in ["a/b@v4", "a/b", "a/b@main", "a/b@0a0a0a0"] {
            assert!(sound(&workflow(loose)).is_err(), "{loose}");
        }
        assert!(sound(&workflow("a/b@v4").replace("permissions", "other")).is_err());
    }
}
