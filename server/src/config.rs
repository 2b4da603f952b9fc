//! The server's settings, typed and checked once at the start. Where they come from is `cli`'s business.

pub(crate) mod bus;
pub(crate) mod secret;
mod values;

pub use bus::{BusCredentials, BusUrl};
pub use secret::{DatabaseTls, DatabaseUrl, SecretFileError, SecretKey, database_url_from, read_private};
pub(crate) use values::switch;
pub use values::{LogFormat, Network};

use chrono::{DateTime, TimeDelta, Utc};
use kith_protocol::limits;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, str::FromStr, time::Duration};

/// The optional abilities that `welcome` and `GET /v1/info` offer. A name comes here together with the checks of what it
/// allows.
pub const OFFERED: &[&str] = &[];
/// The longest that an access token may live.
pub const ACCESS_TOKEN_MAX: Duration = Duration::from_secs(600);

/// The longest that a shutdown may take, the draining included.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(10);

/// Who may make an account (`KITH_SIGNUP`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Signup {
    Open,
    /// Whoever has an invitation's code.
    Invite,
    /// Nobody; the operator adds users.
    #[default]
    Closed,
}

impl FromStr for Signup {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        match text {
            "open" => Ok(Self::Open),
            "invite" => Ok(Self::Invite),
            "closed" => Ok(Self::Closed),
            _ => Err(ConfigError::Signup),
        }
    }
}

/// What a password hash costs (argon2id).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordCost {
    /// KiB of memory, at least 19,456.
    pub memory_kib: u32,
    /// Passes, at least 2.
    pub passes: u32,
}

impl Default for PasswordCost {
    fn default() -> Self {
        Self { memory_kib: 19_456, passes: 2 }
    }
}

/// The bus to the other instances (L4).
#[derive(Debug, Clone)]
pub struct BusConfig {
    pub url: BusUrl,
    /// What every subject begins with.
    pub prefix: String,
    /// Certificates (PEM) to believe besides the system's.
    pub ca_file: Option<PathBuf>,
}

impl BusConfig {
    /// The prefix if none is set.
    pub const PREFIX: &str = "kith";
}

/// How often a user may do something that others notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourlyBudget {
    /// At once, at least 1.
    pub at_once: u32,
    /// In each hour after that, at least 1.
    pub per_hour: u32,
}

impl HourlyBudget {
    pub const OPENING: Self = Self { at_once: 20, per_hour: 60 };
    /// Adding people to groups that exist. At once: as many as one `send` can add.
    pub const ADDING: Self = Self { at_once: 256, per_hour: 600 };

    /// Seconds until one more is free.
    pub fn step_s(self) -> f64 {
        3_600.0 / f64::from(self.per_hour)
    }
}

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// Who may make an account.
    pub signup: Signup,
    /// Whether `/v1/socket` is served; without it clients use `/v1/exchange`.
    pub sockets: bool,
    /// How long an access token lives, at most [`ACCESS_TOKEN_MAX`].
    pub access_token: Duration,
    /// Origins that may open a socket. A native client sends none.
    pub allowed_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// The password hash's cost.
    pub password_cost: PasswordCost,
    /// Whether limits by address count this machine's own requests too. Off, for a proxy in front stands for everybody.
    pub loopback_is_limited: bool,
    /// Connections of clients, at least 16; never more than the process may have files.
    pub connections: usize,
    /// Connections of one address, or of one IPv6 /64, at least 1; wider networks have more ([`crate::networks`]). Trusted proxies count for the total alone.
    pub connections_per_address: usize,
    /// Connections to the database, without those of the lanes.
    pub database_connections: u32,
    /// Bytes that each user's events may take in the log; `None` for no limit.
    pub user_storage_bytes: Option<u64>,
    /// The longest that a lane waits for the database. A request may take twice as long.
    pub database_within: Duration,
    /// The optional abilities that clients are offered: [`OFFERED`], and in tests some that are invented.
    pub offered: &'static [&'static str],
    /// The bus; without it there is no other instance.
    pub bus: Option<BusConfig>,
    /// What the server's keys are derived from besides the database's.
    pub secret_key: Option<SecretKey>,
    /// When the database was set back to a backup.
    pub restored_at: Option<DateTime<Utc>>,
    /// How many conversations a user may open.
    pub opening: HourlyBudget,
    /// How many people a user may add to groups that exist.
    pub adding: HourlyBudget,
    /// Sockets and polls that perform a handshake at the same time, each with a connection to the database.
    pub permits: usize,
    /// The longest wait for a permit. Twice this, for the upgrade and for `hello`, is within the 20 s that a client waits.
    pub permit_within: Duration,
    /// A connection that takes no byte for this long is closed (L2).
    pub write_within: Duration,
    /// How long `/readyz` fails before the server stops taking connections.
    pub drain: Duration,
    /// How long a shutdown may take, the draining included; at most [`SHUTDOWN_MAX`].
    pub shutdown_within: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            signup: Signup::Closed,
            sockets: true,
            access_token: ACCESS_TOKEN_MAX,
            allowed_origins: Vec::new(),
            trusted_proxies: Vec::new(),
            password_cost: PasswordCost::default(),
            loopback_is_limited: false,
            connections: 100_000,
            connections_per_address: 2_000,
            database_connections: 20,
            user_storage_bytes: Some(1024 * 1024 * 1024),
            database_within: Duration::from_secs(10),
            offered: OFFERED,
            bus: None,
            secret_key: None,
            restored_at: None,
            opening: HourlyBudget::OPENING,
            adding: HourlyBudget::ADDING,
            permits: 8,
            permit_within: Duration::from_secs(8),
            write_within: limits::DEAD_AFTER,
            drain: Duration::ZERO,
            shutdown_within: SHUTDOWN_MAX,
        }
    }
}

/// A setting that the server does not start with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `KITH_SIGNUP`
    #[error("signup (KITH_SIGNUP) is open, invite or closed")]
    Signup,
    /// `KITH_ACCESS_TOKEN_SECONDS`
    #[error("access_token_seconds (KITH_ACCESS_TOKEN_SECONDS) is between 1 and 600")]
    AccessToken,
    /// The hash would be weaker than 19,456 KiB and 2 passes.
    #[error("a password hash needs at least 19456 KiB and 2 passes")]
    PasswordCost,
    /// The lanes and everything else need connections.
    #[error("database_connections (KITH_DATABASE_CONNECTIONS) is at least 8")]
    DatabaseConnections,
    /// `KITH_CONNECTIONS`, `KITH_CONNECTIONS_PER_ADDRESS`
    #[error(
        "connections (KITH_CONNECTIONS) is at least 16 and connections_per_address (KITH_CONNECTIONS_PER_ADDRESS) at least 1"
    )]
    Connections,
    /// `KITH_DRAIN_SECONDS`, `KITH_SHUTDOWN_SECONDS`
    #[error(
        "shutdown_seconds (KITH_SHUTDOWN_SECONDS) is between 1 and 10, and longer than KITH_DRAIN_SECONDS"
    )]
    Shutdown,
    /// A certificate without its key, or the other way round.
    #[error("KITH_TLS_CERT and KITH_TLS_KEY go together")]
    HalfOfTls,
    /// The database is named twice.
    #[error("DATABASE_URL and DATABASE_URL_FILE name the database twice: leave one out")]
    TwoDatabases,
    /// The bus is named twice.
    #[error("KITH_BUS and KITH_BUS_FILE name the bus twice: leave one out")]
    TwoBuses,
    /// `KITH_BUS_PREFIX`
    #[error("bus_prefix (KITH_BUS_PREFIX) is words of letters, digits, - and _, with dots between")]
    BusPrefix,
    /// A database elsewhere without a verified certificate.
    #[error(
        "what is said to the database on another machine could be read or changed on the way: leave sslmode out of its \
         address, or say sslmode=verify-full (sslrootcert=FILE names an authority of one's own); in a network that is \
         yours alone, trusted_network (KITH_TRUSTED_NETWORK) allows it"
    )]
    PlainDatabase,
    /// A bus elsewhere without TLS.
    #[error(
        "what goes over the bus on another machine could be read on the way: write tls:// in its address; in a network \
         that is yours alone, trusted_network (KITH_TRUSTED_NETWORK) allows it"
    )]
    PlainBus,
    /// `KITH_CONVERSATIONS_AT_ONCE`, `KITH_CONVERSATIONS_PER_HOUR`
    #[error("conversations_at_once and conversations_per_hour are at least 1")]
    Opening,
    /// `KITH_MEMBERS_AT_ONCE`, `KITH_MEMBERS_PER_HOUR`
    #[error("members_at_once and members_per_hour are at least 1")]
    Adding,
    /// Plain HTTP beyond this machine.
    #[error(
        "the server would speak plain HTTP beyond this machine, and passwords could be read on the way. Say where the \
         certificate is (KITH_TLS_CERT, KITH_TLS_KEY), or which proxy with TLS stands before it (KITH_TRUSTED_PROXIES), or \
         listen on 127.0.0.1; --insecure does it all the same"
    )]
    PlainHttp,
}

impl Config {
    /// The longest that a request may take, without the time in which its body arrives: one wait for a connection to the
    /// database, and one for its answer.
    pub fn request_within(&self) -> Duration {
        self.database_within * 2
    }

    /// Settings for tests: sign-up open, few database connections.
    pub fn for_tests() -> Self {
        let budget = HourlyBudget { at_once: 10_000, per_hour: 10_000 };
        // Tests set databases back whenever they like.
        let restored_at = Some(Utc::now());
        Self {
            signup: Signup::Open,
            database_connections: 10,
            opening: budget,
            adding: budget,
            restored_at,
            ..Self::default()
        }
    }

    /// Whether sessions go on that the database does not know, for it was set back lately.
    pub fn is_restored(&self, now: DateTime<Utc>) -> bool {
        let window = TimeDelta::days(Self::SESSION_IDLE_DAYS.into());
        self.restored_at.is_some_and(|at| now - at < window)
    }

    /// Refuses what would be weaker than promised.
    ///
    /// # Errors
    /// The first setting that is out of its bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.access_token < Duration::from_secs(1) || self.access_token > ACCESS_TOKEN_MAX {
            return Err(ConfigError::AccessToken);
        }
        let least = PasswordCost::default();
        if self.password_cost.memory_kib < least.memory_kib || self.password_cost.passes < least.passes {
            return Err(ConfigError::PasswordCost);
        }
        if self.connections < 16 || self.connections_per_address == 0 {
            return Err(ConfigError::Connections);
        }
        if self.database_connections < 8 {
            return Err(ConfigError::DatabaseConnections);
        }
        if self.opening.at_once == 0 || self.opening.per_hour == 0 {
            return Err(ConfigError::Opening);
        }
        if self.adding.at_once == 0 || self.adding.per_hour == 0 {
            return Err(ConfigError::Adding);
        }
        let within = self.shutdown_within;
        if within.is_zero() || within > SHUTDOWN_MAX || self.drain >= within {
            return Err(ConfigError::Shutdown);
        }
        Ok(())
    }

    /// How long a session may lie idle before it ends.
    pub const SESSION_IDLE_DAYS: i32 = 30;
    /// How long a session may last at all.
    pub const SESSION_ABSOLUTE_DAYS: i32 = 180;
    /// The bytes of an HTTP body on routes that take no text of a message.
    pub const SMALL_BODY_BYTES_MAX: usize = 16 * 1024;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_003_weaker_settings_do_not_start() {
        assert_eq!(Config::default().check(), Ok(()));
        let long = Config { access_token: Duration::from_secs(601), ..Config::default() };
        assert_eq!(long.check(), Err(ConfigError::AccessToken));
        let weak = PasswordCost { memory_kib: 8_192, passes: 2 };
        assert_eq!(
            Config { password_cost: weak, ..Config::default() }.check(),
            Err(ConfigError::PasswordCost)
        );
        let slow = Config { drain: Duration::from_secs(10), ..Config::default() };
        assert_eq!(slow.check(), Err(ConfigError::Shutdown));
        assert_eq!("sometimes".parse::<Signup>(), Err(ConfigError::Signup));
    }
}
