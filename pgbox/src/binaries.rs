//! Finds the programs of PostgreSQL.
//!
//! Order: `PG_BIN_DIR` (and then nothing else), beside the executable, `PATH`, the folders of the usual packages (newest
//! major first), npm's `@embedded-postgres/*`. A folder counts only if it has `initdb` and `postgres` of a known major.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{MAJOR_MAX, MAJOR_MIN, PgBoxError};

/// A folder with `initdb` and `postgres` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Binaries {
    pub(crate) dir: PathBuf,
    pub(crate) major: u16,
}

impl Binaries {
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}{}", env::consts::EXE_SUFFIX))
    }

    /// Looks at one folder; `None` if it does not serve.
    fn at(dir: &Path) -> Option<Self> {
        let exe = |name: &str| dir.join(format!("{name}{}", env::consts::EXE_SUFFIX));
        if !exe("initdb").is_file() {
            return None;
        }
        // Links (as in /usr/local/bin) are followed: the programs find their own files beside their real place.
        let real = exe("postgres").canonicalize().ok()?;
        let dir = if cfg!(windows) { dir.to_path_buf() } else { real.parent()?.to_path_buf() };
        let output = Command::new(exe("postgres")).arg("--version").output().ok()?;
        let major = major_of(&String::from_utf8_lossy(&output.stdout))?;
        let found = Self { dir, major };
        ((MAJOR_MIN..=MAJOR_MAX).contains(&major) && found.program("initdb").is_file()).then_some(found)
    }
}

/// Reads `postgres (PostgreSQL) 15.14 (Debian …)`.
fn major_of(version: &str) -> Option<u16> {
    let number = version.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Finds programs; with `wanted` only those of that major will do.
///
/// # Errors
/// [`PgBoxError::NoBinaries`] or [`PgBoxError::BadBinDir`] if there are none at all, [`PgBoxError::VersionMismatch`] (for
/// `data_dir`) if there are, but of other majors.
pub(crate) fn find(wanted: Option<u16>, data_dir: &Path) -> Result<Binaries, PgBoxError> {
    let named = env::var_os("PG_BIN_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    if let Some(dir) = &named {
        let found = Binaries::at(dir).ok_or_else(|| PgBoxError::BadBinDir { dir: dir.clone() })?;
        return choose(vec![found], wanted, data_dir)
            .ok_or_else(|| PgBoxError::BadBinDir { dir: dir.clone() })?;
    }
    let looked = places();
    let mut found = Vec::new();
    for dir in &looked {
        if let Some(binaries) = Binaries::at(dir) {
            let serves = wanted.is_none_or(|major| major == binaries.major);
            found.push(binaries);
            if serves {
                break;
            }
        }
    }
    let looked = looked.iter().map(|dir| dir.display().to_string()).collect();
    choose(found, wanted, data_dir).ok_or(PgBoxError::NoBinaries { looked })?
}

/// Takes the first that serves; `None` if nothing was found at all.
fn choose(
    found: Vec<Binaries>,
    wanted: Option<u16>,
    data_dir: &Path,
) -> Option<Result<Binaries, PgBoxError>> {
    let last = found.last()?.major;
    let fits = found.into_iter().find(|binaries| wanted.is_none_or(|major| major == binaries.major));
    Some(fits.ok_or_else(|| PgBoxError::VersionMismatch {
        dir: data_dir.to_path_buf(),
        data: wanted.unwrap_or_default(),
        found: last,
    }))
}

/// All folders to look at, best first, without repeats.
fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    let exe_dir = env::current_exe().ok().and_then(|exe| exe.parent().map(Path::to_path_buf));
    if let Some(dir) = &exe_dir {
        places.extend([dir.clone(), dir.join("postgres").join("bin"), dir.join("pgsql").join("bin")]);
    }
    if let Some(path) = env::var_os("PATH") {
        places.extend(env::split_paths(&path));
    }
    for major in (MAJOR_MIN..=MAJOR_MAX).rev() {
        places.extend(packaged(major));
    }
    let starts = [env::current_dir().ok(), exe_dir];
    for start in starts.into_iter().flatten() {
        for above in start.ancestors() {
            places
                .extend([above.join("node_modules"), above.join("ui").join("node_modules")].map(npm_package));
        }
    }
    let mut seen = BTreeSet::new();
    places.retain(|dir| dir.is_dir() && seen.insert(dir.clone()));
    places
}

/// Where the packages of the usual systems put a major version.
fn packaged(major: u16) -> Vec<PathBuf> {
    if cfg!(windows) {
        let roots = ["ProgramFiles", "ProgramW6432"].into_iter().filter_map(env::var_os);
        return roots
            .map(|root| PathBuf::from(root).join("PostgreSQL").join(major.to_string()).join("bin"))
            .collect();
    }
    [
        format!("/usr/lib/postgresql/{major}/bin"),
        format!("/usr/pgsql-{major}/bin"),
        format!("/usr/lib/postgresql{major}/bin"),
        format!("/opt/homebrew/opt/postgresql@{major}/bin"),
        format!("/usr/local/opt/postgresql@{major}/bin"),
        format!("/Applications/Postgres.app/Contents/Versions/{major}/bin"),
        format!("/opt/local/lib/postgresql{major}/bin"),
    ]
    .into_iter()
    .map(PathBuf::from)
    .collect()
}

/// The programs inside npm's `@embedded-postgres/<platform>` package.
fn npm_package(node_modules: PathBuf) -> PathBuf {
    let system = match env::consts::OS {
        "macos" => "darwin",
        other => other,
    };
    let machine = match env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        "x86" => "ia32",
        other => other,
    };
    node_modules.join("@embedded-postgres").join(format!("{system}-{machine}")).join("native").join("bin")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_is_read_from_every_form_of_the_version_line() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta2"), Some(18));
        assert_eq!(major_of("postgres (PostgreSQL) 17.0"), Some(17));
        assert_eq!(major_of("postgres"), None);
    }

    #[test]
    fn another_major_is_refused_with_both_numbers() {
        let found = vec![Binaries { dir: "/x".into(), major: 15 }];
        let error = choose(found, Some(17), Path::new("/data")).expect("something was found").unwrap_err();
        assert!(matches!(error, PgBoxError::VersionMismatch { data: 17, found: 15, .. }), "{error}");
        assert!(error.to_string().contains("PG_BIN_DIR"), "{error}");
        assert!(choose(Vec::new(), Some(17), Path::new("/data")).is_none());
    }
}
