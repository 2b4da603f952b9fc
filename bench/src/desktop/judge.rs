//! What was measured, as a table, and the targets (D1).

use super::{Figures, tree};
use serde::Serialize;

/// Megabytes of 10^6 bytes.
const DEB_MB_MAX: f64 = 10.0;
const START_MS_MAX: f64 = 1_500.0;
const MEMORY_MB_MAX: f64 = 350.0;
/// Times the empty window's.
const MEMORY_RATIO_MAX: f64 = 1.3;
/// Percent of one core.
const IDLE_MAX: f64 = 1.0;

/// One figure beside its target.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    pub what: &'static str,
    pub value: f64,
    pub at_most: f64,
}

impl Verdict {
    fn is_met(&self) -> bool {
        self.value <= self.at_most
    }
}

/// The value below which this share of them lies; 0 of none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

/// Every target that was measured. Memory is compared with the empty window of the same run.
pub fn verdicts(figures: &Figures) -> Vec<Verdict> {
    let memory = tree::sum(&figures.story.memory);
    let mut all = vec![
        Verdict {
            what: "cold start to the list, ms",
            value: quantile(&figures.cold_ms, 0.5),
            at_most: START_MS_MAX,
        },
        Verdict { what: "memory after all were opened, MB", value: memory, at_most: MEMORY_MB_MAX },
        Verdict {
            what: "  × the empty window",
            value: memory / tree::sum(&figures.empty_memory),
            at_most: MEMORY_RATIO_MAX,
        },
        Verdict { what: "CPU of the idle app, % of a core", value: figures.idle_percent, at_most: IDLE_MAX },
    ];
    if let Some(mb) = figures.deb_mb {
        all.push(Verdict { what: "installer (.deb), MB", value: mb, at_most: DEB_MB_MAX });
    }
    all
}

/// Prints everything; whether every target is met that was measured.
pub fn print(figures: &Figures) -> bool {
    let each = |memory: &[tree::Memory]| {
        memory.iter().map(|one| format!("{} {:.0}", one.name, one.mb)).collect::<Vec<_>>().join(", ")
    };
    let spread = |values: &[f64]| {
        let [mid, late, last] = [0.5, 0.95, 1.0].map(|share| quantile(values, share));
        format!("{mid:.0} / {late:.0} / {last:.0}")
    };
    let story = &figures.story;
    println!("\n| {} messages in {} conversations | |", figures.messages, figures.conversations);
    println!("|---|---|");
    println!("| start to the list: cold, ms | {} |", spread(&figures.cold_ms));
    println!("| start to the list: again, ms | {} |", spread(&figures.warm_ms));
    println!("| start of the empty window, ms | {} |", spread(&figures.empty_ms));
    println!("| opening one of {}: p50 / p95 / max, ms | {} |", story.opening.len(), spread(&story.opening));
    println!(
        "| key to frame while {} messages arrive: p50 / p95 / max, ms | {} |",
        story.arrived,
        spread(&story.typing)
    );
    println!("| search as one types, its pause included: p50 / p95 / max, ms | {} |", spread(&story.search));
    for (what, memory) in [
        ("memory at the start", &figures.start_memory),
        ("memory after all were opened", &story.memory),
        ("memory of the empty window", &figures.empty_memory),
    ] {
        println!("| {what}, MB | {:.0} ({}) |", tree::sum(memory), each(memory));
    }
    println!(
        "| CPU when idle / of the empty window, % of a core | {:.2} / {:.2} |\n",
        figures.idle_percent, figures.empty_idle_percent
    );
    let all = verdicts(figures);
    for one in &all {
        let word = if one.is_met() { "  met  " } else { "MISSED " };
        println!("{word} {}: {:.2} (at most {})", one.what, one.value, one.at_most);
    }
    all.iter().all(Verdict::is_met)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desktop::story::Story;

    fn figures() -> Figures {
        let memory = |mb| vec![tree::Memory { name: "kith".to_owned(), mb }];
        Figures {
            messages: 10,
            conversations: 1,
            deb_mb: Some(9.0),
            cold_ms: vec![9_000.0, 800.0, 900.0],
            warm_ms: vec![500.0],
            empty_ms: vec![400.0],
            start_memory: memory(200.0),
            empty_memory: memory(200.0),
            idle_percent: 0.1,
            empty_idle_percent: 0.0,
            story: Story {
                opening: vec![1.0],
                typing: vec![1.0],
                search: vec![1.0],
                memory: memory(240.0),
                arrived: 1,
            },
        }
    }

    #[test]
    fn one_slow_start_of_three_misses_nothing() {
        assert!(print(&figures()));
    }

    #[test]
    fn each_target_can_be_missed() {
        let changes: [fn(&mut Figures); 5] = [
            |figures| figures.deb_mb = Some(11.0),
            |figures| figures.cold_ms = vec![1_600.0],
            |figures| figures.story.memory[0].mb = 270.0,
            |figures| figures.idle_percent = 1.5,
            |figures| {
                figures.empty_memory[0].mb = 300.0;
                figures.story.memory[0].mb = 360.0;
            },
        ];
        for change in changes {
            let mut changed = figures();
            change(&mut changed);
            assert!(!print(&changed), "{changed:?}");
        }
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.5, 0.95, 1.0].map(|share| quantile(&values, share)), [50.0, 95.0, 100.0]);
        assert_eq!(quantile(&[7.0], 0.95), 7.0);
    }
}
