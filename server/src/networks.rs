//! The networks of an address that limits count. An IPv6 host may own a /56 or a /48, so those count as well, with a larger
//! allowance than one /64.

use std::net::{IpAddr, Ipv6Addr};

/// By how much the allowance of one address is raised, for each [`Span`].
pub const MULTIPLES: [u32; 3] = [1, 4, 16];
/// Prefix lengths of IPv6 networks, narrowest first.
const PREFIXES: [u32; 3] = [64, 56, 48];

/// A network that is counted: a place in [`MULTIPLES`] and the first address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    pub level: usize,
    pub network: IpAddr,
}

impl Span {
    /// The allowance of this network where an address has `of_address`.
    pub fn allowance(self, of_address: usize) -> usize {
        let multiple = MULTIPLES.get(self.level).copied().unwrap_or(1);
        of_address.saturating_mul(usize::try_from(multiple).unwrap_or(usize::MAX))
    }
}

/// What an address counts for, narrowest first: an IPv4 address for itself, an IPv6 one for three networks.
pub fn spans(address: IpAddr) -> impl Iterator<Item = Span> {
    let levels = if address.is_ipv4() { 1 } else { PREFIXES.len() };
    let of = move |(level, prefix): (usize, &u32)| Span { level, network: network(address, *prefix) };
    PREFIXES.iter().enumerate().take(levels).map(of)
}

/// The narrowest network of an address.
pub fn narrowest(address: IpAddr) -> IpAddr {
    network(address, PREFIXES[0])
}

fn network(address: IpAddr, prefix: u32) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << (128 - prefix))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_address_counts_for_three_networks_and_an_ipv4_one_for_itself() {
        let of = |text: &str| spans(text.parse().unwrap()).collect::<Vec<_>>();
        let networks = of("2001:db8:1:203::9").into_iter().map(|span| span.network.to_string());
        let networks: Vec<_> = networks.collect();
        assert_eq!(networks, ["2001:db8:1:203::", "2001:db8:1:200::", "2001:db8:1::"]);
        let of_v4 = of("192.0.2.1");
        assert_eq!((of_v4.len(), of_v4[0].allowance(20)), (1, 20));
        assert_eq!(of("::1").iter().map(|span| span.allowance(20)).collect::<Vec<_>>(), [20, 80, 320]);
    }
}
