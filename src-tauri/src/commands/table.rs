//! Every command, declared once.
//!
//! From this table come the functions that the window may call, the list of handlers, the TypeScript signatures and
//! the window's list of permissions. A row reads `name(arguments) -> answer` where the call may fail, and
//! `name(arguments) => answer` where it may not. Rows under `engine` call the engine's method of the same name, rows
//! under `shell` that of [`Shell`](crate::shell::Shell).

/// Hands the table to another macro.
macro_rules! with_commands {
    ($then:ident) => {
        $then! {
            engine {
                app_state() => AppState;
                try_again() => ();
                mended_seen() -> ();
                status() => StatusView;

                unlock(passphrase: String) -> ();
                lock() -> ();
                set_passphrase(passphrase: String) -> ();
                change_passphrase(current: String, new_passphrase: String) -> ();
                use_secret_store() -> ();
                keep_until_quit() -> ();

                sign_up(server: String, username: String, password: String, display_name: String, invite: Option<String>) -> ();
                sign_in(server: String, username: String, password: String) -> ();
                sign_out_preview() -> SignOutPreview;
                sessions() -> Vec<SessionItem>;
                revoke_session(device: DeviceId, password: String) -> ();
                revoke_other_sessions(password: String) -> ();
                change_password(current: String, new_password: String) -> ();
                set_display_name(name: String) -> ();
                shows_presence() -> bool;
                set_shows_presence(on: bool) -> ();
                blocked_people() -> Vec<PersonView>;
                block(user: UserId) -> ();
                unblock(user: UserId) -> ();
                leave_and_block(conversation: ConversationId, user: UserId) -> ();
                find_people(query: String) -> Vec<PersonView>;
                person(user: UserId) -> PersonView;

                conversations() -> Vec<ConversationView>;
                conversation(id: ConversationId) -> ConversationDetail;
                find_direct(user: UserId) -> Option<ConversationId>;
                start_direct(user: UserId, text: String) -> ConversationId;
                start_direct_about(user: UserId, context: Context, text: String) -> ConversationId;
                open_direct(user: UserId) -> ConversationId;
                create_group(title: String, members: Vec<UserId>) -> ConversationId;
                add_members(conversation: ConversationId, members: Vec<UserId>) -> ();
                remove_member(conversation: ConversationId, user: UserId) -> ();
                set_role(conversation: ConversationId, user: UserId, role: Role) -> ();
                leave(conversation: ConversationId) -> ();
                set_title(conversation: ConversationId, title: String) -> ();
                set_mute(conversation: ConversationId, until: TimestampMs) -> ();
                set_pin(conversation: ConversationId, on: bool) -> ();
                set_archive(conversation: ConversationId, on: bool) -> ();
                set_unread(conversation: ConversationId, on: bool) -> ();
                hide(conversation: ConversationId) -> ();

                timeline(conversation: ConversationId, anchor: Anchor, limit: u32) -> TimelineView;
                send_message(conversation: ConversationId, text: String, reply_to: Option<EventId>) -> EventId;
                edit_message(conversation: ConversationId, id: EventId, text: String) -> ();
                delete_message(conversation: ConversationId, id: EventId) -> ();
                react(conversation: ConversationId, id: EventId, emoji: String, on: bool) -> ();
                pin_message(conversation: ConversationId, id: EventId, on: bool) -> ();
                set_draft(conversation: ConversationId, text: String) -> ();
                keep_draft(conversation: ConversationId, text: String) -> ();
                set_typing(conversation: ConversationId, on: bool) -> ();
                watch_presence(users: Vec<UserId>) -> ();
                set_presence(state: PresenceState) -> ();
                presence(users: Vec<UserId>) -> Vec<PresenceView>;

                outbox() -> Vec<OutboxItemView>;
                retry(item: f64) -> ();
                cancel(item: f64) -> ();
                take_back(item: f64) -> String;
                send_all_now() -> ();
                search(query: String, conversation: Option<ConversationId>, limit: u32) -> SearchView;
                network_changed() -> ();
                diagnostics() -> DiagnosticsView;
                check_now() -> ();
            }
            shell {
                /// Tells which conversations are in view: the engine keeps their payloads longest, and nothing that
                /// arrives in them is announced while the window has the focus.
                set_focus(conversations: Vec<ConversationId>) -> ();
                /// Marks as read up to a seq. Refused as `screen_locked` while the screen is locked (R3).
                mark_read(conversation: ConversationId, up_to: Seq) -> ();
                /// Signs out; with `wipe` everything that is stored on this computer goes.
                sign_out(wipe: bool) -> ();
                /// Opens an `https:`, `http:` or `mailto:` link in the system's own program.
                open_link(url: String) -> ();
                get_settings() => Settings;
                /// Replaces the profile's settings.
                set_settings(settings: Settings) -> ();
                /// Which messages are announced by the system.
                set_notifications(mode: NotificationMode) -> ();
                /// The first frame with this in it was drawn. Whether an earlier start drew nothing, so that this one draws in the
                /// slow way.
                painted(what: Painted) => bool;
                /// The link that the app was started with, or that came before the window listened; once.
                take_start_link() => Option<Link>;
                /// The server given on the command line, for the sign-in page.
                suggested_server() => Option<String>;
                /// Tries again to open the profile after `app_state` failed.
                open_again() -> ();
                /// Quits. Without `force`, an event `quit_asked` comes instead if quitting would lose something.
                quit(force: bool) -> ();
                /// What is known of newer versions; changes come as the event `update`.
                update() => UpdateView;
                /// Asks for a newer version now.
                look_for_update() => UpdateView;
                /// Fetches, checks and installs the newer version that was found, and starts it. Nothing happens if none was.
                install_update() -> ();
                app_version() => String;
            }
        }
    };
}

pub(crate) use with_commands;
