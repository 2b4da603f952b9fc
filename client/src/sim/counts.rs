//! What was played, in figures.

use std::fmt;

/// What happened in one run, or in many.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub runs: u64,
    pub messages: u64,
    pub cuts: u64,
    pub half_open: u64,
    pub crashes: u64,
    pub server_crashes: u64,
    pub restores: u64,
    pub lost_conversations: u64,
    pub copies: u64,
    pub sleeps: u64,
    pub clock_jumps: u64,
    pub tokens_ended: u64,
    pub renewals: u64,
    pub exchanges: u64,
    pub failed_writes: u64,
    pub slow_writes: u64,
    pub power_cuts: u64,
    pub on_disk: u64,
}

impl Counts {
    fn named(&mut self) -> [(&'static str, &mut u64); 18] {
        [
            ("runs", &mut self.runs),
            ("messages", &mut self.messages),
            ("cuts", &mut self.cuts),
            ("half-open", &mut self.half_open),
            ("client crashes", &mut self.crashes),
            ("server crashes", &mut self.server_crashes),
            ("restores", &mut self.restores),
            ("lost conversations", &mut self.lost_conversations),
            ("copied profiles", &mut self.copies),
            ("sleeps", &mut self.sleeps),
            ("clock jumps", &mut self.clock_jumps),
            ("tokens ended", &mut self.tokens_ended),
            ("renewals", &mut self.renewals),
            ("exchanges", &mut self.exchanges),
            ("failed writes", &mut self.failed_writes),
            ("slow writes", &mut self.slow_writes),
            ("power cuts", &mut self.power_cuts),
            ("runs on the real store", &mut self.on_disk),
        ]
    }

    /// What has not happened at all, but for what is seldom.
    pub(super) fn never(mut self, seldom: &[&str]) -> Vec<&'static str> {
        let never = self.named().into_iter().filter(|(_, count)| **count == 0).map(|(name, _)| name);
        never.filter(|name| !seldom.contains(name)).collect()
    }

    pub(super) fn add(&mut self, mut other: Self) {
        for ((_, sum), (_, one)) in self.named().into_iter().zip(other.named()) {
            *sum += *one;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = *self;
        let named = counts.named().map(|(name, count)| format!("{name} {count}"));
        f.write_str(&named.join(", "))
    }
}
