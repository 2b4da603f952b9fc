//! Thousands of bad networks: machines and a reference server under drop, repeat, reorder, delay, cut and crash, with
//! clocks that jump, tokens that end, members that come and go, copied profiles, lost power, slow disks, and a server
//! that is set back.
//!
//! Everything follows from a seed, which a failure prints; `KITH_SIM_SEED=… cargo test -p kith-client sim` plays it
//! again (and reports all that happens with `KITH_SIM_TRACE=1`), and `cargo xtask simulate --runs N --seed S` plays
//! others. What must hold is judged after the network has healed (I1–I9, I12), and at every step where it can be; that
//! the judge finds faults, `cargo xtask simulate --mutants` shows.

mod counts;
mod judge;
mod mutants;
mod network;
pub(crate) mod operations;
pub(crate) mod runs;
mod users;
mod world;
