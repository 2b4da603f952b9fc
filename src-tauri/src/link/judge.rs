//! What has to hold of any text that is read as a link, for the seeded cases and for the coverage-guided fuzz target
//! (`fuzz/targets/links.rs`, which compiles this file, `link.rs` and `text.rs` without the rest of the app).

use crate::{
    link::{LINK_BYTES_MAX, Link, is_username},
    text::has_hidden,
};
use kith_protocol::UserId;

/// Reads a text. Returns whether it is a link: then its parts are plain, and it is read the same again.
///
/// # Panics
/// When [`Link::parse`] breaks one of its promises.
pub(crate) fn link(input: &str) -> bool {
    let Ok(link) = Link::parse(input) else { return false };
    assert!(input.len() <= LINK_BYTES_MAX && input.starts_with("kith://") && !has_hidden(input), "{input:?}");
    if let Link::Start { with, context } = &link {
        assert!(is_username(with) || UserId::parse(with).is_ok(), "{input:?}");
        let about = context.as_ref().map(|context| [&context.kind, &context.id]);
        let is_plain = |part: &String| !has_hidden(part) && !part.contains("..");
        assert!(is_plain(with) && about.into_iter().flatten().all(is_plain), "{input:?}");
        assert!(context.as_ref().is_none_or(|context| context.check().is_ok()), "{input:?}");
    }
    // What a context names may need escapes that make the link longer than a link may be.
    let again = text(&link);
    assert!(again.len() > LINK_BYTES_MAX || Link::parse(&again) == Ok(link), "{input:?}");
    true
}

/// The link in text, as [`Link::parse`] reads it.
pub(crate) fn text(link: &Link) -> String {
    match link {
        Link::Start { with, context } => {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("with", with);
            if let Some(context) = context {
                query.append_pair("context", &format!("{}:{}", context.kind, context.id));
            }
            format!("kith://start?{}", query.finish())
        }
        Link::Conversation { id, message: None } => format!("kith://c/{id}"),
        Link::Conversation { id, message: Some(message) } => format!("kith://c/{id}?m={message}"),
    }
}
