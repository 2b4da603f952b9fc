//! The judge is judged: with one fault in, some seed must break a rule.

use super::runs::play_with;
use crate::mutation::{self, Mutation};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What the tests give each fault; `cargo xtask simulate --mutants` gives it more, and plays the rarer ones too.
const SEEDS: u64 = 500;

/// A fault in the sync rules, in the store or in the rules of the server.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Sync(kith_sync::mutation::Mutation),
    Store(Mutation),
    Server(kith_model::Mutation),
}

impl Fault {
    fn all() -> Vec<Self> {
        let sync = kith_sync::mutation::Mutation::ALL.iter().copied().map(Self::Sync);
        let store = Mutation::ALL.iter().copied().map(Self::Store);
        sync.chain(store).chain(kith_model::Mutation::ALL.iter().copied().map(Self::Server)).collect()
    }

    fn name(self) -> String {
        match self {
            Self::Sync(mutation) => format!("{mutation:?}"),
            Self::Store(mutation) => format!("{mutation:?} (store)"),
            Self::Server(mutation) => format!("{mutation:?} (server)"),
        }
    }

    /// Faults of the store, and those that only people see, are played on the real one.
    fn is_on_disk(self) -> Option<bool> {
        let is_on_disk = match self {
            Self::Sync(_) => false,
            Self::Store(_) => true,
            Self::Server(mutation) => {
                matches!(mutation, kith_model::Mutation::StatesAreOld | kith_model::Mutation::DeletedIsUnread)
            }
        };
        is_on_disk.then_some(true)
    }

    /// Whether the tests play it: some hundred seeds are enough, and they take seconds.
    const fn is_common(self) -> bool {
        !matches!(
            self,
            Self::Sync(kith_sync::mutation::Mutation::WelcomeIsNotSynced)
                | Self::Store(Mutation::DeleteIsForgotten | Mutation::MarkerGoesBack)
        )
    }

    /// Puts it into everything that this thread does; a fault of the server goes into each world.
    fn put_in(self) {
        kith_sync::mutation::set(if let Self::Sync(mutation) = self { Some(mutation) } else { None });
        mutation::set(if let Self::Store(mutation) = self { Some(mutation) } else { None });
    }

    fn take_out() {
        kith_sync::mutation::set(None);
        mutation::set(None);
    }

    /// The first seed that finds it, and what it says.
    fn found(self, seeds: u64) -> Option<(u64, String)> {
        let server = if let Self::Server(mutation) = self { Some(mutation) } else { None };
        quiet();
        let found = (0..seeds).find_map(|seed| {
            self.put_in();
            let played = catch_unwind(AssertUnwindSafe(|| play_with(seed, self.is_on_disk(), server)));
            let panic = played.err()?;
            // A seed that fails without the fault too says nothing of it.
            Self::take_out();
            catch_unwind(AssertUnwindSafe(|| play_with(seed, self.is_on_disk(), None))).ok()?;
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some((seed, text.unwrap_or_default()))
        });
        Self::take_out();
        found
    }
}

thread_local! {
    static IS_QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// From here on this thread's panics are not printed: they are what is looked for, and a backtrace takes seconds.
fn quiet() {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !IS_QUIET.get() {
                loud(panic);
            }
        }));
    });
    IS_QUIET.set(true);
}

/// The rule that a failure names: what follows the seed.
fn rule(text: &str) -> String {
    let text = text.split_once(": ").map_or(text, |(_, rest)| rest);
    let rule: String = text.lines().next().unwrap_or_default().chars().take(60).collect();
    rule.split(", client").next().unwrap_or_default().to_owned()
}

fn find_all(faults: &[Fault], seeds: u64) {
    let mut survivors = Vec::new();
    println!("| fault | found by | seed |");
    println!("|---|---|---|");
    for fault in faults {
        match fault.found(seeds) {
            Some((seed, text)) => println!("| {} | {} | {seed} |", fault.name(), rule(&text)),
            None => {
                println!("| {} | nothing | – |", fault.name());
                survivors.push(fault.name());
            }
        }
    }
    IS_QUIET.set(false);
    assert!(survivors.is_empty(), "no seed of {seeds} finds {survivors:?}");
}

/// The part of all faults with this number, of two.
fn part(number: usize) {
    let common = Fault::all().into_iter().filter(|fault| fault.is_common());
    find_all(&common.skip(number).step_by(2).collect::<Vec<_>>(), SEEDS);
}

#[test]
fn every_mutation_is_found_1() {
    part(0);
}

#[test]
fn every_mutation_is_found_2() {
    part(1);
}

/// `cargo xtask simulate --mutants`.
#[test]
#[ignore = "plays as many seeds as KITH_SIM_RUNS says"]
fn mutants() {
    let seeds = std::env::var("KITH_SIM_RUNS").map_or(20_000, |text| text.parse().expect("a number"));
    find_all(&Fault::all(), seeds);
}
