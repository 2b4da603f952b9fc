//! Thousands of bad networks: machines and a reference server under drop, repeat, reorder, delay, cut and crash.
//!
//! Everything follows from a seed, which a failure prints; `KITH_SIM_SEED=… cargo test -p kith-client sim` plays it
//! again. What must hold is judged after the network has healed (I1–I3, I5–I9), and at every step where it can be.

mod judge;
mod network;
pub(crate) mod server;
pub(crate) mod store;
mod users;
mod world;

use world::World;

/// Interleavings that are played.
const RUNS: u64 = 2_100;

fn play(seed: u64) {
    let mut world = World::new(seed);
    world.chaos();
    world.heal();
    world.judge();
}

#[test]
fn seeded_interleavings_end_in_sync() {
    if let Ok(seed) = std::env::var("KITH_SIM_SEED") {
        play(seed.parse().expect("a number"));
        return;
    }
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get() as u64);
    std::thread::scope(|scope| {
        for worker in 0..workers {
            scope.spawn(move || {
                for seed in (worker..RUNS).step_by(workers as usize) {
                    let played = std::panic::catch_unwind(|| play(seed));
                    assert!(played.is_ok(), "seed {seed} failed: set KITH_SIM_SEED={seed} to play it again");
                }
            });
        }
    });
}
