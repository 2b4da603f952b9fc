//! What is in a package, without installing it.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};

use crate::process::{command, run_quiet};

const PROGRAM: &str = "/usr/bin/kith";
const DESKTOP_FILE: &str = "/usr/share/applications/Kith.desktop";
const LICENCES: [&str; 2] = ["/usr/share/doc/kith/LICENSE-APACHE", "/usr/share/doc/kith/LICENSE-MIT"];
const ICONS: [&str; 3] = ["32x32", "128x128", "256x256@2"];
/// What every desktop entry of ours says.
const ENTRY: [&str; 4] =
    ["Exec=/usr/bin/kith %u", "TryExec=/usr/bin/kith", "MimeType=x-scheme-handler/kith;", "Icon=kith"];

/// One line of a listing: `drwxr-xr-x 0/0 … usr/bin`.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    mode: &'a str,
    owner: &'a str,
    path: String,
}

/// Checks a .deb; returns how many facts were seen.
pub fn deb(package: &Path) -> Result<u64> {
    let ask = |arguments: &[&str]| run_quiet(command("dpkg-deb").args(arguments).arg(package));
    let listing = ask(&["--contents"])?;
    let files: Vec<Entry<'_>> = listing.lines().filter_map(entry).collect();
    entries_are_sound(&files)?;
    println!(
        "program, desktop file, licences and {} icons, all of them root's and writable by nobody else",
        ICONS.len()
    );

    let dir = package.with_extension("unpacked");
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    run_quiet(command("dpkg-deb").arg("--extract").arg(package).arg(&dir))?;
    let desktop = dir.join(DESKTOP_FILE.trim_start_matches('/'));
    run_quiet(command("desktop-file-validate").arg(&desktop))?;
    let text = fs::read_to_string(&desktop)?;
    for line in ENTRY {
        ensure!(text.lines().any(|have| have == line), "the desktop file has no line {line}:\n{text}");
    }
    println!("the desktop file is valid and takes links");

    let fields = run_quiet(command("dpkg-deb").arg("--field").arg(package).arg("Depends"))?;
    libraries_come_with(&dir.join(PROGRAM.trim_start_matches('/')), &fields)?;
    println!("every library comes with what it depends on: {}", fields.trim());
    fs::remove_dir_all(&dir)?;
    Ok(3)
}

/// Checks an .rpm.
pub fn rpm(package: &Path) -> Result<u64> {
    let ask = |what: &str| {
        run_quiet(command("rpm").args(["--query", "--package", "--nosignature", what]).arg(package))
    };
    let files = ask("--list")?;
    for wanted in [PROGRAM, DESKTOP_FILE].into_iter().chain(LICENCES) {
        ensure!(files.lines().any(|file| file == wanted), "the .rpm has no {wanted}:\n{files}");
    }
    let needs = ask("--requires")?;
    for wanted in ["libssl.so.3", "libdbus-1.so.3"] {
        ensure!(needs.contains(wanted), "the .rpm does not ask for {wanted}:\n{needs}");
    }
    println!("the .rpm has program and desktop file, and asks for its libraries");
    Ok(1)
}

/// Mode, owner, size, day, time, path; paths have no blanks.
fn entry(line: &str) -> Option<Entry<'_>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [mode, owner, _, _, _, path] = words[..] else { return None };
    Some(Entry { mode, owner, path: format!("/{}", path.trim_start_matches("./").trim_end_matches('/')) })
}

fn entries_are_sound(files: &[Entry<'_>]) -> Result<()> {
    let has = |path: &str| files.iter().find(|file| file.path == path);
    let program = has(PROGRAM).context("no program")?;
    ensure!(program.mode == "-rwxr-xr-x", "{program:?}");
    for path in [DESKTOP_FILE].iter().chain(&LICENCES) {
        ensure!(has(path).is_some(), "no {path}");
    }
    for size in ICONS {
        let icon = format!("/usr/share/icons/hicolor/{size}/apps/kith.png");
        ensure!(has(&icon).is_some(), "no {icon}");
    }
    for file in files {
        ensure!(["root/root", "0/0"].contains(&file.owner), "not root's: {file:?}");
        let others = &file.mode[4..];
        ensure!(
            !others.contains('w') && !file.mode.contains(['s', 'S', 't', 'T']),
            "a mode that harms: {file:?}"
        );
    }
    Ok(())
}

/// Every library that the program names belongs to a package that the dependencies bring.
fn libraries_come_with(program: &Path, depends: &str) -> Result<()> {
    let named: Vec<&str> =
        depends.split([',', '|']).filter_map(|package| package.split_whitespace().next()).collect();
    let mut ask = command("apt-cache");
    ask.args(["depends", "--recurse", "--important", "--installed"]).args(&named);
    let brought = run_quiet(&mut ask)?;
    let brought: Vec<&str> = brought.lines().filter(|line| !line.starts_with([' ', '|', '<'])).collect();
    let dynamic = run_quiet(command("readelf").arg("--dynamic").arg(program))?;
    for line in dynamic.lines().filter(|line| line.contains("(NEEDED)")) {
        let library = line.split(['[', ']']).nth(1).context("a library's name")?;
        let owner = run_quiet(command("dpkg").args(["--search", &format!("*/{library}")]))?;
        let owners: Vec<&str> = owner.lines().filter_map(|line| line.split([':', ',']).next()).collect();
        ensure!(
            owners.iter().any(|owner| brought.contains(owner)),
            "{library} is in {owners:?}, and the package does not depend on it: {depends}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(program: &str) -> String {
        let mut lines = vec![
            "drwxr-xr-x root/root         0 2026-11-21 10:00 ./usr/bin/".to_owned(),
            format!("{program}  9 2026-11-21 10:00 ./usr/bin/kith"),
            "-rw-r--r-- root/root       200 2026-11-21 10:00 ./usr/share/applications/Kith.desktop"
                .to_owned(),
        ];
        for path in LICENCES {
            lines.push(format!("-rw-r--r-- 0/0 9 2026-11-21 10:00 {}", path.trim_start_matches('/')));
        }
        for size in ICONS {
            lines.push(format!(
                "-rw-r--r-- root/root 9 2026-11-21 10:00 ./usr/share/icons/hicolor/{size}/apps/kith.png"
            ));
        }
        lines.join("\n")
    }

    fn judge(program: &str) -> Result<()> {
        let listing = listing(program);
        entries_are_sound(&listing.lines().filter_map(entry).collect::<Vec<_>>())
    }

    #[test]
    fn a_file_of_somebody_else_and_one_that_others_write_are_refused() {
        judge("-rwxr-xr-x root/root").unwrap();
        for bad in
            ["-rwxr-xr-x me/me", "-rwxrwxr-x root/root", "-rwsr-xr-x root/root", "-rw-r--r-- root/root"]
        {
            assert!(judge(bad).is_err(), "{bad}");
        }
    }
}
