//! What a release offers to the copies that are out there: its manifest, and the check that has to pass before anything
//! is published (docs/operate/releases.md).

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use minisign_verify::{PublicKey, Signature};
use serde::{Deserialize, Serialize};

use crate::{package, process, ui};

/// The manifest's name beside the packages.
const MANIFEST: &str = "latest.json";

#[derive(clap::Subcommand)]
pub enum Release {
    /// Writes latest.json for the signed packages in a folder
    Manifest {
        /// The packages with their .sig files
        #[arg(long)]
        dir: PathBuf,
        /// The version that they were built and signed as
        #[arg(long)]
        version: String,
        /// Where the files will be (https), without the names
        #[arg(long)]
        url: String,
        /// A text file of what is new, for users
        #[arg(long)]
        notes: Option<PathBuf>,
    },
    /// Fails unless latest.json and the packages beside it are what a copy out there would take
    Check {
        /// The packages with latest.json
        #[arg(long)]
        dir: PathBuf,
        /// The version that is to be published
        #[arg(long)]
        version: String,
    },
    /// Signs something with a private key that was restored from its backup, and checks it against the configuration
    Rehearse {
        /// The restored key; its password is in `TAURI_SIGNING_PRIVATE_KEY_PASSWORD`
        #[arg(long)]
        key: PathBuf,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    version: String,
    notes: String,
    platforms: BTreeMap<String, Offer>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Offer {
    url: String,
    signature: String,
}

/// `cargo xtask release …`
pub fn run(release: &Release) -> Result<()> {
    match release {
        Release::Manifest { dir, version, url, notes } => {
            let notes = notes.as_ref().map(fs::read_to_string).transpose()?.unwrap_or_default();
            let manifest = manifest(dir, version, url, notes.trim())?;
            fs::write(dir.join(MANIFEST), serde_json::to_vec_pretty(&manifest)?)?;
            println!("{} packages in {MANIFEST}", manifest.platforms.len());
            Ok(())
        }
        Release::Check { dir, version } => {
            let count = check(dir, version, &configured_key()?)?;
            println!("{count} packages can be published");
            Ok(())
        }
        Release::Rehearse { key } => rehearse(key),
    }
}

/// How a manifest calls the system that a package is for; `None` for what is no package.
fn platform(name: &str) -> Option<String> {
    let kinds = [
        (".deb", "linux", "deb"),
        (".rpm", "linux", "rpm"),
        (".AppImage", "linux", "appimage"),
        (".app.tar.gz", "darwin", "app"),
        ("-setup.exe", "windows", "nsis"),
        (".msi", "windows", "msi"),
    ];
    let (_, system, kind) = kinds.into_iter().find(|(ending, _, _)| name.ends_with(ending))?;
    let is_for = |words: [&str; 3]| words.iter().any(|word| name.contains(word));
    let machine = if is_for(["amd64", "x86_64", "x64"]) {
        "x86_64"
    } else if is_for(["arm64", "aarch64", "ARM64"]) {
        "aarch64"
    } else {
        return None;
    };
    Some(format!("{system}-{machine}-{kind}"))
}

/// The packages in a folder, by platform.
fn packages(dir: &Path) -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(platform) = platform(&name)
            && let Some(other) = found.insert(platform, name.clone())
        {
            bail!("{name} and {other} are for the same system");
        }
    }
    ensure!(!found.is_empty(), "no package in {}", dir.display());
    Ok(found)
}

fn manifest(dir: &Path, version: &str, url: &str, notes: &str) -> Result<Manifest> {
    let url = url.trim_end_matches('/');
    let mut platforms = BTreeMap::new();
    for (platform, name) in packages(dir)? {
        let signature = fs::read_to_string(dir.join(format!("{name}.sig")))
            .with_context(|| format!("{name} is not signed: {name}.sig"))?;
        let offer = Offer { url: format!("{url}/{name}"), signature: signature.trim().to_owned() };
        platforms.insert(platform, offer);
    }
    Ok(Manifest { version: version.to_owned(), notes: notes.to_owned(), platforms })
}

/// The public key in the app's configuration.
fn configured_key() -> Result<String> {
    let text = fs::read_to_string(process::root().join("src-tauri/tauri.conf.json"))?;
    let config: serde_json::Value = serde_json::from_str(&text)?;
    Ok(config["plugins"]["updater"]["pubkey"]
        .as_str()
        .context("no public key in tauri.conf.json")?
        .to_owned())
}

fn decoded(text: &str) -> Result<String> {
    Ok(String::from_utf8(STANDARD.decode(text.trim())?)?)
}

/// How many packages are offered; every rule that a copy out there applies, and that each package is offered.
fn check(dir: &Path, version: &str, key: &str) -> Result<usize> {
    let key = PublicKey::decode(&decoded(key)?).context("the configured public key")?;
    let text = fs::read_to_string(dir.join(MANIFEST)).with_context(|| format!("no {MANIFEST}"))?;
    let manifest: Manifest =
        serde_json::from_str(&text).with_context(|| format!("{MANIFEST} is malformed"))?;
    ensure!(manifest.version == version, "{MANIFEST} is of {}, not of {version}", manifest.version);
    let packages = packages(dir)?;
    let offered: Vec<_> = manifest.platforms.keys().collect();
    let present: Vec<_> = packages.keys().collect();
    ensure!(offered == present, "{MANIFEST} offers {offered:?}, and there are {present:?}");
    for (platform, offer) in &manifest.platforms {
        offered_package(dir, version, &key, &packages[platform], offer).with_context(|| platform.clone())?;
    }
    Ok(packages.len())
}

fn offered_package(dir: &Path, version: &str, key: &PublicKey, name: &str, offer: &Offer) -> Result<()> {
    ensure!(offer.url.starts_with("https://"), "its address is not https://");
    ensure!(offer.url.rsplit('/').next() == Some(name), "its address does not end in {name}");
    let signature = decoded(&offer.signature).context("its signature is not base64")?;
    let signature = Signature::decode(&signature).context("its signature is malformed")?;
    let bytes = fs::read(dir.join(name))?;
    key.verify(&bytes, &signature, false).with_context(|| format!("the signature does not fit {name}"))?;
    let says = |field: &str| {
        signature.trusted_comment().split('\t').find_map(|part| part.strip_prefix(field).map(str::to_owned))
    };
    ensure!(says("version:").as_deref() == Some(version), "it was not signed for {version}");
    ensure!(says("file:").as_deref() == Some(name), "it was signed under another name");
    Ok(())
}

/// A key that signs what the configured key confirms is the right one, and its password too.
fn rehearse(key: &Path) -> Result<()> {
    ui::packages(&mut crate::steps::Steps::new())?;
    let (folder, version) = (process::target_dir().join("rehearsal"), env!("CARGO_PKG_VERSION"));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let name = format!("Kith_{version}_amd64.deb");
    fs::write(folder.join(&name), "a rehearsal")?;
    let mut sign = package::tauri(&["signer", "sign", "--app-version", version, "--private-key-path"]);
    sign.arg(env::current_dir()?.join(key)).arg(folder.join(&name));
    process::run_quiet(&mut sign).context("this key and password sign nothing")?;
    let made = manifest(&folder, version, "https://localhost", "")?;
    fs::write(folder.join(MANIFEST), serde_json::to_vec(&made)?)?;
    check(&folder, version, &configured_key()?).context("this is not the key of tauri.conf.json")?;
    println!("this key signs what the copies out there believe");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use minisign::KeyPair;
    use std::io::Cursor;
    use tempfile::TempDir;

    const VERSION: &str = "0.2.0";
    const NAMES: [&str; 3] =
        ["Kith_0.2.0_amd64.deb", "Kith-0.2.0-1.x86_64.rpm", "Kith_0.2.0_aarch64.app.tar.gz"];

    type Mutate = fn(&mut serde_json::Value);

    struct Folder {
        dir: TempDir,
        keys: KeyPair,
    }

    impl Folder {
        fn new() -> Self {
            let keys = KeyPair::generate_unencrypted_keypair().unwrap();
            let folder = Self { dir: TempDir::new().unwrap(), keys };
            for name in NAMES {
                folder.put(name, VERSION, name);
            }
            folder
        }

        fn put(&self, name: &str, version: &str, signed_as: &str) {
            fs::write(self.dir.path().join(name), name).unwrap();
            fs::write(
                self.dir.path().join(format!("{name}.sig")),
                self.sign(&self.keys, name, version, signed_as),
            )
            .unwrap();
        }

        fn sign(&self, keys: &KeyPair, bytes: &str, version: &str, name: &str) -> String {
            let comment = format!("timestamp:1700000000\tfile:{name}\tversion:{version}");
            let signed =
                minisign::sign(Some(&keys.pk), &keys.sk, Cursor::new(bytes), Some(&comment), None).unwrap();
            STANDARD.encode(signed.to_string())
        }

        fn manifest(&self) -> Manifest {
            manifest(self.dir.path(), VERSION, "https://kith.example/v0.2.0/", "Faster.").unwrap()
        }

        fn check(&self, manifest: &Manifest) -> Result<usize> {
            self.check_text(&serde_json::to_string(manifest).unwrap())
        }

        fn check_text(&self, text: &str) -> Result<usize> {
            fs::write(self.dir.path().join(MANIFEST), text).unwrap();
            check(self.dir.path(), VERSION, &STANDARD.encode(self.keys.pk.to_box().unwrap().to_string()))
        }
    }

    #[test]
    fn a36_what_fits_is_published() {
        let folder = Folder::new();
        let manifest = folder.manifest();
        let platforms: Vec<_> = manifest.platforms.keys().map(String::as_str).collect();
        assert_eq!(platforms, ["darwin-aarch64-app", "linux-x86_64-deb", "linux-x86_64-rpm"]);
        assert_eq!(
            manifest.platforms["linux-x86_64-deb"].url,
            "https://kith.example/v0.2.0/Kith_0.2.0_amd64.deb"
        );
        assert_eq!(folder.check(&manifest).unwrap(), 3);
    }

    #[test]
    fn a36_a_malformed_manifest_is_not_published() {
        let folder = Folder::new();
        let good = serde_json::to_value(folder.manifest()).unwrap();
        for text in ["", "{", "[]", "null", r#"{"version":"0.2.0"}"#] {
            assert!(folder.check_text(text).is_err(), "{text}");
        }
        let mutate: [(&str, Mutate); 7] = [
            ("another version", |all| all["version"] = "0.3.0".into()),
            ("no version", |all| drop(all.as_object_mut().unwrap().remove("version"))),
            ("a field that nobody knows", |all| all["url"] = "https://kith.example".into()),
            ("plain http", |all| {
                all["platforms"]["linux-x86_64-deb"]["url"] = "http://k.example/Kith_0.2.0_amd64.deb".into()
            }),
            ("another file", |all| {
                all["platforms"]["linux-x86_64-deb"]["url"] = "https://k.example/Kith_0.1.0_amd64.deb".into()
            }),
            ("a package that is not offered", |all| {
                drop(all["platforms"].as_object_mut().unwrap().remove("linux-x86_64-rpm"))
            }),
            ("one that is not there", |all| {
                all["platforms"]["windows-x86_64-msi"] = all["platforms"]["linux-x86_64-deb"].clone()
            }),
        ];
        for (what, mutate) in mutate {
            let mut mutated = good.clone();
            mutate(&mut mutated);
            assert!(folder.check_text(&mutated.to_string()).is_err(), "{what}");
        }
    }

    #[test]
    fn a36_a_signature_that_does_not_fit_is_not_published() {
        let folder = Folder::new();
        let (good, deb) = (folder.manifest(), NAMES[0]);
        let with = |signature: String| {
            let mut manifest = good.clone();
            manifest.platforms.get_mut("linux-x86_64-deb").unwrap().signature = signature;
            manifest
        };
        let stranger = KeyPair::generate_unencrypted_keypair().unwrap();
        for (what, signature) in [
            ("none", String::new()),
            ("no base64", "not base64".to_owned()),
            ("no signature", STANDARD.encode("untrusted comment: none")),
            ("of another key", folder.sign(&stranger, deb, VERSION, deb)),
            ("of other bytes", folder.sign(&folder.keys, "other", VERSION, deb)),
            ("for an older version", folder.sign(&folder.keys, deb, "0.1.0", deb)),
            ("of another product", folder.sign(&folder.keys, deb, VERSION, "Other_0.2.0_amd64.deb")),
        ] {
            assert!(folder.check(&with(signature)).is_err(), "{what}");
        }
        fs::write(folder.dir.path().join(deb), "changed after it was signed").unwrap();
        assert!(folder.check(&good).is_err());
        fs::remove_file(folder.dir.path().join(format!("{deb}.sig"))).unwrap();
        assert!(manifest(folder.dir.path(), VERSION, "https://k.example", "").is_err(), "not signed");
    }
}
