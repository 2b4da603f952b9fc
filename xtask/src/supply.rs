//! Foreign code: the reason for each direct dependency (`docs/develop/dependencies.md`), and that none of it runs before
//! somebody reads it (`ui/.npmrc`, pinned actions).
//!
//! The hosted workflow runs cargo-deny for licences, bans, sources and advisories (`deny.toml`).

mod actions;
mod npm;
mod reasons;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process::{cargo, root, run_quiet};

/// A package of the lock file, of whatever system.
pub struct Package {
    pub name: String,
    pub version: String,
    /// Where its manifest is.
    pub manifest: String,
    /// What it names itself: the packages that are no folder of this repository.
    pub direct: Vec<String>,
    pub is_member: bool,
}

/// All packages that the lock file names.
pub fn packages() -> Result<Vec<Package>> {
    let told = run_quiet(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
    let told: Value = serde_json::from_str(&told).context("cargo metadata")?;
    let members = told["workspace_members"].as_array().context("members")?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let package = |package: &Value| {
        let direct = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
        let foreign = direct.iter().filter(|dependency| dependency["path"].is_null());
        Some(Package {
            name: text(&package["name"])?,
            version: text(&package["version"])?,
            manifest: text(&package["manifest_path"])?,
            direct: foreign.filter_map(|dependency| text(&dependency["name"])).collect(),
            is_member: members.contains(&package["id"]),
        })
    };
    let packages = told["packages"].as_array().context("packages")?;
    Ok(packages.iter().filter_map(package).collect())
}

/// Everything; the first part that does not hold is the error.
pub fn check() -> Result<()> {
    let packages = packages()?;
    for (name, versions) in several(&packages) {
        println!("  in several versions: {name} {}", versions.join(", "));
    }
    let direct = reasons::check(&packages)?;
    println!("{direct} direct dependencies have their reason in docs/develop/dependencies.md");
    npm::check()?;
    actions::check(&root().join(".github").join("workflows"))
}

/// The packages with more than two versions: a warning to who updates, not an error.
fn several(packages: &[Package]) -> Vec<(&str, Vec<&str>)> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        versions.entry(&package.name).or_default().push(&package.version);
    }
    versions.into_iter().filter(|(_, versions)| versions.len() > 2).collect()
}
