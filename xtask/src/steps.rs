//! What is done, shown as it goes on: each step with its name and time, and a table at the end.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// What steps may take on two cores with nothing built, in minutes by name, and all of them together.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    pub steps: &'static [(&'static str, u64)],
    pub all: u64,
}

/// The steps of one chore.
#[derive(Debug)]
pub struct Steps {
    began: Instant,
    budget: Option<Budget>,
    done: Vec<(String, Duration)>,
    passed: u64,
    failed: u64,
}

impl Steps {
    pub fn new() -> Self {
        Self { began: Instant::now(), budget: None, done: Vec::new(), passed: 0, failed: 0 }
    }

    /// Steps whose times are judged: one that takes longer is marked, and the chore fails if all take too long.
    pub fn within(budget: Budget) -> Self {
        Self { budget: Some(budget), ..Self::new() }
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
            println!("{name:width$}  {:>8}{}", seconds(*took), self.judged(name, *took));
        }
        let (all, took) = (self.budget.map(|budget| budget.all), self.began.elapsed());
        println!("{:width$}  {:>8}{}", "all", seconds(took), judged(all, took));
    }

    fn judged(&self, name: &str, took: Duration) -> String {
        let budgets = self.budget.map(|budget| budget.steps).unwrap_or_default();
        judged(budgets.iter().find(|(known, _)| *known == name).map(|(_, minutes)| *minutes), took)
    }

    /// Whether all steps stayed within their time together.
    ///
    /// # Errors
    /// If they did not.
    pub fn judge_time(&self) -> Result<()> {
        let Some(budget) = self.budget else { return Ok(()) };
        let took = self.began.elapsed();
        ensure!(
            took <= minutes(budget.all),
            "all steps took {}, and may take {} min: make room",
            seconds(took),
            budget.all
        );
        Ok(())
    }

    /// Shows the table and, as the last line, how many passed and failed.
    pub fn verdict(&self, result: &Result<()>) {
        self.table();
        // A stage that fails without a test of its own (a lint, a build) counts as one.
        let failed = if result.is_err() { self.failed.max(1) } else { self.failed };
        println!("\n{} passed, {failed} failed", self.passed);
    }
}

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(60 * minutes)
}

/// How a time stands to its budget, as the table says it.
fn judged(budget: Option<u64>, took: Duration) -> String {
    match budget {
        Some(budget) if took > minutes(budget) => format!("  OVER its {budget} min"),
        Some(budget) => format!("  of {budget} min"),
        None => String::new(),
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
    fn a_step_that_takes_longer_than_its_budget_is_marked() {
        let over = super::judged(Some(2), std::time::Duration::from_secs(121));
        let within = super::judged(Some(2), std::time::Duration::from_secs(120));
        assert_eq!((over.as_str(), within.as_str()), ("  OVER its 2 min", "  of 2 min"));
    }

    #[test]
    fn sizes_are_shown_with_one_digit() {
        assert_eq!(super::megabytes(13_815_608), "13.8");
    }
}
