//! Phase 1 in gVisor: the agent is the init of a container whose layers and disk are already mounted.

mod extras;

use crate::boot::{self, Machine, Namespaces, DISK, LAYERS, STAGE, UPPER, WORK};
use crate::sys;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::io::{FromRawFd, OwnedFd};
use std::path::Path;

/// Limit of processes and threads of all commands. Each takes threads of the host, and gVisor exits when it gets no more.
const TASKS_MAX: u32 = 1_024;

/// Descriptor at which the container runtime places the agent's end of the channel.
const CHANNEL: i32 = 3;

/// Prepares the container and takes over the channel. The settings are `memory=BYTES`, `cpus=COUNT`, `layers=COUNT`,
/// and `extracted=NUMBER` for each layer that comes with a list of extras.
pub fn boot(settings: &[String]) -> Result<(Machine, OwnedFd)> {
    let number = |name: &str| settings.iter().find_map(|setting| setting.strip_prefix(name)?.parse::<u64>().ok());
    let layers = number("layers=").ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the layers are not counted"))?;
    // SAFETY: the runtime opened it for the agent, and nothing else in this process uses it.
    let port = unsafe { OwnedFd::from_raw_fd(CHANNEL) };
    sys::set_nonblocking(&port)?;
    sys::close_on_exec(&port)?;
    boot::tune();
    if let Some(cpus) = number("cpus=") {
        // gVisor may have more, for its own work (`sentryFlags`).
        sys::keep_to_processors(cpus as usize)?;
    }
    for path in [UPPER, WORK] {
        fs::create_dir_all(path)?;
    }
    let extracted: Vec<u64> =
        settings.iter().filter_map(|setting| setting.strip_prefix("extracted=")?.parse().ok()).collect();
    let mut mounted = Vec::new();
    for number in 1..=layers {
        if extracted.contains(&number) {
            mounted.extend(extras::lower_folders(number)?);
        } else {
            mounted.push(format!("{LAYERS}/{number}"));
        }
    }
    let memory_bytes = number("memory=");
    let mut namespaces = Namespaces::create(|| stage(memory_bytes.unwrap_or(u64::MAX)))?;
    namespaces.group = Some("/sys/fs/cgroup/commands/cgroup.procs");
    Ok((Machine { hardware: None, namespaces, mounted: Some(mounted), memory_bytes }, port))
}

fn stage(memory_bytes: u64) -> Result<()> {
    let kept: Vec<&str> = [DISK, LAYERS].into_iter().filter(|path| Path::new(path).exists()).collect();
    boot::enter_cell(&kept)?;
    // gVisor does not support a percentage of the memory.
    boot::furnish(&format!("size={}", memory_bytes / 2))?;
    let groups = format!("{STAGE}/sys/fs/cgroup");
    fs::write(format!("{groups}/cgroup.subtree_control"), "+pids")?;
    fs::create_dir(format!("{groups}/commands"))?;
    fs::write(format!("{groups}/commands/pids.max"), TASKS_MAX.to_string())
}
