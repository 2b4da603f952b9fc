//! Links that leave the app: only to a browser or a mail program, and only after a check.

use crate::{error::UiError, text::has_hidden};
use std::io;
use url::Url;

/// No link is longer, in bytes.
const URL_BYTES_MAX: usize = 4_096;

/// Opens a link in the system's own program.
///
/// # Errors
/// `link_refused` if it is not a plain `https:`, `http:` or `mailto:` link; `link_failed` if no program took it.
pub(crate) async fn open(url: &str) -> Result<(), UiError> {
    let url =
        checked(url).ok_or_else(|| UiError::own("link_refused", "only https, http and mailto links open"))?;
    let started = tauri::async_runtime::spawn_blocking(move || start(&url)).await;
    started.map_err(io::Error::other).flatten().map_err(|error| UiError::own("link_failed", error))
}

#[cfg(not(target_os = "linux"))]
fn start(url: &Url) -> io::Result<()> {
    open::that_detached(url.as_str())
}

#[cfg(target_os = "linux")]
fn start(url: &Url) -> io::Result<()> {
    linux::start(open::commands(url.as_str()), linux::FAILS_WITHIN)
}

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io,
        os::unix::process::CommandExt as _,
        process::{Command, Stdio},
        sync::mpsc,
        thread,
        time::Duration,
    };

    /// A launcher without a program for a link reports so by then. One that still runs has started a program.
    pub(super) const FAILS_WITHIN: Duration = Duration::from_secs(3);

    /// Runs the first of these launchers that does not fail.
    ///
    /// # Errors
    /// That of the last one.
    pub(super) fn start(launchers: Vec<Command>, fails_within: Duration) -> io::Result<()> {
        let mut failure = io::ErrorKind::NotFound.into();
        for launcher in launchers {
            match run(launcher, fails_within) {
                Ok(()) => return Ok(()),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    fn run(mut launcher: Command, fails_within: Duration) -> io::Result<()> {
        // In a group of its own: what ends the app does not end the browser.
        launcher.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = launcher.spawn()?;
        let (ended, end) = mpsc::channel();
        // It waits as long as the program runs, so that none is left as a zombie.
        thread::spawn(move || ended.send(child.wait()));
        match end.recv_timeout(fails_within) {
            Ok(Ok(status)) if !status.success() => Err(io::Error::other(status.to_string())),
            Ok(Err(error)) => Err(error),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_link_that_no_program_takes_fails_and_one_that_the_second_takes_does_not() {
            let launcher = |name: &str| Command::new(name);
            assert!(start(vec![launcher("false")], FAILS_WITHIN).is_err());
            assert!(start(vec![launcher("no-such-launcher")], FAILS_WITHIN).is_err());
            assert!(start(Vec::new(), FAILS_WITHIN).is_err());
            assert!(start(vec![launcher("false"), launcher("true")], FAILS_WITHIN).is_ok());
        }

        #[test]
        fn a_launcher_that_runs_on_has_started_a_program() {
            let mut browser = Command::new("sleep");
            browser.arg("1");
            assert!(start(vec![browser], Duration::from_millis(10)).is_ok());
        }
    }
}

/// The link in its canonical form, or nothing: programs that open links read them in many ways, so nothing doubtful
/// reaches them.
fn checked(text: &str) -> Option<Url> {
    if text.len() > URL_BYTES_MAX || has_hidden(text) || text.contains(['\\', ' ']) {
        return None;
    }
    let url = Url::parse(text).ok()?;
    let plain_host = || url.host_str().is_some_and(|host| !host.is_empty());
    let no_user = || url.username().is_empty() && url.password().is_none();
    match url.scheme() {
        "https" | "http" => (plain_host() && no_user()).then_some(url),
        "mailto" => (url.path().contains('@') && url.query_pairs().all(|(name, _)| is_mail_field(&name)))
            .then_some(url),
        _ => None,
    }
}

/// What a link may fill in for a mail: no attachments, under whatever name a program takes them.
fn is_mail_field(name: &str) -> bool {
    ["subject", "body", "to", "cc", "bcc"].iter().any(|field| name.eq_ignore_ascii_case(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_066_web_and_mail_links_open() {
        for link in [
            "https://example.org/a?b=c#d",
            "http://127.0.0.1:7480/",
            "mailto:ada@example.org?subject=hi",
            "mailto:ada@example.org?Subject=how%20to%20attach&body=hi&cc=bo@example.org",
            "HTTPS://example.org",
        ] {
            assert!(checked(link).is_some(), "{link}");
        }
    }

    #[test]
    fn sec_066_the_worst_link_is_checked_in_proportion_to_its_length() {
        let before = ["", "https://", "https://a/", "mailto:a@", "mailto:a@b?"];
        crate::text::worst::check("links that leave the app", &before, |text| drop(checked(text)));
        // What is longer than a link may be is not read: the longest that is.
        for part in [")", "\u{fdfa}", "日本語é", "a.", "%41"] {
            let link =
                |text: &str| checked(&format!("https://{}", text.chars().take(1_000).collect::<String>()));
            crate::text::worst::check("hosts", &[part], |text| drop(link(text)));
        }
    }

    #[test]
    fn sec_065_hosts_are_handed_on_in_punycode() {
        assert_eq!(checked("https://ex\u{430}mple.org").unwrap().host_str(), Some("xn--exmple-4nf.org"));
    }

    #[test]
    fn sec_066_everything_else_is_refused() {
        for link in [
            "",
            "file:///etc/passwd",
            "javascript:alert(1)",
            "data:text/html,x",
            "vbscript:x",
            "smb://host/share",
            "ms-settings:",
            "kith://start?with=ada",
            "//example.org",
            "\\\\host\\share",
            "C:\\x.exe",
            "-x",
            "https://ada:secret@example.org",
            "https://example.org@evil.example",
            "https://",
            "http:\\\\example.org",
            "https://example.org/\u{202e}gpj.exe",
            "https://example.org/\0",
            " https://example.org",
            "mailto:",
            "mailto:a@b?attach=/etc/passwd",
            "mailto:a@b?%61ttach=/etc/passwd",
            "mailto:a@b?subject=hi&attachment=/etc/passwd",
            "mailto:a@b?subject=hi;attach=/etc/passwd&x",
            "about:blank",
            "ftp://example.org",
            "FILE:///etc/passwd",
            "file://evil.example/share/x.desktop",
            "ms-msdt:/id",
            "search-ms:query=x",
            "ms-officecmd:{}",
            "steam://run/1",
            "intent://x#Intent;end",
            "view-source:https://example.org",
            "blob:https://example.org/x",
            "tauri://localhost/",
            "\u{ff48}ttps://example.org",
            "https:\t//example.org",
            "https://example.org/\n",
            "https://example.org/\u{200b}",
            "https://ex\u{ad}ample.org/\u{2066}x",
            "https:/example.org@evil.example",
            "https://%00",
            "https://exa mple.org",
            "--help",
            "/etc/passwd",
        ] {
            assert!(checked(link).is_none(), "{link:?}");
        }
    }
}
