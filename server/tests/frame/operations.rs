//! What an operator does from the command line, against real processes.

use crate::{
    command_line::{run, server, stderr},
    support::{PASSWORD, World},
};
use kith_server::testing;
use std::{
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

/// A process that serves; killed when dropped.
struct Serving {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it printed before it listened.
    before: Vec<String>,
    url: String,
}

impl Serving {
    async fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut before = Vec::new();
        loop {
            let line = timeout(Duration::from_secs(60), lines.next_line()).await.unwrap().unwrap();
            let line = line.expect("it listens before it ends");
            match line.strip_prefix("listening on ") {
                Some(url) => return Self { url: url.to_owned(), child, lines, before },
                None => before.push(line),
            }
        }
    }

    fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    async fn terminate(&self) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    }

    async fn ended(mut self) -> bool {
        let status = timeout(Duration::from_secs(10), self.child.wait()).await.expect("ends within 10 s");
        drop(self.lines);
        status.unwrap().success()
    }

    async fn status(&self, path: &str) -> Option<u16> {
        reqwest::get(format!("{}{path}", self.url)).await.ok().map(|answer| answer.status().as_u16())
    }
}

#[tokio::test]
async fn settings_are_checked_and_printed_with_their_origin_and_without_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    std::fs::write(&file, "sockets = false\n\nsing_up = \"open\"\n").unwrap();
    let file_argument = file.to_str().unwrap();
    let output = run(&["config", "check", "--config", file_argument], None, "").await;
    let text = stderr(&output);
    assert!(
        !output.status.success() && text.contains("server.toml:3:") && text.contains("sing_up"),
        "{text}"
    );
    std::fs::write(&file, "sockets = false\naccess_token_seconds = 60\n").unwrap();
    let url = Some("postgres://kith:hunter2@localhost/kith");
    assert!(run(&["config", "check", "--config", file_argument], url, "").await.status.success());
    let output = run(&["config", "print", "--config", file_argument], url, "").await;
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "database_url = \"postgres://kith:***@localhost/kith\"  # flag or environment",
        "sockets = false  # file",
        "database_connections = 20  # default",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!run(&["config", "check", "--config", "/nowhere.toml"], url, "").await.status.success());
    let far = run(&["config", "check", "--listen", "0.0.0.0:1"], url, "").await;
    assert!(!far.status.success() && stderr(&far).contains("--insecure"), "{}", stderr(&far));
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let cluster = kith_pgbox::testing::fresh_database("bare", |_| async { Ok(()) }).await.unwrap();
    let url = Some(cluster.url());
    let said = async |arguments: &[&str]| String::from_utf8(run(arguments, url, "").await.stdout).unwrap();
    let first = said(&["migrate", "--dry-run"]).await;
    assert!(first.contains("20261121000001 init"), "{first}");
    assert_eq!(said(&["migrate", "--dry-run"]).await, first, "nothing was done");
    assert!(said(&["migrate"]).await.ends_with("done; the schema is up to date\n"));
    assert_eq!(said(&["migrate", "--dry-run"]).await, "the schema is up to date\n");
}

#[cfg(unix)]
#[tokio::test]
async fn the_first_invitation_is_printed_once_and_lets_one_person_in() {
    let database = testing::database().await.unwrap();
    let command = || {
        let mut command = server(&["serve", "--signup", "invite"], Some(database.url()));
        command.env_remove("KITH_SIGNUP");
        command
    };
    let first = Serving::start(&mut command()).await;
    let code = first.before.first().and_then(|line| line.rsplit(' ').next()).expect("a code").to_owned();
    let http = reqwest::Client::new();
    let join = async |url: &str, name: &str, code: &str| {
        let body =
            serde_json::json!({"username": name, "password": PASSWORD, "display_name": name, "invite": code});
        http.post(format!("{url}/v1/accounts")).json(&body).send().await.unwrap().status().as_u16()
    };
    assert_eq!(join(&first.url, "mallory", "no code").await, 403);
    assert_eq!(join(&first.url, "ada", &code).await, 201);
    assert_eq!(join(&first.url, "bob", &code).await, 403, "used up");
    first.terminate().await;
    assert!(first.ended().await);
    let second = Serving::start(&mut command()).await;
    assert_eq!(second.before, Vec::<String>::new());
    second.terminate().await;
    assert!(second.ended().await);
}

#[cfg(unix)]
#[tokio::test]
async fn a_server_that_drains_is_not_ready_serves_on_and_then_ends() {
    let database = testing::database().await.unwrap();
    let mut command = server(&["serve", "--drain-seconds", "4"], Some(database.url()));
    let serving = Serving::start(&mut command).await;
    assert_eq!(serving.status("/readyz").await, Some(200));
    let check = async |address: &str| {
        let output = run(&["healthcheck", "--listen", address], None, "").await;
        output.status.success()
    };
    assert!(check(serving.address()).await);
    serving.terminate().await;
    let until = Instant::now() + Duration::from_secs(3);
    while serving.status("/readyz").await != Some(503) {
        assert!(Instant::now() < until, "told that it will end");
    }
    assert_eq!(serving.status("/healthz").await, Some(200), "it serves on");
    let address = serving.address().to_owned();
    assert!(!check(&address).await);
    assert!(serving.ended().await);
    assert!(!check(&address).await);
}

/// A certificate of its own making and its key, good until the first moment of that day.
fn certify(folder: &std::path::Path, (year, month, day): (i32, u8, u8)) -> [String; 4] {
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    let secret = rcgen::KeyPair::generate().unwrap();
    let made = params.self_signed(&secret).unwrap();
    let (certificate, key) = (folder.join("server.pem"), folder.join("server.key"));
    std::fs::write(&certificate, made.pem()).unwrap();
    std::fs::write(&key, secret.serialize_pem()).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    ["--tls-cert".to_owned(), text(certificate), "--tls-key".to_owned(), text(key)]
}

/// A renewed certificate is served within a minute; until then the server is as well as before.
#[cfg(unix)]
#[tokio::test]
async fn sec_091_a_certificate_that_is_not_served_yet_makes_nobody_sick_and_an_ended_one_is_told() {
    use chrono::Datelike as _;
    let (folder, database) = (tempfile::tempdir().unwrap(), testing::database().await.unwrap());
    let tls = certify(folder.path(), (2090, 1, 1));
    let tls: Vec<&str> = tls.iter().map(String::as_str).collect();
    let url = Some(database.url());
    let serving = Serving::start(&mut server(&[&["serve"], &tls[..]].concat(), url)).await;
    let ask = async |command: &str| {
        let output = run(&[&[command, "--listen", serving.address()], &tls[..]].concat(), url, "").await;
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert!(ask("healthcheck").await.0);
    certify(folder.path(), (2091, 1, 1));
    assert!(ask("healthcheck").await.0, "another one lies there than is served");
    let (_, text) = ask("doctor").await;
    assert!(text.contains("key, until 2091-01-01") && text.contains("ok    a server is ready"), "{text}");
    // It ended some hours ago.
    let today = chrono::Utc::now().date_naive();
    certify(folder.path(), (today.year(), today.month() as u8, today.day() as u8));
    let (is_well, text) = ask("doctor").await;
    assert!(!is_well && text.contains("BAD   the certificate ended at"), "{text}");
    serving.terminate().await;
    assert!(serving.ended().await);
}

#[tokio::test]
async fn sec_021_the_operator_sees_and_ends_sessions() {
    let world = crate::support::World::start().await;
    world.sign_up("ada").await;
    let (one, two) = (world.sign_in("ada").await, world.sign_in("ada").await);
    let url = Some(world.server.database_url());
    let said =
        async |arguments: &[&str]| run(&[&["user", "sessions", "ada"], arguments].concat(), url, "").await;
    let text = String::from_utf8(said(&[]).await.stdout).unwrap();
    assert!(text.contains(&one.device.id.to_string()) && text.contains("a laptop"), "{text}");
    assert!(said(&["--end", &one.device.id.to_string()]).await.status.success());
    assert!(!said(&["--end", &one.device.id.to_string()]).await.status.success(), "it has ended");
    assert_eq!(world.get("/v1/me", &one.access_token).await.status, 401);
    assert_eq!(world.get("/v1/me", &two.access_token).await.status, 200);
    assert!(said(&["--end-all"]).await.status.success());
    assert_eq!(world.get("/v1/me", &two.access_token).await.status, 401);
    assert!(!run(&["user", "sessions", "nobody"], url, "").await.status.success());
}

#[tokio::test]
async fn the_doctor_finds_what_is_wrong_and_says_what_to_do() {
    let database = testing::database().await.unwrap();
    let output = run(&["doctor"], Some(database.url()), "").await;
    let text = String::from_utf8(output.stdout).unwrap();
    for line in ["ok    settings", "ok    PostgreSQL 1", "ok    schema up to date"] {
        assert!(text.contains(line), "{line} in {text}");
    }
    // A test's cluster forces nothing to the disk.
    assert!(!output.status.success() && text.contains("BAD   fsync is off"), "{text}");
    let output = run(&["doctor", "--listen", "0.0.0.0:0"], Some("postgres://localhost:1/kith"), "").await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("BAD   cannot reach the database") && text.contains("plain HTTP"), "{text}");
}

#[tokio::test]
async fn a_private_database_is_found_whether_a_server_runs_it_or_not() {
    let dir = tempfile::tempdir().unwrap();
    let data = ["--embedded-db", "--data-dir", dir.path().to_str().unwrap()];
    let add = async |name: &str| {
        let add = [&["user", "add", name, "--password-stdin"], &data[..]].concat();
        let output = run(&add, None, PASSWORD).await;
        assert!(output.status.success(), "{}", stderr(&output));
    };
    let output = run(&[&["migrate"], &data[..]].concat(), None, "").await;
    assert!(output.status.success(), "{}", stderr(&output));
    add("ada").await;
    // What the caller's own tools go by is not for the private one.
    let mut serve = server(&[&["serve"], &data[..]].concat(), None);
    let serving = Serving::start(serve.env("PGPORT", "1").env("PGHOST", "nowhere.invalid")).await;
    add("bob").await;
    let second = run(&[&["serve"], &data[..]].concat(), None, "").await;
    assert!(!second.status.success() && stderr(&second).contains("another server"), "{}", stderr(&second));
    let signed_in = async |name: &str| {
        let device = serde_json::json!({"name": "a laptop"});
        let body = serde_json::json!({"username": name, "password": PASSWORD, "device": device});
        let url = format!("{}/v1/sessions", serving.url);
        reqwest::Client::new().post(url).json(&body).send().await.unwrap().status()
    };
    assert_eq!(
        (signed_in("ada").await, signed_in("bob").await),
        (200.try_into().unwrap(), 200.try_into().unwrap())
    );
    #[cfg(unix)]
    {
        serving.terminate().await;
        assert!(serving.ended().await);
    }
}

#[tokio::test]
async fn anybody_may_ask_what_a_server_is_and_offers() {
    let world = crate::support::World::start().await;
    let answer = world.client.get(world.server.url("/v1/info")).send().await.unwrap();
    let info: kith_protocol::api::ServerInfo = answer.json().await.unwrap();
    assert!(info.server.starts_with("kith-server/") && info.sockets && info.signup == "open");
    assert_eq!(info.limits.frame_bytes, 262_144);
}

#[tokio::test]
async fn a_command_whose_reader_has_gone_ends_as_it_would() {
    let world = World::start().await;
    let url = Some(world.server.database_url());
    for arguments in [&["doctor"][..], &["user", "list"], &["config", "print"]] {
        let mut child = server(arguments, url).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().await.unwrap();
        assert!(!stderr(&output).contains("panicked"), "{arguments:?}: {}", stderr(&output));
        // Doctor finds much to be mended in a database for tests.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {}", stderr(&output));
    }
}

#[tokio::test]
async fn accounts_are_listed_with_their_state() {
    let world = World::start().await;
    for name in ["ada", "bob"] {
        world.person(name).await;
    }
    kith_server::domain::accounts::disable(&world.server.pool, "bob").await.unwrap();
    let output = run(&["user", "list"], Some(world.server.database_url()), "").await;
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!((lines[1][0], lines[1].contains(&"never")), ("ada", true));
    assert_eq!((lines[2][0], lines[2].contains(&"disabled")), ("bob", true));
}

#[tokio::test]
async fn doctor_warns_of_a_proxy_on_this_machine_that_is_not_trusted() {
    let world = World::start().await;
    let doctor = async |proxies: &str| {
        let mut command = server(&["doctor"], Some(world.server.database_url()));
        if !proxies.is_empty() {
            command.env("KITH_TRUSTED_PROXIES", proxies);
        }
        String::from_utf8(command.output().await.unwrap().stdout).unwrap()
    };
    assert!(doctor("").await.contains("no proxy on this machine is trusted"));
    assert!(doctor("127.0.0.1").await.contains("a proxy on this machine is trusted"));
}
