//! The system's notifications: one for each conversation, replaced by the next, gone when read; a click leads to the
//! message.
//!
//! Everything happens in a task of its own behind a bounded queue: a daemon that is absent or does not answer holds
//! nothing up. What has been announced is noted in the profile's folder (ids only), so that it can be taken over
//! after a restart.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
use linux::Daemon;
#[cfg(not(target_os = "linux"))]
use other::Daemon;

use crate::{
    link::Link,
    settings::{NotificationMode, write_whole},
    shell::Shell,
    text::{is_bidi_control, seen},
    window,
};
use kith_client::{
    Engine,
    view::{ConversationView, MemberView, UNKNOWN_NAME},
};
use kith_protocol::{ConversationId, EventId, UserId};
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
};
use tauri::{AppHandle, Manager as _};
use tokio::sync::mpsc;

/// Orders that wait for the daemon. When full the newest is dropped: the window shows the same anyway.
const ORDERS_MAX: usize = 64;
/// No notification's text is longer, in characters.
const TEXT_CHARS_MAX: usize = 240;

/// What is announced: the newest message of a conversation.
#[derive(Debug, Clone)]
pub(crate) struct Announcement {
    pub(crate) conversation: ConversationId,
    pub(crate) message: EventId,
    pub(crate) title: String,
    pub(crate) sender: String,
    /// Its text, one line.
    pub(crate) text: String,
    /// How many arrived together.
    pub(crate) count: u32,
    /// Say only that something came.
    pub(crate) is_private: bool,
}

impl Announcement {
    /// Adds the sender's handle if the name alone does not say who wrote: somebody else in the list or in the conversation
    /// has the same name.
    pub(crate) fn tell_apart(&mut self, sender: UserId, rows: &[ConversationView], members: &[MemberView]) {
        let listed = rows.iter().flat_map(|row| {
            let last = row.preview.iter().filter_map(|line| line.sender.as_ref());
            row.peer.iter().chain(last).chain(&row.typing)
        });
        let mut people = listed.chain(members.iter().map(|member| &member.person));
        let Some(person) = people.clone().find(|person| person.id == sender) else { return };
        let name = seen(&person.display_name);
        let is_unknown = person.display_name == UNKNOWN_NAME;
        if is_unknown || !people.any(|other| other.id != sender && seen(&other.display_name) == name) {
            return;
        }
        let named = format!("{} (@{})", person.display_name, person.username);
        // A direct chat has its peer's name.
        if self.title == self.sender {
            self.title.clone_from(&named);
        }
        self.sender = named;
    }

    /// The two lines to show, without control characters and not too long.
    fn lines(&self) -> (String, String) {
        if self.is_private {
            return ("Kith".to_owned(), plain(&messages(self.count)));
        }
        let who = if self.sender == self.title { String::new() } else { format!("{}: ", self.sender) };
        let more = if self.count > 1 { format!("{} – ", messages(self.count)) } else { String::new() };
        (plain(&self.title), plain(&format!("{more}{who}{}", self.text)))
    }
}

fn messages(count: u32) -> String {
    if count > 1 { format!("{count} new messages") } else { "New message".to_owned() }
}

fn plain(text: &str) -> String {
    text.chars().filter(|&c| !c.is_control() && !is_bidi_control(c)).take(TEXT_CHARS_MAX).collect()
}

/// Text for a daemon that reads markup in it.
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux daemons read markup"))]
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[derive(Debug)]
enum Order {
    Announce(Announcement),
    TakeOver(Announcement),
    Withdraw(ConversationId),
    WithdrawAll,
}

/// Hands orders to the task that talks to the daemon; never waits.
pub(crate) struct Notifier {
    orders: mpsc::Sender<Order>,
    announced: PathBuf,
}

impl Notifier {
    pub(crate) fn start(app: AppHandle, profile_dir: &Path) -> Self {
        let (orders, waiting) = mpsc::channel(ORDERS_MAX);
        let announced = profile_dir.join("announced.json");
        tauri::async_runtime::spawn(Daemon::run(waiting, Announced::open(announced.clone()), move |place| {
            window::show(&app);
            if let Some(shell) = app.try_state::<Shell>() {
                shell.follow(Link::Conversation { id: place.0, message: Some(place.1) });
            }
        }));
        Self { orders, announced }
    }

    /// Shows it, in the place of what was shown for the same conversation.
    pub(crate) fn announce(&self, announcement: Announcement) {
        self.order(Order::Announce(announcement));
    }

    /// Removes what was shown for a conversation.
    pub(crate) fn withdraw(&self, conversation: ConversationId) {
        self.order(Order::Withdraw(conversation));
    }

    /// Removes everything that was shown.
    pub(crate) fn withdraw_all(&self) {
        self.order(Order::WithdrawAll);
    }

    /// Takes over what an earlier start of the app has shown: a daemon tells a click only to the process that showed
    /// the notification, so what is still unread is shown again in its place, and the rest is removed.
    pub(crate) async fn reopen(&self, engine: &Engine, mode: NotificationMode) {
        let earlier = Announced::open(self.announced.clone()).by_conversation;
        if earlier.is_empty() {
            return;
        }
        if mode == NotificationMode::Off {
            return self.withdraw_all();
        }
        let conversations = engine.conversations().await.unwrap_or_default();
        for (conversation, shown) in earlier {
            let row = conversations.iter().find(|row| row.id == conversation && row.unread > 0);
            let preview = row.and_then(|row| Some((row, row.preview.as_ref()?)));
            let Some((row, preview)) = preview else {
                self.order(Order::Withdraw(conversation));
                continue;
            };
            let mut announcement = Announcement {
                conversation,
                message: shown.message,
                title: row.title.clone(),
                sender: preview.sender.as_ref().map(|sender| sender.display_name.clone()).unwrap_or_default(),
                text: preview.text.clone(),
                count: row.unread,
                is_private: mode == NotificationMode::Private,
            };
            if let Some(sender) = &preview.sender {
                let members = members(engine, conversation).await;
                announcement.tell_apart(sender.id, &conversations, &members);
            }
            self.order(Order::TakeOver(announcement));
        }
    }

    fn order(&self, order: Order) {
        if self.orders.try_send(order).is_err() {
            tracing::debug!("the notification daemon is behind; one was dropped");
        }
    }
}

/// Who is in a conversation, as far as that is known.
pub(crate) async fn members(engine: &Engine, conversation: ConversationId) -> Vec<MemberView> {
    engine.conversation(conversation).await.map(|detail| detail.members).unwrap_or_default()
}

/// What the daemon shows for us, by conversation.
struct Announced {
    path: PathBuf,
    by_conversation: HashMap<ConversationId, Shown>,
    /// Numbers of those that the user has closed: known, because a click is told after it, but not kept.
    dismissed: HashSet<u32>,
}

/// A notification that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Shown {
    /// The daemon's number for it.
    id: u32,
    /// The message that it leads to.
    message: EventId,
}

impl Announced {
    fn open(path: PathBuf) -> Self {
        let read = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, by_conversation: read.unwrap_or_default(), dismissed: HashSet::new() }
    }

    fn keep(&self) {
        let shown: HashMap<_, _> =
            self.by_conversation.iter().filter(|(_, shown)| !self.dismissed.contains(&shown.id)).collect();
        if shown.is_empty() {
            // Usually there is none.
            let _ = fs::remove_file(&self.path);
            return;
        }
        let written = serde_json::to_vec(&shown).map_err(Into::into);
        if let Err(error) = written.and_then(|bytes| write_whole(&self.path, &bytes)) {
            tracing::debug!(%error, "what was announced is not noted");
        }
    }

    fn get(&self, conversation: ConversationId) -> Option<Shown> {
        self.by_conversation.get(&conversation).copied()
    }

    fn insert(&mut self, conversation: ConversationId, shown: Shown) {
        self.dismissed.remove(&shown.id);
        if let Some(before) = self.by_conversation.insert(conversation, shown)
            && before.id != shown.id
        {
            self.dismissed.remove(&before.id);
        }
        self.keep();
    }

    fn remove(&mut self, conversation: ConversationId) -> Option<Shown> {
        let shown = self.by_conversation.remove(&conversation)?;
        self.dismissed.remove(&shown.id);
        self.keep();
        Some(shown)
    }

    /// Forgets everything, also in the file.
    fn forget_all(&mut self) {
        self.by_conversation.clear();
        self.dismissed.clear();
        self.keep();
    }

    /// Forgets, in the file, a notification that the user has closed.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only D-Bus tells"))]
    fn dismissed(&mut self, id: u32) {
        if self.find(id).is_some() {
            self.dismissed.insert(id);
            self.keep();
        }
    }

    /// Where the notification with this number leads.
    fn find(&self, id: u32) -> Option<(ConversationId, EventId)> {
        let found = self.by_conversation.iter().find(|(_, shown)| shown.id == id);
        found.map(|(conversation, shown)| (*conversation, shown.message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kith_client::view::PersonView;
    use kith_protocol::{TimestampMs, event::Role, frame::ConversationKind};

    fn announcement(title: &str, sender: &str, text: &str, count: u32) -> Announcement {
        Announcement {
            conversation: ConversationId::mint(),
            message: EventId::mint(),
            title: title.to_owned(),
            sender: sender.to_owned(),
            text: text.to_owned(),
            count,
            is_private: false,
        }
    }

    #[test]
    fn a_group_says_who_and_a_direct_chat_does_not_repeat_it() {
        assert_eq!(announcement("Ada", "Ada", "hi", 1).lines(), ("Ada".into(), "hi".into()));
        assert_eq!(announcement("Team", "Ada", "hi", 1).lines(), ("Team".into(), "Ada: hi".into()));
        assert_eq!(announcement("Ada", "Ada", "hi", 3).lines().1, "3 new messages – hi");
    }

    fn person(username: &str, display_name: &str) -> PersonView {
        PersonView {
            id: UserId::mint(),
            username: username.to_owned(),
            display_name: display_name.to_owned(),
            role: None,
            avatar: None,
        }
    }

    fn member(person: &PersonView) -> MemberView {
        MemberView { person: person.clone(), role: Role::Member, read: None }
    }

    fn direct(peer: &PersonView) -> ConversationView {
        ConversationView {
            id: ConversationId::mint(),
            kind: ConversationKind::Direct,
            title: peer.display_name.clone(),
            peer: Some(peer.clone()),
            context: None,
            member_count: 2,
            my_role: None,
            preview: None,
            last_activity: TimestampMs::default(),
            unread: 1,
            unread_flag: false,
            mute: TimestampMs::default(),
            pin: false,
            archive: false,
            draft: None,
            draft_conflict: None,
            typing: Vec::new(),
            presence: None,
            is_local: false,
        }
    }

    #[test]
    fn people_who_share_a_name_are_told_apart_by_their_handles() {
        let (bo, other, ada) =
            (person("bo", "Bo Nilsson"), person("bo2", "BO  Nilsson"), person("ada", "Ada"));
        let lines = |title: &str, rows: &[&PersonView], members: &[&PersonView]| {
            let mut announced = announcement(title, "Bo Nilsson", "hi", 1);
            let rows: Vec<_> = rows.iter().map(|peer| direct(peer)).collect();
            let members: Vec<_> = members.iter().map(|person| member(person)).collect();
            announced.tell_apart(bo.id, &rows, &members);
            announced.lines()
        };
        let named = "Bo Nilsson (@bo)".to_owned();
        assert_eq!(lines("Bo Nilsson", &[&bo, &other], &[&ada, &bo]), (named.clone(), "hi".into()));
        assert_eq!(lines("Team", &[], &[&ada, &bo, &other]), ("Team".into(), format!("{named}: hi")));
        // Nobody else is called so.
        assert_eq!(lines("Bo Nilsson", &[&bo, &ada], &[&ada, &bo]), ("Bo Nilsson".into(), "hi".into()));
        assert_eq!(lines("Team", &[&bo], &[&ada, &bo]), ("Team".into(), "Bo Nilsson: hi".into()));
    }

    #[test]
    fn people_without_a_known_name_are_no_namesakes() {
        let (one, other) = (person("…", UNKNOWN_NAME), person("…", UNKNOWN_NAME));
        let mut announced = announcement("Team", UNKNOWN_NAME, "hi", 1);
        announced.tell_apart(one.id, &[], &[member(&one), member(&other)]);
        assert_eq!(announced.lines().1, "…: hi");
    }

    #[test]
    fn sec_068_private_says_nothing_of_sender_and_text() {
        let private = Announcement { is_private: true, ..announcement("Ada", "Ada", "secret", 2) };
        assert_eq!(private.lines(), ("Kith".into(), "2 new messages".into()));
    }

    #[test]
    fn sec_068_markup_and_control_characters_do_nothing() {
        assert_eq!(escaped("<b>&amp;</b>"), "&lt;b&gt;&amp;amp;&lt;/b&gt;");
        assert_eq!(announcement("A\0\u{1b}[31m", "x", "a\nb", 1).lines(), ("A[31m".into(), "x: ab".into()));
        assert_eq!(announcement("A", "x", "gpj\u{202e}exe", 1).lines().1, "x: gpjexe");
    }

    #[test]
    fn sec_068_hostile_texts_names_and_titles_are_announced_as_plain_lines() {
        let corpus: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../../ui/src/hostile.json")).unwrap();
        assert!(corpus.len() >= 150);
        for text in corpus.iter().map(|entry| entry.as_str().or(entry["repeat"].as_str()).unwrap()) {
            let (title, body) = announcement(text, &format!("{text}x"), text, 2).lines();
            for line in [&title, &body] {
                assert!(!line.chars().any(|c| c.is_control() || is_bidi_control(c)), "{line:?}");
                assert!(line.chars().count() <= TEXT_CHARS_MAX, "{line:?}");
                let shown = escaped(line);
                assert!(!shown.contains(['<', '>']), "{shown:?}");
                for entity in shown.split('&').skip(1) {
                    let known = ["amp;", "lt;", "gt;"].iter().any(|name| entity.starts_with(name));
                    assert!(known, "{shown:?}");
                }
            }
            let private = Announcement { is_private: true, ..announcement(text, text, text, 1) };
            assert_eq!(private.lines(), ("Kith".into(), "New message".into()));
        }
    }

    #[test]
    fn sec_068_the_worst_text_is_announced_in_proportion_to_its_length() {
        crate::text::worst::check("notifications", &["", "<b>", "a "], |text| {
            let (title, body) = announcement(text, &format!("{text}x"), text, 2).lines();
            drop((escaped(&title), escaped(&body)));
        });
    }

    #[test]
    fn what_was_announced_is_known_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("announced.json");
        let (conversation, shown) = (ConversationId::mint(), Shown { id: 7, message: EventId::mint() });
        Announced::open(path.clone()).insert(conversation, shown);
        let mut again = Announced::open(path.clone());
        assert_eq!(again.find(7), Some((conversation, shown.message)));
        assert_eq!(again.remove(conversation), Some(shown));
        assert_eq!(Announced::open(path).find(7), None);
    }

    #[test]
    fn no_file_stays_behind_when_nothing_is_announced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("announced.json");
        let mut announced = Announced::open(path.clone());
        announced.insert(ConversationId::mint(), Shown { id: 7, message: EventId::mint() });
        assert!(path.exists());
        announced.forget_all();
        assert!(!path.exists());
    }

    #[test]
    fn what_the_user_has_dismissed_is_not_shown_again_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("announced.json");
        let mut announced = Announced::open(path.clone());
        let shown = |id| Shown { id, message: EventId::mint() };
        let (dismissed, other) = (ConversationId::mint(), ConversationId::mint());
        announced.insert(dismissed, shown(1));
        announced.dismissed(1);
        announced.insert(other, shown(2));
        assert!(announced.find(1).is_some(), "a click may be told after the closing");
        let kept = |path: &Path| Announced::open(path.to_owned());
        assert_eq!((kept(&path).get(dismissed), kept(&path).get(other).is_some()), (None, true));
        announced.insert(dismissed, shown(1));
        assert!(kept(&path).get(dismissed).is_some(), "the next one under the same number is shown again");
    }
}
