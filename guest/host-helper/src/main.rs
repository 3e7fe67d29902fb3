//! Does on the host what Node cannot: memory that is sealed against writing, the holes of sparse files, and starting a
//! program behind a wall. docs/microvm.md says what each is for.

mod filter;
mod memory;
mod sys;
mod wall;

use std::env;
use std::ffi::OsString;
use std::io::{Error, ErrorKind, Result};

const USAGE: &str =
    "contree-host-helper data FILE | memory BYTES | wall DESCRIPTORS [NAME=VALUE]... -- PROGRAM [ARGUMENT]...";

fn main() {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if let Err(error) = run(&arguments) {
        eprintln!("contree-host-helper: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &[OsString]) -> Result<()> {
    match arguments {
        [command, file] if command == "data" => memory::print_data(file.as_ref()),
        [command, bytes] if command == "memory" => memory::hold(number(bytes)?),
        [command, rest @ ..] if command == "wall" => wall::start(rest),
        _ => Err(invalid(USAGE)),
    }
}

fn invalid(reason: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, reason)
}

fn number(text: &OsString) -> Result<u64> {
    text.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| invalid(USAGE))
}
