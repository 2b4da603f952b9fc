//! Named places in server and engine where a test ends the process at once, as `kill -9` or a power cut would.
//!
//! `KITH_FAIL_POINT=NAME=N` ends it when it passes the place for the Nth time; `KITH_FAIL_POINT=NAME=panic` panics
//! each time. Builds without debug assertions have neither the variable nor the places: [`pass`] does nothing there.
//!
//! And the wall clock, which a test may set wrong ([`clock`]).

pub mod clock;

pub const VARIABLE: &str = "KITH_FAIL_POINT";

/// Every place, by who passes it. A test picks from these lists, so each name stands here and at its place only.
pub mod places {
    /// Events are inserted, nothing is committed.
    pub const PUBLISH_BEFORE_COMMIT: &str = "publish.before_commit";
    /// Events are committed; nobody was told.
    pub const PUBLISH_AFTER_COMMIT: &str = "publish.after_commit";
    /// Events are handed to the members' connections; the sender has no acknowledgement.
    pub const PUBLISH_UNACKNOWLEDGED: &str = "publish.unacknowledged";
    /// The sender has its acknowledgement; the members' connections have nothing.
    pub const PUBLISH_ACKNOWLEDGED: &str = "publish.acknowledged";
    /// A read marker or another own state is committed; nobody was told.
    pub const STATE_AFTER_COMMIT: &str = "state.after_commit";
    /// A refresh token is exchanged; the answer has not left.
    pub const REFRESH_AFTER_COMMIT: &str = "refresh.after_commit";
    /// An engine's transaction is written, not committed.
    pub const STORE_BEFORE_COMMIT: &str = "store.before_commit";
    /// An engine's transaction is committed; nothing that follows from it happened.
    pub const STORE_AFTER_COMMIT: &str = "store.after_commit";
    /// The server has renewed a session; the engine has not kept it.
    pub const RENEWAL_BEFORE_KEPT: &str = "renewal.before_kept";

    pub const SERVER: &[&str] = &[
        PUBLISH_BEFORE_COMMIT,
        PUBLISH_AFTER_COMMIT,
        PUBLISH_UNACKNOWLEDGED,
        PUBLISH_ACKNOWLEDGED,
        STATE_AFTER_COMMIT,
        REFRESH_AFTER_COMMIT,
    ];
    pub const ENGINE: &[&str] = &[STORE_BEFORE_COMMIT, STORE_AFTER_COMMIT, RENEWAL_BEFORE_KEPT];
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };

    struct Armed {
        place: String,
        fault: Fault,
    }

    enum Fault {
        /// Ends the process when so many passes are left.
        EndAt(AtomicU64),
        PanicAlways,
    }

    static ARMED: LazyLock<Option<Armed>> = LazyLock::new(|| read(&std::env::var(super::VARIABLE).ok()?));

    fn read(text: &str) -> Option<Armed> {
        let (place, count) = text.split_once('=')?;
        let fault = match count {
            "panic" => Fault::PanicAlways,
            count => Fault::EndAt(AtomicU64::new(count.parse().ok()?)),
        };
        Some(Armed { place: place.to_owned(), fault })
    }

    /// Whether the process ends here.
    pub(super) fn ends_at(place: &str) -> bool {
        ARMED.as_ref().is_some_and(|armed| armed.counts_down(place))
    }

    impl Armed {
        fn counts_down(&self, place: &str) -> bool {
            self.place == place
                && match &self.fault {
                    Fault::EndAt(left) => left.fetch_sub(1, Ordering::Relaxed) == 1,
                    Fault::PanicAlways => panic!("{place} was told to panic"),
                }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_nth_pass_of_the_named_place_ends() {
            let armed = read("publish.after_commit=2").unwrap();
            assert!(!armed.counts_down("publish.before_commit"));
            assert!(!armed.counts_down("publish.after_commit"));
            assert!(armed.counts_down("publish.after_commit"));
            assert!(read("publish.after_commit").is_none());
        }

        #[test]
        fn the_named_place_panics_each_time() {
            let armed = read("store.before_commit=panic").unwrap();
            assert!(!armed.counts_down("store.after_commit"));
            for _ in 0..2 {
                std::panic::catch_unwind(|| armed.counts_down("store.before_commit")).unwrap_err();
            }
        }
    }
}

/// Passes a place: ends the process at once if a test wants it to end here.
#[inline]
pub fn pass(place: &str) {
    if is_due(place) {
        end();
    }
}

/// Passes a place where something must be done before the process ends; whoever gets `true` calls [`end`].
#[inline]
pub fn is_due(place: &str) -> bool {
    #[cfg(debug_assertions)]
    return armed::ends_at(place);
    #[cfg(not(debug_assertions))]
    {
        let _ = place;
        false
    }
}

/// Ends the process as good as a kill does: no destructor runs, no buffer is written.
pub fn end() -> ! {
    std::process::abort();
}
