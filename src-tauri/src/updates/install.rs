//! Whether a package is what was announced, and how it takes the place of this copy.

use super::Failure;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use minisign_verify::Signature;
use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
};
use tauri::utils::{config::BundleType, platform::bundle_type};
use tauri_plugin_updater::{Error, Update};

/// What a signed package's name begins with.
const PRODUCT: &str = "Kith";
/// How a program for Linux begins.
const ELF: &[u8] = b"\x7fELF";

/// How this copy was installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The file that the user started.
    AppImage(PathBuf),
    /// By the system's packages, or an installer; how the manifest calls it.
    Package(&'static str),
}

impl Place {
    /// `None` for a copy that was built here or unpacked somewhere: nobody knows what to replace.
    pub(super) fn of_this_copy() -> Option<Self> {
        match bundle_type() {
            Some(BundleType::Deb) => Some(Self::Package("deb")),
            Some(BundleType::Rpm) => Some(Self::Package("rpm")),
            Some(BundleType::Msi) => Some(Self::Package("msi")),
            Some(BundleType::Nsis) => Some(Self::Package("nsis")),
            // A build that no bundler has marked says so too.
            Some(BundleType::App | BundleType::Dmg) => is_in_bundle().then_some(Self::Package("app")),
            _ => {
                let variable = |name| env::var_os(name).map(PathBuf::from);
                app_image(env::current_exe().ok()?, variable("APPDIR")?, variable("APPIMAGE")?)
            }
        }
    }

    /// What runs after a replacement, if that is not the program that runs now.
    pub(super) fn program(&self) -> Option<PathBuf> {
        match self {
            Self::AppImage(file) => Some(file.clone()),
            Self::Package(_) => None,
        }
    }

    /// The package's key in the manifest.
    pub(super) fn target(&self) -> String {
        let system = if cfg!(target_os = "macos") { "darwin" } else { env::consts::OS };
        let kind = match self {
            Self::AppImage(_) => "appimage",
            Self::Package(kind) => kind,
        };
        format!("{system}-{}-{kind}", env::consts::ARCH)
    }

    /// Replaces this copy by a checked package. Where it fails, this copy is as it was.
    pub(super) async fn install(&self, update: Update, package: Vec<u8>) -> Result<(), Failure> {
        let place = self.clone();
        let work = move || match place {
            Self::AppImage(file) => replace(&file, &package),
            // Asks the system, which may ask the user for a password.
            Self::Package(_) => update.install(package).map_err(|error| match error {
                Error::AuthenticationFailed | Error::PackageInstallFailed | Error::DebInstallFailed => {
                    Failure::NotAllowed
                }
                Error::Minisign(_) => Failure::Untrusted,
                _ => Failure::NotInstalled,
            }),
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Failure::NotInstalled)?
    }
}

/// An AppImage is known by its program lying where the image is mounted; variables alone may be inherited from another.
fn app_image(program: PathBuf, mounted: PathBuf, file: PathBuf) -> Option<Place> {
    (mounted.is_absolute() && program.starts_with(&mounted) && file.is_absolute())
        .then_some(Place::AppImage(file))
}

fn is_in_bundle() -> bool {
    env::current_exe().is_ok_and(|program| {
        program.ancestors().any(|folder| folder.extension().is_some_and(|ending| ending == "app"))
    })
}

/// Puts a program in the place of another one, so that whatever happens one of the two is whole.
fn replace(file: &Path, program: &[u8]) -> Result<(), Failure> {
    if !program.starts_with(ELF) {
        return Err(Failure::Untrusted);
    }
    let written = || {
        let folder = file.parent().unwrap_or(Path::new("/"));
        let mut beside = tempfile::Builder::new().prefix(".kith-update-").tempfile_in(folder)?;
        beside.write_all(program)?;
        beside.as_file().set_permissions(fs::metadata(file)?.permissions())?;
        beside.as_file().sync_all()?;
        beside.persist(file)?;
        std::io::Result::Ok(())
    };
    written().map_err(|error| {
        tracing::warn!(%error, "the new version could not be written");
        Failure::NotInstalled
    })
}

/// Whether a package is signed with Kith's key, for the version that was announced, and is Kith's.
pub(super) fn check(update: &Update, package: &[u8]) -> Result<(), Failure> {
    update.verify(package).map_err(|error| {
        tracing::warn!(%error, "an update cannot be trusted");
        Failure::Untrusted
    })?;
    // The comment is signed too; that was checked above.
    let decoded = STANDARD.decode(update.signature.trim()).ok();
    let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let signature = text.and_then(|text| Signature::decode(&text).ok());
    match signature {
        Some(signature) if is_of_product(signature.trusted_comment()) => Ok(()),
        _ => Err(Failure::Untrusted),
    }
}

/// Whether the file that was signed has a name of Kith's packages, as `Kith_1.2.3_amd64.deb` or `Kith-1.2.3-1.x86_64.rpm`.
pub(super) fn is_of_product(comment: &str) -> bool {
    let name = comment.split('\t').find_map(|field| field.strip_prefix("file:")).unwrap_or_default();
    name.strip_prefix(PRODUCT).is_some_and(|rest| rest.starts_with(['_', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_where_its_program_lies_not_by_what_is_inherited() {
        let known =
            |program: &str, mounted: &str, file: &str| app_image(program.into(), mounted.into(), file.into());
        let image = Some(Place::AppImage("/home/ada/Kith.AppImage".into()));
        assert_eq!(known("/tmp/.mount_a/usr/bin/kith", "/tmp/.mount_a", "/home/ada/Kith.AppImage"), image);
        assert_eq!(known("/usr/bin/kith", "/tmp/.mount_terminal", "/home/ada/Terminal.AppImage"), None);
        assert_eq!(known("/tmp/.mount_a/usr/bin/kith", "/tmp/.mount_a", "Kith.AppImage"), None);
        assert_eq!(known("/usr/bin/kith", "", "/home/ada/Kith.AppImage"), None);
    }

    #[test]
    fn a35_a_program_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Kith.AppImage");
        fs::write(&file, b"\x7fELF old").unwrap();
        assert!(matches!(replace(&file, b"#!/bin/sh"), Err(Failure::Untrusted)));
        assert_eq!(fs::read(&file).unwrap(), b"\x7fELF old");
        replace(&file, b"\x7fELF new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"\x7fELF new");
        let gone = folder.path().join("gone/Kith.AppImage");
        assert!(matches!(replace(&gone, b"\x7fELF new"), Err(Failure::NotInstalled)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn sec_060_another_products_package_is_told_by_its_signed_name() {
        let comment = |name: &str| format!("timestamp:1700000000\tfile:{name}\tversion:1.2.3");
        for name in ["Kith_1.2.3_amd64.deb", "Kith-1.2.3-1.x86_64.rpm", "Kith_1.2.3_aarch64.app.tar.gz"] {
            assert!(is_of_product(&comment(name)), "{name}");
        }
        for name in ["Kithen_1.2.3_amd64.deb", "Other_1.2.3.deb", "", "kith_1.2.3.deb", "x\tfile:Kith_1"] {
            assert!(!is_of_product(&comment(name)), "{name}");
        }
        assert!(!is_of_product("timestamp:1700000000"));
    }
}
