//! People who have left a conversation, or were removed from it, until what only its members may see of each other has
//! ended (R5).

use kith_protocol::{EventContent, UserId, event::MemberChange};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

/// What an event begins with as JSON.
#[derive(Deserialize)]
struct Shape<'a> {
    kind: &'a str,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
}

#[derive(Debug, Default)]
pub(super) struct Leavers(Mutex<HashSet<UserId>>);

impl Leavers {
    /// Notes whom an event, as JSON, takes out of a conversation.
    pub(super) fn note(&self, json: &str) {
        // No text can hold this: quotation marks in it are escaped.
        if json.contains(r#""kind":"member""#)
            && let Some(user) = left_by(json)
        {
            self.add([user]);
        }
    }

    pub(super) fn add(&self, users: impl IntoIterator<Item = UserId>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(users);
    }

    pub(super) fn take(&self) -> HashSet<UserId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn left_by(json: &str) -> Option<UserId> {
    let shape: Shape<'_> = serde_json::from_str(json).ok()?;
    let body = serde_json::from_str(shape.body?.get()).ok()?;
    match EventContent::parse(shape.kind, None, &body).ok()? {
        EventContent::Member(member)
            if matches!(member.change, MemberChange::Left | MemberChange::Removed) =>
        {
            Some(member.user)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn r5_only_who_leaves_is_noted() {
        let (leavers, user) = (Leavers::default(), UserId::mint());
        let event =
            |kind: &str, body: serde_json::Value| json!({"seq": 1, "kind": kind, "body": body}).to_string();
        for change in ["added", "role", "left", "removed"] {
            let is_out = matches!(change, "left" | "removed");
            let mut body = json!({"user": user, "change": change});
            if !is_out {
                body["role"] = json!("member");
            }
            leavers.note(&event("member", body));
            assert_eq!(leavers.take().contains(&user), is_out, "{change}");
        }
        leavers
            .note(&event("message", json!({"text": r#""kind":"member""#, "user": user, "change": "left"})));
        leavers.note(r#"{"kind":"member","body":7}"#);
        assert!(leavers.take().is_empty());
    }
}
