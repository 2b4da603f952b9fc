//! The kinds of events that this version knows. Others are stored as they came, numbered like all, and shown as "not
//! supported by this version"; they come to life when a version opens the file that knows them (C6).

use super::{Tx, apply};
use crate::ClientError;

/// All that [`kith_protocol::EventContent`] reads.
const KNOWN: &[&str] = &["message", "edit", "delete", "reaction", "pin", "member", "title", "settings"];
/// What the versions knew that did not write down what they know.
const KNOWN_AT_FIRST: &str = "message edit delete reaction pin member title settings";
/// Names the row of `meta` with the kinds that the version knew which opened the file last.
const KEY: &str = "kinds";

/// Whether an event of this kind has an entry of its own in the timeline; one that nobody knows has a placeholder.
pub(super) fn has_entry(kind: &str) -> bool {
    !matches!(kind, "edit" | "delete" | "reaction" | "pin" | "settings")
}

/// Writes down what this version knows. Returns whether the one that opened the file last knew other kinds, so that
/// projections are to be made again. Title and membership need nothing else: the heads of the next connection tell them.
pub(super) fn have_changed(tx: &Tx<'_>) -> Result<bool, ClientError> {
    let known = KNOWN.join(" ");
    let before = apply::meta(tx, KEY)?;
    if before.as_ref() == Some(&known) {
        return Ok(false);
    }
    apply::set_meta(tx, KEY, &known)?;
    Ok(before.unwrap_or_else(|| KNOWN_AT_FIRST.to_owned()) != known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::{ErrorCode, EventContent};

    #[test]
    fn c6_what_is_listed_as_known_is_what_can_be_read() {
        let reads = |kind: &str| {
            EventContent::parse(kind, None, &serde_json::Value::Null) != Err(ErrorCode::Unsupported)
        };
        assert!(KNOWN.iter().all(|kind| reads(kind)));
        assert!(!reads("poll"));
    }
}
