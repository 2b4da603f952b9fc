//! Which test checks which rule of the protocol: `protocol/TESTS.md`, made from the tests' names.
//!
//! A Rust test names its rules in front (`s11_o2_…`), a test of the interface does so before a colon (`R3: …`). The number
//! of a security case (`sec_018_s11_…`) stands before them.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::{process::root, security};

const TABLE: &str = "protocol/TESTS.md";
/// Where tests are.
const FOLDERS: [&str; 11] = [
    "protocol/src",
    "client/src",
    "sync/src",
    "server/src",
    "server/tests",
    "pgbox/src",
    "src-tauri/src",
    "tests",
    "ui/src",
    "ui/checks",
    "xtask/src",
];
/// What no test can show, or nothing does yet, and why.
const WITHOUT: [(&str, &str); 1] = [("O8", "attachments are not built")];

/// Writes the table, or compares it.
pub fn table(check: bool) -> Result<()> {
    let spec = fs::read_to_string(root().join("protocol").join("README.md"))?;
    let mut all = Vec::new();
    for folder in FOLDERS {
        collect(&root().join(folder), &mut all)?;
    }
    let mut tests: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (file, test) in &all {
        for rule in named(test) {
            tests.entry(rule).or_default().push((file.clone(), test.clone()));
        }
    }
    security::table(&all, check)?;
    let table = written(&rules(&spec), &tests)?;
    let path = root().join(TABLE);
    if check {
        let old = fs::read_to_string(&path).unwrap_or_default();
        ensure!(old == table, "{TABLE} is not up to date: run cargo xtask rules");
        return Ok(());
    }
    fs::write(&path, table).with_context(|| format!("writing {TABLE}"))
}

/// `- **W1 [core]** …`, in the order of the specification.
fn rules(spec: &str) -> Vec<(String, String)> {
    let rule = |line: &str| {
        let (head, _) = line.strip_prefix("- **")?.split_once("]**")?;
        let (name, class) = head.split_once(" [")?;
        Some((name.to_owned(), class.to_owned()))
    };
    spec.lines().filter_map(rule).collect()
}

/// Every test under a folder: its file, and its name.
fn collect(folder: &Path, tests: &mut Vec<(String, String)>) -> Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .with_context(|| format!("reading {}", folder.display()))?
        .collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::path);
    for entry in entries {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, tests)?;
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ![".rs", ".test.ts", ".test.mjs"].iter().any(|ending| name.ends_with(ending)) {
            continue;
        }
        let shown = path.strip_prefix(root())?.to_string_lossy().replace('\\', "/");
        tests.extend(names(&fs::read_to_string(&path)?).into_iter().map(|test| (shown.clone(), test)));
    }
    Ok(())
}

/// The names of the tests in a source.
fn names(source: &str) -> Vec<String> {
    let name = |line: &str| {
        let line = line.trim_start();
        if let Some(rest) = line.strip_prefix("it('") {
            return rest.split_once("',").map(|(name, _)| name.to_owned());
        }
        if line.starts_with("it.each(") || line.starts_with("])('") {
            let (_, rest) = line.split_once(")('")?;
            return rest.split_once("',").map(|(name, _)| name.to_owned());
        }
        let rest = line.strip_prefix("async fn ").or_else(|| line.strip_prefix("fn "))?;
        rest.split_once("()").map(|(name, _)| name.to_owned())
    };
    source.lines().filter_map(name).collect()
}

/// The rules in front of a test's name, behind a row of the document on security.
fn named(test: &str) -> Vec<String> {
    let (head, between) = match test.split_once(':') {
        Some((head, _)) => (head, ' '),
        None => (test, '_'),
    };
    let is_rule = |word: &&str| {
        let mut chars = word.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic())
            && word.len() > 1
            && chars.all(|c| c.is_ascii_digit())
    };
    let is_case = |word: &&str| word.starts_with("sec") || word.chars().all(|c| c.is_ascii_digit());
    head.split(between)
        .map(|word| word.trim_end_matches(','))
        .skip_while(is_case)
        .take_while(is_rule)
        .map(str::to_uppercase)
        .collect()
}

fn written(rules: &[(String, String)], tests: &BTreeMap<String, Vec<(String, String)>>) -> Result<String> {
    let mut table =
        "# Which test checks which rule\n\nMade by `cargo xtask rules` from the names of the tests. \
                     The rules are in [README.md](README.md).\n\n| Rule | | Tests |\n|---|---|---|\n"
            .to_owned();
    for (rule, class) in rules {
        let of = tests.get(rule).map_or(&[][..], Vec::as_slice);
        let why = WITHOUT.iter().find(|(name, _)| name == rule).map(|(_, why)| *why);
        ensure!(!of.is_empty() || why.is_some(), "no test names {rule} [{class}]");
        let lines: Vec<_> = of.iter().map(|(file, test)| format!("`{test}` ({file})")).collect();
        let cell = if lines.is_empty() { why.unwrap_or_default().to_owned() } else { lines.join("<br>") };
        writeln!(table, "| {rule} | {class} | {cell} |")?;
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_off_the_front_of_a_name() {
        assert_eq!(named("a03_o2_what_was_sending"), ["A03", "O2"]);
        assert_eq!(named("R3: marks what is in view"), ["R3"]);
        assert_eq!(named("sec_018_020_s11_reuse"), ["S11"]);
        assert_eq!(named("sec_062 R3: marks"), ["R3"]);
        assert!(named("what_w2_says").is_empty());
    }

    #[test]
    fn a_rule_without_a_test_is_an_error() {
        let rules = rules("- **W1 [core]** One narrow row\nand more\n- **X9 [hard]** None");
        assert_eq!(rules.len(), 2);
        let tests = BTreeMap::from([("W1".to_owned(), vec![("a.rs".to_owned(), "w1_x".to_owned())])]);
        assert!(written(&rules, &tests).is_err_and(|error| error.to_string().contains("X9")));
        assert!(written(&rules[..1], &tests).is_ok_and(|table| table.contains("`w1_x` (a.rs)")));
    }
}
