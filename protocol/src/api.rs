//! HTTP bodies (section 11). Unknown fields in a request are refused; a client ignores unknown fields of an answer.

use crate::{
    ConversationId, DeviceId, ErrorCode, EventId, Seq, TimestampMs, UserId,
    frame::{Context, HeadsItem, WelcomeLimits},
};
use serde::{Deserialize, Serialize};

/// `POST /v1/accounts`
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateAccount {
    /// 3–32 of `[a-z0-9._-]`.
    pub username: String,
    /// 8–256 Unicode scalar values.
    pub password: String,
    /// 1–64 Unicode scalar values.
    pub display_name: String,
    /// Needed when sign-up is by invitation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invite: Option<String>,
}

/// The answer to [`CreateAccount`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AccountCreated {
    /// The account's profile.
    pub user: Profile,
}

/// A device as it names itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DeviceRequest {
    /// A device that this installation was before; absent at the first sign-in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<DeviceId>,
    /// For the device list, 1–64 Unicode scalar values.
    pub name: String,
}

/// `POST /v1/sessions`
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
    /// This installation.
    pub device: DeviceRequest,
}

/// `POST /v1/sessions/refresh`
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// The last one received.
    pub refresh_token: String,
    /// The device it was given to; `null` asks for a new device (S8).
    #[serde(default)]
    pub device: Option<DeviceId>,
}

/// A device in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceRef {
    /// Its id.
    pub id: DeviceId,
    /// The name that it gave itself.
    pub name: String,
}

/// The answer to [`SignIn`] and [`Refresh`].
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Session {
    /// A signed JWT of at most ten minutes.
    pub access_token: String,
    /// How long it is good for, seconds from the answer.
    pub access_expires_in_s: u64,
    /// Opaque; each can be exchanged once.
    pub refresh_token: String,
    /// Who signed in.
    pub user: Profile,
    /// On which device.
    pub device: DeviceRef,
}

/// A row of `GET /v1/sessions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
pub struct SessionItem {
    /// The device.
    pub device: DeviceId,
    /// Its name.
    pub name: String,
    /// When it signed in.
    pub created_at: TimestampMs,
    /// When it was last connected, to the hour.
    pub last_seen: TimestampMs,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// `DELETE /v1/sessions/{device}`, and `DELETE /v1/sessions` for all devices but the one that asks.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeSession {
    /// The password, asked again.
    pub password: String,
}

/// `PUT /v1/me/password`
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The password until now.
    pub current: String,
    /// The password from now on.
    pub new: String,
}

/// `PATCH /v1/me`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct UpdateProfile {
    /// 1–64 Unicode scalar values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Whether others see one online and when one was last seen. Who hides that does not see it of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_presence: Option<bool>,
}

/// A person as others see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Profile {
    /// Their id.
    pub id: UserId,
    /// Their user name.
    pub username: String,
    /// What to call them.
    pub display_name: String,
    /// Their role on the platform ("recruiter", "candidate" …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// A reference to their picture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar: Option<String>,
    /// Only in one's own profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether others see this person's presence. Only in one's own profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub show_presence: Option<bool>,
    /// Rises with every change.
    pub version: u64,
}

/// `POST /v1/conversations`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateConversation {
    /// For a group, minted by the caller; for a direct one it follows from the members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ConversationId>,
    /// `direct` or `group`.
    pub kind: crate::frame::ConversationKind,
    /// Without the caller; naming the caller is harmless.
    pub members: Vec<UserId>,
    /// Groups only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What it is about on the platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Context>,
    /// A first message, sent in the same step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<PostMessage>,
}

/// `POST /v1/conversations/{id}/messages`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct PostMessage {
    /// Makes a retry harmless; minted by the server when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    /// 1–16,000 Unicode scalar values.
    pub text: String,
}

/// The answer to [`PostMessage`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessagePosted {
    /// Its id.
    pub id: EventId,
    /// Its place.
    pub seq: Seq,
    /// The server's time.
    pub ts: TimestampMs,
}

/// `PUT /v1/conversations/{id}/read`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct MarkRead {
    /// The last seq that was read.
    pub up_to: Seq,
}

/// `POST /v1/exchange` (S12)
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ExchangeRequest {
    /// `hello` first; at most 256.
    #[serde(deserialize_with = "crate::frame::values_once")]
    pub frames: Vec<serde_json::Value>,
    /// How long to wait for something to happen, at most 25,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
}

/// The answer to [`ExchangeRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ExchangeAnswer {
    /// `welcome`, `heads`, answers, live frames.
    pub frames: Vec<serde_json::Value>,
}

/// `GET /v1/info`: what anybody may know of a server before signing in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerInfo {
    /// `name/version`.
    pub server: String,
    /// The protocol's version.
    pub protocol: u32,
    /// `open`, `invite` or `closed`: who may make an account.
    pub signup: String,
    /// Whether there are sockets; without them there is the exchange.
    pub sockets: bool,
    /// Optional abilities.
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Limits in force on a connection.
    pub limits: WelcomeLimits,
}

/// A conversation with the profiles of the members that it lists.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Conversation {
    /// Where it stands.
    #[serde(flatten)]
    pub item: HeadsItem,
    /// Of its members whom this user may see.
    pub profiles: Vec<Profile>,
}

/// A list that may go on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "schema", schemars(rename = "ListOf{T}"))]
pub struct List<T> {
    /// This part.
    pub items: Vec<T>,
    /// Hand it in as `after` for the next part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Any refusal over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ErrorBody {
    /// Branch on this.
    pub code: ErrorCode,
    /// For logs and developers, in English.
    pub message: String,
    /// When to come back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}
