//! Every size and count limit of the protocol, with its unit.

use std::time::Duration;

/// Message text: Unicode scalar values, at least 1.
pub const MESSAGE_TEXT_CHARS_MAX: usize = 16_000;
/// An event's body as canonical JSON, bytes.
pub const EVENT_BODY_BYTES_MAX: usize = 64 * 1024;
/// A frame from a client, bytes.
pub const INBOUND_FRAME_BYTES_MAX: usize = 256 * 1024;
/// A request body over HTTP (`/v1/exchange` included), bytes.
pub const HTTP_BODY_BYTES_MAX: usize = 1024 * 1024;
/// JSON nesting of a frame or body.
pub const JSON_DEPTH_MAX: usize = 64;
/// Events of one `send`.
pub const SEND_EVENTS_MAX: usize = 256;
/// Events and bytes of one group commit (W4).
pub const BATCH_EVENTS_MAX: usize = 256;
/// Bytes of event bodies in one group commit (W4).
pub const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Countable messages of a page.
pub const PAGE_MESSAGES_MAX: u32 = 50;
/// Events of a page.
pub const PAGE_EVENTS_MAX: usize = 200;
/// Bytes of a page's events and their states; a single larger event goes alone.
pub const PAGE_BYTES_MAX: usize = 128 * 1024;
/// Users named per emoji in a materialised state; above, a count follows.
pub const REACTION_USERS_MAX: usize = 64;
/// Different emoji on one message, of all people together.
pub const MESSAGE_EMOJI_MAX: usize = 20;
/// Different emoji of one person on one message.
pub const PERSON_EMOJI_MAX: usize = 8;
/// Edits of one message.
pub const MESSAGE_EDITS_MAX: usize = 1_000;
/// How often one person may have been in a group when they are added again.
pub const MEMBER_INTERVALS_MAX: usize = 100;
/// Pinned messages of a conversation.
pub const CONVERSATION_PINS_MAX: usize = 50;
/// Newest reactions of a message that a page reads per interval, where the reader no longer sees the log's end.
pub const PAST_REACTIONS_MAX: usize = 1_000;
/// An emoji: one grapheme cluster of at most this many bytes.
pub const EMOJI_BYTES_MAX: usize = 32;
/// A conversation's title, Unicode scalar values.
pub const TITLE_CHARS_MAX: usize = 128;
/// Users mentioned in one message.
pub const MENTIONS_MAX: usize = 64;
/// A display name, Unicode scalar values, at least 1.
pub const DISPLAY_NAME_CHARS_MAX: usize = 64;
/// A user name, characters of `[a-z0-9._-]`, shortest.
pub const USERNAME_CHARS_MIN: usize = 3;
/// A user name, longest.
pub const USERNAME_CHARS_MAX: usize = 32;
/// A password, Unicode scalar values, shortest.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// A password, longest; refused before hashing.
pub const PASSWORD_CHARS_MAX: usize = 256;
/// A device's name, Unicode scalar values.
pub const DEVICE_NAME_CHARS_MAX: usize = 64;
/// Members of a group, the creator included.
pub const GROUP_MEMBERS_MAX: usize = 1_000;
/// People whom one user may have blocked.
pub const BLOCKS_MAX: i64 = 1_000;
/// Devices of a user.
pub const DEVICES_PER_USER_MAX: usize = 10;
/// Members listed in a heads item; above, only their count.
pub const HEADS_MEMBERS_MAX: usize = 8;
/// Members up to which read and delivered markers are pushed (R2).
pub const MARKERS_PUSH_MEMBERS_MAX: usize = 50;
/// Conversations of one heads frame.
pub const HEADS_ITEMS_MAX: usize = 200;
/// Users in one `profiles` or `presence.watch` frame.
pub const USERS_PER_FRAME_MAX: usize = 200;
/// Conversations in one `focus` frame.
pub const FOCUS_MAX: usize = 32;
/// Seqs of one `probe`.
pub const PROBE_SEQS_MAX: usize = 32;
/// Rows of one `members` frame or HTTP list.
pub const LIST_ITEMS_MAX: u32 = 200;
/// A conversation's draft, Unicode scalar values.
pub const DRAFT_CHARS_MAX: usize = 16_000;
/// Bytes of all drafts of one person together, in UTF-8.
pub const DRAFTS_BYTES_MAX: usize = 1024 * 1024;
/// Frames waiting for one connection (L2).
pub const OUTBOUND_FRAMES_MAX: usize = 1_000;
/// Bytes waiting for one connection (L2).
pub const OUTBOUND_BYTES_MAX: usize = 1024 * 1024;
/// Events that a client holds back while a hole is pulled (C1), per conversation.
pub const GAP_BUFFER_EVENTS_MAX: usize = 256;

/// How long a client waits for a hole to close by itself (C1).
pub const GAP_WAIT: Duration = Duration::from_millis(300);
/// What has waited in an outbox for longer leaves only by the user's word (O5).
pub const OUTBOX_ASK_AFTER: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often a server pings (S10).
pub const PING_EVERY: Duration = Duration::from_secs(12);
/// Either side is dead after this long without a byte (S10).
pub const DEAD_AFTER: Duration = Duration::from_secs(30);
/// A connection without `hello` is closed after this long.
pub const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// First reconnect: full jitter up to this (S10).
pub const RECONNECT_FIRST_MAX: Duration = Duration::from_secs(2);
/// Later reconnects: 1 s doubled up to this (S10).
pub const RECONNECT_MAX: Duration = Duration::from_secs(60);
/// Frames of an exchange (S12).
pub const EXCHANGE_FRAMES_MAX: usize = 256;
/// The longest an exchange may wait (S12).
pub const EXCHANGE_WAIT_MAX: Duration = Duration::from_millis(25_000);
/// How far apart polls are at most (S12).
pub const POLL_EVERY: Duration = Duration::from_secs(10);
/// How often a polling client tries the socket again (S12).
pub const SOCKET_RETRY_EVERY: Duration = Duration::from_secs(300);
/// `auth_expiring` comes this long before the token ends (S11).
pub const AUTH_EXPIRING_BEFORE: Duration = Duration::from_secs(60);
/// A token is accepted this long after its end (clock differences).
pub const TOKEN_LEEWAY: Duration = Duration::from_secs(30);
/// A used refresh token answers with the same successor for this long (S11).
pub const REFRESH_REPLAY: Duration = Duration::from_secs(60);
/// A marker is sent at most this often per conversation (R2).
pub const MARKER_EVERY: Duration = Duration::from_millis(500);
/// Typing is resent this often (R5).
pub const TYPING_RESEND: Duration = Duration::from_secs(4);
/// Typing ends this long after the last key (R5).
pub const TYPING_IDLE: Duration = Duration::from_secs(1);
/// Typing expires this long after it was received (R5).
pub const TYPING_EXPIRES: Duration = Duration::from_secs(7);
/// An idle person counts as away after this long (R5).
pub const AWAY_AFTER: Duration = Duration::from_secs(300);
