//! Tries what gVisor needs from the kernel, because a sandbox that fails cannot say what was refused to it.

use std::io::{stdout, Result, Write};

use crate::sys;

/// Prints a line with the name and the error of each ability that this process does not have. It changes the process, which
/// has to end after it.
pub fn print_refused() -> Result<()> {
    let tried = [
        ("ptrace", sys::be_traced()),
        ("seccomp filters", sys::ask_for_seccomp()),
        ("user namespaces", sys::enter_user_namespace()),
    ];
    let refused =
        tried.iter().filter_map(|(name, result)| result.as_ref().err().map(|error| format!("{name}: {error}\n")));
    stdout().write_all(refused.collect::<String>().as_bytes())
}
