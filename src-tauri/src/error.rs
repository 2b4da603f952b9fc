//! The one place where a failure becomes something the window sees.

use kith_client::{ClientError, secrets::PassphraseError};
use kith_protocol::{ErrorCode, error::ErrorClass};
use serde::Serialize;

/// A refusal, as the window gets it. It branches on `code`; `message` is for logs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
pub(crate) struct UiError {
    /// A code of the protocol, or one of the engine's or the shell's own words.
    pub(crate) code: String,
    /// In English, for developers.
    pub(crate) message: String,
    /// The same again may succeed later.
    pub(crate) retryable: bool,
    /// Not before this many milliseconds.
    #[cfg_attr(test, ts(type = "number | null"))]
    pub(crate) retry_after_ms: Option<u64>,
}

impl UiError {
    /// A refusal of the shell's own.
    pub(crate) fn own(code: &str, message: impl ToString) -> Self {
        Self { code: code.to_owned(), message: message.to_string(), retryable: false, retry_after_ms: None }
    }
}

impl From<ClientError> for UiError {
    fn from(error: ClientError) -> Self {
        let retryable_code = |code: &ErrorCode| code.class() == ErrorClass::Retryable;
        let (retryable, retry_after_ms) = match &error {
            ClientError::Refused(code) => (retryable_code(code), None),
            ClientError::RefusedFor { retry_after_ms, .. }
            | ClientError::Passphrase(PassphraseError::Wait { retry_after_ms }) => {
                (true, Some(*retry_after_ms))
            }
            ClientError::Offline
            | ClientError::DiskFull
            | ClientError::ReadOnly
            | ClientError::FileBusy
            | ClientError::ProfileLocked => (true, None),
            _ => (false, None),
        };
        Self { code: error.code().to_owned(), message: error.to_string(), retryable, retry_after_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_a_while_says_when_to_come_back() {
        let error =
            UiError::from(ClientError::RefusedFor { code: ErrorCode::RateLimited, retry_after_ms: 1_500 });
        assert_eq!(
            (error.code.as_str(), error.retryable, error.retry_after_ms),
            ("rate_limited", true, Some(1_500))
        );
    }

    #[test]
    fn what_will_fail_again_is_not_retryable() {
        assert!(!UiError::from(ClientError::Refused(ErrorCode::NotMember)).retryable);
        assert!(UiError::from(ClientError::Offline).retryable);
    }
}
