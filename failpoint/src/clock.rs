//! The engine's only interface to the wall clock. A test may set it wrong; builds without debug assertions show the system's.

use std::time::{SystemTime, UNIX_EPOCH};

/// The environment variable: by how many milliseconds the clock is wrong when the process starts.
pub const VARIABLE: &str = "KITH_CLOCK_MS";

#[cfg(debug_assertions)]
mod wrong {
    use std::sync::{
        LazyLock,
        atomic::{AtomicI64, Ordering},
    };

    static BY_MS: LazyLock<AtomicI64> = LazyLock::new(|| {
        let at_start = std::env::var(super::VARIABLE).ok().and_then(|text| text.parse().ok());
        AtomicI64::new(at_start.unwrap_or(0))
    });

    pub(super) fn by_ms() -> i64 {
        BY_MS.load(Ordering::Relaxed)
    }

    pub(super) fn set(by_ms: i64) {
        BY_MS.store(by_ms, Ordering::Relaxed);
    }
}

/// The time, Unix milliseconds.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = u64::try_from(since.as_millis()).unwrap_or_default();
    #[cfg(debug_assertions)]
    return ms.saturating_add_signed(wrong::by_ms());
    #[cfg(not(debug_assertions))]
    ms
}

/// Sets the clock of the whole process so many milliseconds ahead of the system's, or behind it. A test that does so has
/// a process of its own.
pub fn set_wrong(by_ms: i64) {
    #[cfg(debug_assertions)]
    wrong::set(by_ms);
    #[cfg(not(debug_assertions))]
    let _ = by_ms;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_clock_is_wrong_by_what_was_said_and_can_be_right_again() {
        const DAY: u64 = 24 * 3_600_000;
        let before = now_ms();
        set_wrong(-(DAY as i64));
        assert!(now_ms() < before - DAY / 2);
        set_wrong(DAY as i64);
        assert!(now_ms() >= before + DAY);
        set_wrong(0);
        assert!((before..before + DAY / 2).contains(&now_ms()));
    }
}
