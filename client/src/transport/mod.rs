//! Bytes to frames and back, nothing else.

pub(crate) mod api;
mod body;
pub(crate) mod http;
pub(crate) mod tls;
pub(crate) mod ws;

/// The longest message of a socket, and the longest answer of an exchange, bytes: a page of 128 KiB, its states, its
/// frame. The connection that brings more is given up.
const INBOUND_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Whether frames and tokens may go to this address: TLS anywhere, plain text only to this computer.
pub(crate) fn is_safe(server: &url::Url) -> bool {
    match server.scheme() {
        "https" => true,
        "http" => match server.host() {
            Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        },
        _ => false,
    }
}
