//! `kith-server doctor`: what an operator would look at, in the order of what depends on what.

use super::{
    Common,
    database::{self, Address},
    healthcheck,
};
use crate::{
    config::DatabaseTls, db::health::HealthRow, migrate::MigrateError, settings::Settings, tls::Tls,
};
use anyhow::bail;
use chrono::{TimeDelta, Utc};
use std::fmt::Display;
use tokio::net::TcpListener;

/// Two clocks that differ by more give confusing logs and times.
const CLOCKS_DIFFER_MAX_S: i64 = 5;
/// A certificate that ends sooner should have been renewed.
const CERTIFICATE_DAYS_MIN: i64 = 10;
/// Every connection is an open file, and the rest needs some too.
const OPEN_FILES_MIN: u64 = 4_096;

#[derive(Default)]
struct Report {
    bad: usize,
}

impl Report {
    fn well(&self, what: impl Display) {
        say!("ok    {what}");
    }

    fn warn(&self, what: impl Display, advice: &str) {
        say!("warn  {what}\n      {advice}");
    }

    fn bad(&mut self, what: impl Display, advice: &str) {
        self.bad += 1;
        say!("BAD   {what}\n      {advice}");
    }
}

pub(super) async fn run(common: &Common) -> anyhow::Result<()> {
    let settings = common.settings()?;
    let mut report = Report::default();
    match settings.config() {
        Ok(_) => report.well("settings"),
        Err(error) => report.bad(error, "kith-server config print shows what holds and where it was said"),
    }
    secret_key(&settings, &mut report);
    certificate(&settings, &mut report);
    listeners(&settings, &mut report).await;
    open_files(&report);
    postgres(&settings, &mut report).await;
    bus(&settings, &mut report).await;
    if report.bad > 0 {
        bail!("{} to be mended", report.bad);
    }
    Ok(())
}

fn secret_key(settings: &Settings, report: &mut Report) {
    match settings.secret_key() {
        Ok(Some(_)) => report.well("the secret key"),
        Ok(None) => report.warn(
            "no secret key: a copy of the database holds keys that work",
            "docs/operate/install.md, Secret key, says how to set secret_key_file",
        ),
        Err(error) => report.bad(error, "the server does not start without it"),
    }
}

fn certificate(settings: &Settings, report: &mut Report) {
    let (Some(certificate), Some(key)) = (&settings.tls_cert, &settings.tls_key) else { return };
    match Tls::load(certificate, key) {
        Ok(tls) => {
            let (left, ends) = (tls.ends() - Utc::now(), tls.ends().format("%Y-%m-%d %H:%M UTC"));
            if left <= TimeDelta::zero() {
                report.bad(format!("the certificate ended at {ends}"), "renew it: clients refuse it");
            } else if left < TimeDelta::days(CERTIFICATE_DAYS_MIN) {
                let advice = "renew it; it is read within a minute";
                report.warn(format!("the certificate ends at {ends}"), advice);
            } else {
                report.well(format!("certificate and key, until {ends}"));
            }
        }
        Err(error) => {
            report.bad(format!("{:#}", anyhow::Error::new(error)), "clients are not served without them")
        }
    }
}

async fn listeners(settings: &Settings, report: &mut Report) {
    let listen = settings.listen();
    match TcpListener::bind(listen).await {
        Ok(_) => report.well(format!("{listen} is free")),
        Err(_) if healthcheck::run_quietly(settings).await.is_ok() => {
            report.well(format!("a server is ready on {listen}"));
        }
        Err(error) => {
            report.bad(
                format!("{listen}: {error}"),
                "another program has the port, or the address is not this machine's",
            );
        }
    }
    let proxies = settings.trusted_proxies.as_deref().unwrap_or_default();
    if settings.tls_cert.is_none() && listen.ip().is_loopback() {
        if proxies.iter().any(|network| network.contains(listen.ip())) {
            report.well("a proxy on this machine is trusted");
        } else {
            report.warn(
                format!("plain HTTP on {listen}, and no proxy on this machine is trusted"),
                "if a proxy serves clients from here, set trusted_proxies to its address (127.0.0.1, ::1): else all of them \
                 have this machine's address, and limits by address do not hold",
            );
        }
    }
    if let Some(metrics) = settings.metrics_listen.filter(|address| !address.ip().is_loopback()) {
        report.warn(
            format!("metrics on {metrics}"),
            "whoever reaches it can read them: keep it in a private network",
        );
    }
}

/// Linux tells the limit in a file; elsewhere nothing is said.
fn open_files(report: &Report) {
    let Ok(limits) = std::fs::read_to_string("/proc/self/limits") else { return };
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let Some(soft) = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()) else {
        return;
    };
    if soft < OPEN_FILES_MIN {
        report.warn(
            format!("{soft} open files at most"),
            "each client is one: raise it (LimitNOFILE=65536 in a systemd unit)",
        );
    } else {
        report.well(format!("{soft} open files at most"));
    }
}

async fn postgres(settings: &Settings, report: &mut Report) {
    let address = match database::address(settings) {
        Ok(address) => address,
        Err(error) => return report.bad(error, "docs/operate/configuration.md has both ways"),
    };
    let database = match database::open(settings, 1).await {
        Ok(database) => database,
        Err(error) => {
            return report
                .bad(format!("{error:#}"), "is PostgreSQL running, and are address and password right?");
        }
    };
    let found = async { crate::db::health::health(&mut *database.pool.acquire().await?).await };
    match found.await {
        Ok(row) => {
            judge(settings, &row, report);
            if let Address::Given(url) = &address {
                of_others(url.tls(), &row, report);
            }
        }
        Err(error) => report.bad(error, "PostgreSQL answers, but not as expected"),
    }
    match crate::migrate::missing(&database.pool).await {
        Ok(missing) if missing.is_empty() => report.well("schema up to date"),
        Ok(missing) => report.warn(
            format!("{} migrations to be done", missing.len()),
            "serve does them at its start; if the database is not new, take a backup before",
        ),
        Err(error @ MigrateError::Newer { .. }) => report.bad(error, "nothing was changed"),
        Err(error) => report.bad(
            format!("{:#}", anyhow::Error::new(error)),
            "may the role use the database? After a restore it has to own everything: docs/operate/backup.md, Restoring",
        ),
    }
    if let Err(error) = database.close().await {
        report.bad(format!("{error:#}"), "the private PostgreSQL did not end in order");
    }
}

async fn bus(settings: &Settings, report: &mut Report) {
    let bus = match settings.bus() {
        Ok(Some(bus)) => bus,
        Ok(None) => return,
        Err(error) => {
            return report.bad(error, "docs/operate/configuration.md has both ways to name the bus");
        }
    };
    if settings.embedded_db == Some(true) {
        report.warn(
            "a bus, and a private PostgreSQL",
            "other instances need the same database: let one of your own serve all of them",
        );
    }
    let shown = bus.url.shown();
    match crate::bus::reach(&bus).await {
        Ok(()) => report.well(format!("the bus at {shown}")),
        Err(problem) => report.bad(
            format!("the bus at {shown}: {problem}"),
            "is nats-server running, and are address, user and password right? Until then instances hear of each other \
             through the database, a second later",
        ),
    }
    if bus.url.is_plain() {
        report.warn("what goes over the bus can be read on the way", "tls:// in its address demands TLS");
    }
}

fn judge(settings: &Settings, row: &HealthRow, report: &mut Report) {
    let major = row.version / 10_000;
    if major < 15 {
        report.bad(format!("PostgreSQL {major}"), "15 or newer is needed");
    } else {
        report.well(format!("PostgreSQL {major}"));
    }
    if row.encoding != "UTF8" {
        report.bad(format!("the database's encoding is {}", row.encoding), "create it with ENCODING 'UTF8'");
    }
    for (name, value) in [("fsync", &row.fsync), ("full_page_writes", &row.full_page_writes)] {
        if value != "on" {
            report.bad(
                format!("{name} is {value}"),
                "a loss of power would lose messages that were acknowledged: switch it on",
            );
        }
    }
    let differ = (Utc::now() - row.now).num_seconds().abs();
    if differ > CLOCKS_DIFFER_MAX_S {
        report.warn(
            format!("PostgreSQL's clock differs by {differ} s"),
            "let both machines follow a time server",
        );
    }
    let wanted = settings.database_connections.unwrap_or_default();
    if i64::from(wanted) + 5 > i64::from(row.max_connections) {
        report.bad(
            format!("{wanted} connections wanted, PostgreSQL allows {}", row.max_connections),
            "lower database_connections or raise max_connections",
        );
    }
}

/// What only a database of the operator's own has to be asked.
fn of_others(tls: DatabaseTls, row: &HealthRow, report: &mut Report) {
    if row.is_superuser {
        report.warn(
            "the database's role is a superuser",
            "give Kith a role of its own: CREATE ROLE kith LOGIN; CREATE DATABASE kith OWNER kith",
        );
    }
    match (tls, row.is_tls) {
        (DatabaseTls::Renounced | DatabaseTls::Unverified | DatabaseTls::Vague, _) => report.warn(
            "what is said to the database can be read or changed on the way",
            "leave sslmode out of its address, unless the network is yours alone",
        ),
        (DatabaseTls::Local, _) => report.well("the database is on this machine"),
        (_, true) => report.well("TLS to the database"),
        (_, false) => report.bad("no TLS to the database", "give PostgreSQL a certificate (ssl = on)"),
    }
}
