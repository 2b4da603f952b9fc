//! What the window may ask for: each command is one line into the engine or the shell. See [`table`] for the list.

mod table;

use crate::{
    error::UiError,
    link::Link,
    rendering::Painted,
    settings::{NotificationMode, Settings},
    shell::Shell,
    updates::UpdateView,
};
use kith_client::view::{
    Anchor, AppState, ConversationDetail, ConversationView, DiagnosticsView, OutboxItemView, PersonView,
    PresenceView, SearchView, SignOutPreview, StatusView, TimelineView,
};
use kith_protocol::{
    ConversationId, DeviceId, EventId, Seq, TimestampMs, UserId, api::SessionItem, ephemeral::PresenceState,
    event::Role, frame::Context,
};
use table::with_commands;
use tauri::State;

macro_rules! engine_command {
    ($name:ident($($arg:ident: $type:ty),*) -> $answer:ty) => {
        #[tauri::command(rename_all = "snake_case")]
        pub(crate) async fn $name(shell: State<'_, Shell>, $($arg: $type),*) -> Result<$answer, UiError> {
            Ok(shell.engine().await?.$name($($arg),*).await?)
        }
    };
    ($name:ident($($arg:ident: $type:ty),*) => $answer:ty) => {
        #[tauri::command(rename_all = "snake_case")]
        pub(crate) async fn $name(shell: State<'_, Shell>, $($arg: $type),*) -> Result<$answer, UiError> {
            Ok(shell.engine().await?.$name($($arg),*).await)
        }
    };
}

macro_rules! shell_command {
    ($name:ident($($arg:ident: $type:ty),*) -> $answer:ty) => {
        #[tauri::command(rename_all = "snake_case")]
        pub(crate) async fn $name(shell: State<'_, Shell>, $($arg: $type),*) -> Result<$answer, UiError> {
            shell.$name($($arg),*).await
        }
    };
    ($name:ident($($arg:ident: $type:ty),*) => $answer:ty) => {
        #[tauri::command(rename_all = "snake_case")]
        pub(crate) async fn $name(shell: State<'_, Shell>, $($arg: $type),*) -> Result<$answer, UiError> {
            Ok(shell.$name($($arg),*).await)
        }
    };
}

macro_rules! define {
    (
        engine { $($(#[$edoc:meta])* $ename:ident($($earg:ident: $etype:ty),*) $earrow:tt $eanswer:ty;)* }
        shell { $($(#[$sdoc:meta])* $sname:ident($($sarg:ident: $stype:ty),*) $sarrow:tt $sanswer:ty;)* }
    ) => {
        $(engine_command! { $ename($($earg: $etype),*) $earrow $eanswer })*
        $(shell_command! { $sname($($sarg: $stype),*) $sarrow $sanswer })*

        /// The handler of every command in the table.
        pub(crate) fn handler() -> impl Fn(tauri::ipc::Invoke) -> bool + Send + Sync + 'static {
            tauri::generate_handler![$($ename,)* $($sname,)*]
        }
    };
}

with_commands!(define);

#[cfg(test)]
pub(crate) use signatures::signatures;

#[cfg(test)]
mod signatures {
    use super::*;
    use crate::bindings::Types;

    /// A row of the table, in TypeScript's words.
    pub(crate) struct Signature {
        pub(crate) name: &'static str,
        pub(crate) docs: &'static [&'static str],
        pub(crate) args: Vec<(&'static str, String)>,
        pub(crate) answer: String,
    }

    macro_rules! collect {
        (
            engine { $($(#[doc = $edoc:literal])* $ename:ident($($earg:ident: $etype:ty),*) $earrow:tt $eanswer:ty;)* }
            shell { $($(#[doc = $sdoc:literal])* $sname:ident($($sarg:ident: $stype:ty),*) $sarrow:tt $sanswer:ty;)* }
        ) => {
            /// Every row; the types that it names are gathered in `types`.
            pub(crate) fn signatures(types: &mut Types) -> Vec<Signature> {
                vec![
                    $(Signature {
                        name: stringify!($ename),
                        docs: &[$($edoc),*],
                        args: vec![$((stringify!($earg), types.name::<$etype>())),*],
                        answer: types.name::<$eanswer>(),
                    },)*
                    $(Signature {
                        name: stringify!($sname),
                        docs: &[$($sdoc),*],
                        args: vec![$((stringify!($sarg), types.name::<$stype>())),*],
                        answer: types.name::<$sanswer>(),
                    },)*
                ]
            }
        };
    }

    with_commands!(collect);
}
