//! The whole system under faults: the real server and PostgreSQL, engines as processes of their own, a network that cuts,
//! stalls and goes deaf, programs that are killed, disks that are full, files that are damaged, clocks that are wrong, a
//! server that is set back to a backup. Then everything is healed, and what PostgreSQL and every engine's file hold is
//! judged.
//!
//! What is done to whom follows from the seed ([`faults`]); when exactly it meets the programs does not, so a seed that
//! fails is a likely failure, not a certain one.

mod agent;
mod chaos;
mod damage;
mod disk;
mod faults;
mod files;
mod judge;
mod restore;
mod run;
pub mod secret_file;
mod server;
mod tally;
mod truth;
pub mod words;

pub use run::{Plan, run};
pub use tally::Tally;
