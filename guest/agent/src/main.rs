//! The guest agent: pid 1 of a microVM or of a gVisor container. It boots, waits to be saved as a template
//! (microVM only), then serves one run. docs/guest-protocol.md describes the phases and the channel.

mod agent;
mod boot;
mod changes;
mod channel;
mod connection;
mod container;
#[cfg(test)]
mod golden;
mod link;
mod memory;
mod message;
mod network;
mod oom;
mod process;
mod setup;
mod ssh;
mod streams;
mod sys;
mod wire;

use std::env;
use std::fs::OpenOptions;
use std::io::{Result, Write};
use std::os::unix::io::OwnedFd;

fn main() {
    // The kernel never passes an argument of this name to init.
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.split_first() {
        Some((mode, settings)) if mode == "container" => {
            if let Err(error) = serve(|| container::boot(settings)) {
                eprintln!("contree-agent: {error}");
                std::process::exit(1);
            }
        }
        // Beside a command of a build, in the image: not as pid 1.
        Some((mode, settings)) if mode == "ssh-relay" => {
            if let Err(error) = ssh::relay(settings) {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        // A program that always exists: the host runs it to test whether programs run at all.
        Some((mode, _)) if mode == "trial" => {}
        // Booting and powering off are for the init of a machine alone.
        _ if unsafe { sys::getpid() } != 1 => std::process::exit(2),
        _ => {
            if let Err(error) = serve(boot::boot) {
                // The kernel log is shown on the console, if there is one.
                if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
                    let _ = log.write_all(format!("<0>contree-agent: {error}").as_bytes());
                }
            }
            sys::power_off();
        }
    }
}

fn serve(boot: impl FnOnce() -> Result<(boot::Machine, OwnedFd)>) -> Result<()> {
    let (machine, port) = boot()?;
    let _ = link::raise_loopback();
    let children = sys::child_signals()?;
    agent::Agent::new(machine, children, port).serve()
}
