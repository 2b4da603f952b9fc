//! What was measured, as a table, and the targets (D1).

use super::{Figures, tree};
use crate::verdict::Target;

/// Megabytes of 10^6 bytes.
const DEB_MB_MAX: f64 = 10.0;
const START_MS_MAX: f64 = 1_500.0;
const MEMORY_MB_MAX: f64 = 350.0;
/// Times the empty window's.
const MEMORY_RATIO_MAX: f64 = 1.3;
/// Percent of one core.
const IDLE_MAX: f64 = 1.0;

/// The value below which this share of them lies; 0 of none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len().max(1)) - 1;
    sorted.get(at).copied().unwrap_or_default()
}

/// Every target that was measured. Memory is compared with the empty window of the same run.
pub fn targets(figures: &Figures) -> Vec<Target> {
    let memory = tree::sum(&figures.story.memory);
    let beside = memory / tree::sum(&figures.empty_memory);
    let mut all = vec![
        Target::at_most("D1 cold start to the list, ms", quantile(&figures.cold_ms, 0.5), START_MS_MAX),
        Target::at_most("D1 memory after all were opened, MB", memory, MEMORY_MB_MAX),
        Target::at_most("D1 the same, × the empty window", beside, MEMORY_RATIO_MAX),
        Target::at_most("D1 CPU of the idle app, % of a core", figures.idle_percent, IDLE_MAX),
    ];
    all.extend(figures.deb_mb.map(|mb| Target::at_most("D1 installer (.deb), MB", mb, DEB_MB_MAX)));
    all
}

/// Prints what was measured.
pub fn table(figures: &Figures) {
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
        "| CPU when idle / of the empty window, % of a core | {:.2} / {:.2} (after {:.0} s) |\n",
        figures.idle_percent, figures.empty_idle_percent, figures.tidied_s
    );
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
            tidied_s: 10.0,
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
        assert!(targets(&figures()).iter().all(Target::is_met));
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
            assert!(!targets(&changed).iter().all(Target::is_met), "{changed:?}");
        }
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!([0.5, 0.95, 1.0].map(|share| quantile(&values, share)), [50.0, 95.0, 100.0]);
        assert_eq!(quantile(&[7.0], 0.95), 7.0);
    }
}
