//! The optional abilities of this server, and the check that nobody uses others.

use kith_protocol::{ErrorCode, EventContent, capability};

/// What `welcome` and `GET /v1/info` offer. A name comes here together with the checks of what it allows.
pub const OFFERED: &[&str] = &[];

/// Checks that an event needs only what is offered.
///
/// # Errors
/// `unsupported` if it needs more.
pub fn check(content: &EventContent) -> Result<(), ErrorCode> {
    capability::check(content, |name| OFFERED.contains(&name))
}
