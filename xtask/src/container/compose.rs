//! Reads `compose.yaml`, and says a service of it in podman's words. What is not understood is an error: a line that nobody plays
//! is a line that nobody has tried.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use crate::process::{command, root, run_quiet};

pub fn read() -> Result<Value> {
    let text = fs::read_to_string(root().join("compose.yaml")).context("reading compose.yaml")?;
    let file: Value = serde_saphyr::from_str(&text).context("compose.yaml")?;
    holds_together(&file)?;
    Ok(file)
}

/// Where the things lie that the file names.
pub struct Places<'a> {
    pub volumes: &'a [(&'a str, &'a Path)],
    pub secrets: &'a Path,
}

/// One service.
pub struct Service(Map<String, Value>);

impl Service {
    pub fn of(file: &Value, name: &str) -> Result<Self> {
        let service = file["services"][name].as_object();
        Ok(Self(service.with_context(|| format!("compose.yaml has no service {name}"))?.clone()))
    }

    /// What `podman run` is told, but for image, name and network.
    pub fn podman_arguments(&self, places: &Places<'_>) -> Result<Vec<String>> {
        let mut said = Vec::new();
        for (key, value) in &self.0 {
            match key.as_str() {
                // Said by the stage itself: it builds the image, starts the database first, and uses this machine's network.
                "build" | "image" | "restart" | "networks" | "stop_grace_period" => {}
                "depends_on" => {
                    ensure!(
                        value["database"]["condition"] == "service_healthy",
                        "the server waits for its database"
                    );
                }
                "read_only" => {
                    ensure!(value == true, "read_only is true");
                    // podman would add writable folders, which compose does not.
                    said.extend(["--read-only", "--read-only-tmpfs=false"].map(str::to_owned));
                }
                "cap_drop" => said.extend(flags("--cap-drop", words(value)?)),
                "security_opt" => {
                    let options = words(value)?.into_iter().map(|word| word.replace(":true", ""));
                    said.extend(flags("--security-opt", options));
                }
                "environment" => {
                    let pairs = value.as_object().context("environment is a map")?;
                    let pairs = pairs.iter().map(|(name, value)| format!("{name}={}", plain(value)));
                    said.extend(flags("--env", pairs));
                }
                "secrets" => {
                    let mounts = words(value)?.into_iter().map(|name| {
                        format!("{}:/run/secrets/{name}:ro", places.secrets.join(&name).display())
                    });
                    said.extend(flags("--volume", mounts));
                }
                "volumes" => {
                    for mount in words(value)? {
                        let (name, rest) = mount.split_once(':').context("a volume has a place")?;
                        let place = places.volumes.iter().find(|(known, _)| *known == name);
                        let (_, place) = place.with_context(|| format!("the stage has no volume {name}"))?;
                        said.extend(flags("--volume", [format!("{}:{rest}", place.display())]));
                    }
                }
                other => bail!("compose.yaml: nobody plays the server's {other:?}"),
            }
        }
        Ok(said)
    }

    /// How long it may take to end.
    pub fn stop_seconds(&self) -> Result<u64> {
        let text = self.0.get("stop_grace_period").and_then(Value::as_str).context("no stop_grace_period")?;
        text.trim_end_matches('s').parse().context("stop_grace_period in seconds")
    }

    fn settings(&self) -> Vec<String> {
        let pairs = self.0.get("environment").and_then(Value::as_object);
        pairs.map(|pairs| pairs.keys().cloned().collect()).unwrap_or_default()
    }
}

fn flags(flag: &str, values: impl IntoIterator<Item = String>) -> Vec<String> {
    values.into_iter().flat_map(|value| [flag.to_owned(), value]).collect()
}

fn words(value: &Value) -> Result<Vec<String>> {
    let list = value.as_array().with_context(|| format!("{value} is no list"))?;
    Ok(list.iter().map(plain).collect())
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Every setting that the file or the image gives to the server is one that the server's help names.
pub fn names_are_known(service: &Service, server: &Path) -> Result<()> {
    let help = run_quiet(command(server).args(["serve", "--help"]))?;
    let dockerfile = fs::read_to_string(root().join("Dockerfile"))?;
    let of_image = super::runtime_stage(&dockerfile)?.lines().filter_map(|line| line.strip_prefix("ENV "));
    let of_image = of_image.filter_map(|line| line.split_once('=')).map(|(name, _)| name.to_owned());
    for name in service.settings().into_iter().chain(of_image) {
        let known = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name);
        ensure!(known, "kith-server serve --help does not know {name}");
    }
    Ok(())
}

/// Every name that a service uses is declared, and every file that it mounts is there.
fn holds_together(file: &Value) -> Result<()> {
    for part in file.as_object().context("a map")?.keys() {
        ensure!(["name", "services", "networks", "volumes", "secrets"].contains(&part.as_str()), "{part}?");
    }
    let services = file["services"].as_object().context("services")?;
    for (name, service) in services {
        let list = |key: &str| match &service[key] {
            Value::Null => Ok(Vec::new()),
            Value::Object(map) => Ok(map.keys().cloned().collect()),
            list => words(list),
        };
        for secret in list("secrets")? {
            ensure!(file["secrets"].get(&secret).is_some(), "{name}: the secret {secret} is not declared");
        }
        for network in list("networks")? {
            ensure!(
                file["networks"].get(&network).is_some(),
                "{name}: the network {network} is not declared"
            );
        }
        for other in list("depends_on")? {
            ensure!(services.contains_key(&other), "{name} depends on {other}, which is not there");
        }
        for volume in list("volumes")? {
            let source = volume.split(':').next().unwrap_or_default();
            match source.strip_prefix("./") {
                Some(path) => ensure!(root().join(path).exists(), "{name} mounts {path}, which is not there"),
                None => ensure!(file["volumes"].get(source).is_some(), "{name}: no volume {source}"),
            }
        }
        for needed in ["read_only", "cap_drop", "security_opt"] {
            ensure!(service.get(needed).is_some(), "{name} has no {needed}");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn server() -> (Value, Service) {
        let file = read().unwrap();
        let service = Service::of(&file, "server").unwrap();
        (file, service)
    }

    #[test]
    fn the_file_holds_together_and_the_server_is_locked_in() {
        let (_, service) = server();
        let places = Places { volumes: &[("socket", Path::new("/s"))], secrets: Path::new("/x") };
        let said = service.podman_arguments(&places).unwrap().join(" ");
        for wanted in [
            "--read-only ",
            "--cap-drop ALL",
            "--security-opt no-new-privileges",
            "--volume /s:/run/postgresql:ro",
            "--volume /x/database_url:/run/secrets/database_url:ro",
            "--env DATABASE_URL_FILE=/run/secrets/database_url",
            "--volume /x/secret_key:/run/secrets/secret_key:ro",
            "--env KITH_SECRET_KEY_FILE=/run/secrets/secret_key",
        ] {
            assert!(said.contains(wanted), "{wanted} is not in {said}");
        }
        assert!(!said.contains("POSTGRES"), "the server is not told the superuser's secret");
    }

    #[test]
    fn a_key_that_nobody_plays_and_a_name_that_nobody_declares_are_errors() {
        let (mut file, mut service) = server();
        service.0.insert("privileged".into(), json!(true));
        let places = Places { volumes: &[("socket", Path::new("/s"))], secrets: Path::new("/x") };
        assert!(
            service.podman_arguments(&places).is_err_and(|error| error.to_string().contains("privileged"))
        );
        file["services"]["server"]["secrets"] = json!(["other"]);
        assert!(holds_together(&file).is_err_and(|error| error.to_string().contains("other")));
    }
}
