//! Memory that is sealed against writing, and the parts of a sparse file that hold data.

use std::fs::File;
use std::io::{stdin, stdout, BufRead, Error, ErrorKind, Result, Write};
use std::os::unix::io::AsRawFd;
use std::path::Path;

use crate::sys;

/// Prints `start end` of each stretch of data in a file, in bytes.
pub fn print_data(path: &Path) -> Result<()> {
    let file = File::open(path)?;
    let mut lines = String::new();
    let mut at = 0;
    while let Some((start, end)) = sys::next_data(&file, at)? {
        lines.push_str(&format!("{start} {end}\n"));
        at = end;
    }
    stdout().write_all(lines.as_bytes())
}

/// Makes a file of `bytes` in memory, prints its descriptor, and seals it when a line arrives. The caller fills it and takes
/// it over through `/proc`.
pub fn hold(bytes: u64) -> Result<()> {
    let file = sys::memory_file(sys::MFD_CLOEXEC | sys::MFD_ALLOW_SEALING)?;
    file.set_len(bytes)?;
    println!("{}", file.as_raw_fd());
    let mut line = String::new();
    if stdin().lock().read_line(&mut line)? == 0 {
        return Err(Error::new(ErrorKind::UnexpectedEof, "nobody asked for the seal"));
    }
    sys::seal(&file)
}
