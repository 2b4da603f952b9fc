//! What instances tell each other, as bytes: a mark, then JSON.
//!
//! Whatever comes is taken for hostile until its mark fits, its size and time are within bounds, and it parses; events and
//! frames are written anew from what was read, so that nothing else reaches a client.

use crate::{
    auth::{SEAL_BYTES, Tokens},
    hub::Outward,
};
use kith_protocol::{
    ConversationId, DeviceId, Event, ServerFrame, TimestampMs, UserId, ephemeral::PresenceState,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// A message is closed when it is longer than this. The bus carries up to 1 MiB by default, and one event with a thousand
/// members is below 200 KiB.
pub(super) const MESSAGE_BYTES: usize = 256 * 1024;
/// Longer ones are not read.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Messages from further away in time are not heard: somebody may have kept them.
const CLOCKS_DIFFER_MAX_MS: i64 = 60_000;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    /// The instance that speaks, as long as its process lives.
    pub from: Uuid,
    /// The instance that alone gets it; without one all do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Uuid>,
    /// Its number among the messages to all, or to that instance. Messages that were lost on their way out have numbers too.
    pub number: u64,
    pub at: i64,
    /// Which incarnation of the database it works with (S6), once it has looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Arc<str>>,
    /// In a sign of life: for each instance the number of the last message to it alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sent: BTreeMap<Uuid, u64>,
    /// What it tells; nothing in most signs of life.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Item>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Item {
    /// Events of one commit, in order, and who gets heads before them.
    Log {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        announce: Vec<(UserId, ConversationId)>,
        /// Lists of members, each once.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        audiences: Vec<Vec<UserId>>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        events: Vec<LogEvent>,
    },
    /// A frame for users' connections.
    Frame { users: Vec<UserId>, frame: Box<RawValue> },
    /// A device was signed out.
    Closed { device: DeviceId, code: u16 },
    /// A device has a newer socket elsewhere.
    Replaced { user: UserId, device: DeviceId, generation: u64 },
    /// A block between two people: presence between them ends.
    Parted { pair: [UserId; 2] },
    /// How present somebody is there; without a state they are not connected there.
    Presence {
        user: UserId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<PresenceState>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_seen: Option<TimestampMs>,
        /// Which change it is.
        version: u64,
    },
    /// A part of those who are connected there, as it was after the change `version`. All parts together replace what was
    /// known.
    Everybody { version: u64, part: u32, parts: u32, users: BTreeMap<UserId, PresenceState> },
    /// These instances are asked who is connected to them.
    WhoIsThere { of: Vec<Uuid> },
}

/// An event: where, the number of its audience, and the event.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LogEvent(pub ConversationId, pub usize, pub Box<RawValue>);

impl LogEvent {
    pub fn read(&self) -> Option<Event> {
        serde_json::from_str(self.2.get()).ok()
    }
}

/// Why a message is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    TooLong,
    NotOurs,
    NotReadable,
    OutOfTime,
}

/// A message as it goes over the bus.
pub(super) fn encode(tokens: &Tokens, message: &Message) -> Vec<u8> {
    let json = serde_json::to_vec(message).unwrap_or_default();
    let mut bytes = Vec::with_capacity(SEAL_BYTES + json.len());
    bytes.extend_from_slice(&tokens.seal(&json));
    bytes.extend_from_slice(&json);
    bytes
}

impl Message {
    /// Whether the sender works with another incarnation of the database than `ours`. Who has not looked yet has neither
    /// written nor served a handshake.
    pub fn is_of_another(&self, ours: Option<&str>) -> bool {
        self.incarnation.as_deref().zip(ours).is_some_and(|(theirs, ours)| theirs != ours)
    }
}

pub(super) fn decode(tokens: &Tokens, bytes: &[u8], now: i64) -> Result<Message, Refused> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(Refused::TooLong);
    }
    let (seal, json) = bytes.split_at_checked(SEAL_BYTES).ok_or(Refused::NotOurs)?;
    if !tokens.is_sealed(json, seal) {
        return Err(Refused::NotOurs);
    }
    let message: Message = serde_json::from_slice(json).map_err(|_| Refused::NotReadable)?;
    if message.at.abs_diff(now) > CLOCKS_DIFFER_MAX_MS.unsigned_abs() {
        return Err(Refused::OutOfTime);
    }
    Ok(message)
}

fn raw(json: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(json.to_owned()).ok()
}

/// Encodes what the hub publishes as items; events of a long commit become several, each of them short.
pub(super) fn items(outward: Outward) -> Vec<(Item, usize)> {
    /// Of an id in JSON.
    const ID_BYTES: usize = 40;
    match outward {
        Outward::Log { mut announce, events } => {
            let mut done = Vec::new();
            let (mut audiences, mut known, mut open, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
            bytes += announce.len() * 2 * ID_BYTES;
            for event in events {
                if bytes > MESSAGE_BYTES {
                    let announce = std::mem::take(&mut announce);
                    let (audiences, events) = (std::mem::take(&mut audiences), std::mem::take(&mut open));
                    done.push((Item::Log { announce, audiences, events }, bytes));
                    known.clear();
                    bytes = 0;
                }
                let at =
                    known.iter().position(|one| Arc::ptr_eq(one, &event.audience)).unwrap_or_else(|| {
                        known.push(Arc::clone(&event.audience));
                        audiences.push(event.audience.to_vec());
                        bytes += event.audience.len() * ID_BYTES;
                        known.len() - 1
                    });
                bytes += event.json.len() + ID_BYTES;
                open.extend(raw(&event.json).map(|json| LogEvent(event.conversation, at, json)));
            }
            done.push((Item::Log { announce, audiences, events: open }, bytes));
            done
        }
        Outward::Frame { users, json, .. } => {
            let bytes = json.len() + users.len() * ID_BYTES;
            raw(&json).map(|frame| (Item::Frame { users, frame }, bytes)).into_iter().collect()
        }
        Outward::Parted { pair } => vec![(Item::Parted { pair }, 2 * ID_BYTES)],
        Outward::Closed { device, code } => vec![(Item::Closed { device, code }, 2 * ID_BYTES)],
        Outward::Replaced { user, device, generation } => {
            vec![(Item::Replaced { user, device, generation }, 3 * ID_BYTES)]
        }
        Outward::Presence { user, state, last_seen, version } => {
            vec![(Item::Presence { user, state, last_seen, version }, 3 * ID_BYTES)]
        }
    }
}

/// What of a frame may go from instance to instance.
#[derive(Debug)]
pub(super) enum Told {
    /// One's own state, or a notification.
    Own(Arc<str>),
    /// Only the newest counts.
    Latest(crate::hub::Latest),
    /// It may be dropped.
    Ephemeral(Arc<str>),
}

/// Reads a frame that another instance told; `None` for one that only one's own instance may send.
pub(super) fn told(frame: &RawValue) -> Option<Told> {
    use crate::hub::{Latest, Topic};
    let frame = ServerFrame::decode(frame.get()).ok()?.frame;
    let json: Arc<str> = frame.encode().into();
    match &frame {
        ServerFrame::OwnState(own) if own.reply_to.is_none() => Some(Told::Own(json)),
        ServerFrame::Notification(_) => Some(Told::Own(json)),
        ServerFrame::Markers(told) => match told.markers.as_slice() {
            [(of, delivered, read)] => {
                let topic = Topic::Markers(told.conversation, *of);
                Some(Told::Latest(Latest { topic, version: (delivered.0, read.0), json }))
            }
            _ => None,
        },
        ServerFrame::Profiles(told) => match told.items.as_slice() {
            [one] => {
                let topic = Topic::Profile(one.id);
                Some(Told::Latest(Latest { topic, version: (one.version, 0), json }))
            }
            _ => None,
        },
        ServerFrame::Ephemeral(_) => Some(Told::Ephemeral(json)),
        _ => None,
    }
}
