//! A process and everything below it, as Linux counts: memory and CPU time.

use anyhow::{Context, Result};
use std::{collections::HashMap, fs};

/// The ids of a process and of all its descendants.
fn ids(root: u32) -> Result<Vec<u32>> {
    let mut children = HashMap::<u32, Vec<u32>>::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(id) = entry?.file_name().to_string_lossy().parse::<u32>() else { continue };
        if let Some(parent) = stat(id).and_then(|fields| fields.get(1)?.parse().ok()) {
            children.entry(parent).or_default().push(id);
        }
    }
    let mut ids = vec![root];
    let mut next = 0;
    while let Some(id) = ids.get(next) {
        ids.extend(children.remove(id).unwrap_or_default());
        next += 1;
    }
    Ok(ids)
}

/// The fields after the name: state, parent, … (proc(5)).
fn stat(id: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Megabytes (10^6 bytes) of one process: memory of its own, and its share of what others have mapped too (PSS).
#[derive(Debug, Clone, serde::Serialize)]
pub struct Memory {
    pub name: String,
    pub mb: f64,
}

/// The memory of each process of the tree.
pub fn memory(root: u32) -> Result<Vec<Memory>> {
    let one = |id: u32| {
        // One may end while it is looked at.
        let rollup = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        let kb: f64 = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok())?;
        let name = fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default().trim().to_owned();
        Some(Memory { name, mb: kb * 1024.0 / 1e6 })
    };
    let all: Vec<Memory> = ids(root)?.into_iter().filter_map(one).collect();
    anyhow::ensure!(!all.is_empty(), "the process has ended");
    Ok(all)
}

/// Of all of them together.
pub fn sum(memory: &[Memory]) -> f64 {
    memory.iter().map(|one| one.mb).sum()
}

/// CPU-seconds of the tree since its processes began.
pub fn cpu_seconds(root: u32) -> Result<f64> {
    let one = |id: u32| {
        let fields = stat(id)?;
        let ticks: f64 = fields.get(11..13)?.iter().flat_map(|field| field.parse::<f64>()).sum();
        Some(ticks / 100.0)
    };
    let sum = ids(root)?.into_iter().filter_map(one).sum();
    stat(root).context("the process has ended")?;
    Ok(sum)
}
