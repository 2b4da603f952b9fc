//! `kith://` links: read strictly and handed to the window as values. A link never does anything by itself; the
//! window shows what it leads to.

use crate::text::has_hidden;
use kith_protocol::{ConversationId, EventId, UserId, frame::Context, limits};
use serde::Serialize;
use url::Url;

/// No link is longer, in bytes.
pub(crate) const LINK_BYTES_MAX: usize = 2_048;

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Link {
    /// To a conversation with somebody, existing or to be started.
    Start {
        /// Their user name, or their id.
        with: String,
        /// What it is about on the platform.
        context: Option<Context>,
    },
    Conversation {
        id: ConversationId,
        message: Option<EventId>,
    },
}

/// Why a link was not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadLink {
    #[error("longer than {LINK_BYTES_MAX} bytes")]
    TooLong,
    #[error("has control or direction characters, blanks, or ..")]
    Disguised,
    #[error("not a link of this app")]
    Unknown,
    #[error("a part is missing, repeated or not valid")]
    Parts,
}

impl Link {
    /// Reads `kith://start?with=USERNAME_OR_ID[&context=KIND:ID]` or `kith://c/CONVERSATION_ID[?m=MESSAGE_ID]`.
    pub(crate) fn parse(text: &str) -> Result<Self, BadLink> {
        if text.len() > LINK_BYTES_MAX {
            return Err(BadLink::TooLong);
        }
        if has_hidden(text) || text.contains("..") || text.contains(|c: char| c == '\\' || c.is_whitespace())
        {
            return Err(BadLink::Disguised);
        }
        if !text.starts_with("kith://") {
            return Err(BadLink::Unknown);
        }
        let url = Url::parse(text).map_err(|_| BadLink::Unknown)?;
        if !url.username().is_empty()
            || url.password().is_some()
            || url.port().is_some()
            || url.fragment().is_some()
        {
            return Err(BadLink::Parts);
        }
        match url.host_str() {
            Some("start") => Self::start(&url),
            Some("c") => Self::conversation(&url),
            _ => Err(BadLink::Unknown),
        }
    }

    fn start(url: &Url) -> Result<Self, BadLink> {
        if !matches!(url.path(), "" | "/") {
            return Err(BadLink::Parts);
        }
        let [with, context] = parts(url, ["with", "context"])?;
        let with = with.ok_or(BadLink::Parts)?;
        if !is_username(&with) && UserId::parse(&with).is_err() {
            return Err(BadLink::Parts);
        }
        let context = context.map(|text| about(&text).ok_or(BadLink::Parts)).transpose()?;
        Ok(Self::Start { with, context })
    }

    fn conversation(url: &Url) -> Result<Self, BadLink> {
        let id = url.path().strip_prefix('/').ok_or(BadLink::Parts)?;
        let id = ConversationId::parse(id).map_err(|_| BadLink::Parts)?;
        let [message] = parts(url, ["m"])?;
        let message = message.map(|id| EventId::parse(&id)).transpose().map_err(|_| BadLink::Parts)?;
        Ok(Self::Conversation { id, message })
    }
}

/// The query's values by name; a name that is not known or comes twice is refused.
fn parts<const N: usize>(url: &Url, names: [&str; N]) -> Result<[Option<String>; N], BadLink> {
    let mut found = [const { None }; N];
    for (name, value) in url.query_pairs() {
        let place = names.iter().position(|known| *known == name).ok_or(BadLink::Parts)?;
        if has_hidden(&value) || value.contains("..") {
            return Err(BadLink::Disguised);
        }
        if found[place].replace(value.into_owned()).is_some() {
            return Err(BadLink::Parts);
        }
    }
    Ok(found)
}

pub(crate) fn is_username(text: &str) -> bool {
    (limits::USERNAME_CHARS_MIN..=limits::USERNAME_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

/// `KIND:ID`, as a server takes it.
fn about(text: &str) -> Option<Context> {
    let (kind, id) = text.split_once(':')?;
    let context = Context { kind: kind.to_owned(), id: id.to_owned(), title: None, link: None };
    context.check().is_ok().then_some(context)
}

// Named by its path, for the fuzz target compiles this file in another place.
#[cfg(test)]
#[path = "link/judge.rs"]
mod judge;

#[cfg(test)]
mod tests {
    use super::*;
    use kith_protocol::frame::mutate::{Mutator, play};

    fn start(with: &str, context: Option<&str>) -> Link {
        Link::Start { with: with.to_owned(), context: context.map(|text| about(text).unwrap()) }
    }

    #[test]
    fn sec_056_both_kinds_are_read_and_come_back_the_same() {
        let (id, message) = (ConversationId::mint(), EventId::mint());
        for link in [
            start("bo.lindqvist", None),
            start(&UserId::mint().to_string(), Some("application:4711")),
            Link::Conversation { id, message: None },
            Link::Conversation { id, message: Some(message) },
        ] {
            assert_eq!(Link::parse(&judge::text(&link)), Ok(link));
        }
    }

    #[test]
    fn sec_056_browsers_ways_of_writing_are_read() {
        assert_eq!(Link::parse("kith://start/?with=ada"), Ok(start("ada", None)));
        assert_eq!(Link::parse("kith://start?with=ada&context=job%3A7"), Ok(start("ada", Some("job:7"))));
    }

    /// `tests/e2e` begins conversations with what these links are read as.
    #[test]
    fn links_are_read_as_the_end_to_end_tests_take_them() {
        let links: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../tests/fixtures/links.json")).unwrap();
        for link in &links {
            let read = Link::parse(link["link"].as_str().unwrap()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), link["value"]);
        }
        assert_eq!(links.len(), 3);
    }

    #[test]
    fn sec_056_anything_else_is_refused() {
        let id = ConversationId::mint();
        let long = format!("kith://start?with=ada&context=job:{}", "x".repeat(2_048));
        for link in [
            "",
            "kith:",
            "kith://",
            "kith:start?with=ada",
            "KITH://start?with=ada",
            "https://start?with=ada",
            "javascript:alert(1)",
            "kith://join?server=https://example.org",
            "kith://start.example.org?with=ada",
            "kith://start",
            "kith://start?with=",
            "kith://start?with=Ada",
            "kith://start?with=a",
            "kith://start?with=ada&with=bo",
            "kith://start?with=ada&send=hi",
            "kith://start?with=ada#x",
            "kith://ada@start?with=ada",
            "kith://start:80?with=ada",
            "kith://start/x?with=ada",
            "kith://start?with=ada&context=javascript",
            "kith://start?with=ada&context=Job:7",
            "kith://start?with=ada&context=job:%2e%2e/x",
            "kith://start?with=ada&context=job:a%00b",
            "kith://start?with=ada&context=job:a%E2%80%AEb",
            "kith://start?with=ada&context=job:a\u{202e}b",
            "kith://start?with=ada\n",
            "kith://start?with=ada\0",
            "kith://c",
            "kith://c/",
            "kith://c/../etc/passwd",
            "kith://c/x",
            "kith://c/%2e%2e",
            long.as_str(),
            &format!("kith://c/{id}/"),
            &format!("kith://c/{id}?m=1"),
            &format!("kith://c/{id}?x=1"),
            &format!("kith://c/{}", id.to_string().to_uppercase()),
            &format!("kith://C\\{id}"),
            "kith://start?with=ada&context=job:%0d%0ax",
            "kith://start?with=ada&context=job:%E2%80%8Bx",
            "kith://start?with=ada&context=job:%E2%81%A6x",
            "kith://start?with=ada&context=job:%1b%5b31m",
            "kith://start?with=%61%00",
            "kith://start?with=ada%2f..%2fbo",
            "kith://start?with=ada;rm",
            "kith://start?with=javascript:alert(1)",
            "kith://evil.example?with=ada",
            "kith://start%2eevil.example?with=ada",
            "kith://start\\@evil.example?with=ada",
            "kith://start:pass@evil.example?with=ada",
            "kith:///start?with=ada",
            "kith:\\\\start?with=ada",
            "kith\t://start?with=ada",
            " kith://start?with=ada",
            "kith://start?with=ada ",
            "kith://sta\trt?with=ada",
            "kith://start?with=a\nda",
            "\u{ff4b}ith://start?with=ada",
            "kith://\u{ff53}tart?with=ada",
            "file:///etc/passwd",
            "data:text/html,x",
            "--data-dir=/",
            "-h",
            "kith://join/evil.example",
            "kith://send?to=ada&text=hi",
            "kith://delete?c=1",
            "kith://open?path=/etc/passwd",
            &format!("kith://c/{id}?m={id}&m={id}"),
            &format!("kith://c/{id}%00"),
            &format!("kith://c/{id}\u{202e}"),
            &format!("kith://c//{id}"),
            &format!("kith://c/{{{id}}}"),
            &format!("kith://start?with=ada&{}", "a=b&".repeat(1_000)),
            &"kith://".repeat(1_000_000),
        ] {
            assert!(Link::parse(link).is_err(), "{link:?} was read as {:?}", Link::parse(link));
        }
    }

    #[test]
    fn sec_056_no_hostile_text_is_a_link() {
        let corpus: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../ui/src/hostile.json")).unwrap();
        for text in corpus.iter().filter_map(serde_json::Value::as_str) {
            assert!(Link::parse(text).is_err(), "{text:?}");
            for link in
                [format!("kith://{text}"), format!("kith://c/{text}"), format!("kith://start?with={text}")]
            {
                assert!(Link::parse(&link).is_err(), "{link:?}");
            }
        }
    }

    #[test]
    fn sec_056_the_worst_link_is_read_in_proportion_to_its_length() {
        let before = ["", "kith://", "kith://c/", "kith://start?with=", "kith://start?with=ada&context=job:"];
        crate::text::worst::check("kith: links", &before, |text| drop(Link::parse(text)));
    }

    /// Cases that failed once.
    const FOUND: [u64; 0] = [];
    /// What links are made of, and what they must not be made of.
    const PIECES: [&str; 40] = [
        "kith://",
        "kith:",
        "start",
        "c",
        "/",
        "//",
        "?",
        "&",
        "=",
        "#",
        "@",
        ":",
        "with=",
        "context=",
        "m=",
        "ada",
        "job:7",
        "%",
        "%00",
        "%2e%2e",
        "%0d%0a",
        "%E2%80%AE",
        "%C0%AF",
        "%ff",
        "..",
        "\\",
        "\0",
        "\n",
        "\u{202e}",
        "\u{200b}",
        "\u{feff}",
        "\u{ff0e}",
        "\u{430}",
        "xn--80ak6aa92e",
        "[::1]",
        ":65536",
        "javascript:",
        "0190a000-0000-7000-8000-00000000c001",
        "0190A000-0000-7000-8000-00000000C001",
        "\u{10ffff}",
    ];

    /// A link, or something like it: pieces in any order, or a real one with bytes changed.
    fn mutated(mutator: &mut Mutator) -> String {
        if mutator.below(2) == 0 {
            let count = mutator.below(12);
            return (0..count).map(|_| *mutator.one(&PIECES)).collect();
        }
        let mut link = mutator
            .one(&[
                "kith://start?with=bo.lindqvist&context=application:4711",
                "kith://c/0190a000-0000-7000-8000-00000000c001?m=0190a000-0000-7000-8000-00000000e001",
            ])
            .to_string();
        for _ in 0..=mutator.below(3) {
            let places: Vec<usize> = link.char_indices().map(|(at, _)| at).chain([link.len()]).collect();
            let (a, b) = (*mutator.one(&places), *mutator.one(&places));
            let piece = if mutator.below(4) == 0 { "" } else { *mutator.one(&PIECES) };
            link.replace_range(a.min(b)..if mutator.below(2) == 0 { a.min(b) } else { a.max(b) }, piece);
        }
        if mutator.below(50) == 0 { link.repeat(1 + mutator.below(200)) } else { link }
    }

    /// Whatever comes, it is refused or it is one of the two kinds, whose parts are plain, and which is read the same again.
    #[test]
    fn sec_056_fuzz_links() {
        let mut taken = 0_u64;
        let played = play(&FOUND, 20_000, |seed| {
            let text = mutated(&mut Mutator::new(seed));
            taken += u64::from(judge::link(&text));
        });
        assert!(
            played < 1_000 || taken > played / 200,
            "{taken} of {played}: nearly everything is refused early"
        );
    }
}
