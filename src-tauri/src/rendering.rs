//! How WebKit is told to draw and to keep house, before it is there.
//!
//! Drawing that fails: where WebKit's fast way to the screen is known to break, a start that draws nothing is followed
//! by one more, in the slow and safe way (A44). Where there is no graphics device that way is taken from the beginning:
//! there is nothing to be fast with, and it takes a hundred megabytes less (docs/develop/performance.md).
//!
//! The page says when its first frame was drawn. What is decided from that is a function without effects.

use crate::{restart, shell::Shell};
use serde::{Deserialize, Serialize};
use std::{
    env,
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// WebKit leaves its fast way out with this.
const SAFE: &str = "WEBKIT_DISABLE_DMABUF_RENDERER";
/// What the page's script engine takes for the machine's memory, in bytes: it lets its heap double between two full
/// collections until that is a good part of it, and what was drawn before stays until one. A page that shows texts needs
/// no more. JavaScriptCore's `Heap.cpp`, `proportionalHeapSize`.
const HEAP: (&str, &str) = ("JSC_forceRAMSize", "33554432");
/// Set for the start that follows one that drew nothing: there is never a third.
const RESTARTED: &str = "KITH_RENDERING_RESTARTED";
/// A visible window has drawn something within this; the slowest first start on a cold disk takes about as long.
const FIRST_PAINT_WITHIN: Duration = Duration::from_secs(5);
/// How often a hidden window is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What is known at the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Surroundings {
    is_linux: bool,
    /// Something that draws: a render node.
    has_device: bool,
    has_nvidia: bool,
    is_wayland: bool,
    /// The environment chose already, or this is the second start.
    is_safe: bool,
    was_restarted: bool,
    /// `--safe-rendering`, or `--safe-rendering=false`.
    wanted: Option<bool>,
}

/// What to do about the drawing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Nothing: it works, or there is nothing else to try.
    Leave,
    /// The safe way from the beginning.
    Safe,
    /// Start, and start again in the safe way if nothing is drawn.
    Watch,
}

fn plan(at: Surroundings) -> Plan {
    if !at.is_linux || at.is_safe || at.was_restarted {
        return Plan::Leave;
    }
    match at.wanted {
        Some(true) => Plan::Safe,
        Some(false) => Plan::Leave,
        None if at.has_nvidia || at.is_wayland => Plan::Watch,
        None if !at.has_device => Plan::Safe,
        None => Plan::Leave,
    }
}

/// Whether a watched start is given up: nothing drawn, though the window has been visible for long enough.
fn is_given_up(plan: Plan, has_painted: bool, visible_for: Duration) -> bool {
    plan == Plan::Watch && !has_painted && visible_for >= FIRST_PAINT_WITHIN
}

fn surroundings(wanted: Option<bool>) -> Surroundings {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_render_node = |name: OsString| name.to_string_lossy().starts_with("renderD");
    let mut devices = fs::read_dir("/dev/dri").into_iter().flatten().flatten();
    Surroundings {
        is_linux: cfg!(target_os = "linux"),
        has_device: devices.any(|device| is_render_node(device.file_name())),
        has_nvidia: Path::new("/proc/driver/nvidia").exists() || Path::new("/sys/module/nvidia").exists(),
        is_wayland: is_set("WAYLAND_DISPLAY"),
        is_safe: is_set(SAFE),
        was_restarted: is_set(RESTARTED),
        wanted,
    }
}

/// What has become of the drawing.
#[derive(Debug, Default)]
pub(crate) struct Rendering {
    has_painted: AtomicBool,
    restarts: AtomicBool,
}

/// What the page has drawn for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(ts_rs::TS))]
#[serde(rename_all = "snake_case")]
pub(crate) enum Painted {
    Frame,
    /// The list of conversations, from what is stored here.
    List,
}

impl Rendering {
    /// The page has drawn something. Returns whether this start followed one that drew nothing.
    ///
    /// The line in the log is what `bench desktop` measures a start by.
    pub(crate) fn painted(&self, what: Painted) -> bool {
        tracing::info!(?what, "painted");
        self.has_painted.store(true, Ordering::Relaxed);
        env::var_os(RESTARTED).is_some()
    }
}

/// Tells WebKit, which asks the environment and nobody else. For the start of the program, before any thread.
pub(crate) fn begin(wanted: Option<bool>) {
    let at = surroundings(wanted);
    if at.is_linux && env::var_os(HEAP.0).is_none() {
        set(HEAP.0, HEAP.1);
    }
    if plan(at) == Plan::Safe {
        set(SAFE, "1");
    }
}

#[expect(unsafe_code, reason = "WebKit can be told in no other way")]
fn set(name: &str, value: &str) {
    // SAFETY: the program has one thread as yet, so that nobody reads the environment meanwhile.
    unsafe { env::set_var(name, value) };
}

/// Waits for the first frame, and ends the app for a safe start if none comes.
pub(crate) async fn watch(shell: Shell, wanted: Option<bool>) {
    let plan = plan(surroundings(wanted));
    let mut visible_for = Duration::ZERO;
    while plan == Plan::Watch && !shell.rendering().has_painted.load(Ordering::Relaxed) {
        if is_given_up(plan, false, visible_for) {
            tracing::warn!("nothing was drawn: starting again in the safe way");
            shell.rendering().restarts.store(true, Ordering::Relaxed);
            shell.end().await;
            return;
        }
        tokio::time::sleep(LOOK).await;
        // A hidden window draws nothing, and that is right.
        if crate::window::is_shown(shell.app()) {
            visible_for += LOOK;
        }
    }
}

/// After the app has ended: the second start, if it ended for one.
pub(crate) fn end(shell: &Shell) -> Option<ExitCode> {
    shell.rendering().restarts.load(Ordering::Relaxed).then(start_safely)
}

/// Becomes the same program in the safe way.
fn start_safely() -> ExitCode {
    let Ok(program) = env::current_exe() else { return ExitCode::FAILURE };
    let mut command = Command::new(program);
    command.args(env::args_os().skip(1)).env(SAFE, "1").env(RESTARTED, "1");
    restart::become_program(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NVIDIA: Surroundings = Surroundings {
        is_linux: true,
        has_device: true,
        has_nvidia: true,
        is_wayland: false,
        is_safe: false,
        was_restarted: false,
        wanted: None,
    };

    #[test]
    fn a44_only_where_drawing_is_known_to_break_a_start_is_watched() {
        let wayland = Surroundings { has_nvidia: false, is_wayland: true, ..NVIDIA };
        assert_eq!((plan(NVIDIA), plan(wayland)), (Plan::Watch, Plan::Watch));
        let others = [
            Surroundings { has_nvidia: false, ..NVIDIA },
            Surroundings { is_linux: false, wanted: Some(true), ..NVIDIA },
        ];
        assert_eq!(others.map(plan), [Plan::Leave; 2]);
    }

    #[test]
    fn a44_without_a_graphics_device_the_safe_way_is_taken_unless_the_user_says_otherwise() {
        let bare = Surroundings { has_device: false, has_nvidia: false, ..NVIDIA };
        assert_eq!(plan(bare), Plan::Safe);
        assert_eq!(plan(Surroundings { wanted: Some(false), ..bare }), Plan::Leave);
        assert_eq!(plan(Surroundings { is_linux: false, ..bare }), Plan::Leave);
    }

    #[test]
    fn a44_there_is_one_restart_and_none_where_it_is_safe_already() {
        let second = Surroundings { was_restarted: true, ..NVIDIA };
        let chosen = Surroundings { is_safe: true, ..NVIDIA };
        for at in [second, chosen, Surroundings { wanted: Some(true), ..second }] {
            assert_eq!(plan(at), Plan::Leave, "{at:?}");
        }
    }

    #[test]
    fn a44_the_user_can_choose_either_way() {
        for (wanted, expected) in [(true, Plan::Safe), (false, Plan::Leave)] {
            assert_eq!(plan(Surroundings { wanted: Some(wanted), ..NVIDIA }), expected);
        }
    }

    #[test]
    fn a44_a_start_is_given_up_only_when_a_visible_window_drew_nothing_for_long() {
        let long = FIRST_PAINT_WITHIN;
        assert!(is_given_up(Plan::Watch, false, long));
        assert!(!is_given_up(Plan::Watch, true, long * 10));
        assert!(!is_given_up(Plan::Watch, false, long - LOOK));
        assert!(!is_given_up(Plan::Leave, false, long * 10));
    }
}
