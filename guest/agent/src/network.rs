//! The run's network interface.

use crate::link::{self, Network};
use std::fs;
use std::io::{Error, ErrorKind, Result};

/// Configures the machine's only interface.
pub fn configure(network: &Network) -> Result<()> {
    let name = interface().ok_or_else(|| Error::new(ErrorKind::NotFound, "the machine has no network interface"))?;
    link::configure(&name, network)
}

/// Returns the first interface that is neither loopback nor one of the kernel's default tunnels.
fn interface() -> Option<String> {
    let mut names: Vec<_> = fs::read_dir("/sys/class/net")
        .ok()?
        .flatten()
        .filter(|entry| entry.path().join("device").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.into_iter().find(|name| name.len() < 16)
}
