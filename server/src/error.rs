//! The one place where a failure becomes something that a client sees.
//!
//! Everything inside the server fails with [`ApiError`]; HTTP answers and `error` frames are made here and nowhere
//! else. Details of a bug or of the database go to the log, never to the client.

use crate::db::fault::Fault;
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use kith_protocol::{
    ErrorCode, ServerFrame,
    api::ErrorBody,
    frame::{ErrorFrame, OwnState},
};
use std::{borrow::Cow, sync::Arc};

/// When to come back after a passing failure.
const RETRY_AFTER_MS: u64 = 1_000;

/// Why a request was refused, named by its meaning.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ApiError {
    /// Not a member, or no such conversation: the two look the same.
    #[error("no such conversation")]
    NotMember,
    /// A member or signed in, but not allowed to do this.
    #[error("not allowed")]
    NotAllowed,
    /// Not of the form that the specification demands.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// Over a size limit.
    #[error("too large")]
    TooLarge,
    /// The id belongs to something else.
    #[error("the id is in use")]
    IdConflict,
    /// What the request names is not there.
    #[error("no such target")]
    TargetMissing,
    /// The conversation takes no more messages.
    #[error("the conversation is closed")]
    ConversationClosed,
    /// The server does not know this kind or type.
    #[error("not supported")]
    Unsupported,
    /// No such route, or not by this method.
    #[error("no such route")]
    UnknownRoute,
    /// The user name is taken.
    #[error("the user name is taken")]
    NameTaken,
    /// User name and password do not fit.
    #[error("user name and password do not fit")]
    CredentialsInvalid,
    /// The access token has ended.
    #[error("the token has ended")]
    TokenExpired,
    /// The token is missing, forged, or not meant for this.
    #[error("the token is not valid")]
    TokenInvalid,
    /// The device was signed out or its user disabled.
    #[error("this device was signed out")]
    DeviceRevoked,
    /// Too many of these.
    #[error("too many requests")]
    RateLimited {
        /// When to come back.
        retry_after_ms: u64,
    },
    /// The server has too much to do.
    #[error("the server is busy")]
    Busy,
    /// The server has too much to do, and more wait than it can serve soon.
    #[error("the server is busy")]
    Overloaded {
        /// When to come back.
        retry_after_ms: u64,
    },
    /// The server or its database cannot answer at the moment.
    #[error("not available at the moment")]
    Unavailable,
    /// Written on an older version; carries the state as it stands (R4).
    #[error("the state has changed")]
    StateConflict(Box<OwnState>),
    /// The device's generation is old (S8).
    #[error("another copy of this device has connected")]
    DeviceForked,
    /// The client's protocol version is not served.
    #[error("this version is not served")]
    UpgradeRequired,
    /// The database failed: passing (a deadlock, a lost connection) or a bug.
    #[error("not available at the moment")]
    Database(#[source] Arc<sqlx::Error>),
    #[error("internal error")]
    Internal,
}

impl ApiError {
    /// Makes an `invalid` with a sentence for developers.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::Invalid(message.into())
    }

    /// The code that clients branch on.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotMember => ErrorCode::NotMember,
            Self::NotAllowed => ErrorCode::NotAllowed,
            Self::Invalid(_) => ErrorCode::Invalid,
            Self::TooLarge => ErrorCode::TooLarge,
            Self::IdConflict => ErrorCode::IdConflict,
            Self::TargetMissing => ErrorCode::TargetMissing,
            Self::ConversationClosed => ErrorCode::ConversationClosed,
            Self::Unsupported | Self::UnknownRoute => ErrorCode::Unsupported,
            Self::NameTaken => ErrorCode::NameTaken,
            Self::CredentialsInvalid => ErrorCode::CredentialsInvalid,
            Self::TokenExpired => ErrorCode::TokenExpired,
            Self::TokenInvalid => ErrorCode::TokenInvalid,
            Self::DeviceRevoked => ErrorCode::DeviceRevoked,
            Self::RateLimited { .. } => ErrorCode::RateLimited,
            Self::Busy | Self::Overloaded { .. } => ErrorCode::Busy,
            Self::Unavailable | Self::Database(_) | Self::Internal => ErrorCode::Unavailable,
            Self::StateConflict(_) => ErrorCode::StateConflict,
            Self::DeviceForked => ErrorCode::DeviceForked,
            Self::UpgradeRequired => ErrorCode::UpgradeRequired,
        }
    }

    /// When to come back, for the codes that say so.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_ms } | Self::Overloaded { retry_after_ms } => {
                Some(*retry_after_ms)
            }
            _ if self.code().is_retryable() => Some(RETRY_AFTER_MS),
            _ => None,
        }
    }

    /// Writes the `error` frame that answers `reply_to`.
    pub fn frame(&self, reply_to: Option<u64>) -> ServerFrame {
        self.log();
        let current = match self {
            Self::StateConflict(state) => Some(state.clone()),
            _ => None,
        };
        ServerFrame::Error(ErrorFrame {
            reply_to,
            code: self.code(),
            message: self.to_string(),
            retry_after_ms: self.retry_after_ms(),
            current,
        })
    }

    fn status(&self) -> StatusCode {
        let status = match self {
            Self::UnknownRoute => 404,
            Self::Internal => 500,
            Self::Database(error) if !is_passing(error) => 500,
            _ => self.code().http_status(),
        };
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn log(&self) {
        match self {
            Self::Database(error) if is_passing(error) => {
                tracing::warn!(error = %error, "the database failed for a moment");
            }
            Self::Database(error) => tracing::error!(error = %error, "the database refused a statement"),
            Self::Internal => tracing::error!("internal error"),
            _ => {}
        }
    }
}

/// Whether the same request may succeed later without anybody's repair.
fn is_passing(error: &sqlx::Error) -> bool {
    Fault::of(error).is_passing()
}

impl From<sqlx::Error> for ApiError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

/// For shapes that the protocol crate refuses (`check_text` and its like).
impl From<ErrorCode> for ApiError {
    fn from(code: ErrorCode) -> Self {
        match code {
            ErrorCode::NotMember => Self::NotMember,
            ErrorCode::NotAllowed => Self::NotAllowed,
            ErrorCode::TooLarge => Self::TooLarge,
            ErrorCode::IdConflict => Self::IdConflict,
            ErrorCode::TargetMissing => Self::TargetMissing,
            ErrorCode::ConversationClosed => Self::ConversationClosed,
            ErrorCode::Unsupported => Self::Unsupported,
            ErrorCode::NameTaken => Self::NameTaken,
            ErrorCode::CredentialsInvalid => Self::CredentialsInvalid,
            ErrorCode::TokenExpired => Self::TokenExpired,
            ErrorCode::TokenInvalid => Self::TokenInvalid,
            ErrorCode::DeviceRevoked => Self::DeviceRevoked,
            ErrorCode::RateLimited => Self::RateLimited { retry_after_ms: RETRY_AFTER_MS },
            ErrorCode::Busy => Self::Busy,
            ErrorCode::DeviceForked => Self::DeviceForked,
            ErrorCode::UpgradeRequired => Self::UpgradeRequired,
            ErrorCode::Unavailable
            | ErrorCode::Skipped
            | ErrorCode::EpochChanged
            | ErrorCode::StateConflict => Self::Unavailable,
            ErrorCode::Invalid | ErrorCode::TooOld | ErrorCode::AttachmentMissing => {
                Self::Invalid(Cow::Borrowed("invalid"))
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let status = self.status();
        let message = match (status.as_u16(), crate::telemetry::request_id()) {
            (500, Some(id)) => format!("internal error, request {id}"),
            _ => self.to_string(),
        };
        let retry_after_ms = self.retry_after_ms();
        let body = ErrorBody { code: self.code(), message, retry_after_ms };
        let mut response = (status, Json(body)).into_response();
        if let Some(ms) = retry_after_ms {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(ms.div_ceil(1_000)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w6_what_the_database_fails_with_is_retryable_and_tells_nothing() {
        for error in [sqlx::Error::PoolTimedOut, sqlx::Error::PoolClosed, sqlx::Error::RowNotFound] {
            let error = ApiError::from(error);
            assert_eq!(error.code(), ErrorCode::Unavailable);
            assert_eq!(error.retry_after_ms(), Some(RETRY_AFTER_MS));
            assert_eq!(error.to_string(), "not available at the moment");
        }
        assert_eq!(ApiError::from(sqlx::Error::PoolTimedOut).status(), 503);
        assert_eq!(ApiError::from(sqlx::Error::RowNotFound).status(), 500, "a bug");
    }

    #[test]
    fn every_code_has_its_own_status_and_comes_back_from_the_wire_form() {
        for code in ErrorCode::ALL {
            let error = ApiError::from(*code);
            assert!(error.status().is_client_error() || error.status().is_server_error());
            assert_eq!(error.retry_after_ms().is_some(), error.code().is_retryable(), "{code}");
        }
        assert_eq!(ApiError::UnknownRoute.status(), 404);
        assert_eq!(ApiError::Unsupported.status(), 400);
        assert_eq!(ApiError::UpgradeRequired.status(), 426);
    }
}
