//! What the rounds say: medians, medians of ratios within a round, and the targets.

use super::{BEFORE, Figures, KITH, WITH_RECEIPTS};
use crate::verdict::Target;

type Round = Vec<Figures>;

/// What receipts may take, in a run with them.
const OF_RECEIPTS: [Ratio; 4] = [
    most("receipts: CPU, 500/s", |one| one.cpu[2], KITH, 1.2),
    most("receipts: CPU, 500/s", |one| one.cpu[2], "Socket.IO + pg", 0.8),
    most("receipts: delivery p99, 2,000/s", |one| one.busy[1], "lean table", 1.5),
    least("receipts: messages/s, depth 16", |one| one.rate[1], KITH, 0.8),
];

/// A figure of Kith beside the same of another one.
struct Ratio {
    what: &'static str,
    of: fn(&Figures) -> f64,
    beside: &'static str,
    /// The ratio has to be at least, or at most, this.
    at_least: Option<f64>,
    at_most: Option<f64>,
}

const RATIOS: [Ratio; 9] = [
    least("P1 messages/s, depth 16", |one| one.rate[1], "Socket.IO + pg", 12.0),
    least("P1 messages/s, depth 16", |one| one.rate[1], "lean table", 0.4),
    least("P2 messages/s, depth 1", |one| one.rate[0], "Socket.IO + pg", 3.0),
    least("P2 messages/s, depth 1", |one| one.rate[0], "lean table", 0.7),
    most("P5 CPU, depth 16", |one| one.cpu[1], "Socket.IO + pg", 0.10),
    most("P5 CPU, 500/s", |one| one.cpu[2], "Socket.IO + pg", 0.5),
    most("P3 delivery p99, 500/s", |one| one.delivery[1], "lean table", 1.5),
    most("P4 delivery p99, 2,000/s", |one| one.busy[1], "lean table", 1.5),
    Ratio {
        what: "P3 delivery p50, 500/s",
        of: |one| one.delivery[0],
        beside: "lean table",
        at_least: None,
        at_most: None,
    },
];
/// What an earlier build may do better, in a run beside one.
const OF_BEFORE: [Ratio; 6] = [
    least("messages/s, depth 1", |one| one.rate[0], BEFORE, 0.95),
    least("messages/s, depth 16", |one| one.rate[1], BEFORE, 0.95),
    most("CPU, depth 16", |one| one.cpu[1], BEFORE, 1.05),
    most("CPU, 500/s", |one| one.cpu[2], BEFORE, 1.05),
    most("CPU, 2,000/s", |one| one.cpu[3], BEFORE, 1.05),
    most("delivery p50, 500/s", |one| one.delivery[0], BEFORE, 1.05),
];

/// P3: milliseconds.
const P999_MAX: f64 = 25.0;
/// P4: milliseconds.
const BUSY_MAX: f64 = 10.0;
/// P4: with nothing queued the last quarter waits no longer than the first; this is room for chance.
const GROWTH_MAX: f64 = 2.0;

const fn least(what: &'static str, of: fn(&Figures) -> f64, beside: &'static str, at_least: f64) -> Ratio {
    Ratio { what, of, beside, at_least: Some(at_least), at_most: None }
}

const fn most(what: &'static str, of: fn(&Figures) -> f64, beside: &'static str, at_most: f64) -> Ratio {
    Ratio { what, of, beside, at_least: None, at_most: Some(at_most) }
}

/// A figure over the rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    median: f64,
    low: f64,
    high: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        Some(Self { median: values[values.len() / 2], low, high })
    }

    fn cell(self, places: usize) -> String {
        format!("{:.places$} ({:.places$}–{:.places$})", self.median, self.low, self.high)
    }
}

fn of<'r>(round: &'r Round, name: &str) -> Option<&'r Figures> {
    round.iter().find(|figures| figures.name == name)
}

/// One's figure as a share of the other's in the same round, over the rounds.
fn ratio(rounds: &[Round], name: &str, ratio: &Ratio) -> Option<Spread> {
    let each = rounds
        .iter()
        .filter_map(|round| Some((ratio.of)(of(round, name)?) / (ratio.of)(of(round, ratio.beside)?)));
    Spread::of(each)
}

/// Prints medians and ranges.
pub fn table(rounds: &[Round], disturbed: usize) {
    println!("\nmedians and ranges of {} rounds ({disturbed} thrown away)", rounds.len());
    let names: Vec<&str> = rounds.first().into_iter().flatten().map(|one| one.name.as_str()).collect();
    println!("| | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    for (what, places, figure) in ROWS {
        let cell = |name: &&str| {
            let each = rounds.iter().filter_map(|round| of(round, name)).map(figure);
            Spread::of(each).map_or_else(String::new, |spread| spread.cell(*places))
        };
        let cells: Vec<String> = names.iter().map(cell).collect();
        println!("| {what} | {} |", cells.join(" | "));
    }
    println!();
}

/// A row of the table: what it shows, with how many decimal places, and the figure.
type Row = (&'static str, usize, fn(&Figures) -> f64);

const ROWS: &[Row] = &[
    ("messages/s, depth 1", 0, |one| one.rate[0]),
    ("messages/s, depth 16", 0, |one| one.rate[1]),
    ("CPU-s per 10,000, depth 1", 2, |one| one.cpu[0]),
    ("CPU-s per 10,000, depth 16", 2, |one| one.cpu[1]),
    ("CPU-s per 10,000, 500/s", 2, |one| one.cpu[2]),
    ("CPU-s per 10,000, 2,000/s", 2, |one| one.cpu[3]),
    ("delivery p50, 500/s, ms", 2, |one| one.delivery[0]),
    ("delivery p99, 500/s, ms", 2, |one| one.delivery[1]),
    ("delivery p99.9, 500/s, ms", 2, |one| one.delivery[2]),
    ("delivery p50, 2,000/s, ms", 2, |one| one.busy[0]),
    ("delivery p99, 2,000/s, ms", 2, |one| one.busy[1]),
    ("delivery p99.9, 2,000/s, ms", 2, |one| one.busy[2]),
];

/// Every target that could be measured.
pub fn targets(rounds: &[Round]) -> Vec<Target> {
    let beside = |name: &str, one: &Ratio| {
        let what = format!("{}, × {}", one.what, one.beside);
        let Spread { median: value, low, high } = ratio(rounds, name, one)?;
        let target = match (one.at_least, one.at_most) {
            (Some(least), _) => Target::at_least(what, value, least),
            (_, Some(most)) => Target::at_most(what, value, most),
            _ => Target::shown(what, value),
        };
        Some(target.over(low, high))
    };
    let kith: Vec<&Figures> = rounds.iter().filter_map(|round| of(round, KITH)).collect();
    let mid = |what: fn(&Figures) -> f64| {
        Spread::of(kith.iter().copied().map(what)).map_or_else(f64::default, |spread| spread.median)
    };
    let own = rounds.iter().flatten().filter(|one| [KITH, WITH_RECEIPTS].contains(&one.name.as_str()));
    let faults: u64 = own.clone().map(|one| one.lost + one.doubled + one.disordered).sum();
    let without_markers: u64 = own.map(|one| one.without_markers).sum();
    let mut all: Vec<Target> = RATIOS.iter().chain(&OF_BEFORE).filter_map(|one| beside(KITH, one)).collect();
    all.extend(OF_RECEIPTS.iter().filter_map(|one| beside(WITH_RECEIPTS, one)));
    all.extend([
        Target::at_most("P3 delivery p99.9, 500/s, ms", mid(|one| one.delivery[2]), P999_MAX),
        Target::at_most("P4 delivery p99, 2,000/s, ms", mid(|one| one.busy[1]), BUSY_MAX),
        Target::at_most("P4 the last quarter's p99, × the first's", mid(|one| one.growth), GROWTH_MAX),
        Target::at_most("P7 lost, doubled, disordered", faults as f64, 0.0),
        Target::at_most("receipts: pairs whose markers did not come", without_markers as f64, 0.0),
    ]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(name: &str, rate: f64) -> Figures {
        Figures {
            name: name.to_owned(),
            rate: [rate, rate],
            cpu: [1.0; 4],
            delivery: [1.0; 3],
            busy: [1.0; 3],
            growth: 1.0,
            lost: 0,
            doubled: 0,
            disordered: 0,
            without_markers: 0,
            foreign: 0.0,
        }
    }

    #[test]
    fn ratios_are_of_one_round_and_the_median_counts() {
        let round = |kith, lean| vec![figures("lean table", lean), figures("Kith", kith)];
        // The machine was ten times as slow in the second round, for both.
        let rounds = [round(50.0, 100.0), round(5.0, 10.0), round(90.0, 100.0)];
        let wanted = least("", |one| one.rate[1], "lean table", 0.4);
        assert_eq!(ratio(&rounds, "Kith", &wanted), Some(Spread { median: 0.5, low: 0.5, high: 0.9 }));
        assert_eq!(ratio(&rounds, "Kith", &RATIOS[0]), None, "who was not measured is not compared");
    }

    #[test]
    fn a_lost_message_or_marker_misses_a_target_also_with_receipts() {
        for name in [KITH, WITH_RECEIPTS] {
            let one = figures(name, 10.0);
            assert!(targets(&[vec![one.clone()]]).iter().all(Target::is_met), "{name}");
            assert!(
                !targets(&[vec![Figures { lost: 1, ..one.clone() }]]).iter().all(Target::is_met),
                "{name}"
            );
            assert!(
                !targets(&[vec![Figures { without_markers: 1, ..one }]]).iter().all(Target::is_met),
                "{name}"
            );
        }
    }
}
