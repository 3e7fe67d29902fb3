//! Does on the host what Node cannot: makes memory that is sealed against writing, finds the holes of sparse files, and starts
//! confined programs. docs/microvm.md and docs/gvisor.md describe their uses.

mod confinement;
mod filter;
mod gvisor;
#[path = "../../agent/src/link.rs"]
mod link;
mod memory;
mod probe;
mod shown;
mod sys;
mod veth;

use std::env;
use std::ffi::OsString;
use std::io::{Error, ErrorKind, Result};
use std::path::Path;

const USAGE: &str = "contree-host-helper data FILE | memory BYTES | probe | \
    (confine DESCRIPTORS | gvisor) [NAME=VALUE]... -- PROGRAM [ARGUMENT]... | inside DESCRIPTOR -- PROGRAM [ARGUMENT]...";

fn main() {
    let mut arguments = env::args_os();
    let name = arguments.next().unwrap_or_default();
    let arguments: Vec<OsString> = arguments.collect();
    // gVisor starts its sandbox process through a program of this name.
    let prewarms = Path::new(&name).file_name() == Some(gvisor::PREWARMER.as_ref());
    if let Err(error) = if prewarms { gvisor::boot(&arguments) } else { run(&arguments) } {
        eprintln!("contree-host-helper: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &[OsString]) -> Result<()> {
    match arguments {
        [command, file] if command == "data" => memory::print_data(file.as_ref()),
        [command, bytes] if command == "memory" => memory::hold(number(bytes)?),
        [command] if command == "probe" => probe::print_refused(),
        [command, rest @ ..] if command == "confine" => confinement::start(rest),
        [command, rest @ ..] if command == "gvisor" => gvisor::run(rest),
        [command, rest @ ..] if command == "inside" => confinement::start_inside(rest),
        _ => Err(invalid(USAGE)),
    }
}

fn invalid(reason: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, reason)
}

fn number(text: &OsString) -> Result<u64> {
    text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| invalid(USAGE))
}
