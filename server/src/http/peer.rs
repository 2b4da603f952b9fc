//! Where a request comes from: the one place that says which address it counts for.

use crate::{
    config::{Config, Network},
    error::ApiError,
    networks,
    state::AppState,
};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, request::Parts},
};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress {
    pub address: IpAddr,
    /// What limits by address count it for: an IPv4 address, or the /64 of an IPv6 one and the networks around that
    /// ([`networks::spans`]). `None` for this machine
    /// itself, unless [`crate::Config::loopback_is_limited`]: a proxy in front stands for everybody behind it.
    pub counted: Option<IpAddr>,
}

impl PeerAddress {
    fn new(address: IpAddr, loopback_is_limited: bool) -> Self {
        let is_counted = loopback_is_limited || !address.is_loopback();
        Self { address, counted: is_counted.then(|| networks::narrowest(address)) }
    }
}

/// What the connections of an address count for: `None` for a trusted proxy, which stands for everybody behind it, and for
/// this machine unless [`Config::loopback_is_limited`].
pub fn counted(connected: IpAddr, config: &Config) -> Option<IpAddr> {
    let connected = connected.to_canonical();
    let is_proxy = config.trusted_proxies.iter().any(|network| network.contains(connected));
    PeerAddress::new(connected, config.loopback_is_limited).counted.filter(|_| !is_proxy)
}

/// Addresses that a header names at most; who passes more has no proxy before it, but a game.
const HOPS_MAX: usize = 16;

/// The address of whoever asks: the connection's own, or what a trusted proxy says. Each proxy puts whom it heard behind
/// what came, so the last one that is no trusted proxy itself is the asker, and what stands before it is hearsay.
fn peer_address(connected: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut asker = connected.to_canonical();
    let named = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let hops: Vec<&str> = named.flat_map(|value| value.split(',')).map(str::trim).collect();
    for hop in hops.into_iter().rev().take(HOPS_MAX) {
        if !is_trusted(asker) {
            break;
        }
        let Some(address) = read(hop) else { break };
        asker = address.to_canonical();
    }
    asker
}

/// An address as proxies write it, some of them with a port.
fn read(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

impl FromRequestParts<AppState> for PeerAddress {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let connected = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        let connected = connected.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let config = &state.config;
        let address = peer_address(connected, &parts.headers, &config.trusted_proxies);
        Ok(Self::new(address, config.loopback_is_limited))
    }
}

/// A request to a route that hashes passwords, counted for its address before its body is read.
pub struct CountedSignIn;

impl FromRequestParts<AppState> for CountedSignIn {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let peer = PeerAddress::from_request_parts(parts, state).await?;
        state.sign_in_limits.address(peer.counted).map(|()| Self)
    }
}

/// An exchange of a refresh token, counted for its address before its body is read.
pub struct CountedRefresh;

impl FromRequestParts<AppState> for CountedRefresh {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        let peer = PeerAddress::from_request_parts(parts, state).await?;
        state.sign_in_limits.refresh_by(peer.counted).map(|()| Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sec_090_only_a_named_proxy_says_who_asks_and_only_its_last_word_counts() {
        let trusted: Vec<Network> = ["10.0.0.0/8", "::1"].map(|text| text.parse().unwrap()).into();
        let of = |connected: &str, values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("x-forwarded-for", value.parse().unwrap());
            }
            peer_address(connected.parse().unwrap(), &headers, &trusted).to_string()
        };
        assert_eq!(of("192.0.2.9", &["203.0.113.1"]), "192.0.2.9", "a stranger's word");
        assert_eq!(of("10.1.1.1", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(
            of("10.1.1.1", &["198.51.100.7, 203.0.113.1"]),
            "203.0.113.1",
            "what came along is hearsay"
        );
        assert_eq!(of("10.1.1.1", &["198.51.100.7", "203.0.113.1, 10.2.2.2"]), "203.0.113.1", "two proxies");
        assert_eq!(of("::1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(of("::ffff:10.1.1.1", &["203.0.113.1:80"]), "203.0.113.1");
        for nonsense in ["", "unknown", "203.0.113.1;", "_hidden, "] {
            assert_eq!(of("10.1.1.1", &[nonsense]), "10.1.1.1", "{nonsense}");
        }
        assert_eq!(of("10.1.1.1", &[]), "10.1.1.1");
    }

    #[test]
    fn sec_008_an_ipv6_network_counts_as_one_and_loopback_as_nobody() {
        let of = |text: &str| PeerAddress::new(text.parse().unwrap(), false).counted;
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:1:2:3"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!((of("127.0.0.1"), of("::1")), (None, None));
        assert!(PeerAddress::new(IpAddr::V4(Ipv4Addr::LOCALHOST), true).counted.is_some());
    }
}
