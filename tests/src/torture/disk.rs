//! A small disk of an engine's own, which can be filled.

use anyhow::{Context, Result};
use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

/// Written at a time, bytes.
const BLOCK: usize = 1024 * 1024;
/// The last bit of space is taken in pages of the system, bytes.
const PAGE: usize = 4_096;

/// A mounted disk; goes with this value.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one in the place of a folder; `None` where that is not allowed, and then the run has no full disks.
    pub fn mount(at: &Path, megabytes: u64) -> Option<Self> {
        fs::create_dir_all(at).ok()?;
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output();
        if mounted.is_ok_and(|done| done.status.success()) {
            return Some(Self(at.to_owned()));
        }
        let is_expected = std::env::var_os("KITH_TEST_WITHOUT_DISKS").is_some();
        assert!(is_expected, "cannot mount a disk: run as root, or set KITH_TEST_WITHOUT_DISKS=1");
        eprintln!("SKIPPED: a disk cannot be mounted here");
        None
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    pub fn is_full(&self) -> bool {
        self.ballast().exists()
    }

    /// Takes all the space there is.
    pub fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        for size in [BLOCK, PAGE] {
            let block = vec![0; size];
            let error = loop {
                if let Err(error) = ballast.write_all(&block) {
                    break error;
                }
            };
            if error.kind() != ErrorKind::StorageFull {
                return Err(error).context("filling a disk");
            }
        }
        Ok(())
    }

    /// Gives the space back.
    pub fn free(&self) -> Result<()> {
        match fs::remove_file(self.ballast()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever still has a file open keeps it until then.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filled_disk_takes_nothing_until_it_is_freed() {
        let folder = tempfile::tempdir().unwrap();
        let Some(disk) = Disk::mount(folder.path(), 2) else { return };
        let write = || fs::write(folder.path().join("a"), [1; PAGE]);
        write().unwrap();
        fs::remove_file(folder.path().join("a")).unwrap();
        disk.fill().unwrap();
        assert_eq!(write().unwrap_err().kind(), ErrorKind::StorageFull);
        assert!(disk.is_full());
        disk.free().unwrap();
        write().unwrap();
    }
}
