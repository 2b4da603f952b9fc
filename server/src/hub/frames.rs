//! From what waits to what is written: events of one conversation leave in one frame (L3).

use super::outgoing::{Latest, Outgoing};
use kith_protocol::{ConversationId, limits};
use std::sync::Arc;

/// Events of one `events` frame.
const FRAME_EVENTS_MAX: usize = limits::PAGE_EVENTS_MAX;

/// Frames in the making: between two other frames, each conversation's events become one `events` frame.
#[derive(Default)]
pub(super) struct Frames {
    done: Vec<Arc<str>>,
    /// In order of first appearance.
    open: Vec<(ConversationId, Vec<Arc<str>>, usize)>,
}

impl Frames {
    /// Adds what comes next.
    pub(super) fn add(&mut self, outgoing: Outgoing) {
        match outgoing {
            Outgoing::Frame(text)
            | Outgoing::Ephemeral(text)
            | Outgoing::Latest(Latest { json: text, .. }) => {
                self.close_open();
                self.done.push(text);
            }
            Outgoing::Event { conversation, json, .. } => {
                let fits = |(at, events, bytes): &(ConversationId, Vec<Arc<str>>, usize)| {
                    *at == conversation
                        && events.len() < FRAME_EVENTS_MAX
                        && bytes + json.len() <= limits::PAGE_BYTES_MAX
                };
                // Only the newest frame of a conversation may grow, so that its events stay in order.
                match self.open.iter().rposition(|(at, ..)| *at == conversation) {
                    Some(index) if fits(&self.open[index]) => {
                        let (_, events, bytes) = &mut self.open[index];
                        *bytes += json.len();
                        events.push(json);
                    }
                    _ => self.open.push((conversation, vec![Arc::clone(&json)], json.len())),
                }
            }
        }
    }

    fn close_open(&mut self) {
        for (conversation, events, bytes) in self.open.drain(..) {
            let mut text = String::with_capacity(bytes + events.len() + 96);
            text.push_str(r#"{"type":"events","conversation":""#);
            text.push_str(&conversation.to_string());
            text.push_str(r#"","events":["#);
            for (index, event) in events.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(event);
            }
            text.push_str("]}");
            self.done.push(text.into());
        }
    }

    pub(super) fn finish(mut self) -> Vec<Arc<str>> {
        self.close_open();
        self.done
    }
}
