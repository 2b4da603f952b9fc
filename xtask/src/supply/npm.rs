//! The packages of the interface, and of the server that the benchmark measures beside Kith: locked with checksums, and none of their own programs runs when they are installed.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process::root;

pub fn check() -> Result<()> {
    for folder in ["ui", "bench/socketio"] {
        let read = |name: &str| {
            let path = root().join(folder).join(name);
            fs::read_to_string(path).with_context(|| format!("reading {folder}/{name}"))
        };
        scripts_are_off(&read(".npmrc")?).context(folder)?;
        let (all, with_scripts) =
            locked(&serde_json::from_str(&read("package-lock.json")?)?).context(folder)?;
        println!(
            "{folder}: {all} npm packages are locked with checksums; {} have scripts for their installation, which do not run",
            with_scripts.len()
        );
    }
    Ok(())
}

fn scripts_are_off(settings: &str) -> Result<()> {
    ensure!(settings.lines().any(|line| line == "ignore-scripts=true"), ".npmrc: ignore-scripts=true");
    Ok(())
}

/// How many packages the lock file has, and which of them bring a script for their installation.
fn locked(lock: &Value) -> Result<(usize, Vec<String>)> {
    let packages = lock["packages"].as_object().context("packages")?;
    let mut with_scripts = Vec::new();
    let foreign = packages.iter().filter(|(path, _)| !path.is_empty());
    for (path, package) in foreign.clone() {
        let checksum = package["integrity"].as_str().unwrap_or_default();
        ensure!(checksum.starts_with("sha512-"), "package-lock.json: {path} has no checksum");
        let resolved = package["resolved"].as_str().unwrap_or_default();
        ensure!(resolved.is_empty(), "package-lock.json: {path} names a place, {resolved}");
        if package["hasInstallScript"] == true {
            with_scripts.push(path.trim_start_matches("node_modules/").to_owned());
        }
    }
    Ok((foreign.count(), with_scripts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sec_061_scripts_of_packages_are_off() {
        let settings = fs::read_to_string(root().join("ui").join(".npmrc")).unwrap();
        scripts_are_off(&settings).unwrap();
        assert!(scripts_are_off(&settings.replace("ignore-scripts=true", "ignore-scripts=false")).is_err());
    }

    #[test]
    fn sec_061_a_locked_package_without_a_checksum_or_from_elsewhere_is_found() {
        let lock = |package: Value| json!({ "packages": { "": {}, "node_modules/a": package } });
        let good = lock(json!({ "integrity": "sha512-x", "hasInstallScript": true }));
        assert_eq!(locked(&good).unwrap(), (1, vec!["a".to_owned()]));
        assert!(locked(&lock(json!({}))).is_err());
        let elsewhere = json!({ "integrity": "sha512-x", "resolved": "git+ssh://example.org/a.git" });
        assert!(locked(&lock(elsewhere)).is_err());
    }
}
