//! Plain types that an interface shows. They say what to draw, never how it is stored or sent.
//!
//! Everything is decided here: order, unread numbers, what a preview says, which state a message is in. Times are
//! server times in milliseconds; for what the server has not numbered yet, the local clock's.

mod account;
mod conversations;
mod diagnostics;
mod outbox;
mod people;
mod search;
mod timeline;

pub use account::{
    AccountView, AppState, KeyOffer, KeyOfferReason, KeyStore, LinkView, LockedTrouble, MendedView,
    SignOutPreview, SignedOutReason, StatusView,
};
pub use conversations::{ConversationDetail, ConversationView, MemberView, PreviewView};
pub use diagnostics::{Counter, CounterView, DiagnosticsView, LogView};
pub use outbox::{OutboxItemView, OutboxKind, OutboxState};
pub use people::{PersonView, PresenceView, UNKNOWN_NAME};
pub use search::{SearchHit, SearchView, SnippetPart};
pub use timeline::{
    Anchor, GapView, MessageView, NoticeKind, NoticeView, QuoteView, ReactionView, SendState, TimelineItem,
    TimelineView,
};
