//! What the measuring asks of the system.

use super::Spent;
#[cfg(target_os = "linux")]
use anyhow::Context as _;
use anyhow::Result;
use std::{path::Path, time::Instant};

/// Wall and processor time of this process since it was started.
pub struct Watch {
    began: Instant,
    cpu: f64,
}

impl Watch {
    pub fn start() -> Self {
        Self { began: Instant::now(), cpu: cpu_seconds() }
    }

    pub fn spent(&self) -> Spent {
        Spent { wall: self.began.elapsed().as_secs_f64(), cpu: cpu_seconds() - self.cpu }
    }

    pub fn ms(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1000.0
    }
}

#[cfg(unix)]
fn cpu_seconds() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

#[cfg(not(unix))]
fn cpu_seconds() -> f64 {
    0.0
}

/// The most memory that this process takes from here on.
pub struct Peak {
    before_kb: u64,
}

#[cfg(target_os = "linux")]
impl Peak {
    /// The most counts anew (proc(5), `clear_refs`).
    pub fn start() -> Result<Self> {
        std::fs::write("/proc/self/clear_refs", "5")?;
        Ok(Self { before_kb: status_kb("VmRSS:")? })
    }

    /// How much it was above what was taken at the start.
    pub fn above_mb(&self) -> Result<f64> {
        Ok(status_kb("VmHWM:")?.saturating_sub(self.before_kb) as f64 * 1024.0 / 1e6)
    }
}

#[cfg(target_os = "linux")]
fn status_kb(name: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)).context("a line of the status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

#[cfg(not(target_os = "linux"))]
impl Peak {
    pub fn start() -> Result<Self> {
        Ok(Self { before_kb: 0 })
    }

    pub fn above_mb(&self) -> Result<f64> {
        Ok(self.before_kb as f64)
    }
}

/// Takes a closed file out of the system's memory, so that the next read comes from the disk. What the disk itself
/// keeps in its memory stays there.
#[cfg(target_os = "linux")]
pub fn forget(file: &Path) -> Result<()> {
    let file = std::fs::File::open(file)?;
    // What is not written yet cannot be forgotten.
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}

#[cfg(not(target_os = "linux"))]
pub fn forget(_: &Path) -> Result<()> {
    anyhow::bail!("only Linux is known to forget a file on request")
}

/// A file's size with what is not yet checkpointed.
pub fn file_mb(file: &Path) -> Result<f64> {
    let mut wal = file.to_owned().into_os_string();
    wal.push("-wal");
    let wal = std::fs::metadata(wal).map_or(0, |wal| wal.len());
    Ok((std::fs::metadata(file)?.len() + wal) as f64 / 1e6)
}
