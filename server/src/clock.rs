//! The server's clock: this machine's, set right by the database's where they differ.
//!
//! Times in the log never go back (W6), so that one instance whose clock is far ahead would give every conversation that it
//! writes to a time to come. All instances have one database, and it has one clock.

use crate::db;
use sqlx::PgConnection;
use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

/// A difference up to this stays: it may be the network's.
const DIFFERENCE_MS: i64 = 1_000;

/// What is added to this machine's clock, ms.
static CORRECTION_MS: AtomicI64 = AtomicI64::new(0);

/// Milliseconds since 1970 by the database's clock.
pub fn now_ms() -> i64 {
    machine_ms().saturating_add(CORRECTION_MS.load(Ordering::Relaxed))
}

fn machine_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What to add to a clock that showed `before` and `after` around the moment at which the database's showed `there`.
fn correction(before: i64, there: i64, after: i64) -> i64 {
    if (before.saturating_sub(DIFFERENCE_MS)..=after.saturating_add(DIFFERENCE_MS)).contains(&there) {
        return 0;
    }
    there.saturating_sub(before.midpoint(after))
}

/// Compares the clocks and corrects this one.
///
/// # Errors
/// When the database fails; the clock stays as it was.
pub async fn compare(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let before = machine_ms();
    let there = db::epoch::clock(conn).await?;
    let correction = correction(before, there, machine_ms());
    let old = CORRECTION_MS.swap(correction, Ordering::Relaxed);
    if correction != 0 && old == 0 {
        tracing::warn!(
            difference_ms = correction,
            "this machine's clock differs from the database's, which counts"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w6_a_clock_that_is_far_off_is_set_right_by_the_databases() {
        assert_eq!(correction(10_000, 10_005, 10_010), 0);
        assert_eq!(correction(10_000, 11_005, 10_010), 0, "as much as the network may take");
        assert_eq!(correction(10_000, 3_610_000, 10_010), 3_599_995);
        assert_eq!(correction(3_600_000, 10_000, 3_600_010), -3_590_005);
    }

    #[tokio::test]
    async fn w6_a_correction_ends_when_the_clocks_agree_again() {
        use sqlx::Connection as _;
        let database = crate::testing::database().await.unwrap();
        let mut conn = PgConnection::connect(database.url()).await.unwrap();
        CORRECTION_MS.store(3_600_000, Ordering::Relaxed);
        assert!(now_ms() > machine_ms() + 3_000_000);
        compare(&mut conn).await.unwrap();
        assert!(now_ms() < machine_ms() + 1_000);
    }
}
