//! Bills of materials: which foreign code is in the server and in the app, as CycloneDX files.
//!
//! Made from the lock files alone, so that the same commit gives the same bytes: no time, no random number.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use serde_json::{Map, Value, json};

use crate::process::{cargo, root, run_quiet, target_dir};

/// What is shipped: the crate, and whether the interface is in it.
const PRODUCTS: [(&str, bool); 2] = [("kith-server", false), ("kith-desktop", true)];

pub fn write() -> Result<()> {
    let folder = target_dir().join("sbom");
    fs::create_dir_all(&folder)?;
    let crates = Crates::read()?;
    for (product, with_interface) in PRODUCTS {
        let interface = if with_interface { interface()? } else { Vec::new() };
        let bill = crates.bill(product, interface)?;
        let path = folder.join(format!("{product}.cdx.json"));
        fs::write(&path, format!("{bill:#}\n")).with_context(|| format!("writing {}", path.display()))?;
        let count = bill["components"].as_array().map_or(0, Vec::len);
        println!("{} has {count} components", path.display());
    }
    Ok(())
}

/// What cargo knows.
struct Crates {
    metadata: Value,
    checksums: BTreeMap<(String, String), String>,
}

impl Crates {
    fn read() -> Result<Self> {
        let told = run_quiet(&mut cargo(&["metadata", "--format-version", "1", "--locked"]))?;
        let lock = fs::read_to_string(root().join("Cargo.lock"))?;
        let lock: Value = toml::from_str(&lock).context("Cargo.lock")?;
        let packages = lock["package"].as_array().context("packages")?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let checksum = |package: &Value| {
            Some(((text(&package["name"])?, text(&package["version"])?), text(&package["checksum"])?))
        };
        let checksums = packages.iter().filter_map(checksum).collect();
        Ok(Self { metadata: serde_json::from_str(&told)?, checksums })
    }

    /// A product with all that is compiled into it or runs while it is compiled, on any system.
    fn bill(&self, product: &str, interface: Vec<Value>) -> Result<Value> {
        let packages = self.metadata["packages"].as_array().context("packages")?;
        let by_id: BTreeMap<&str, &Value> =
            packages.iter().filter_map(|package| Some((package["id"].as_str()?, package))).collect();
        let nodes = self.metadata["resolve"]["nodes"].as_array().context("the resolved packages")?;
        let needs: BTreeMap<&str, Vec<&str>> =
            nodes.iter().filter_map(|node| Some((node["id"].as_str()?, shipped(node)))).collect();
        let start = by_id.iter().find(|(_, package)| package["name"] == product);
        let (start, package) = start.with_context(|| format!("no package {product}"))?;

        let (mut found, mut open) = (BTreeSet::from([*start]), vec![*start]);
        while let Some(id) = open.pop() {
            open.extend(needs.get(id).into_iter().flatten().copied().filter(|id| found.insert(id)));
        }
        let reference = |id: &str| by_id.get(id).map(|package| purl("cargo", package)).unwrap_or_default();
        let mut components: Vec<Value> =
            found.iter().filter(|id| *id != start).map(|id| self.component(by_id[id])).collect();
        let mut edges: Vec<Value> = found
            .iter()
            .map(|id| json!({ "ref": reference(id), "dependsOn": sorted(needs[id].iter().map(|id| reference(id))) }))
            .collect();
        edges.extend(
            interface.iter().map(|component| json!({ "ref": component["bom-ref"], "dependsOn": [] })),
        );
        components.extend(interface);
        components.sort_by_key(|component| component["bom-ref"].to_string());
        edges.sort_by_key(|edge| edge["ref"].to_string());
        let root = json!({
            "type": "application", "bom-ref": reference(start), "name": product, "version": package["version"],
            "purl": reference(start), "licenses": [{ "expression": package["license"] }],
        });
        Ok(json!({
            "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
            "bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1,
            "metadata": { "component": root }, "components": components, "dependencies": edges,
        }))
    }

    fn component(&self, package: &Value) -> Value {
        let purl = purl("cargo", package);
        let mut component = Map::from_iter([
            ("type".to_owned(), json!("library")),
            ("bom-ref".to_owned(), json!(purl)),
            ("name".to_owned(), package["name"].clone()),
            ("version".to_owned(), package["version"].clone()),
            ("purl".to_owned(), json!(purl)),
        ]);
        if let Some(licence) = package["license"].as_str() {
            // Before there were expressions, a slash stood for "or".
            let expression = licence.replace('/', " OR ");
            component.insert("licenses".to_owned(), json!([{ "expression": expression }]));
        }
        let text = |name: &str| package[name].as_str().unwrap_or_default().to_owned();
        if let Some(checksum) = self.checksums.get(&(text("name"), text("version"))) {
            component.insert("hashes".to_owned(), json!([{ "alg": "SHA-256", "content": checksum }]));
        }
        Value::Object(component)
    }
}

/// What a node needs outside its tests.
fn shipped(node: &Value) -> Vec<&str> {
    let needed = |dependency: &&Value| {
        let kinds = dependency["dep_kinds"].as_array().map_or(&[][..], Vec::as_slice);
        kinds.iter().any(|kind| kind["kind"] != "dev")
    };
    let all = node["deps"].as_array().map_or(&[][..], Vec::as_slice);
    all.iter().filter(needed).filter_map(|dependency| dependency["pkg"].as_str()).collect()
}

fn sorted(references: impl Iterator<Item = String>) -> Vec<String> {
    references.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The npm packages that are built into the interface, as npm's lock file tells them.
fn interface() -> Result<Vec<Value>> {
    let lock = fs::read_to_string(root().join("ui").join("package-lock.json"))?;
    let lock: Value = serde_json::from_str(&lock)?;
    let packages = lock["packages"].as_object().context("packages")?;
    let shipped = packages.iter().filter(|(path, package)| {
        !path.is_empty() && ["dev", "optional", "devOptional"].iter().all(|kind| package[*kind] != true)
    });
    shipped.map(|(path, package)| npm_component(path, package)).collect()
}

fn npm_component(path: &str, package: &Value) -> Result<Value> {
    let name = path.rsplit("node_modules/").next().unwrap_or(path);
    let named = json!({ "name": name, "version": package["version"] });
    let purl = purl("npm", &named);
    let checksum = package["integrity"].as_str().and_then(|text| text.strip_prefix("sha512-"));
    let checksum = base64::engine::general_purpose::STANDARD.decode(checksum.context("a checksum")?)?;
    ensure!(checksum.len() == 64, "{name}: a checksum of SHA-512");
    let hex: String = checksum.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(json!({
        "type": "library", "bom-ref": purl, "name": name, "version": package["version"], "purl": purl,
        "licenses": [{ "expression": package["license"] }], "hashes": [{ "alg": "SHA-512", "content": hex }],
    }))
}

/// A package's address, as [package-url](https://github.com/package-url/purl-spec) writes it.
fn purl(kind: &str, package: &Value) -> String {
    let text =
        |name: &str| package[name].as_str().unwrap_or_default().replace('@', "%40").replace('+', "%2B");
    format!("pkg:{kind}/{}@{}", text("name"), text("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_061_the_bill_of_the_server_names_what_is_in_it_and_nothing_of_tests_or_the_app() {
        let bill = Crates::read().unwrap().bill("kith-server", Vec::new()).unwrap();
        let components = bill["components"].as_array().unwrap();
        let has = |name: &str| components.iter().any(|component| component["name"] == name);
        assert!(has("axum") && has("sqlx") && has("rustls"));
        assert!(!has("tauri") && !has("tempfile") && !has("kith-server"));
        let axum = components.iter().find(|component| component["name"] == "axum").unwrap();
        assert_eq!(axum["hashes"][0]["content"].as_str().unwrap().len(), 64);
        let edges = bill["dependencies"].as_array().unwrap();
        assert_eq!(edges.len(), components.len() + 1);
    }

    #[test]
    fn sec_061_the_bill_of_the_app_names_what_the_interface_is_built_of() {
        let interface = interface().unwrap();
        let has = |name: &str| interface.iter().any(|component| component["name"] == name);
        assert!(has("svelte") && has("@tauri-apps/api"));
        assert!(!has("vitest") && !has("eslint"));
    }

    #[test]
    fn addresses_are_escaped() {
        let package = json!({ "name": "@a/b", "version": "1.0.0+x" });
        assert_eq!(purl("npm", &package), "pkg:npm/%40a/b@1.0.0%2Bx");
    }
}
