//! The link as people are shown it.

use super::{Link, Machine};
use crate::{Action, LinkStatus};
use kith_protocol::{TimestampMs, error::ErrorClass};

impl Machine {
    pub(super) fn show_link(&mut self) {
        let status = self.link_status();
        if self.shown.as_ref() != Some(&status) {
            self.shown = Some(status.clone());
            self.actions.push(Action::Link(status));
        }
    }

    fn link_status(&mut self) -> LinkStatus {
        let wall_at = |until: u64| TimestampMs(self.now.wall.0 + until.saturating_sub(self.now.mono));
        // The first try after a connection is not worth a word of alarm.
        let calm = self.backoff.failed() <= 1;
        match self.link {
            Link::Live { .. } | Link::Between { .. } | Link::Exchanging if self.heard => {
                let behind = if self.catching_up {
                    self.logs.values().filter(|log| log.is_behind()).count()
                } else {
                    0
                };
                self.catching_up = behind > 0;
                if self.catching_up {
                    LinkStatus::CatchingUp { behind: u32::try_from(behind).unwrap_or(u32::MAX) }
                } else {
                    LinkStatus::Connected { polling: self.is_polling() }
                }
            }
            Link::SignIn => LinkStatus::SignInNeeded,
            Link::Stopped { code } if code.class() == ErrorClass::SignIn => LinkStatus::SignInNeeded,
            Link::Stopped { code } => LinkStatus::Stopped { code },
            Link::Waiting { until } | Link::Broken { until } if !calm => self.offline(Some(wall_at(until))),
            _ if calm => LinkStatus::Connecting,
            _ => self.offline(None),
        }
    }

    fn offline(&self, next_try: Option<TimestampMs>) -> LinkStatus {
        LinkStatus::Offline { since: self.since, next_try, bad_certificate: self.has_bad_certificate }
    }
}
