//! The closed list of error codes. Everyone branches on the code, nobody on a text.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What to do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorClass {
    /// Try the same again later.
    Retryable,
    /// Renew or sign in, then try again.
    SignIn,
    /// The same again will fail again.
    Permanent,
    /// The two sides see different states; each code has its own answer.
    State,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $class:ident, $status:literal;)*) => {
        /// Why something was refused. A closed list; a code of a later version reads as `unsupported`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
        #[cfg_attr(feature = "ts", derive(ts_rs::TS))]
        #[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The code as it stands on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What to do about it.
            pub const fn class(self) -> ErrorClass {
                match self { $(Self::$name => ErrorClass::$class,)* }
            }

            /// The HTTP status that carries it.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// Parses the wire form.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// The server or its database cannot answer at the moment.
    Unavailable = "unavailable", Retryable, 503;
    /// Too many of these; `retry_after_ms` says when to come back.
    RateLimited = "rate_limited", Retryable, 429;
    /// An earlier item of the same `send` failed, so this one was not tried.
    Skipped = "skipped", Retryable, 503;
    /// The server has too much to do.
    Busy = "busy", Retryable, 503;
    /// The access token has ended.
    TokenExpired = "token_expired", SignIn, 401;
    /// The token is missing, forged, or not meant for this.
    TokenInvalid = "token_invalid", SignIn, 401;
    /// This device was signed out.
    DeviceRevoked = "device_revoked", SignIn, 401;
    /// User name and password do not fit.
    CredentialsInvalid = "credentials_invalid", SignIn, 401;
    /// The user name is taken.
    NameTaken = "name_taken", Permanent, 409;
    /// Not a member, or no such conversation: the two look the same.
    NotMember = "not_member", Permanent, 404;
    /// A member, but not allowed to do this.
    NotAllowed = "not_allowed", Permanent, 403;
    /// The id belongs to something else.
    IdConflict = "id_conflict", Permanent, 409;
    /// Over a size limit.
    TooLarge = "too_large", Permanent, 413;
    /// Not of the form that the specification demands.
    Invalid = "invalid", Permanent, 400;
    /// Reserved: older than the server accepts.
    TooOld = "too_old", Permanent, 400;
    /// What an edit, reaction, reply or delete names is not there.
    TargetMissing = "target_missing", Permanent, 404;
    /// An attachment has not been uploaded.
    AttachmentMissing = "attachment_missing", Permanent, 409;
    /// The conversation takes no more messages.
    ConversationClosed = "conversation_closed", Permanent, 403;
    /// The server does not know this kind, type or route.
    Unsupported = "unsupported", Permanent, 400;
    /// Written on an older version; the current value comes with it.
    StateConflict = "state_conflict", State, 409;
    /// The device's generation is old: a copied or restored profile.
    DeviceForked = "device_forked", State, 409;
    /// The server's database has another lineage.
    EpochChanged = "epoch_changed", State, 409;
    /// This version is no longer served.
    UpgradeRequired = "upgrade_required", State, 426;
}

impl ErrorCode {
    /// Whether the same request may succeed later without anybody's doing.
    pub const fn is_retryable(self) -> bool {
        matches!(self.class(), ErrorClass::Retryable)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self::parse(&text).unwrap_or(Self::Unsupported))
    }
}

/// WebSocket close codes. For an unknown one its range decides.
pub mod close {
    /// Ended on purpose.
    pub const NORMAL: u16 = 1000;
    /// The server is going away: reconnect, spread over time.
    pub const GOING_AWAY: u16 = 1001;
    /// Text was not UTF-8.
    pub const INVALID_UTF8: u16 = 1007;
    /// A frame over [`crate::limits::INBOUND_FRAME_BYTES_MAX`].
    pub const TOO_LARGE: u16 = 1009;
    /// A bug of the server.
    pub const INTERNAL: u16 = 1011;
    /// The server restarts.
    pub const RESTART: u16 = 1012;
    /// Come back later.
    pub const TRY_LATER: u16 = 1013;
    /// No `hello` in time, another frame before it, or a binary frame.
    pub const PROTOCOL: u16 = 4000;
    /// The same device connected again.
    pub const REPLACED: u16 = 4001;
    /// Nothing could be written for too long (L2).
    pub const SLOW: u16 = 4008;
    /// Went on far above the rate limits.
    pub const FLOOD: u16 = 4009;
    /// The database's lineage changed: reconnect and take full heads.
    pub const EPOCH: u16 = 4010;
    /// The access token ended.
    pub const TOKEN_EXPIRED: u16 = 4100;
    /// The device was signed out or its user disabled.
    pub const REVOKED: u16 = 4200;

    /// What a client does after a close.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum AfterClose {
        /// Reconnect with backoff.
        Reconnect,
        /// Renew the token, then reconnect.
        RenewToken,
        /// Stop; ask to sign in.
        Stop,
    }

    /// The range decides (section 8 of the specification).
    pub const fn after(code: u16) -> AfterClose {
        match code {
            4100..=4199 => AfterClose::RenewToken,
            4200..=4299 => AfterClose::Stop,
            _ => AfterClose::Reconnect,
        }
    }
}
