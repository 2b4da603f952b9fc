//! What is done, shown as it goes on: each step with its name and time, and a table at the end.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

/// The steps of one chore.
#[derive(Debug)]
pub struct Steps {
    began: Instant,
    done: Vec<(String, Duration)>,
    passed: u64,
    failed: u64,
}

impl Steps {
    pub fn new() -> Self {
        Self { began: Instant::now(), done: Vec::new(), passed: 0, failed: 0 }
    }

    /// Runs one step between a line with its name and a line with its time.
    pub fn step<T>(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        println!("\n── {name}");
        // Piped output is read by people too, while it goes on.
        let _ = std::io::stdout().flush();
        let began = Instant::now();
        let result = work(self);
        let took = began.elapsed();
        self.done.push((name.to_owned(), took));
        match &result {
            Ok(_) => println!("── {name}: {}", seconds(took)),
            Err(_) => println!("── {name}: FAILED after {}", seconds(took)),
        }
        result.with_context(|| name.to_owned())
    }

    /// Adds a runner's result to the sum.
    pub fn count(&mut self, passed: u64, failed: u64) {
        self.passed += passed;
        self.failed += failed;
    }

    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Shows which step took how long.
    pub fn table(&self) {
        let width = self.done.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
        println!("\n{:width$}  time", "stage");
        for (name, took) in &self.done {
            println!("{name:width$}  {:>8}", seconds(*took));
        }
        println!("{:width$}  {:>8}", "all", seconds(self.began.elapsed()));
    }

    /// Shows the table and, as the last line, how many passed and failed.
    pub fn verdict(&self, result: &Result<()>) {
        self.table();
        // A stage that fails without a test of its own (a lint, a build) counts as one.
        let failed = if result.is_err() { self.failed.max(1) } else { self.failed };
        println!("\n{} passed, {failed} failed", self.passed);
    }
}

pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A size with one digit behind the point.
pub fn megabytes(bytes: u64) -> String {
    format!("{}.{}", bytes / 1_000_000, bytes / 100_000 % 10)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_shown_with_one_digit() {
        assert_eq!(super::megabytes(13_815_608), "13.8");
    }
}
