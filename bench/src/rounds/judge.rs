//! What the rounds say: medians, medians of ratios within a round, and the targets.

use super::{Figures, WITH_RECEIPTS};
use crate::verdict::Target;

type Round = Vec<Figures>;

/// What receipts may take, in a run with them.
const OF_RECEIPTS: [Ratio; 4] = [
    most("receipts: CPU, 500/s", |one| one.cpu[2], "Kith", 1.2),
    most("receipts: CPU, 500/s", |one| one.cpu[2], "Socket.IO + pg", 0.8),
    most("receipts: delivery p99, 2,000/s", |one| one.busy[1], "lean table", 1.5),
    least("receipts: messages/s, depth 16", |one| one.rate[1], "Kith", 0.8),
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

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn of<'r>(round: &'r Round, name: &str) -> Option<&'r Figures> {
    round.iter().find(|figures| figures.name == name)
}

/// The median over the rounds of one's figure as a share of the other's in the same round.
fn ratio(rounds: &[Round], name: &str, ratio: &Ratio) -> Option<f64> {
    let each = rounds
        .iter()
        .filter_map(|round| Some((ratio.of)(of(round, name)?) / (ratio.of)(of(round, ratio.beside)?)));
    median(each.collect())
}

/// Prints the medians.
pub fn table(rounds: &[Round], disturbed: usize) {
    println!("\nmedians of {} rounds ({disturbed} thrown away)", rounds.len());
    println!(
        "| | messages/s, depth 1 / 16 | CPU-s per 10,000, depth 1 / 16 / 500 / 2,000 a second | 500/s: p50 / p99 / p99.9 ms | 2,000/s |"
    );
    println!("|---|---|---|---|---|");
    let names = rounds.first().into_iter().flatten().map(|figures| figures.name.as_str());
    for name in names {
        let mid = |what: fn(&Figures) -> f64| {
            median(rounds.iter().filter_map(|round| of(round, name)).map(what).collect()).unwrap_or_default()
        };
        println!(
            "| {name} | {:.0} / {:.0} | {:.2} / {:.2} / {:.2} / {:.2} | {:.2} / {:.2} / {:.2} | {:.2} / {:.2} / {:.2} |",
            mid(|one| one.rate[0]),
            mid(|one| one.rate[1]),
            mid(|one| one.cpu[0]),
            mid(|one| one.cpu[1]),
            mid(|one| one.cpu[2]),
            mid(|one| one.cpu[3]),
            mid(|one| one.delivery[0]),
            mid(|one| one.delivery[1]),
            mid(|one| one.delivery[2]),
            mid(|one| one.busy[0]),
            mid(|one| one.busy[1]),
            mid(|one| one.busy[2]),
        );
    }
    println!();
}

/// Every target that could be measured.
pub fn targets(rounds: &[Round]) -> Vec<Target> {
    let beside = |name: &str, one: &Ratio| {
        let (value, what) = (ratio(rounds, name, one)?, format!("{}, × {}", one.what, one.beside));
        Some(match (one.at_least, one.at_most) {
            (Some(least), _) => Target::at_least(what, value, least),
            (_, Some(most)) => Target::at_most(what, value, most),
            _ => Target::shown(what, value),
        })
    };
    let kith: Vec<&Figures> = rounds.iter().filter_map(|round| of(round, "Kith")).collect();
    let mid =
        |what: fn(&Figures) -> f64| median(kith.iter().copied().map(what).collect()).unwrap_or_default();
    let faults: u64 = kith.iter().map(|one| one.lost + one.doubled + one.disordered).sum();
    let mut all: Vec<Target> = RATIOS.iter().filter_map(|one| beside("Kith", one)).collect();
    all.extend(OF_RECEIPTS.iter().filter_map(|one| beside(WITH_RECEIPTS, one)));
    all.extend([
        Target::at_most("P3 delivery p99.9, 500/s, ms", mid(|one| one.delivery[2]), P999_MAX),
        Target::at_most("P4 delivery p99, 2,000/s, ms", mid(|one| one.busy[1]), BUSY_MAX),
        Target::at_most("P4 the last quarter's p99, × the first's", mid(|one| one.growth), GROWTH_MAX),
        Target::at_most("P7 lost, doubled, disordered", faults as f64, 0.0),
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
            foreign: 0.0,
        }
    }

    #[test]
    fn ratios_are_of_one_round_and_the_median_counts() {
        let round = |kith, lean| vec![figures("lean table", lean), figures("Kith", kith)];
        // The machine was ten times as slow in the second round, for both.
        let rounds = [round(50.0, 100.0), round(5.0, 10.0), round(90.0, 100.0)];
        let wanted = least("", |one| one.rate[1], "lean table", 0.4);
        assert_eq!(ratio(&rounds, "Kith", &wanted), Some(0.5));
        assert_eq!(ratio(&rounds, "Kith", &RATIOS[0]), None, "who was not measured is not compared");
    }

    #[test]
    fn a_lost_message_misses_a_target() {
        let mut one = figures("Kith", 10.0);
        assert!(targets(&[vec![one.clone()]]).iter().all(Target::is_met));
        one.lost = 1;
        assert!(!targets(&[vec![one]]).iter().all(Target::is_met));
    }
}
