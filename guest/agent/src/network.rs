//! The run's network interface, and counters from /proc.

use crate::link::{self, Network};
use crate::message::Counters;
use std::fs;
use std::io::{Error, ErrorKind, Result};

/// Configures the machine's only interface.
pub fn configure(network: &Network) -> Result<()> {
    let name = interface().ok_or_else(|| Error::new(ErrorKind::NotFound, "the machine has no network interface"))?;
    link::configure(&name, network)
}

/// The first interface that is neither loopback nor one of the tunnels the kernel brings along.
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

/// Counters of every interface but loopback.
pub fn counters() -> Result<Vec<Counters>> {
    Ok(parse_counters(&fs::read_to_string("/proc/net/dev")?))
}

fn parse_counters(table: &str) -> Vec<Counters> {
    table.lines().skip(2).filter_map(parse_line).filter(|counters| counters.name != "lo").collect()
}

fn parse_line(line: &str) -> Option<Counters> {
    let (name, rest) = line.split_once(':')?;
    let fields: Vec<u64> = rest.split_ascii_whitespace().filter_map(|field| field.parse().ok()).collect();
    let pick = |index: usize| fields.get(index).copied();
    // Received: bytes packets errs drop fifo frame compressed multicast; then sent, in the same order.
    let values = [pick(0)?, pick(1)?, pick(2)?, pick(3)?, pick(8)?, pick(9)?, pick(10)?, pick(11)?];
    Some(Counters { name: name.trim().to_string(), values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_from_the_kernels_table() {
        let table = "Inter-|   Receive |  Transmit\n face |bytes packets\n\
            \x20   lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\nbroken\n";
        assert_eq!(parse_counters(table), [Counters { name: "eth0".into(), values: [1, 2, 3, 4, 5, 6, 7, 8] }]);
    }
}
