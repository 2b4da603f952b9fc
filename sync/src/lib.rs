//! The sync rules as a state machine without I/O: no socket, no database, no clock.
//!
//! [`Machine`] takes an [`Input`] and the time, and answers [`Action`]s and the moment at which it wants to be asked
//! again. Whatever it decides follows from these alone, so a run can be repeated from its seed.

pub mod backoff;
pub mod delays;
mod log;
mod machine;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod mutation;
pub mod ops;
mod outbox;
pub mod ranges;
pub mod resend;
pub mod terms;

#[cfg(all(feature = "mutants", not(debug_assertions)))]
compile_error!("mutants are for tests: a release is built without this feature");

pub use log::Log;
pub use machine::{Link, Machine, MachineOptions};

use kith_protocol::{
    ClientFrame, ConversationId, DeviceId, ErrorCode, Seq, ServerFrame, TimestampMs, UserId,
    ephemeral::{Presence, PresenceState},
};
use ops::{LocalState, OutboxUpdate, StoreOp, Stored};

/// The time, twice: rules count in monotonic milliseconds, people read the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub mono: u64,
    pub wall: TimestampMs,
}

/// Figures that tests lower, so that short runs reach everything.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Up to this many missing events are pulled upwards, without leaving a gap; above, the newest page comes first.
    pub forward_max: u64,
    /// How often some conversations are compared with the server's, ms.
    pub check_every_ms: u64,
}

impl Pace {
    pub const STANDARD: Self = Self { forward_max: 200, check_every_ms: 3_600_000 };
    pub const OF_TESTS: Self = Self { forward_max: 8, check_every_ms: 12_000 };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// The server refused: a sign-in is needed.
    Refused(ErrorCode),
    /// The server could not be asked; later.
    Unreachable,
    /// Whoever answers shows a certificate that is not to be believed; later.
    BadCertificate,
}

/// Why a connection or an exchange did not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectError {
    Unreachable,
    /// Whoever answers shows a certificate that is not to be believed.
    BadCertificate,
    /// The token was refused (401).
    Unauthorized(ErrorCode),
    /// An HTTP answer, but no socket; `off` when the server says that there are none.
    NoSocket {
        off: bool,
    },
    Later {
        retry_after_ms: Option<u64>,
    },
    /// Refused for good (`upgrade_required`).
    Refused(ErrorCode),
    /// The handshake of an exchange was refused: the device is a copy (S8).
    Forked,
}

/// Something to be fetched because it is on screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryRequest {
    /// A page before this seq (exclusive).
    Older { conversation: ConversationId, before: Seq },
    /// What is missing between two ranges, inclusive on both sides.
    Gap { conversation: ConversationId, from: Seq, to: Seq },
    /// The newest page, members and markers of a conversation that is being looked at.
    Conversation { conversation: ConversationId },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    Start,
    /// The moment that was asked for, or any other.
    Timer,
    Connected,
    ConnectFailed(ConnectError),
    /// The socket has gone; with the server's close code if it gave one.
    Closed(Option<u16>),
    Frame(ServerFrame),
    Exchanged(Vec<ServerFrame>),
    ExchangeFailed(ConnectError),
    /// There is a fresh token, for this device.
    TokenRenewed(DeviceId),
    TokenFailed(TokenError),
    /// Every store op so far is committed; this is the answer to the last transaction.
    Stored(Stored),
    /// A transaction failed. Nothing of it was written.
    StoreFailed,
    /// What the store has, after a failure.
    Reloaded(LocalState),
    Outbox(OutboxUpdate),
    /// Something is on screen and not here.
    History(HistoryRequest),
    Focus(Vec<ConversationId>),
    /// A key was pressed in a composer, or it was emptied.
    Typing(ConversationId, bool),
    /// Whose presence is of interest.
    Watch(Vec<UserId>),
    Presence(PresenceState),
    /// The computer woke up, or its network changed (S10).
    NetworkChanged,
    /// Send what waits, at once.
    SendNow,
    CheckNow,
}

/// The connection, as it is reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkStatus {
    Connecting,
    CatchingUp {
        behind: u32,
    },
    Connected {
        polling: bool,
    },
    Offline {
        since: TimestampMs,
        /// When the next attempt starts, if one is planned.
        next_try: Option<TimestampMs>,
        bad_certificate: bool,
    },
    SignInNeeded,
    Stopped {
        code: ErrorCode,
    },
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    Connect,
    /// Send a frame, with its request number.
    Send(ClientFrame, Option<u64>),
    /// Send `auth` with the token at hand.
    SendToken(u64),
    /// Find out whether the socket is still good.
    Check,
    /// Close the socket; no `Closed` follows.
    Close,
    /// `POST /v1/exchange` with these frames (S12).
    Exchange(Vec<(ClientFrame, Option<u64>)>),
    RenewToken {
        /// For a new device (S8).
        new_device: bool,
    },
    Store(StoreOp),
    /// Read everything again and answer [`Input::Reloaded`].
    Reload,
    Link(LinkStatus),
    /// Who types there, oneself excluded.
    Typing(ConversationId, Vec<UserId>),
    Presence(Vec<Presence>),
    /// The server will not have this device or this version.
    Stopped(ErrorCode),
}
