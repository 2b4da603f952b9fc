//! What the figures say, and the targets.

use super::{Figures, JUDGED_FROM, Reads, Slice, Spent};
use crate::verdict::Target;

/// C1: rows applied with search, as a share of what bare SQLite applies of the same slice.
const APPLY_LEAST: f64 = 0.8;
/// C2, milliseconds.
const WARM_MOST: f64 = 15.0;
const COLD_MOST: f64 = 200.0;
const PAGE_MOST: f64 = 1.0;
const SEARCH_MOST: f64 = 10.0;
const TYPING_MOST: f64 = 100.0;
/// C3, seconds.
const USABLE_MOST: f64 = 1.0;
const COMPLETE_MOST: f64 = 15.0;
/// C6: MB above what was taken before.
const REBUILD_MOST: f64 = 100.0;

/// The value below which this share of the values lies; 0 of none.
fn quantile(values: &[f64], share: f64) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied().unwrap_or_default()
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The median over the slices of the engine's rate as a share of bare SQLite's for the same slice.
fn ratio(slices: &[Slice], of: fn(&Spent) -> f64) -> f64 {
    median(&slices.iter().map(|slice| of(&slice.bare) / of(&slice.kith)).collect::<Vec<_>>())
}

fn rate(slices: &[Slice], of: fn(&Slice) -> f64) -> f64 {
    median(&slices.iter().map(|slice| slice.messages as f64 / of(slice)).collect::<Vec<_>>())
}

pub fn line(slice: &Slice) -> String {
    let Slice { messages, kith, bare } = slice;
    let per = |seconds: f64| *messages as f64 / seconds;
    format!(
        "{messages} messages  Kith {:>7.0} /s {:>7.0} /CPU-s  bare {:>7.0} /s {:>7.0} /CPU-s  ratio {:.2} {:.2}",
        per(kith.wall),
        per(kith.cpu),
        per(bare.wall),
        per(bare.cpu),
        bare.wall / kith.wall,
        bare.cpu / kith.cpu
    )
}

/// Prints what was measured.
pub fn table(figures: &Figures) {
    let Figures { messages, conversations, slices, .. } = figures;
    println!("\n{messages} messages in {conversations} conversations, medians of {} slices", slices.len());
    println!(
        "| | applied/s | applied/CPU-s | file, MB | open and list, ms: warm / cold | newest 50, ms: p50 / p95 | search, ms: p50 / p95 | as one types, ms: p50 / p95 |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let row = |name: &str, wall: fn(&Slice) -> f64, cpu: fn(&Slice) -> f64, reads: &Reads, mb: f64| {
        let pair = |values: &[f64]| format!("{:.2} / {:.2}", median(values), quantile(values, 0.95));
        println!(
            "| {name} | {:.0} | {:.0} | {mb:.0} | {:.1} / {:.1} | {} | {} | {} |",
            rate(slices, wall),
            rate(slices, cpu),
            median(&reads.warm),
            median(&reads.cold),
            pair(&reads.page),
            pair(&reads.search),
            pair(&reads.typing),
        );
    };
    row("Kith", |one| one.kith.wall, |one| one.kith.cpu, &figures.kith, figures.file_mb[0]);
    row("bare SQLite", |one| one.bare.wall, |one| one.bare.cpu, &figures.bare, figures.file_mb[1]);
    if let Some(import) = &figures.import {
        let meanwhile = |values: &[f64]| {
            let most = values.iter().copied().fold(0.0, f64::max);
            format!("{:.1} / {:.1} / {most:.1}", median(values), quantile(values, 0.95))
        };
        println!("\n{} messages fetched by a new device: CPU {:.1} s", import.messages, import.cpu_s);
        println!("written meanwhile, ms until kept: p50 / p95 / most {}", meanwhile(&import.writes_ms));
        println!("read meanwhile, ms of newest 50: p50 / p95 / most {}", meanwhile(&import.pages_ms));
    }
    println!();
}

/// Every target; of a small store the times are only shown.
pub fn targets(figures: &Figures) -> Vec<Target> {
    let is_judged = figures.messages >= JUDGED_FROM;
    let least = |what: &str, value, bound| {
        if is_judged { Target::at_least(what, value, bound) } else { Target::shown(what, value) }
    };
    let most = |what: &str, value, bound| {
        if is_judged { Target::at_most(what, value, bound) } else { Target::shown(what, value) }
    };
    let (kith, slices) = (&figures.kith, &figures.slices);
    let mut all = vec![
        least("C1 applied per CPU-second, × bare SQLite", ratio(slices, |one| one.cpu), APPLY_LEAST),
        least("C1 applied per second, × bare SQLite", ratio(slices, |one| one.wall), APPLY_LEAST),
        most("C2 open and list, warm, ms", median(&kith.warm), WARM_MOST),
        most("C2 open and list, cold, ms", median(&kith.cold), COLD_MOST),
        most("C2 newest 50, ms", median(&kith.page), PAGE_MOST),
        most("C2 search, p50, ms", median(&kith.search), SEARCH_MOST),
        most("C2 search as one types, p95, ms", quantile(&kith.typing, 0.95), TYPING_MOST),
    ];
    if let Some(rebuild) = &figures.rebuild {
        all.push(Target::shown("C6 everything made again, s", rebuild.seconds));
        all.push(most("C6 memory meanwhile, MB", rebuild.peak_mb, REBUILD_MOST));
    }
    if let Some(import) = &figures.import {
        all.push(most("C3 new device, usable, s", import.usable_s, USABLE_MOST));
        all.push(most("C3 new device, complete, s", import.complete_s, COMPLETE_MOST));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::{super::Rebuild, *};

    fn slice(kith: f64, bare: f64) -> Slice {
        Slice { messages: 10, kith: Spent { wall: kith, cpu: kith }, bare: Spent { wall: bare, cpu: bare } }
    }

    fn figures(slices: Vec<Slice>, messages: usize) -> Figures {
        let (kith, bare) = (Reads::default(), Reads::default());
        Figures {
            messages,
            conversations: 1,
            file_mb: [0.0; 2],
            slices,
            kith,
            bare,
            rebuild: None,
            import: None,
        }
    }

    #[test]
    fn a_slice_is_compared_with_itself_and_the_median_counts() {
        // The machine was ten times as slow in the second slice, for both.
        let slices = [slice(2.0, 1.0), slice(10.0, 8.0), slice(1.0, 1.0)];
        assert_eq!(ratio(&slices, |one| one.cpu), 0.8);
    }

    #[test]
    fn a_slow_search_and_a_large_rebuild_miss_a_target() {
        let mut one = figures(vec![slice(1.0, 1.0)], JUDGED_FROM);
        assert!(targets(&one).iter().all(Target::is_met));
        one.kith.typing = vec![TYPING_MOST + 1.0];
        assert!(!targets(&one).iter().all(Target::is_met));
        one.kith.typing.clear();
        one.rebuild = Some(Rebuild { seconds: 1.0, peak_mb: REBUILD_MOST + 1.0 });
        assert!(!targets(&one).iter().all(Target::is_met));
        one.messages = JUDGED_FROM - 1;
        assert!(targets(&one).iter().all(Target::is_met), "not judged");
    }

    #[test]
    fn quantiles_of_few_values_are_among_them() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.95), 3.0);
        assert_eq!(quantile(&[1.0], 0.5), 1.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
