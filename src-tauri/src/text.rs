//! Checks of text that came from outside.

use unicode_normalization::UnicodeNormalization as _;

/// Characters that change how the text around them is shown: a link or a notification with them is not what it seems.
pub(crate) const fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether text holds a control character, or one that hides or reorders others.
pub(crate) fn has_hidden(text: &str) -> bool {
    text.chars()
        .any(|c| c.is_control() || is_bidi_control(c) || matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}'))
}

/// A name as a reader sees it: without case, compatible forms, and what is invisible. `ui/src/lib/namesakes.ts` does the
/// same for the window.
pub(crate) fn seen(name: &str) -> String {
    let visible: String = name.nfkc().filter(|&c| !is_invisible(c)).collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// Unicode's categories Cc and Cf, and the Braille pattern without dots.
fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}' | '\u{8e2}'
            | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{206f}' | '\u{2800}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
            | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_look_the_same_here_and_in_the_window() {
        let cases: Vec<(String, String, bool)> =
            serde_json::from_str(include_str!("../../ui/src/namesakes.json")).unwrap();
        assert!(cases.len() > 10);
        for (one, other, is_alike) in cases {
            assert_eq!(super::seen(&one) == super::seen(&other), is_alike, "{one:?} {other:?}");
        }
    }
}

#[cfg(test)]
pub(crate) mod worst {
    //! The worst input of whatever reads text that came from outside.

    use std::time::{Duration, Instant};

    /// Characters of a message.
    const TEXT_CHARS_MAX: usize = 16_000;
    const LIMIT: Duration = Duration::from_millis(10);
    /// Between four, for work in proportion to the text, and sixteen, for work in proportion to its square.
    const GROWTH_MAX: f64 = 8.0;
    /// What else the machine does slows a call down: the least of so many counts.
    const TRIES: usize = 40;
    const PARTS: [&str; 16] = [
        "a", " ", "\n", "<", "&", ".", "/", "%41", "?a=b", "&a=b", "\u{202e}", "\u{fdfa}", "\u{301}", "👍",
        "日é", "a.",
    ];

    /// Time that this thread has run; where the system does not say, the clock.
    fn spent() -> Duration {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        let read = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
        let running = read.and_then(|text| text.split(' ').next()?.parse().ok());
        running.map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
    }

    fn cost(read: &impl Fn(&str), text: &str) -> Duration {
        let before = spent();
        read(text);
        spent() - before
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

    /// Feeds `read` with the worst texts of a message's length and of a quarter of it, after each of these beginnings.
    pub(crate) fn check(name: &str, before: &[&str], read: impl Fn(&str)) {
        let mut worst = 0.0_f64;
        for part in PARTS {
            for before in before {
                let text = |length: usize| -> String {
                    before.chars().chain(part.chars().cycle()).take(length).collect()
                };
                let (quarter, whole) = (text(TEXT_CHARS_MAX / 4), text(TEXT_CHARS_MAX));
                let limit = LIMIT.as_secs_f64();
                let took = least(|| cost(&read, &whole).as_secs_f64(), limit);
                assert!(took < limit, "{name}: {took} s for {before}{part}…");
                worst = worst.max(took);
                let growth = || {
                    // Less is not measured well, and harms nobody.
                    let one = cost(&read, &quarter).max(Duration::from_micros(50));
                    cost(&read, &whole).as_secs_f64() / one.as_secs_f64()
                };
                let growth = least(growth, GROWTH_MAX);
                assert!(growth < GROWTH_MAX, "{name}: grows {growth} times for {before}{part}…");
            }
        }
        println!("{name}: {:.3} ms at worst", worst * 1_000.0);
    }
}
