//! Targets and whether they are met.

use anyhow::{Result, bail};
use serde::Serialize;
use std::path::PathBuf;

/// What every measurement that is judged takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Judgement {
    /// Where all figures go.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Prints whether the targets are met and goes on: for a machine that is not quiet.
    #[arg(long)]
    no_judgement: bool,
    /// Judges what must be none (lost, doubled, out of order), and no time: for a short run on a busy machine.
    #[arg(long)]
    short: bool,
}

impl Judgement {
    /// Whether times mean nothing.
    pub fn is_short(&self) -> bool {
        self.short
    }
}

#[cfg(test)]
impl Judgement {
    /// Writes nothing, forgives nothing.
    pub fn strict() -> Self {
        Self { json: None, no_judgement: false, short: false }
    }
}

/// A figure and its bound.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    what: String,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    /// The lowest and the highest of the rounds.
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<(f64, f64)>,
    is_met: bool,
}

impl Target {
    pub fn at_least(what: impl Into<String>, value: f64, bound: f64) -> Self {
        Self {
            what: what.into(),
            value,
            at_least: Some(bound),
            at_most: None,
            range: None,
            is_met: value >= bound,
        }
    }

    pub fn at_most(what: impl Into<String>, value: f64, bound: f64) -> Self {
        Self {
            what: what.into(),
            value,
            at_least: None,
            at_most: Some(bound),
            range: None,
            is_met: value <= bound,
        }
    }

    /// A figure for comparison.
    pub fn shown(what: impl Into<String>, value: f64) -> Self {
        Self { what: what.into(), value, at_least: None, at_most: None, range: None, is_met: true }
    }

    /// The median of several rounds; these are the others' ends.
    #[must_use]
    pub fn over(self, low: f64, high: f64) -> Self {
        Self { range: Some((low, high)), ..self }
    }

    /// Whether it is met.
    #[cfg(test)]
    pub fn is_met(&self) -> bool {
        self.is_met
    }
}

/// Prints the targets, writes the figures, and fails if a target is missed.
///
/// # Errors
/// When a target is missed, unless nobody is to be judged.
pub fn conclude<T: Serialize>(judgement: &Judgement, figures: &T, targets: &[Target]) -> Result<()> {
    for Target { what, value, at_least, at_most, range, is_met } in targets {
        let bound = match (at_least, at_most) {
            (Some(bound), _) => format!("at least {bound}"),
            (None, Some(bound)) => format!("at most {bound}"),
            (None, None) => "for comparison".to_owned(),
        };
        let word = match (at_least.or(*at_most), is_met) {
            (None, _) => "       ",
            (Some(_), true) => "  met  ",
            (Some(_), false) => "MISSED ",
        };
        let range = range.map_or_else(String::new, |(low, high)| format!(", {low:.2} to {high:.2}"));
        println!("{word} {what}: {value:.2}{range} ({bound})");
    }
    if let Some(path) = &judgement.json {
        let all = serde_json::json!({ "figures": figures, "targets": targets });
        std::fs::write(path, serde_json::to_vec_pretty(&all)?)?;
    }
    let is_judged = |target: &&Target| !judgement.short || target.at_most == Some(0.0);
    if targets.iter().filter(is_judged).any(|target| !target.is_met) && !judgement.no_judgement {
        bail!("a target is missed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_none_is_judged_in_a_short_run() {
        let short = Judgement { short: true, ..Judgement::strict() };
        assert!(conclude(&short, &(), &[Target::at_most("lost", 0.0, 0.0)]).is_ok());
        assert!(conclude(&short, &(), &[Target::at_most("lost", 1.0, 0.0)]).is_err());
    }

    #[test]
    fn a_missed_target_fails_and_what_is_no_number_is_missed() {
        let strict = Judgement::strict();
        let met = [Target::at_least("", 2.0, 2.0), Target::at_most("", 2.0, 2.0)];
        assert!(conclude(&strict, &(), &met).is_ok());
        for missed in [
            Target::at_least("", 1.9, 2.0),
            Target::at_most("", 2.1, 2.0),
            Target::at_most("", f64::NAN, 2.0),
        ] {
            assert!(conclude(&strict, &(), std::slice::from_ref(&missed)).is_err(), "{missed:?}");
            let forgiving = Judgement { no_judgement: true, ..strict.clone() };
            assert!(conclude(&forgiving, &(), std::slice::from_ref(&missed)).is_ok());
            assert!(conclude(&Judgement { short: true, ..strict.clone() }, &(), &[missed]).is_ok());
        }
    }
}
