//! The launcher: started between the server and a pod's process, it binds the process's life to the server's and then executes the pod's command.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The process id of the server, which the launcher compares with its parent.
pub const PARENT: &str = "SERIN_POD_PARENT";

/// Replaces this process by the command `args`, which the kernel kills when its parent dies. Returns only on an error.
///
/// The caller of the launcher sets [`PARENT`]; the command does not get it.
pub fn exec(args: impl IntoIterator<Item = OsString>) -> io::Error {
    let mut args = args.into_iter();
    let Some(program) = args.next() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no program to run");
    };
    if let Err(error) = die_with_parent() {
        return error;
    }
    Command::new(program).args(args).env_remove(PARENT).exec()
}

#[cfg(target_os = "linux")]
fn die_with_parent() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // If the parent died before the line above, the kernel sends no signal any more.
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().to_string());
    match std::env::var(PARENT) {
        Ok(expected) if Some(&expected) != parent.as_ref() => {
            Err(io::Error::other("the server is gone"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

// Other systems have no signal at a parent's death; there the server kills its pods only when it shuts down in order.
#[cfg(not(target_os = "linux"))]
fn die_with_parent() -> io::Result<()> {
    Ok(())
}
