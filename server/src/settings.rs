//! Every setting, once: the flags, the environment variables, the keys of the file and `docs/operate/configuration.md`
//! come from one struct. A flag overrides the environment, which overrides the file, which overrides the default.
//!
//! [`Config`] is what the server works with: typed, checked, without a word about where it came from.

mod document;
mod file;

pub use document::{document, with_origins};
pub use file::read_file;

use crate::config::{
    BusConfig, BusUrl, Config, ConfigError, DatabaseUrl, HourlyBudget, LogFormat, Network, PasswordCost,
    SecretFileError, SecretKey, Signup, bus, read_private, secret, switch,
};
use chrono::{DateTime, Utc};
use clap::{ArgAction, Args};
use serde::{Deserialize, Serialize};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// The file that is read if none is named, where there is one.
pub const FILE: &str = "/etc/kith/server.toml";

const MIB: u64 = 1024 * 1024;

/// All settings, each of which may be left out.
#[derive(Debug, Clone, Default, Args, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address of the database: postgres://user:password@host/database. The server verifies the certificate of a
    /// remote host (sslmode=verify-full); sslrootcert=FILE in the address names a private certificate authority.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_url: Option<DatabaseUrl>,
    /// A file with the address of the database. Other users must not be able to read it, unless it is in
    /// /run/secrets.
    #[arg(long, env = "DATABASE_URL_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_url_file: Option<PathBuf>,
    /// Run a private PostgreSQL in the data folder.
    #[arg(long, env = "KITH_EMBEDDED_DB", value_name = "on|off", value_parser = switch,
          action = ArgAction::Set, num_args = 0..=1, default_missing_value = "on")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embedded_db: Option<bool>,
    /// Folder of the private PostgreSQL.
    #[arg(long, env = "KITH_DATA_DIR", value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// Connections to the database, at least 8. The lanes that write the log use five more.
    #[arg(long, env = "KITH_DATABASE_CONNECTIONS", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_connections: Option<u32>,
    /// Storage of each user in the log, in MiB: text of messages and other events that are not deleted, plus 128
    /// bytes for each event. At the limit, a user can still read, delete and leave. 0: no limit.
    #[arg(long, env = "KITH_USER_STORAGE_MIB", value_name = "MIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_storage_mib: Option<u64>,
    /// Address of the bus between several servers of one database: tls://user:password@host:4222, or nats://… on this
    /// machine. Without it, this server is the only one.
    #[arg(long, env = "KITH_BUS", hide_env_values = true, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus: Option<BusUrl>,
    /// A file with the address of the bus. Other users must not be able to read it, unless it is in /run/secrets.
    #[arg(long, env = "KITH_BUS_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus_file: Option<PathBuf>,
    /// Prefix of all subjects on the bus, for a bus that other applications share.
    #[arg(long, env = "KITH_BUS_PREFIX", value_name = "WORDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus_prefix: Option<String>,
    /// Certificates (PEM) to trust besides those of the system, for a bus with a private certificate authority.
    #[arg(long, env = "KITH_BUS_CA_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bus_ca_file: Option<PathBuf>,
    /// A file with at least 32 random bytes (openssl rand -hex 32), from which the server derives its keys. All
    /// servers of a database need the same file. Other users must not be able to read it, unless it is in
    /// /run/secrets. Keep it apart from backups of the database. Without it, a copy of the database contains working
    /// keys.
    #[arg(long, env = "KITH_SECRET_KEY_FILE", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_file: Option<PathBuf>,
    /// Time of the last restore from a backup (2026-11-22T14:00:00Z). For 30 days, the server accepts sessions that
    /// began or were renewed after the backup. Without it, these users sign in again.
    #[arg(long, env = "KITH_RESTORED_AT", value_name = "TIME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<DateTime<Utc>>,
    /// Allow a remote database or bus without a verified certificate. Only for a network that the operator alone
    /// controls: others in it could read passwords and messages.
    #[arg(long, env = "KITH_TRUSTED_NETWORK", value_name = "on|off", value_parser = switch,
          action = ArgAction::Set, num_args = 0..=1, default_missing_value = "on")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_network: Option<bool>,
    /// Address for clients. Port 0 selects a free port.
    #[arg(long, env = "KITH_LISTEN", value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Certificate chain (PEM) of the server. The server checks the file every minute and uses a renewed certificate
    /// without a restart.
    #[arg(long, env = "KITH_TLS_CERT", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of the certificate. Other users must not be able to read it.
    #[arg(long, env = "KITH_TLS_KEY", value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key: Option<PathBuf>,
    /// Proxies whose X-Forwarded-For header the server trusts, as addresses or networks (10.0.0.0/8), separated by
    /// commas.
    #[arg(long, env = "KITH_TRUSTED_PROXIES", value_name = "NETWORKS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted_proxies: Option<Vec<Network>>,
    /// Allow plain HTTP for remote clients, without TLS and without a trusted proxy. Others can read passwords on the
    /// way.
    #[arg(long, env = "KITH_INSECURE", value_name = "on|off", value_parser = switch,
          action = ArgAction::Set, num_args = 0..=1, default_missing_value = "on")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Address for Prometheus (GET /metrics), for example 127.0.0.1:7481. Off by default. Anyone who can reach it can
    /// read it.
    #[arg(long, env = "KITH_METRICS_LISTEN", value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics_listen: Option<SocketAddr>,
    /// Who can create an account: open (anyone), invite (anyone with a code), closed (only the operator).
    #[arg(long, env = "KITH_SIGNUP", value_name = "open|invite|closed")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signup: Option<Signup>,
    /// Lifetime of an access token, in seconds up to 600. Sessions end after 30 days without use and after 180 days
    /// in all; these limits are fixed.
    #[arg(long, env = "KITH_ACCESS_TOKEN_SECONDS", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access_token_seconds: Option<u64>,
    /// Memory of a password hash (Argon2id) in KiB, at least 19456. The server renews weaker hashes at the next
    /// sign-in.
    #[arg(long, env = "KITH_PASSWORD_MEMORY_KIB", value_name = "KIB")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_memory_kib: Option<u32>,
    /// Passes of a password hash, at least 2.
    #[arg(long, env = "KITH_PASSWORD_PASSES", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_passes: Option<u32>,
    /// Maximum client connections. The server closes further connections at once, also when the process cannot open
    /// more files.
    #[arg(long, env = "KITH_CONNECTIONS", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    /// Maximum client connections of one address or IPv6 /64. A /56 has 4 times as many, a /48 16 times. Trusted
    /// proxies and this machine have no such limit.
    #[arg(long, env = "KITH_CONNECTIONS_PER_ADDRESS", value_name = "COUNT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_address: Option<usize>,
    /// Serve WebSockets. Without them, clients poll.
    #[arg(long, env = "KITH_SOCKETS", value_name = "on|off", value_parser = switch, action = ArgAction::Set)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<bool>,
    /// Origins of web pages that can open a WebSocket, separated by commas. Native clients need none. A browser
    /// cannot send the token with a WebSocket, so such a page needs a proxy that adds it.
    #[arg(long, env = "KITH_ALLOWED_ORIGINS", value_name = "ORIGINS", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_origins: Option<Vec<String>>,
    /// Time for which /readyz fails before the server stops accepting connections, in seconds, so that a load balancer
    /// can react. The time of the shutdown includes it.
    #[arg(long, env = "KITH_DRAIN_SECONDS", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_seconds: Option<u64>,
    /// Maximum duration of a shutdown, in seconds up to 10.
    #[arg(long, env = "KITH_SHUTDOWN_SECONDS", value_name = "SECONDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_seconds: Option<u64>,
    /// Conversations that a user can open at once.
    #[arg(long, env = "KITH_CONVERSATIONS_AT_ONCE", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversations_at_once: Option<u32>,
    /// Conversations that a user can open per hour after that, on all servers of the database together.
    #[arg(long, env = "KITH_CONVERSATIONS_PER_HOUR", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversations_per_hour: Option<u32>,
    /// People whom a user can add to groups at once. A new group can have more; the next group then waits.
    #[arg(long, env = "KITH_MEMBERS_AT_ONCE", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members_at_once: Option<u32>,
    /// People whom a user can add per hour after that, on all servers of the database together.
    #[arg(long, env = "KITH_MEMBERS_PER_HOUR", value_name = "N")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members_per_hour: Option<u32>,
    /// Log level on standard error (error, warn, info, debug), also by module. The log never contains message text,
    /// names or tokens.
    #[arg(long, env = "KITH_LOG", value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Log format: text, json (one object a line), or auto (text on a terminal, otherwise json).
    #[arg(long, env = "KITH_LOG_FORMAT", value_name = "auto|text|json")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}

impl Settings {
    /// What holds where nothing is set.
    pub fn defaults() -> Self {
        let config = Config::default();
        Self {
            embedded_db: Some(false),
            database_connections: Some(config.database_connections),
            user_storage_mib: Some(config.user_storage_bytes.unwrap_or_default() / MIB),
            bus_prefix: Some(BusConfig::PREFIX.to_owned()),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 7480))),
            trusted_network: Some(false),
            insecure: Some(false),
            signup: Some(config.signup),
            access_token_seconds: Some(config.access_token.as_secs()),
            password_memory_kib: Some(config.password_cost.memory_kib),
            password_passes: Some(config.password_cost.passes),
            connections: Some(config.connections),
            connections_per_address: Some(config.connections_per_address),
            sockets: Some(config.sockets),
            drain_seconds: Some(config.drain.as_secs()),
            shutdown_seconds: Some(config.shutdown_within.as_secs()),
            conversations_at_once: Some(config.opening.at_once),
            conversations_per_hour: Some(config.opening.per_hour),
            members_at_once: Some(config.adding.at_once),
            members_per_hour: Some(config.adding.per_hour),
            log: Some("info,sqlx=warn".to_owned()),
            log_format: Some(LogFormat::Auto),
            ..Self::default()
        }
    }

    /// Fills what is left out here with what `lower` says. The two ways to name the database are one setting, and so are
    /// those to name the bus: whichever is said higher up hides the other.
    #[must_use]
    pub fn over(self, lower: Self) -> Self {
        let names_database = self.database_url.is_some() || self.database_url_file.is_some();
        let database = |lower: Option<PathBuf>| if names_database { None } else { lower };
        let names_bus = self.bus.is_some() || self.bus_file.is_some();
        Self {
            database_url_file: self.database_url_file.or(database(lower.database_url_file)),
            database_url: self.database_url.or(if names_database { None } else { lower.database_url }),
            embedded_db: self.embedded_db.or(lower.embedded_db),
            data_dir: self.data_dir.or(lower.data_dir),
            database_connections: self.database_connections.or(lower.database_connections),
            user_storage_mib: self.user_storage_mib.or(lower.user_storage_mib),
            bus_file: self.bus_file.or(if names_bus { None } else { lower.bus_file }),
            bus: self.bus.or(if names_bus { None } else { lower.bus }),
            bus_prefix: self.bus_prefix.or(lower.bus_prefix),
            bus_ca_file: self.bus_ca_file.or(lower.bus_ca_file),
            secret_key_file: self.secret_key_file.or(lower.secret_key_file),
            restored_at: self.restored_at.or(lower.restored_at),
            trusted_network: self.trusted_network.or(lower.trusted_network),
            listen: self.listen.or(lower.listen),
            tls_cert: self.tls_cert.or(lower.tls_cert),
            tls_key: self.tls_key.or(lower.tls_key),
            trusted_proxies: self.trusted_proxies.or(lower.trusted_proxies),
            insecure: self.insecure.or(lower.insecure),
            metrics_listen: self.metrics_listen.or(lower.metrics_listen),
            signup: self.signup.or(lower.signup),
            access_token_seconds: self.access_token_seconds.or(lower.access_token_seconds),
            password_memory_kib: self.password_memory_kib.or(lower.password_memory_kib),
            password_passes: self.password_passes.or(lower.password_passes),
            connections: self.connections.or(lower.connections),
            connections_per_address: self.connections_per_address.or(lower.connections_per_address),
            sockets: self.sockets.or(lower.sockets),
            allowed_origins: self.allowed_origins.or(lower.allowed_origins),
            drain_seconds: self.drain_seconds.or(lower.drain_seconds),
            shutdown_seconds: self.shutdown_seconds.or(lower.shutdown_seconds),
            conversations_at_once: self.conversations_at_once.or(lower.conversations_at_once),
            conversations_per_hour: self.conversations_per_hour.or(lower.conversations_per_hour),
            members_at_once: self.members_at_once.or(lower.members_at_once),
            members_per_hour: self.members_per_hour.or(lower.members_per_hour),
            log: self.log.or(lower.log),
            log_format: self.log_format.or(lower.log_format),
        }
    }

    /// What the server works with.
    ///
    /// # Errors
    /// [`ConfigError`] for the first setting that is out of its bounds or does not go with another one.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let whole = self.clone().over(Self::defaults());
        if whole.tls_cert.is_some() != whole.tls_key.is_some() {
            return Err(ConfigError::HalfOfTls);
        }
        if whole.database_url.is_some() && whole.database_url_file.is_some() {
            return Err(ConfigError::TwoDatabases);
        }
        if whole.bus.is_some() && whole.bus_file.is_some() {
            return Err(ConfigError::TwoBuses);
        }
        if !whole.bus_prefix.as_deref().is_some_and(bus::is_prefix) {
            return Err(ConfigError::BusPrefix);
        }
        if let Some(url) = &whole.database_url {
            whole.check_database(url)?;
        }
        if whole.bus.as_ref().is_some_and(|bus| !whole.may_reach(bus)) {
            return Err(ConfigError::PlainBus);
        }
        let is_plain = whole.tls_cert.is_none() && whole.trusted_proxies.as_ref().is_none_or(Vec::is_empty);
        let is_far = whole.listen.is_some_and(|address| !address.ip().is_loopback());
        if is_plain && is_far && whole.insecure != Some(true) {
            return Err(ConfigError::PlainHttp);
        }
        let base = Config::default();
        let seconds = |value: Option<u64>, default: Duration| value.map_or(default, Duration::from_secs);
        let config = Config {
            signup: whole.signup.unwrap_or_default(),
            sockets: whole.sockets.unwrap_or(base.sockets),
            access_token: seconds(whole.access_token_seconds, base.access_token),
            allowed_origins: whole.allowed_origins.unwrap_or_default(),
            trusted_proxies: whole.trusted_proxies.unwrap_or_default(),
            loopback_is_limited: base.loopback_is_limited,
            password_cost: PasswordCost {
                memory_kib: whole.password_memory_kib.unwrap_or(base.password_cost.memory_kib),
                passes: whole.password_passes.unwrap_or(base.password_cost.passes),
            },
            connections: whole.connections.unwrap_or(base.connections),
            connections_per_address: whole.connections_per_address.unwrap_or(base.connections_per_address),
            database_connections: whole.database_connections.unwrap_or(base.database_connections),
            user_storage_bytes: whole
                .user_storage_mib
                .filter(|mib| *mib > 0)
                .map(|mib| mib.saturating_mul(MIB)),
            database_within: base.database_within,
            offered: base.offered,
            bus: base.bus,
            secret_key: base.secret_key,
            restored_at: whole.restored_at,
            opening: HourlyBudget {
                at_once: whole.conversations_at_once.unwrap_or(base.opening.at_once),
                per_hour: whole.conversations_per_hour.unwrap_or(base.opening.per_hour),
            },
            adding: HourlyBudget {
                at_once: whole.members_at_once.unwrap_or(base.adding.at_once),
                per_hour: whole.members_per_hour.unwrap_or(base.adding.per_hour),
            },
            permits: base.permits,
            permit_within: base.permit_within,
            write_within: base.write_within,
            drain: seconds(whole.drain_seconds, base.drain),
            shutdown_within: seconds(whole.shutdown_seconds, base.shutdown_within),
        };
        config.check()?;
        Ok(config)
    }

    /// Refuses a database on another machine whose certificate would not be verified.
    ///
    /// # Errors
    /// [`ConfigError::PlainDatabase`], unless the network is trusted.
    pub fn check_database(&self, url: &DatabaseUrl) -> Result<(), ConfigError> {
        if url.tls().is_safe() || self.trusted_network == Some(true) {
            Ok(())
        } else {
            Err(ConfigError::PlainDatabase)
        }
    }

    fn may_reach(&self, bus: &BusUrl) -> bool {
        !bus.is_plain() || self.trusted_network == Some(true)
    }

    /// The bus, if there is one; its address may be in a file.
    ///
    /// # Errors
    /// [`SecretFileError`], also for a plain address of another machine.
    pub fn bus(&self) -> Result<Option<BusConfig>, SecretFileError> {
        let url = match &self.bus_file {
            Some(file) => {
                let url = bus::url_from(file)?;
                if !self.may_reach(&url) {
                    let problem = ConfigError::PlainBus.to_string();
                    return Err(SecretFileError::Bad { path: file.clone(), problem });
                }
                Some(url)
            }
            None => self.bus.clone(),
        };
        let prefix = self.bus_prefix.clone().unwrap_or_else(|| BusConfig::PREFIX.to_owned());
        let ca_file = self.bus_ca_file.clone();
        Ok(url.map(|url| BusConfig { url, prefix, ca_file }))
    }

    /// The secret that the server's keys are derived from, if there is one.
    ///
    /// # Errors
    /// [`SecretFileError`].
    pub fn secret_key(&self) -> Result<Option<SecretKey>, SecretFileError> {
        self.secret_key_file.as_deref().map(secret::secret_key_from).transpose()
    }

    /// Where clients are listened for.
    pub fn listen(&self) -> SocketAddr {
        self.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 7480)))
    }
}

#[cfg(test)]
mod tests;
