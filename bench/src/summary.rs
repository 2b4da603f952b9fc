//! One page of what several measurements wrote with `--json`: every target with a bar, and what others need beside it.

use anyhow::{Context, Result};
use serde_json::Value;
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

/// What `bench page` takes.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Files that measurements wrote with `--json`.
    #[arg(required = true)]
    figures: Vec<PathBuf>,
    /// The page.
    #[arg(long, value_name = "FILE", default_value = "performance.html")]
    to: PathBuf,
}

const HEAD: &str = r#"<!doctype html><html lang="en"><meta charset="utf-8"><title>Kith, measured</title>
<meta name="viewport" content="width=device-width"><style>
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: middle } td.n { text-align: right }
.met rect.v { fill: #2f7d57 } .missed rect.v { fill: #b3472f } .shown rect.v { fill: #667 } .other rect.v { fill: #99a }
rect.b { fill: currentColor; opacity: .12 } line { stroke: currentColor; stroke-width: 2 }
</style><h1>Kith, measured</h1>
<p>The line in a bar is the target. Green is met, red is missed, grey is for comparison.</p>
"#;
/// A bar's length and height.
const BAR: (f64, f64) = (220.0, 14.0);

/// `bench page`
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut page = HEAD.to_owned();
    for path in &arguments.figures {
        let read = || anyhow::Ok(serde_json::from_slice::<Value>(&fs::read(path)?)?);
        let all = read().with_context(|| format!("{} is not what a measurement wrote", path.display()))?;
        section(&mut page, path, &all)?;
    }
    fs::write(&arguments.to, page)
        .with_context(|| format!("{} cannot be written", arguments.to.display()))?;
    println!("{}", arguments.to.display());
    Ok(())
}

fn section(page: &mut String, path: &Path, all: &Value) -> Result<()> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let targets = all["targets"].as_array().with_context(|| format!("no targets in {}", path.display()))?;
    writeln!(page, "<h2>{}</h2><table>", escaped(&name))?;
    for target in targets {
        let value = target["value"].as_f64();
        let (bound, word) = match (target["at_least"].as_f64(), target["at_most"].as_f64()) {
            (Some(bound), _) => (Some(bound), format!("at least {bound}")),
            (None, Some(bound)) => (Some(bound), format!("at most {bound}")),
            (None, None) => (None, String::new()),
        };
        let class = match (bound, target["is_met"].as_bool()) {
            (None, _) => "shown",
            (Some(_), Some(true)) => "met",
            _ => "missed",
        };
        let what = escaped(target["what"].as_str().unwrap_or_default());
        let most = value.unwrap_or_default().max(bound.unwrap_or_default() * 1.25);
        row(page, class, &what, value, (most, bound), &word)?;
    }
    page.push_str("</table>\n");
    if let Some(rounds) = all["figures"].as_array() {
        beside(page, rounds)?;
    }
    Ok(())
}

/// The medians over the rounds of the rates of everybody who was measured.
fn beside(page: &mut String, rounds: &[Value]) -> Result<()> {
    let all = || rounds.iter().filter_map(Value::as_array).flatten();
    let Some(first) = rounds.first().and_then(Value::as_array) else { return Ok(()) };
    for (depth, at) in [("1", 0), ("16", 1)] {
        writeln!(page, "<h3>Messages a second, depth {depth}</h3><table>")?;
        let rate = |one: &Value| {
            let same = all().filter(|other| other["name"] == one["name"]);
            let mut rates: Vec<f64> = same.filter_map(|other| other["rate"][at].as_f64()).collect();
            rates.sort_by(f64::total_cmp);
            rates.get(rates.len() / 2).copied()
        };
        let most = first.iter().filter_map(rate).fold(0.0, f64::max);
        for one in first {
            let name = one["name"].as_str().unwrap_or_default();
            let class = if name == "Kith" { "met" } else { "other" };
            row(page, class, &escaped(name), rate(one), (most, None), "")?;
        }
        page.push_str("</table>\n");
    }
    Ok(())
}

fn row(
    page: &mut String,
    class: &str,
    what: &str,
    value: Option<f64>,
    (most, bound): (f64, Option<f64>),
    word: &str,
) -> Result<()> {
    let (width, height) = BAR;
    let scale = |value: f64| if most > 0.0 { (value / most * width).clamp(0.0, width) } else { 0.0 };
    let number = value.map_or_else(|| "no number".to_owned(), |value| format!("{value:.2}"));
    let length = scale(value.unwrap_or_default());
    let line = bound.map_or_else(String::new, |bound| {
        let x = scale(bound);
        format!(r#"<line x1="{x:.1}" x2="{x:.1}" y1="0" y2="{height}"/>"#)
    });
    writeln!(
        page,
        r#"<tr class="{class}"><td>{what}<td class="n">{number}<td><svg width="{width}" height="{height}" role="img" aria-label="{number}"><rect class="b" width="{width}" height="{height}"/><rect class="v" width="{length:.1}" height="{height}"/>{line}</svg><td>{word}"#
    )?;
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_target_is_on_the_page_and_names_are_text() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("server.json"), folder.path().join("page.html"));
        let figures = json!({
            "figures": [[{"name": "Kith", "rate": [2.0, 3.0]}, {"name": "a <rival>", "rate": [1.0, 1.0]}]],
            "targets": [
                {"what": "met", "value": 2.0, "at_least": 1.0, "is_met": true},
                {"what": "missed", "value": 20.0, "at_most": 10.0, "is_met": false},
                {"what": "no number at all", "value": null, "at_most": 10.0, "is_met": false},
            ],
        });
        fs::write(&from, figures.to_string()).unwrap();
        run(&Arguments { figures: vec![from.clone()], to: to.clone() }).unwrap();
        let page = fs::read_to_string(&to).unwrap();
        assert_eq!(page.matches("<tr class=\"met\">").count(), 1 + 2, "a target and Kith at two depths");
        assert_eq!(page.matches("<tr class=\"missed\">").count(), 2);
        assert!(page.contains("a &lt;rival&gt;") && !page.contains("<rival>"));
        // 10 of 20 is the middle of the bar.
        assert!(page.contains(r#"<line x1="110.0""#), "{page}");
        fs::write(&from, "[]").unwrap();
        assert!(run(&Arguments { figures: vec![from], to }).is_err(), "no targets");
    }
}
