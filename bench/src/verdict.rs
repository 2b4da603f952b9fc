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
}

/// A figure and its bound.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    what: &'static str,
    value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<f64>,
    is_met: bool,
}

impl Target {
    pub fn at_least(what: &'static str, value: f64, bound: f64) -> Self {
        Self { what, value, at_least: Some(bound), at_most: None, is_met: value >= bound }
    }

    pub fn at_most(what: &'static str, value: f64, bound: f64) -> Self {
        Self { what, value, at_least: None, at_most: Some(bound), is_met: value <= bound }
    }
}

/// Prints the targets, writes the figures, and fails if a target is missed.
///
/// # Errors
/// When a target is missed, unless nobody is to be judged.
pub fn conclude<T: Serialize>(judgement: &Judgement, figures: &T, targets: &[Target]) -> Result<()> {
    for Target { what, value, at_least, at_most, is_met } in targets {
        let bound = match (at_least, at_most) {
            (Some(bound), _) => format!("at least {bound}"),
            (None, Some(bound)) => format!("at most {bound}"),
            (None, None) => "for comparison".to_owned(),
        };
        println!("{} {what}: {value:.1} ({bound})", if *is_met { "  met  " } else { "MISSED " });
    }
    if let Some(path) = &judgement.json {
        let all = serde_json::json!({ "figures": figures, "targets": targets });
        std::fs::write(path, serde_json::to_vec_pretty(&all)?)?;
    }
    if targets.iter().any(|target| !target.is_met) && !judgement.no_judgement {
        bail!("a target is missed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_fails_and_what_is_no_number_is_missed() {
        let strict = Judgement { json: None, no_judgement: false };
        let met = [Target::at_least("", 2.0, 2.0), Target::at_most("", 2.0, 2.0)];
        assert!(conclude(&strict, &(), &met).is_ok());
        for missed in [
            Target::at_least("", 1.9, 2.0),
            Target::at_most("", 2.1, 2.0),
            Target::at_most("", f64::NAN, 2.0),
        ] {
            assert!(conclude(&strict, &(), std::slice::from_ref(&missed)).is_err(), "{missed:?}");
            assert!(conclude(&Judgement { no_judgement: true, ..strict.clone() }, &(), &[missed]).is_ok());
        }
    }
}
