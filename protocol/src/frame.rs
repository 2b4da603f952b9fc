//! Frames: what travels on the WebSocket and in `POST /v1/exchange` (section 8, exact shapes in section 12).

mod client;
#[cfg(any(test, feature = "examples"))]
mod example;
mod heads;
#[cfg(any(test, feature = "examples"))]
pub mod judge;
#[cfg(any(test, feature = "examples"))]
pub mod mutate;
mod once;
mod server;

pub use client::*;
#[cfg(any(test, feature = "examples"))]
pub use example::{example, examples, optional};
pub use heads::*;
pub(crate) use once::list as values_once;
pub use server::*;

use crate::{ErrorCode, limits, text::check_line};
use serde::{Deserialize, Serialize};

/// What kind of conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    /// Two people; the id follows from them.
    Direct,
    /// Any number, with roles and a title.
    Group,
}

impl ConversationKind {
    /// The wire form.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
        }
    }

    /// Parses the wire form.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "direct" => Some(Self::Direct),
            "group" => Some(Self::Group),
            _ => None,
        }
    }
}

/// The platform's object that a conversation is about (a job, an application, an interview …).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "ts", derive(ts_rs::TS))]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// `job`, `application`, … 1–32 of `[a-z0-9_-]`.
    pub kind: String,
    /// The platform's own id, 1–128 characters.
    pub id: String,
    /// What to show, up to 128 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// An https link to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

impl Context {
    /// Checks the lengths and characters of all parts.
    ///
    /// # Errors
    /// `invalid`.
    pub fn check(&self) -> Result<(), ErrorCode> {
        let is_kind = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
        let fits = (1..=32).contains(&self.kind.len())
            && self.kind.chars().all(is_kind)
            && !self.id.is_empty()
            && check_line(&self.id, 128).is_ok()
            && self.title.as_deref().is_none_or(|title| check_line(title, 128).is_ok())
            && self
                .link
                .as_deref()
                .is_none_or(|link| link.starts_with("https://") && check_line(link, 2_048).is_ok());
        if fits { Ok(()) } else { Err(ErrorCode::Invalid) }
    }
}

/// Why a frame could not be read, and which request that answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct FrameError {
    /// The frame's `request`, if that much could be read.
    pub reply_to: Option<u64>,
    /// `invalid` or `unsupported`.
    pub code: ErrorCode,
    /// For developers.
    pub message: String,
}

/// What every frame may carry besides its type's fields.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: Option<serde_json::Value>,
    request: Option<serde_json::Value>,
}

/// Reads type and request number; refuses nesting over [`limits::JSON_DEPTH_MAX`] before any parser sees it.
fn envelope(text: &str) -> Result<(String, Option<u64>), FrameError> {
    let fail = |reply_to, message: &str| FrameError {
        reply_to,
        code: ErrorCode::Invalid,
        message: message.to_owned(),
    };
    if !depth_is_within(text, limits::JSON_DEPTH_MAX) {
        return Err(fail(None, "nested too deeply"));
    }
    let envelope: Envelope = serde_json::from_str(text).map_err(|error| fail(None, &error.to_string()))?;
    let request = match envelope.request {
        None => None,
        Some(value) => match value.as_u64() {
            Some(number) if (1..crate::seq::WIRE_INTEGER_LIMIT).contains(&number) => Some(number),
            _ => return Err(fail(None, "request is a whole number from 1")),
        },
    };
    match envelope.kind {
        Some(serde_json::Value::String(kind)) => Ok((kind, request)),
        _ => Err(fail(request, "a frame names its type")),
    }
}

/// Whether the nesting of arrays and objects in a JSON text stays within `max`. Brackets in strings do not count.
pub fn depth_is_within(text: &str, max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > max {
                    return false;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

/// Declares one direction's frames once: the enum, its names, and its reader.
macro_rules! frames {
    ($(#[$doc:meta])* $name:ident, $received:ident { $($(#[$vdoc:meta])* $variant:ident($body:ty) = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        #[serde(tag = "type")]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant($body),)*
        }

        impl $name {
            /// Every type's name on the wire.
            pub const TYPES: &[&'static str] = &[$($text),*];

            /// The type's name on the wire.
            pub const fn type_name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $text,)* }
            }

            /// Reads a frame.
            ///
            /// # Errors
            /// `invalid` for bad JSON, too much nesting, no `type`, or fields of a wrong form; `unsupported` for an
            /// unknown type. Unknown fields at the top level are ignored.
            pub fn decode(text: &str) -> Result<$received, super::FrameError> {
                let (kind, request) = super::envelope(text)?;
                let fail = |error: serde_json::Error| super::FrameError {
                    reply_to: request,
                    code: crate::ErrorCode::Invalid,
                    message: error.to_string(),
                };
                let frame = match kind.as_str() {
                    $($text => Self::$variant(serde_json::from_str::<$body>(text).map_err(fail)?),)*
                    _ => {
                        return Err(super::FrameError {
                            reply_to: request,
                            code: crate::ErrorCode::Unsupported,
                            message: "unknown frame type".to_owned(),
                        });
                    }
                };
                Ok($received { frame, request })
            }
        }

        /// A frame as it came, with its request number.
        #[derive(Debug, Clone, PartialEq)]
        pub struct $received {
            /// The frame.
            pub frame: $name,
            /// The sender's number for it, if it wants an answer.
            pub request: Option<u64>,
        }
    };
}
pub(crate) use frames;

#[derive(Serialize)]
struct WithRequest<'a, T> {
    #[serde(flatten)]
    frame: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<u64>,
}

fn write<T: Serialize>(frame: &T, request: Option<u64>) -> String {
    // Frames are plain data with string keys: serialisation has no way to fail.
    serde_json::to_string(&WithRequest { frame, request }).unwrap_or_default()
}

#[cfg(test)]
mod tests;
