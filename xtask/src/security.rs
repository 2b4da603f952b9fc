//! Which test shows which row of `docs/develop/security.md`: the third column of its tables, made from the tests' names.
//!
//! A Rust test begins with `sec_018_`, a test of the interface with `sec_018 `. A row without a test says why, behind a
//! dash.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, bail, ensure};

use crate::process::root;

const DOCUMENT: &str = "docs/develop/security.md";

/// Writes the column, or compares it. `tests` are names by file.
pub fn table(tests: &[(String, String)], check: bool) -> Result<()> {
    let path = root().join(DOCUMENT);
    let old = fs::read_to_string(&path).with_context(|| format!("reading {DOCUMENT}"))?;
    let new = written(&old, tests)?;
    if check {
        ensure!(old == new, "{DOCUMENT} is not up to date: run cargo xtask rules");
        return Ok(());
    }
    fs::write(&path, new).with_context(|| format!("writing {DOCUMENT}"))
}

fn written(old: &str, tests: &[(String, String)]) -> Result<String> {
    let mut by_row: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (file, test) in tests {
        if let Some(row) = row_of(test) {
            by_row.entry(row).or_default().push(format!("`{}` ({file})", test.replace('|', "\\|")));
        }
    }
    let mut lines = Vec::new();
    for line in old.lines() {
        let Some((row, text, rest)) = cells(line) else {
            lines.push(line.to_owned());
            continue;
        };
        let cell = match by_row.remove(row) {
            Some(found) => found.join("<br>"),
            None if rest.starts_with('—') => rest.to_owned(),
            None => bail!("{DOCUMENT}: no test shows row {row}, and it does not say why (behind a —)"),
        };
        lines.push(format!("| {row} | {text} | {cell} |"));
    }
    if let Some((row, tests)) = by_row.first_key_value() {
        bail!("{DOCUMENT} has no row {row}, which {} names", tests[0]);
    }
    Ok(lines.join("\n") + "\n")
}

/// The number in front of a test's name.
fn row_of(test: &str) -> Option<&str> {
    let rest = test.strip_prefix("window_").unwrap_or(test).strip_prefix("sec_")?;
    let row = rest.get(..3)?;
    let ends = rest[3..].starts_with(['_', ' ', ':']);
    (ends && row.bytes().all(|byte| byte.is_ascii_digit())).then_some(row)
}

/// Number, text and tests of a row.
fn cells(line: &str) -> Option<(&str, &str, &str)> {
    let (row, rest) = line.strip_prefix("| ")?.split_once(" | ")?;
    let (text, tests) = rest.split_once(" |")?;
    let is_row = row.len() == 3 && row.bytes().all(|byte| byte.is_ascii_digit());
    is_row.then_some((row, text, tests.trim_end_matches('|').trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn test(name: &str) -> (String, String) {
        ("a.rs".to_owned(), name.to_owned())
    }

    #[test]
    fn the_third_column_is_made_from_names() {
        let old = "# Head\n| | What | Tests |\n| 018 | A token | |\n| 025 | OIDC | — not built |\n";
        let new = written(old, &[test("sec_018_s11_reuse"), test("other")]).unwrap();
        assert!(new.contains("| 018 | A token | `sec_018_s11_reuse` (a.rs) |"), "{new}");
        assert!(new.contains("| 025 | OIDC | — not built |"));
        assert_eq!(written(&new, &[test("sec_018_s11_reuse")]).unwrap(), new, "made again it is the same");
    }

    #[test]
    fn a_row_without_a_test_and_a_test_without_a_row_are_errors() {
        let old = "| 018 | A token | |\n";
        assert!(written(old, &[]).is_err_and(|error| error.to_string().contains("018")));
        let both = [test("sec_018_x"), test("window_sec_062_y")];
        assert!(written(old, &both).is_err_and(|error| error.to_string().contains("062")));
    }
}
