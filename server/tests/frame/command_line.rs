//! The command line: what it refuses to start with, accounts for the operator, starting and ending.

use crate::support::PASSWORD;
use kith_server::{connect, testing};
use std::{
    process::{Output, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time::timeout,
};

pub fn server(arguments: &[&str], database_url: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith-server"));
    command.args(arguments).env_remove("DATABASE_URL").stdin(Stdio::null()).kill_on_drop(true);
    command.env("KITH_LISTEN", "127.0.0.1:0").env("KITH_SIGNUP", "open").env("KITH_LOG", "warn");
    if let Some(url) = database_url {
        command.env("DATABASE_URL", url);
    }
    command
}

pub async fn run(arguments: &[&str], database_url: Option<&str>, input: &str) -> Output {
    let mut command = server(arguments, database_url);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    timeout(Duration::from_secs(60), child.wait_with_output()).await.unwrap().unwrap()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_missing_database_is_an_error_that_names_both_ways() {
    let output = run(&["serve"], None, "").await;
    assert!(!output.status.success());
    let text = stderr(&output);
    assert!(text.contains("DATABASE_URL") && text.contains("--embedded-db --data-dir"), "{text}");
}

#[tokio::test]
async fn settings_out_of_bounds_do_not_start() {
    let mut long = server(&["serve"], Some("postgres://nowhere.invalid/kith"));
    let output = long.env("KITH_ACCESS_TOKEN_SECONDS", "601").output().await.unwrap();
    assert!(!output.status.success() && stderr(&output).contains("KITH_ACCESS_TOKEN_SECONDS"));
    let mut signup = server(&["serve"], Some("postgres://nowhere.invalid/kith"));
    let output = signup.env("KITH_SIGNUP", "maybe").output().await.unwrap();
    assert!(!output.status.success() && stderr(&output).contains("open, invite or closed"));
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let database = testing::database().await.unwrap();
    let pool = connect(database.url(), 1).await.unwrap();
    sqlx::query(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                 VALUES (99999999999999, 'later', true, '', 0)",
    )
    .execute(&pool)
    .await
    .unwrap();
    for command in ["migrate", "serve"] {
        let output = run(&[command], Some(database.url()), "").await;
        assert!(!output.status.success());
        assert!(stderr(&output).contains("newer than this server knows"), "{}", stderr(&output));
    }
}

#[tokio::test]
async fn accounts_are_added_changed_and_disabled_by_the_operator() {
    let database = testing::database().await.unwrap();
    let url = Some(database.url());
    let add = ["user", "add", "ada", "--display-name", "Ada Lovelace", "--password-stdin"];
    let output = run(&add, url, &format!("{PASSWORD}\n")).await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&run(&add, url, PASSWORD).await).contains("taken"));
    assert!(!run(&["user", "add", "bob", "--password-stdin"], url, "short\n").await.status.success());
    assert!(
        run(&["user", "passwd", "ada", "--password-stdin"], url, "another password\n").await.status.success()
    );
    assert!(
        !run(&["user", "passwd", "nobody", "--password-stdin"], url, "another password\n")
            .await
            .status
            .success()
    );
    assert!(run(&["user", "disable", "ada"], url, "").await.status.success());
    assert!(!run(&["user", "disable", "nobody"], url, "").await.status.success());
    let pool = connect(database.url(), 1).await.unwrap();
    let is_disabled: bool =
        sqlx::query_scalar("SELECT disabled_at IS NOT NULL FROM users WHERE username = 'ada'")
            .fetch_one(&pool)
            .await
            .unwrap();
    assert!(is_disabled);
    let output = run(&["user", "passwd", "ada", "--password-stdin"], url, "a third password\n").await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("still disabled"));
    assert!(run(&["user", "enable", "ada"], url, "").await.status.success());
    let output = run(&["user", "enable", "nobody"], url, "").await;
    assert!(!output.status.success() && stderr(&output).contains("no user nobody"), "{}", stderr(&output));
    let output = run(&["invite"], url, "").await;
    assert!(output.status.success() && output.stdout.len() > 25);
}

/// The first command of all may be any: an empty database gets its schema, one of an earlier version is left alone.
#[tokio::test]
async fn an_empty_database_gets_its_schema_from_whoever_comes_first() {
    let database = kith_pgbox::testing::fresh_database("bare", |_| async { Ok(()) }).await.unwrap();
    let url = Some(database.url());
    let output = run(&["user", "add", "ada", "--password-stdin"], url, &format!("{PASSWORD}\n")).await;
    assert!(output.status.success(), "{}", stderr(&output));
    let pool = connect(database.url(), 1).await.unwrap();
    sqlx::query("DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)")
        .execute(&pool)
        .await
        .unwrap();
    let output = run(&["user", "sessions", "ada"], url, "").await;
    assert!(
        !output.status.success() && stderr(&output).contains("kith-server migrate"),
        "{}",
        stderr(&output)
    );
}

#[cfg(unix)]
#[tokio::test]
async fn serve_says_where_it_listens_and_ends_in_order() {
    let database = testing::database().await.unwrap();
    let mut child = server(&["serve"], Some(database.url())).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = timeout(Duration::from_secs(30), lines.next_line()).await.unwrap().unwrap().unwrap();
    let url = line.strip_prefix("listening on ").expect("the address");
    assert!(!url.ends_with(":0"), "{url}");
    assert_eq!(reqwest::get(format!("{url}/readyz")).await.unwrap().status(), 200);
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    let status = timeout(Duration::from_secs(10), child.wait()).await.expect("ends within 10 s").unwrap();
    assert!(status.success());
}

#[tokio::test]
async fn an_operator_writes_what_no_user_can_and_others_see_it() {
    let database = testing::database().await.unwrap();
    let url = Some(database.url());
    let add = ["user", "add", "ada", "--password-stdin"];
    assert!(run(&add, url, &format!("{PASSWORD}\n")).await.status.success());
    let set = ["user", "set", "ada", "--role", "recruiter", "--avatar", "https://example.org/ada.png"];
    let done = run(&set, url, "").await;
    assert!(done.status.success(), "{}", stderr(&done));
    let pool = connect(database.url(), 2).await.unwrap();
    let profile = || {
        sqlx::query_as::<_, (Option<String>, Option<String>, String, i64)>(
            "SELECT role, avatar, display_name, version FROM users WHERE username = 'ada'",
        )
        .fetch_one(&pool)
    };
    let text = |text: &str| Some(text.to_owned());
    let expected = (text("recruiter"), text("https://example.org/ada.png"), "ada".to_owned(), 2);
    assert_eq!(profile().await.unwrap(), expected);
    assert!(run(&set, url, "").await.status.success());
    assert_eq!(profile().await.unwrap().3, 2, "no change, no new version");
    assert!(run(&["user", "set", "ada", "--role", ""], url, "").await.status.success());
    assert_eq!((profile().await.unwrap().0, profile().await.unwrap().3), (None, 3));
    for bad in ["http://example.org/a.png", "javascript:alert(1)", "https://a b"] {
        assert!(!run(&["user", "set", "ada", "--avatar", bad], url, "").await.status.success(), "{bad}");
    }
    assert!(stderr(&run(&["user", "set", "bo", "--role", "x"], url, "").await).contains("no user bo"));
    assert!(!run(&["user", "delete", "ada"], url, "").await.status.success(), "not without --yes");
    assert!(run(&["user", "delete", "ada", "--yes"], url, "").await.status.success());
    assert!(profile().await.is_err());
}
