//! Where a request comes from: the one place that says which address it counts for.

use crate::{error::ApiError, state::AppState};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::request::Parts,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The asker's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerAddress {
    /// As it is.
    pub address: IpAddr,
    /// What limits by address count it for: an IPv4 address, or the network of an IPv6 one. `None` for this machine
    /// itself, unless [`crate::Config::loopback_is_limited`]: a proxy in front stands for everybody behind it.
    pub counted: Option<IpAddr>,
}

impl PeerAddress {
    fn new(address: IpAddr, loopback_is_limited: bool) -> Self {
        let is_counted = loopback_is_limited || !address.is_loopback();
        Self { address, counted: is_counted.then(|| network(address)) }
    }
}

/// The address of whoever asks.
fn peer_address(parts: &Parts) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    peer.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_canonical()
}

/// Whoever has an IPv6 address has 2^64 of them: they count as one.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
    }
}

impl FromRequestParts<AppState> for PeerAddress {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, ApiError> {
        Ok(Self::new(peer_address(parts), state.config.loopback_is_limited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
