//! Starting again: another program, or the same one in another way, in the place of this process.

use std::process::{Command, ExitCode};

/// Becomes that program: locks, names on the bus and windows are let go by this. Comes back only where a process cannot
/// become another one, or if it cannot be started.
pub(crate) fn become_program(mut command: Command) -> ExitCode {
    #[cfg(unix)]
    let failed = std::os::unix::process::CommandExt::exec(&mut command);
    #[cfg(not(unix))]
    let failed = match command.spawn() {
        Ok(_) => return ExitCode::SUCCESS,
        Err(error) => error,
    };
    eprintln!("Kith cannot start again: {failed}");
    ExitCode::FAILURE
}
