//! What the command line says on standard output.

use std::{fmt, io::Write as _};

/// Writes a line for the operator, as `println!` does; a reader that has gone (`| head`) is no failure.
macro_rules! say {
    ($($part:tt)*) => { $crate::cli::say::line(format_args!($($part)*)) };
}

/// Writes a line. What cannot be written is dropped: what the command does goes on, and its exit code counts.
pub(super) fn line(text: fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
