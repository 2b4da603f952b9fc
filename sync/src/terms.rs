//! What the server offers and what it holds a client to, as its last `welcome` said.
//!
//! What a later server adds is kept and not understood; what an older one does not name is as version 1 says.

use kith_protocol::{
    ErrorCode, EventContent, NewEvent, capability,
    frame::{Welcome, WelcomeLimits},
    limits,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The optional abilities that this version understands, for `hello`.
pub const UNDERSTOOD: &[&str] = &[];
/// Bytes of a `send` around its events, at most.
const SEND_FRAME_BYTES: usize = 256;
/// Names of abilities that are kept; no server has as many.
const NAMES_MAX: usize = 256;

/// Pulls of which nobody waits for the answer leave one in so many microseconds. A server of this version takes 200 a
/// second of a device, and 400 at once: they stay below that, and leave room for what somebody does wait for.
const PULL_PACE_US: u64 = 5_500;
/// How many of them may leave at once after a while without pulls.
const PULLS_SAVED: u64 = 250;

/// The terms of a connection; of the last one while there is none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Terms {
    capabilities: BTreeSet<String>,
    limits: WelcomeLimits,
}

impl Terms {
    pub fn of(welcome: &Welcome) -> Self {
        let capabilities = welcome.capabilities.iter().take(NAMES_MAX).cloned().collect();
        Self { capabilities, limits: welcome.limits.clone() }
    }

    /// Events of one `send`, at most.
    pub fn send_events(&self) -> usize {
        within(self.limits.send_events, limits::SEND_EVENTS_MAX)
    }

    /// Bytes of the events of one `send`, about; the frame around them stays below the limit.
    pub fn send_bytes(&self) -> usize {
        within(self.limits.frame_bytes, limits::INBOUND_FRAME_BYTES_MAX) / 4 * 3
    }

    /// Microseconds between two pulls of which nobody waits for the answer.
    pub fn pull_pace_us(&self) -> u64 {
        let per_s = self.limits.rates.get("pull").map_or(0, |(per_s, _)| u64::from(*per_s));
        // A tenth is left for what somebody waits for.
        1_100_000_u64.checked_div(per_s).map_or(PULL_PACE_US, |pace| pace.max(PULL_PACE_US))
    }

    /// How far ahead of that pace such pulls may be, microseconds.
    pub fn pull_saved_us(&self) -> u64 {
        let burst = self.limits.rates.get("pull").map_or(u64::MAX, |(_, burst)| u64::from(*burst));
        self.pull_pace_us() * (burst.saturating_mul(5) / 8).clamp(1, PULLS_SAVED)
    }

    /// Checks an event before it is sent.
    ///
    /// # Errors
    /// `unsupported` if it needs what is not offered, `too_large` above a limit; as [`EventContent::parse`] for what was
    /// never of the form.
    pub fn check(&self, event: &NewEvent) -> Result<(), ErrorCode> {
        let content = EventContent::parse(&event.kind, event.target, &event.body)?;
        capability::check(&content, |name| self.capabilities.contains(name))?;
        // An event that fits into no frame would close every connection that it leaves by.
        let frame = within(self.limits.frame_bytes, limits::INBOUND_FRAME_BYTES_MAX);
        let bytes = serde_json::to_vec(event).map_or(usize::MAX, |json| json.len());
        if bytes > frame.saturating_sub(SEND_FRAME_BYTES) {
            return Err(ErrorCode::TooLarge);
        }
        let text = match &content {
            EventContent::Message(message) => &message.text,
            EventContent::Edit { text, .. } => text,
            _ => return Ok(()),
        };
        let max = within(self.limits.text_chars, limits::MESSAGE_TEXT_CHARS_MAX);
        if text.chars().nth(max).is_some() { Err(ErrorCode::TooLarge) } else { Ok(()) }
    }
}

/// A limit that is not named is the protocol's, and none is above it.
fn within(named: u64, own: usize) -> usize {
    if named == 0 { own } else { usize::try_from(named).map_or(own, |named| named.min(own)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::{EventId, TimestampMs, event::MessageBody};

    #[test]
    fn an_event_that_fits_into_no_frame_stays_here() {
        let limits =
            WelcomeLimits { frame_bytes: 4_096, text_chars: 0, send_events: 0, rates: Default::default() };
        let terms = Terms { limits, ..Terms::default() };
        let checked = |chars: usize| {
            let content =
                EventContent::Message(MessageBody { text: "x".repeat(chars), ..MessageBody::default() });
            let (kind, target, body) = content.to_wire();
            let id = EventId::mint();
            terms.check(&NewEvent {
                id,
                kind: kind.to_owned(),
                target,
                body,
                written_at: Some(TimestampMs(u64::MAX >> 11)),
                resubmitted: Some(true),
            })
        };
        assert_eq!((checked(3_500), checked(3_841)), (Ok(()), Err(ErrorCode::TooLarge)));
    }

    #[test]
    fn limits_that_are_not_named_are_the_protocols_and_none_is_above_it() {
        let unnamed = Terms::default();
        assert_eq!((unnamed.send_events(), unnamed.send_bytes()), (256, 196_608));
        assert_eq!((unnamed.pull_pace_us(), unnamed.pull_saved_us()), (5_500, 250 * 5_500));
        let limits = |frame_bytes, send_events, rate| WelcomeLimits {
            frame_bytes,
            text_chars: 0,
            send_events,
            rates: [("pull".to_owned(), rate)].into(),
        };
        let larger = Terms { limits: limits(u64::MAX, u64::MAX, (u32::MAX, u32::MAX)), ..Terms::default() };
        assert_eq!((larger.send_events(), larger.send_bytes()), (256, 196_608));
        assert_eq!(larger.pull_pace_us(), 5_500);
        let smaller = Terms { limits: limits(4_096, 3, (10, 16)), ..Terms::default() };
        assert_eq!((smaller.send_events(), smaller.send_bytes()), (3, 3_072));
        assert_eq!((smaller.pull_pace_us(), smaller.pull_saved_us()), (110_000, 10 * 110_000));
        let none = Terms { limits: limits(1, 1, (0, 0)), ..Terms::default() };
        assert_eq!((none.pull_pace_us(), none.pull_saved_us()), (5_500, 5_500));
    }
}
