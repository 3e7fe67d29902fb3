//! The guest agent: pid 1 of a microVM. It boots, waits to be saved as a template, then serves one run.
//! docs/guest-protocol.md describes the phases and the channel.

mod agent;
mod boot;
mod changes;
mod channel;
#[cfg(test)]
mod golden;
mod message;
mod network;
mod oom;
mod process;
mod setup;
mod sink;
mod streams;
mod sys;
mod tar;
mod wire;

use std::fs::OpenOptions;
use std::io::{Result, Write};

fn main() {
    if let Err(error) = run() {
        // The kernel log reaches the console, when there is one.
        if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
            let _ = log.write_all(format!("<0>contree-agent: {error}").as_bytes());
        }
    }
    sys::power_off();
}

fn run() -> Result<()> {
    let (machine, port) = boot::boot()?;
    let _ = network::raise_loopback();
    let children = sys::child_signals()?;
    agent::Agent::new(machine, children, port).serve()
}
