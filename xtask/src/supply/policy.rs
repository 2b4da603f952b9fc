//! `deny.toml`: licences, bans and sources, as cargo-deny reads them.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, bail, ensure};
use semver::{Version, VersionReq};
use serde_json::Value;

use super::Package;
use crate::process::root;

/// The parts of the file that need no network.
pub struct Policy {
    allowed: Vec<String>,
    exceptions: BTreeMap<String, Vec<String>>,
    bans: Vec<(String, VersionReq)>,
    registries: Vec<String>,
}

impl Policy {
    pub fn read() -> Result<Self> {
        let text = fs::read_to_string(root().join("deny.toml")).context("reading deny.toml")?;
        Self::parse(&text).context("deny.toml")
    }

    fn parse(text: &str) -> Result<Self> {
        let file: Value = toml::from_str(text)?;
        let mut exceptions: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for exception in list(&file["licenses"]["exceptions"]) {
            let (name, _) = spec(exception)?;
            exceptions.entry(name).or_default().extend(words(&exception["allow"]));
        }
        for (part, key) in [("unknown-registry", "deny"), ("unknown-git", "deny")] {
            ensure!(file["sources"][part] == key, "sources.{part} is {key}");
        }
        ensure!(list(&file["sources"]["allow-git"]).is_empty(), "no git repository is a source");
        Ok(Self {
            allowed: words(&file["licenses"]["allow"]),
            exceptions,
            bans: list(&file["bans"]["deny"]).iter().map(spec).collect::<Result<_>>()?,
            registries: words(&file["sources"]["allow-registry"]),
        })
    }

    /// Says which packages break it.
    pub fn holds_for(&self, packages: &[Package]) -> Result<()> {
        let mut faults = Vec::new();
        for package in packages {
            if let Err(fault) = self.judge(package) {
                faults.push(format!("{} {}: {fault:#}", package.name, package.version));
            }
        }
        for name in self.exceptions.keys() {
            if packages.iter().all(|package| package.name != *name) {
                faults.push(format!("{name}: an exception for a package that is not there"));
            }
        }
        ensure!(faults.is_empty(), "deny.toml is broken:\n{}", faults.join("\n"));
        Ok(())
    }

    fn judge(&self, package: &Package) -> Result<()> {
        let version = Version::parse(&package.version)?;
        if self.bans.iter().any(|(name, wanted)| *name == package.name && matches(wanted, &version)) {
            bail!("is banned");
        }
        let Some(source) = &package.source else { return Ok(()) };
        let registry = source.strip_prefix("registry+").unwrap_or(source);
        ensure!(self.registries.iter().any(|known| known == registry), "comes from {source}");
        let licence = package.licence.as_deref().context("names no licence")?;
        let licence = spdx::Expression::parse_mode(licence, spdx::ParseMode::LAX)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let more = self.exceptions.get(&package.name).map_or(&[][..], Vec::as_slice);
        let allowed = licence.evaluate(|wanted| {
            let wanted = wanted.to_string();
            self.allowed.iter().chain(more).any(|known| *known == wanted)
        });
        ensure!(allowed, "its licence {licence} is not on the list");
        Ok(())
    }
}

/// A pre-release is banned with the versions beside it.
fn matches(wanted: &VersionReq, version: &Version) -> bool {
    let plain = Version::new(version.major, version.minor, version.patch);
    wanted.matches(version) || wanted.matches(&plain)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn words(value: &Value) -> Vec<String> {
    list(value).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// `"name"`, `"name@version"` or a table with `crate`.
fn spec(value: &Value) -> Result<(String, VersionReq)> {
    let text = value.as_str().or_else(|| value["crate"].as_str()).context("an entry without a crate")?;
    match text.split_once('@') {
        Some((name, version)) => Ok((name.to_owned(), VersionReq::parse(version)?)),
        None => Ok((text.to_owned(), VersionReq::STAR)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0 WITH LLVM-exception"]
        exceptions = [{ crate = "odd", allow = ["MPL-2.0"] }]
        [bans]
        deny = [{ crate = "openssl" }, { crate = "tauri@<2.11.1" }]
        [sources]
        unknown-registry = "deny"
        unknown-git = "deny"
        allow-registry = ["https://example.org/index"]
    "#;

    fn package(name: &str, version: &str, licence: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
            licence: Some(licence.into()),
            source: Some("registry+https://example.org/index".into()),
            manifest: String::new(),
            direct: Vec::new(),
            is_member: false,
        }
    }

    #[test]
    fn sec_061_a_licence_a_ban_and_a_source_that_are_not_allowed_are_found() {
        let policy = Policy::parse(POLICY).unwrap();
        let odd = package("odd", "1.0.0", "MPL-2.0");
        let judge = |package: &Package| policy.judge(package).map_err(|error| error.to_string());
        for good in [
            &package("a", "1.0.0", "MIT OR GPL-3.0"),
            &package("a", "1.0.0", "MIT/Apache-2.0"),
            &package("a", "1.0.0", "Apache-2.0 WITH LLVM-exception"),
            &package("tauri", "2.12.5", "MIT"),
            &odd,
        ] {
            assert_eq!(judge(good), Ok(()), "{} {:?}", good.name, good.licence);
        }
        for bad in [
            package("a", "1.0.0", "GPL-3.0"),
            package("a", "1.0.0", "MIT AND MPL-2.0"),
            package("openssl", "0.10.1", "MIT"),
            package("tauri", "2.11.0", "MIT"),
            package("tauri", "2.11.0-rc.1", "MIT"),
            Package { licence: None, ..package("a", "1.0.0", "") },
            Package { source: Some("git+https://example.org/a".into()), ..package("a", "1.0.0", "MIT") },
        ] {
            assert!(judge(&bad).is_err(), "{} {} {:?}", bad.name, bad.version, bad.licence);
        }
        assert!(policy.holds_for(&[odd]).is_ok());
        assert!(policy.holds_for(&[]).is_err(), "an exception for nobody");
    }

    #[test]
    fn sec_052_tauri_below_the_fix_for_remote_origins_is_banned() {
        let policy = Policy::read().unwrap();
        assert!(policy.judge(&package("tauri", "2.11.0", "MIT")).is_err());
        for name in ["openssl", "native-tls"] {
            assert!(policy.judge(&package(name, "1.0.0", "MIT")).is_err(), "{name}");
        }
    }
}
