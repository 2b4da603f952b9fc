//! What a run did and what it found.

use std::{collections::BTreeMap, fmt, time::Duration};

/// Findings that are shown; the counts say how many there are.
const SHOWN_MAX: usize = 40;

#[derive(Debug, Default, Clone)]
pub struct Findings {
    pub lost: Vec<String>,
    pub double: Vec<String>,
    pub reordered: Vec<String>,
    /// Outbox, unread numbers, edits, reactions.
    pub different: Vec<String>,
    /// Messages that wait for the user because a member wrote them while being removed; no fault.
    pub parked: usize,
    /// Other parked rows, by kind and code.
    pub parked_others: BTreeMap<String, u32>,
}

impl Findings {
    pub fn is_clean(&self) -> bool {
        [&self.lost, &self.double, &self.reordered, &self.different].iter().all(|list| list.is_empty())
    }
}

/// The result of a run.
#[derive(Debug, Default)]
pub struct Tally {
    pub seed: u64,
    pub engines: usize,
    pub during: Duration,
    /// From healing until no outbox had anything that does not wait for its user, as far as the engines said so.
    pub sent_after: Option<Duration>,
    /// From healing until nothing was wrong.
    pub rest_after: Duration,
    pub messages: u64,
    pub other_operations: u64,
    pub events: usize,
    pub cuts: u32,
    pub stalls: u32,
    pub half_open: u32,
    pub slow: u32,
    pub all_down: u32,
    pub engine_kills: u32,
    pub engine_fail_points: u32,
    pub server_kills: u32,
    pub server_fail_points: u32,
    pub database_restarts: u32,
    pub backups: u32,
    /// Restores from a backup.
    pub restores: u32,
    /// Times that an engine came back after its access token had ended.
    pub tokens_ended: u32,
    /// `false` where no disk can be mounted: then none was full.
    pub has_disks: bool,
    pub full_disks: u32,
    /// Files of which pages were corrupted; pages; those with unsent items, whose pages were spared.
    pub damaged: u32,
    pub damaged_pages: u32,
    pub damaged_unsent: u32,
    /// Unsent items that came out of damaged files.
    pub salvaged: u32,
    pub clock_jumps: u32,
    /// What engines refused or could not do, by code.
    pub refused: BTreeMap<String, u32>,
    pub findings: Findings,
}

impl Tally {
    /// Nothing lost, nothing twice, one order, everything equal.
    pub fn is_clean(&self) -> bool {
        self.findings.is_clean()
    }

    /// What users were told could not be kept.
    pub fn refused_for_space(&self) -> u32 {
        self.refused.get("disk_full").copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Findings { lost, double, reordered, different, parked, parked_others } = &self.findings;
        writeln!(f, "seed {}: {} engines, {} s of faults", self.seed, self.engines, self.during.as_secs())?;
        writeln!(
            f,
            "  written      {} messages, {} edits, deletions, reactions, read marks and members; {} events",
            self.messages, self.other_operations, self.events
        )?;
        writeln!(
            f,
            "  network      {} cuts, {} stalls, {} half-open, {} slow, {} times nobody reached the server",
            self.cuts, self.stalls, self.half_open, self.slow, self.all_down
        )?;
        writeln!(
            f,
            "  engines      {} killed, {} ended at a fail point, {} back after their token's end",
            self.engine_kills, self.engine_fail_points, self.tokens_ended
        )?;
        writeln!(
            f,
            "  disks        {} full{}, {} refusals for want of space",
            self.full_disks,
            if self.has_disks { "" } else { " (SKIPPED: none can be mounted here)" },
            self.refused_for_space()
        )?;
        writeln!(
            f,
            "  files        {} damaged ({} pages; {} with unsent items, {} of which were salvaged)",
            self.damaged, self.damaged_pages, self.damaged_unsent, self.salvaged
        )?;
        writeln!(f, "  clocks       {} jumps of up to four weeks", self.clock_jumps)?;
        writeln!(
            f,
            "  server       {} killed, {} ended at a fail point; PostgreSQL restarted {} times",
            self.server_kills, self.server_fail_points, self.database_restarts
        )?;
        writeln!(f, "  backups      {} made, {} times set back to one", self.backups, self.restores)?;
        let seconds = |after: Duration| format!("{:.1} s after healing", after.as_secs_f64());
        writeln!(f, "  all sent     {}", self.sent_after.map_or_else(|| "never".to_owned(), seconds))?;
        writeln!(f, "  at rest      {}", seconds(self.rest_after))?;
        writeln!(
            f,
            "  parked       {parked} messages of members who had been removed; of the rest {parked_others:?}"
        )?;
        writeln!(f, "  refused      {:?}", self.refused)?;
        write!(
            f,
            "  lost {}, double {}, reordered {}, different {}",
            lost.len(),
            double.len(),
            reordered.len(),
            different.len()
        )?;
        for finding in [lost, double, reordered, different].into_iter().flatten().take(SHOWN_MAX) {
            write!(f, "\n  - {finding}")?;
        }
        Ok(())
    }
}
