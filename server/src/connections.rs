//! TCP connections: how many there may be, of all and of one address, and how long one may keep an answer waiting.

mod stall;

pub use stall::{Stall, Unstalled};

use crate::{
    config::Config,
    networks::{self, Span},
};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Descriptors that are no client's: the database, the bus, files, listeners.
const OTHER_DESCRIPTORS: usize = 256;

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<Span, usize>,
}

/// Counts connections from accept to close; a handle that is cheap to clone.
#[derive(Debug, Clone)]
pub struct Connections {
    counts: Arc<Mutex<Counts>>,
    most: usize,
    most_of_address: usize,
}

/// A counted connection. Dropping it makes room.
#[derive(Debug)]
pub struct Entered {
    counts: Arc<Mutex<Counts>>,
    address: Option<IpAddr>,
}

impl Connections {
    /// The limits of `config`, and no more than the process may have open files.
    pub fn new(config: &Config) -> Self {
        let most = open_files().map_or(config.connections, |files| {
            config.connections.min(files.saturating_sub(OTHER_DESCRIPTORS).max(1))
        });
        Self { counts: Arc::default(), most, most_of_address: config.connections_per_address }
    }

    /// Counts a connection for the total and for the networks of `address`, if it is limited; `None` where there are too
    /// many.
    pub fn enter(&self, address: Option<IpAddr>) -> Option<Entered> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= self.most {
            return None;
        }
        let spans = || address.into_iter().flat_map(networks::spans);
        let is_full = |span: Span| {
            counts.by_address.get(&span).is_some_and(|count| *count >= span.allowance(self.most_of_address))
        };
        if spans().any(is_full) {
            return None;
        }
        for span in spans() {
            *counts.by_address.entry(span).or_default() += 1;
        }
        counts.all += 1;
        Some(Entered { counts: Arc::clone(&self.counts), address })
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        for span in self.address.into_iter().flat_map(networks::spans) {
            if let Some(count) = counts.by_address.get_mut(&span) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    counts.by_address.remove(&span);
                }
            }
        }
    }
}

/// How many files the process may have open; `None` where nobody says.
fn open_files() -> Option<usize> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok())
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::peer;

    #[test]
    fn sec_028_connections_are_limited_in_total_and_for_each_address() {
        let config = Config {
            connections: 5,
            connections_per_address: 2,
            trusted_proxies: vec!["10.0.0.0/8".parse().unwrap()],
            ..Config::for_tests()
        };
        let connections = Connections::new(&config);
        let of = |text: &str| connections.enter(peer::counted(text.parse().unwrap(), &config));
        let mut held = vec![of("192.0.2.1").unwrap(), of("::ffff:192.0.2.1").unwrap()];
        assert!(of("192.0.2.1").is_none(), "a third of one address");
        held.push(of("10.0.0.1").unwrap());
        held.push(of("10.0.0.1").unwrap());
        held.push(of("10.0.0.1").unwrap());
        assert!(of("192.0.2.2").is_none(), "a sixth of all");
        held.remove(0);
        assert!(of("192.0.2.1").is_some(), "who goes makes room");
        drop(held);
        let counts = connections.counts.lock().unwrap();
        assert_eq!((counts.all, counts.by_address.len()), (0, 0));
    }

    #[test]
    fn sec_028_an_ipv6_host_with_many_networks_has_16_times_the_connections_of_one() {
        let config = Config { connections_per_address: 2, ..Config::for_tests() };
        let connections = Connections::new(&config);
        let of = |text: String| connections.enter(peer::counted(text.parse().unwrap(), &config));
        let held = |prefix: u16| {
            let subnets = (0..512).filter_map(move |subnet| of(format!("2001:db8:{prefix:x}:{subnet:x}::1")));
            subnets.collect::<Vec<_>>()
        };
        let (one, two) = (held(1), held(2));
        assert_eq!((one.len(), two.len()), (16, 16), "two /56 in each /48");
        drop((one, two));
        let many: Vec<_> = (0..=u16::MAX).filter_map(|n| of(format!("2001:db8:3:{n:x}::1"))).collect();
        assert_eq!(many.len(), 32);
        drop(many);
        let counts = connections.counts.lock().unwrap();
        assert_eq!((counts.all, counts.by_address.len()), (0, 0));
    }
}
