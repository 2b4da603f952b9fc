//! What the engine reads of a message's text for lists and searches, at its worst input. The time that the thread has run is
//! measured, not the clock: a busy machine is slow, not wrong.

use super::super::{messages, search};
use std::time::{Duration, Instant};

/// Characters of a message.
const TEXT_CHARS_MAX: usize = 16_000;
const LIMIT: Duration = Duration::from_millis(10);
/// How much slower tests normalise what is not ASCII: the library that does so is built without optimisation there.
const UNOPTIMISED: u32 = 16;
/// Between four, for work in proportion to the text, and sixteen, for work in proportion to its square.
const GROWTH_MAX: f64 = 8.0;
/// What else the machine does slows a call down: the least of so many counts.
const TRIES: usize = 40;
const PARTS: [&str; 14] =
    ["a", "a ", " ", "\n", "+", "?", "a-", "\u{202e}", "\u{fdfa}", "\u{301}", "a\u{301}", "👍", "日é", "한"];

/// Time that this thread has run; where the system does not say, the clock.
fn spent() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let read = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let running = read.and_then(|text| text.split(' ').next()?.parse().ok());
    running.map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

fn cost(read: &impl Fn(&str), text: &str) -> f64 {
    let before = spent();
    read(text);
    (spent() - before).as_secs_f64()
}

fn least(measure: impl Fn() -> f64, limit: f64) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..TRIES {
        least = measure().min(least);
        if least < limit {
            break;
        }
    }
    least
}

fn repeated(part: &str, length: usize) -> String {
    part.chars().cycle().take(length).collect()
}

/// Feeds `read` with a part over and over, as long as a message, and a quarter of it.
fn check(name: &str, part: &str, read: impl Fn(&str)) -> f64 {
    let (quarter, whole) = (repeated(part, TEXT_CHARS_MAX / 4), repeated(part, TEXT_CHARS_MAX));
    let limit = if part.is_ascii() { LIMIT } else { LIMIT * UNOPTIMISED }.as_secs_f64();
    let took = least(|| cost(&read, &whole), limit);
    assert!(took < limit, "{name}: {took} s for {part:?}");
    // Less than this is not measured well, and harms nobody.
    let growth = || cost(&read, &whole) / cost(&read, &quarter).max(500e-6);
    let growth = least(growth, GROWTH_MAX);
    assert!(growth < GROWTH_MAX, "{name}: grows {growth} times for {part:?}");
    took
}

#[test]
fn the_worst_text_becomes_a_line_in_proportion_to_its_length() {
    let worst = PARTS.map(|part| check("lines", part, |text| drop(messages::one_line(text))));
    println!("lines: {:.3} ms at worst", worst.into_iter().fold(0.0, f64::max) * 1_000.0);
}

#[test]
fn the_worst_text_becomes_a_snippet_in_proportion_to_its_length() {
    let mut worst = (0.0, String::new());
    for part in PARTS {
        // The longest query that the text answers, as one word and as many, and a word that is everywhere.
        let own = part.trim_end();
        for query in [repeated(own, 1_000), format!("{own} ").repeat(32), "a".to_owned()] {
            let took = check("snippets", part, |text| drop(search::excerpt(text, &query)));
            if took > worst.0 {
                worst = (took, format!("{part:?} with {:?}", query.chars().take(8).collect::<String>()));
            }
        }
    }
    println!("snippets: {:.3} ms at worst, for {}", worst.0 * 1_000.0, worst.1);
}
