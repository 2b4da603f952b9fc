//! The one place that bounds the delays that a server or a proxy names: whatever they say, a client asks again soon.

use super::{ConnectError, Input};
use kith_protocol::{ErrorCode, ServerFrame};

/// No named delay is longer, ms.
pub const NAMED_MS_MAX: u64 = 60_000;
/// After `upgrade_required` no named delay is longer, ms; without one the server is asked again after this long.
pub const UPGRADE_MS_MAX: u64 = 600_000;

/// A delay that came with a code, ms.
pub fn capped(code: ErrorCode, ms: u64) -> u64 {
    ms.min(if code == ErrorCode::UpgradeRequired { UPGRADE_MS_MAX } else { NAMED_MS_MAX })
}

/// The delay in an HTTP `Retry-After` header, ms; only the form in seconds is read.
pub fn retry_after_ms(header: Option<&str>) -> Option<u64> {
    let seconds: u64 = header?.trim().parse().ok()?;
    Some(seconds.saturating_mul(1_000).min(NAMED_MS_MAX))
}

/// The same input with every delay in it bounded.
pub(super) fn bounded(mut input: Input) -> Input {
    match &mut input {
        Input::Frame(frame) => bound(frame),
        Input::Exchanged(frames) => frames.iter_mut().for_each(bound),
        Input::ConnectFailed(ConnectError::Later { retry_after_ms: Some(ms) })
        | Input::ExchangeFailed(ConnectError::Later { retry_after_ms: Some(ms) }) => {
            *ms = (*ms).min(NAMED_MS_MAX)
        }
        _ => {}
    }
    input
}

fn bound(frame: &mut ServerFrame) {
    match frame {
        ServerFrame::Error(error) => {
            let code = error.code;
            error.retry_after_ms = error.retry_after_ms.map(|ms| capped(code, ms));
        }
        ServerFrame::Ack(ack) => {
            for result in &mut ack.results {
                let code = result.code.unwrap_or(ErrorCode::Unavailable);
                result.retry_after_ms = result.retry_after_ms.map(|ms| capped(code, ms));
            }
        }
        ServerFrame::Bye(bye) => bye.after_ms = bye.after_ms.min(NAMED_MS_MAX),
        ServerFrame::AuthExpiring(expiring) => expiring.ms = expiring.ms.min(NAMED_MS_MAX),
        ServerFrame::Welcome(_)
        | ServerFrame::Heads(_)
        | ServerFrame::Events(_)
        | ServerFrame::Hint(_)
        | ServerFrame::Page(_)
        | ServerFrame::Chains(_)
        | ServerFrame::OwnState(_)
        | ServerFrame::Markers(_)
        | ServerFrame::Profiles(_)
        | ServerFrame::Members(_)
        | ServerFrame::Notification(_)
        | ServerFrame::Ephemeral(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s10_a_retry_after_header_is_bounded_and_other_forms_are_left_out() {
        assert_eq!(retry_after_ms(Some(" 7 ")), Some(7_000));
        assert_eq!(retry_after_ms(Some("86400")), Some(60_000));
        assert_eq!(retry_after_ms(Some(&u64::MAX.to_string())), Some(60_000));
        assert_eq!(retry_after_ms(Some("Wed, 21 Oct 2026 07:28:00 GMT")), None);
        assert_eq!(retry_after_ms(Some("-1")), None);
        assert_eq!(retry_after_ms(None), None);
    }
}
