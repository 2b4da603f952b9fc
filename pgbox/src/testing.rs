//! A database of its own for every test.
//!
//! All test processes of a run share one throwaway cluster: its address is in [`SHARED_CLUSTER`], or, for a test started by
//! hand, each process starts one in a folder that is kept between runs, so that only the first pays for `initdb`.
//! A template is filled once per fingerprint; a test's database is a copy of it and is dropped with its [`TestDb`].

use std::{env, future::Future, path::PathBuf};

use sqlx::Connection;
use tokio::sync::OnceCell;

use crate::{BoxError, Cluster, Durability, Options, PgBoxError, admin, fnv1a, process};

/// The variable with the shared cluster: an address (`postgres://…`) or the folder of its socket.
pub const SHARED_CLUSTER: &str = "KITH_TEST_PG";

/// More test processes than this do not run at the same time.
const SLOTS: u32 = 64;
/// Enough for some tests with their pools at the same time.
const MAX_CONNECTIONS: u16 = 300;

static OWN: OnceCell<Cluster> = OnceCell::const_new();

/// A database that lives as long as this value.
#[derive(Debug)]
pub struct TestDb {
    base: String,
    name: String,
    url: String,
}

impl TestDb {
    /// Returns the database's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (base, name) = (self.base.clone(), self.name.clone());
        // The test's own runtime may be ending, so the last statement gets a runtime and a thread of its own.
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.is_ok_and(|runtime| runtime.block_on(admin::drop_database(&base, &name)).is_ok())
        });
        if !matches!(dropped.join(), Ok(true)) {
            tracing::debug!(name = self.name, "a test's database stays behind");
        }
    }
}

/// Returns a fresh database, a copy of the template that `prepare` fills once per `fingerprint`.
///
/// `fingerprint` names what `prepare` does, for instance a hash of the migrations. `prepare` gets the address of the empty
/// template and has to close its connections.
///
/// # Errors
/// Any [`PgBoxError`]; [`PgBoxError::Prepare`] if `prepare` failed.
pub async fn fresh_database<F, Fut>(fingerprint: &str, prepare: F) -> Result<TestDb, PgBoxError>
where
    F: FnOnce(String) -> Fut,
    Fut: Future<Output = Result<(), BoxError>>,
{
    let base = shared_cluster().await?;
    let template = format!("kith_template_{:016x}", fnv1a(fingerprint.as_bytes()));
    ensure_template(&base, &template, prepare).await?;
    let name = format!("kith_test_{}_{:08x}", std::process::id(), rand::random::<u32>());
    admin::create_from_template(&base, &name, &template).await?;
    Ok(TestDb { url: admin::with_database(&base, &name), base, name })
}

/// Makes the template under an advisory lock, and under another name until it is complete.
async fn ensure_template<F, Fut>(base: &str, template: &str, prepare: F) -> Result<(), PgBoxError>
where
    F: FnOnce(String) -> Fut,
    Fut: Future<Output = Result<(), BoxError>>,
{
    let mut connection = admin::connect(base).await?;
    if admin::exists(&mut connection, template).await? {
        connection.close().await?;
        return Ok(());
    }
    sqlx::query("SELECT pg_advisory_lock(hashtext($1))").bind(template).execute(&mut connection).await?;
    if !admin::exists(&mut connection, template).await? {
        let unfinished = format!("{template}_new");
        admin::run(&mut connection, format!("DROP DATABASE IF EXISTS \"{unfinished}\" WITH (FORCE)")).await?;
        admin::run(&mut connection, format!("CREATE DATABASE \"{unfinished}\"")).await?;
        prepare(admin::with_database(base, &unfinished)).await.map_err(PgBoxError::Prepare)?;
        // A connection that `prepare` has closed may still be ending on PostgreSQL's side, and a rename needs it gone.
        let mut tries = 0;
        while let Err(error) =
            admin::run(&mut connection, format!("ALTER DATABASE \"{unfinished}\" RENAME TO \"{template}\""))
                .await
        {
            tries += 1;
            if tries > 5 {
                return Err(error);
            }
            sqlx::query("SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE datname = $1")
                .bind(&unfinished)
                .execute(&mut connection)
                .await?;
        }
    }
    connection.close().await?;
    Ok(())
}

/// Returns an address inside the cluster that tests use, starting one if none is named.
///
/// # Errors
/// Any [`PgBoxError`] of starting one.
pub async fn shared_cluster() -> Result<String, PgBoxError> {
    if let Some(named) = env::var(SHARED_CLUSTER).ok().filter(|named| !named.is_empty()) {
        if named.contains("://") {
            return Ok(named);
        }
        return Ok(format!("postgres://kith@localhost/postgres?host={}", admin::percent_encoded(&named)));
    }
    Ok(OWN.get_or_try_init(own_cluster).await?.url("postgres"))
}

/// The first folder whose lock is free; what a crash of the machine may have damaged there is made anew.
async fn own_cluster() -> Result<Cluster, PgBoxError> {
    let base = folder();
    for slot in 0..SLOTS {
        let dir = base.join(slot.to_string());
        let options = || Options {
            durability: Durability::Throwaway,
            max_connections: MAX_CONNECTIONS,
            ..Options::new(&dir)
        };
        match Cluster::start(options()).await {
            Err(PgBoxError::LockHeld { .. }) => {}
            Err(
                PgBoxError::StartFailed { .. }
                | PgBoxError::VersionMismatch { .. }
                | PgBoxError::NotACluster { .. },
            ) => {
                let data = dir.join("data");
                std::fs::remove_dir_all(&data)
                    .map_err(PgBoxError::io(format!("removing {}", data.display())))?;
                return Cluster::start(options()).await;
            }
            other => return other,
        }
    }
    Err(PgBoxError::LockHeld { dir: base })
}

fn folder() -> PathBuf {
    env::temp_dir().join(format!("kith-test-pg-{}", process::user_tag()))
}
