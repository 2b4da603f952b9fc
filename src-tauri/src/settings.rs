//! What the user chose for this profile's window: plain JSON in the profile's folder, without secrets.

use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// The profile's settings. A field that is missing, or that a later version wrote differently, is the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(default)]
pub(crate) struct Settings {
    /// Light, dark, or as the system.
    pub(crate) theme: Theme,
    /// What the system's notifications say.
    pub(crate) notifications: NotificationMode,
    /// Closing the window leaves the app in the tray, where there is one.
    pub(crate) close_to_tray: bool,
    /// Newer versions are asked for once a day.
    pub(crate) look_for_updates: bool,
    /// An account under a passphrase is locked after so many minutes without a key or a move in the window, and when the
    /// computer sleeps or its screen is locked; 0 for never.
    pub(crate) lock_after_minutes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            theme: Theme::System,
            notifications: NotificationMode::Full,
            close_to_tray: true,
            look_for_updates: true,
            lock_after_minutes: 0,
        }
    }
}

/// How the window looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Theme {
    System,
    Light,
    Dark,
}

/// What the system's notifications say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub(crate) enum NotificationMode {
    /// Who wrote, and what.
    Full,
    Private,
    Off,
}

/// The settings and their file.
pub(crate) struct SettingsFile {
    path: PathBuf,
    current: Mutex<Settings>,
}

impl SettingsFile {
    /// Reads the profile's settings; a file that cannot be read counts as none.
    pub(crate) fn open(profile_dir: &Path) -> Self {
        let path = profile_dir.join("settings.json");
        let current =
            fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { path, current: Mutex::new(current) }
    }

    pub(crate) fn get(&self) -> Settings {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces them, in the file first: a full disk leaves the old ones whole.
    pub(crate) fn set(&self, settings: Settings) -> io::Result<()> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        write_whole(&self.path, &serde_json::to_vec_pretty(&settings)?)?;
        *current = settings;
        Ok(())
    }
}

/// Writes a small file so that a reader finds the old content or the new one, never a part.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&beside, content)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let chosen = Settings {
            theme: Theme::Dark,
            notifications: NotificationMode::Off,
            close_to_tray: false,
            look_for_updates: false,
            lock_after_minutes: 15,
        };
        SettingsFile::open(dir.path()).set(chosen).unwrap();
        assert_eq!(SettingsFile::open(dir.path()).get(), chosen);
    }

    #[test]
    fn a_damaged_or_partial_file_gives_defaults() {
        let dir = tempfile::tempdir().unwrap();
        for (content, theme) in [
            ("{", Theme::System),
            (r#"{"theme":"sepia"}"#, Theme::System),
            (r#"{"theme":"dark","more":1}"#, Theme::Dark),
        ] {
            fs::write(dir.path().join("settings.json"), content).unwrap();
            assert_eq!(SettingsFile::open(dir.path()).get().theme, theme, "{content}");
        }
    }
}
