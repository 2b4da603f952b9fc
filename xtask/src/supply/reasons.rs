//! `docs/develop/dependencies.md`: a row for each direct dependency, with why it is there and what would take its place.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Package;
use crate::process::root;

const PAGE: &str = "docs/develop/dependencies.md";
/// Returns how many there are.
pub fn check(packages: &[Package]) -> Result<usize> {
    let page = fs::read_to_string(root().join(PAGE)).with_context(|| format!("reading {PAGE}"))?;
    let rust: BTreeSet<String> = packages
        .iter()
        .filter(|package| package.is_member)
        .flat_map(|package| package.direct.clone())
        .collect();
    let manifest = fs::read_to_string(root().join("ui").join("package.json"))?;
    let interface = of_interface(&serde_json::from_str(&manifest)?);
    same("Rust", &rows(&page, "Rust")?, &rust)?;
    same("Interface", &rows(&page, "Interface")?, &interface)?;
    let mut faults = Vec::new();
    for package in packages.iter().filter(|package| package.is_member) {
        faults.extend(unused(package)?.into_iter().map(|name| format!("{} names {name}", package.name)));
    }
    ensure!(faults.is_empty(), "named in a manifest and in no source: {}", faults.join(", "));
    let workspace: Value = toml::from_str(&fs::read_to_string(root().join("Cargo.toml"))?)?;
    let shared =
        workspace["workspace"]["dependencies"].as_object().context("the workspace's dependencies")?;
    let idle = |name: &&String| !name.starts_with("kith-") && !rust.contains(*name);
    let idle: Vec<_> = shared.keys().filter(idle).collect();
    ensure!(idle.is_empty(), "Cargo.toml names {idle:?} for the workspace, and no crate uses them");
    Ok(rust.len() + interface.len())
}

fn of_interface(manifest: &Value) -> BTreeSet<String> {
    let kinds = ["dependencies", "devDependencies"];
    kinds.iter().filter_map(|kind| manifest[kind].as_object()).flat_map(|kind| kind.keys().cloned()).collect()
}

/// The rows below a heading: name, why, what instead.
fn rows(page: &str, heading: &str) -> Result<BTreeMap<String, [String; 2]>> {
    let start = format!("\n## {heading}\n");
    let (_, part) = page.split_once(&start).with_context(|| format!("{PAGE} has no heading {heading}"))?;
    let part = part.split("\n## ").next().unwrap_or_default();
    let mut rows = BTreeMap::new();
    for line in part.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [name, why, instead] = cells[..] else { anyhow::bail!("{PAGE}: a row has three cells: {line}") };
        ensure!(!why.is_empty() && !instead.is_empty(), "{PAGE}: an empty cell: {line}");
        let name = name.trim_matches('`').to_owned();
        let before = rows.insert(name, [why.to_owned(), instead.to_owned()]);
        ensure!(before.is_none(), "{PAGE}: twice: {line}");
    }
    Ok(rows)
}

fn same(heading: &str, rows: &BTreeMap<String, [String; 2]>, direct: &BTreeSet<String>) -> Result<()> {
    let without: Vec<_> = direct.iter().filter(|name| !rows.contains_key(*name)).cloned().collect();
    let stale: Vec<_> = rows.keys().filter(|name| !direct.contains(*name)).cloned().collect();
    ensure!(
        without.is_empty() && stale.is_empty(),
        "{PAGE}, {heading}: without a row: [{}]; with a row and no longer used: [{}]",
        without.join(", "),
        stale.join(", ")
    );
    Ok(())
}

/// The names in a manifest that are in no source beside it.
fn unused(package: &Package) -> Result<Vec<&String>> {
    let folder = Path::new(&package.manifest).parent().context("a folder")?;
    let mut sources = String::new();
    read(folder, &mut sources)?;
    let words: BTreeSet<&str> = sources.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    Ok(package.direct.iter().filter(|name| !words.contains(name.replace('-', "_").as_str())).collect())
}

fn read(folder: &Path, sources: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default();
            if name != "target" && name != "node_modules" {
                read(&path, sources)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(&path)?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "# D\n\n## Rust\n\n| Name | Why | Instead |\n|---|---|---|\n| `a` | because | b |\n\n## Interface\n";

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn sec_061_a_dependency_without_a_reason_and_a_reason_without_a_dependency_are_found() {
        let rows = rows(PAGE, "Rust").unwrap();
        assert!(same("Rust", &rows, &names(&["a"])).is_ok());
        assert!(
            same("Rust", &rows, &names(&["a", "c"])).is_err_and(|error| error.to_string().contains("[c]"))
        );
        assert!(same("Rust", &rows, &names(&[])).is_err_and(|error| error.to_string().contains("[a]")));
    }

    #[test]
    fn a_row_needs_both_reasons() {
        assert!(rows(&PAGE.replace("because", ""), "Rust").is_err());
        assert!(rows(&PAGE.replace(" | b |", " |"), "Rust").is_err());
        assert!(rows(PAGE, "Go").is_err());
    }
}
