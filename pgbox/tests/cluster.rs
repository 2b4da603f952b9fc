//! A private cluster from the outside: cold start, restart, and the ways in which a folder can be in a bad state.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use kith_pgbox::{Cluster, Durability, Options, PgBoxError, testing};
use sqlx::{Connection, PgConnection};

/// The goal is 5 s on a quiet machine; a loaded one gets more before this counts as broken.
const COLD_START_LIMIT: Duration = Duration::from_secs(30);
const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_cold_start_is_quick_and_durable() {
    let dir = folder();
    let began = Instant::now();
    let cluster = Cluster::start(Options::new(dir.path())).await.unwrap();
    let took = began.elapsed();
    println!("cold start with initdb: {took:?}");
    assert!(took < COLD_START_LIMIT, "{took:?}");
    cluster.ensure_database("kith").await.unwrap();
    cluster.ensure_database("kith").await.unwrap();
    assert!(cluster.url("kith").starts_with("postgres://kith"), "{}", cluster.url("kith"));
    for (name, value) in [("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")] {
        assert_eq!(setting(&cluster.url("kith"), name).await, value, "{name}");
    }
    assert_eq!(setting(&cluster.url("kith"), "server_encoding").await, "UTF8");
    let lower: String = ask(&cluster.url("kith"), "SELECT lower('ŽOFIE')").await;
    assert_eq!(lower, "žofie");

    cluster.stop().await.unwrap();
    let began = Instant::now();
    let again = Cluster::start(Options::new(dir.path())).await.unwrap();
    println!("second start: {:?}", began.elapsed());
    again.drop_database("kith").await.unwrap();
    again.drop_database("kith").await.unwrap();
}

#[tokio::test]
async fn a_throwaway_cluster_keeps_synchronous_commit() {
    let dir = folder();
    let options =
        Options { durability: Durability::Throwaway, max_connections: 42, ..Options::new(dir.path()) };
    let cluster = Cluster::start(options).await.unwrap();
    let expected = [
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "on"),
        ("max_connections", "42"),
    ];
    for (name, value) in expected {
        assert_eq!(setting(&cluster.url("postgres"), name).await, value, "{name}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_folder_of_the_socket_leads_in() {
    use std::os::unix::fs::PermissionsExt;
    let dir = folder();
    let cluster = Cluster::start(Options::new(dir.path())).await.unwrap();
    assert_eq!(setting(&cluster.url("postgres"), "listen_addresses").await, "");
    let sockets = setting(&cluster.url("postgres"), "unix_socket_directories").await;
    for private in [PathBuf::from(sockets), dir.path().join("data")] {
        let mode = fs::metadata(&private).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", private.display());
    }
}

#[tokio::test]
async fn a_restart_keeps_the_address_and_what_was_committed() {
    let dir = folder();
    let cluster = Cluster::start(Options::new(dir.path())).await.unwrap();
    let url = cluster.url("postgres");
    let mut before = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)").execute(&mut before).await.unwrap();
    cluster.restart().await.unwrap();
    assert!(before.ping().await.is_err(), "the old connection is gone");
    assert_eq!(ask::<i32>(&url, "SELECT n FROM t").await, 7);
}

#[tokio::test]
async fn a_second_owner_of_the_folder_is_refused() {
    let dir = folder();
    let _first = Cluster::start(Options::new(dir.path())).await.unwrap();
    let second = Cluster::start(Options::new(dir.path())).await;
    assert!(matches!(second, Err(PgBoxError::LockHeld { .. })), "{second:?}");
}

#[tokio::test]
async fn data_of_another_major_are_refused_and_left_alone() {
    let dir = folder();
    Cluster::start(Options::new(dir.path())).await.unwrap().stop().await.unwrap();
    let version = dir.path().join("data").join("PG_VERSION");
    fs::write(&version, "9\n").unwrap();
    let refused = Cluster::start(Options::new(dir.path())).await;
    let Err(error @ PgBoxError::VersionMismatch { data: 9, .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("Install PostgreSQL 9"), "{error}");
    assert_eq!(fs::read_to_string(&version).unwrap(), "9\n");
}

#[tokio::test]
async fn a_folder_that_is_no_cluster_is_refused_and_left_alone() {
    let dir = folder();
    fs::create_dir(dir.path().join("data")).unwrap();
    fs::write(dir.path().join("data").join("thesis.txt"), "years of work").unwrap();
    let refused = Cluster::start(Options::new(dir.path())).await;
    assert!(matches!(refused, Err(PgBoxError::NotACluster { .. })), "{refused:?}");
    assert!(dir.path().join("data").join("thesis.txt").exists());
}

#[tokio::test]
async fn an_interrupted_initdb_is_begun_again() {
    let dir = folder();
    fs::create_dir(dir.path().join("data.new")).unwrap();
    fs::write(dir.path().join("data.new").join("PG_VERSION"), "15\n").unwrap();
    let cluster = Cluster::start(Options::new(dir.path())).await.unwrap();
    assert_eq!(ask::<i32>(&cluster.url("postgres"), "SELECT 1").await, 1);
}

#[cfg(unix)]
#[tokio::test]
async fn a_deep_folder_gets_its_socket_elsewhere() {
    let dir = folder();
    let deep = dir.path().join("x".repeat(100)).join("y z");
    let cluster = Cluster::start(Options::new(&deep)).await.unwrap();
    let sockets = setting(&cluster.url("postgres"), "unix_socket_directories").await;
    assert!(sockets.len() < 90 && !Path::new(&sockets).starts_with(&deep), "{sockets}");
    cluster.stop().await.unwrap();
    fs::remove_dir_all(sockets).unwrap();
}

#[cfg(unix)]
#[tokio::test]
async fn postgresql_ends_with_a_killed_parent_and_the_next_start_recovers() {
    for watchdog in [false, true] {
        let dir = folder();
        let (mut parent, url) = hold(dir.path(), watchdog);
        let mut connection = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
            .execute(&mut connection)
            .await
            .unwrap();
        let pid = noted_pid(dir.path());
        parent.kill().unwrap();
        parent.wait().unwrap();
        until(|| !runs(pid), "PostgreSQL ends with its parent").await;
        let cluster = Cluster::start(Options::new(dir.path())).await.unwrap();
        assert_eq!(ask::<i32>(&cluster.url("postgres"), "SELECT n FROM t").await, 7, "watchdog: {watchdog}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_stale_pid_after_a_hard_kill_does_not_stop_the_next_start() {
    let dir = folder();
    let (mut parent, url) = hold(dir.path(), false);
    let mut connection = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("CREATE TABLE t (n int); INSERT INTO t VALUES (7)").execute(&mut connection).await.unwrap();
    kill(noted_pid(dir.path()));
    parent.kill().unwrap();
    parent.wait().unwrap();
    assert!(dir.path().join("data").join("postmaster.pid").exists(), "it was left behind");
    let cluster = Cluster::start(Options::new(dir.path())).await.unwrap();
    assert_eq!(ask::<i32>(&cluster.url("postgres"), "SELECT n FROM t").await, 7);
}

#[cfg(unix)]
#[tokio::test]
async fn a_stale_pid_that_belongs_to_a_stranger_is_seen_through() {
    let dir = folder();
    Cluster::start(Options::new(dir.path())).await.unwrap().stop().await.unwrap();
    let mut stranger = Command::new("sleep").arg("600").spawn().unwrap();
    let data = dir.path().join("data");
    let stale = format!("{}\n{}\n1700000000\n5432\n\n\n", stranger.id(), data.display());
    fs::write(data.join("postmaster.pid"), stale).unwrap();
    let started = Cluster::start(Options::new(dir.path())).await;
    let unharmed = stranger.try_wait().unwrap().is_none();
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert!(unharmed);
    assert_eq!(ask::<i32>(&started.unwrap().url("postgres"), "SELECT 1").await, 1);
}

#[tokio::test]
async fn the_program_ends_with_its_input_and_leaves_an_orderly_cluster() {
    let dir = folder();
    let (mut child, _) = hold(dir.path(), false);
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!dir.path().join("data").join("postmaster.pid").exists());
}

#[tokio::test]
async fn each_test_gets_a_copy_of_a_template_that_is_filled_once() {
    let fingerprint = format!("pgbox {} {:?}", std::process::id(), Instant::now());
    let fill = |url: String| async move {
        let mut connection = PgConnection::connect(&url).await?;
        sqlx::raw_sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1)").execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    };
    let (first, second) = tokio::join!(
        testing::fresh_database(&fingerprint, fill),
        testing::fresh_database(&fingerprint, fill)
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_ne!(first.url(), second.url());
    let mut connection = PgConnection::connect(first.url()).await.unwrap();
    sqlx::raw_sql("DELETE FROM t").execute(&mut connection).await.unwrap();
    assert_eq!(ask::<i64>(second.url(), "SELECT count(*) FROM t").await, 1);
    let url = first.url().to_owned();
    drop(first);
    assert!(PgConnection::connect(&url).await.is_err(), "it is gone with its value");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

async fn ask<T>(url: &str, question: &'static str) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar(question).fetch_one(&mut connection).await.unwrap()
}

async fn setting(url: &str, name: &str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::query_scalar("SELECT current_setting($1)").bind(name).fetch_one(&mut connection).await.unwrap()
}

/// Another process with a cluster; the address is what it prints.
fn hold(dir: &Path, watchdog: bool) -> (Child, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kith-pgbox"));
    command.arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
    if watchdog {
        command.env("KITH_PGBOX_WATCHDOG", "1");
    }
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().to_owned())
}

fn noted_pid(dir: &Path) -> u32 {
    let note = fs::read_to_string(dir.join("data").join("postmaster.pid")).unwrap();
    note.lines().next().unwrap().trim().parse().unwrap()
}

#[cfg(unix)]
fn pid(number: u32) -> rustix::process::Pid {
    rustix::process::Pid::from_raw(number.cast_signed()).unwrap()
}

#[cfg(unix)]
fn kill(number: u32) {
    rustix::process::kill_process(pid(number), rustix::process::Signal::KILL).unwrap();
}

/// A process that has ended and waits for its parent's notice counts as ended.
#[cfg(unix)]
fn runs(number: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).unwrap_or_default();
    rustix::process::test_kill_process(pid(number)).is_ok() && !stat.contains(") Z ")
}

async fn until(fact: impl Fn() -> bool, what: &str) {
    let deadline = Instant::now() + LIMIT;
    while !fact() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
