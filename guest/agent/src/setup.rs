//! Phase 2: turns a restored template into the machine of this run.

use crate::boot::{
    place_below_dev, Hardware, Machine, StagedFile, StagedMount, LAYERS_MAX, ROOT, SKELETON, STAGE, UPPER, WORK,
};
use crate::message::{Extent, Setup};
use crate::network;
use crate::sys::{self, c, told};
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::raw::{c_int, c_ulong, c_void};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::io::{AsRawFd, OwnedFd};
use std::time::Instant;

/// Facts that are known once the machine is ready.
pub struct Ready {
    pub boot_id: String,
    /// Name and microseconds of each step, in order.
    pub steps: Vec<(&'static str, u32)>,
    /// Paths in the image that were created for the agent's mounts; they are not changes of the run.
    pub placeholders: Vec<String>,
    /// Number of layers of the image.
    pub layers: usize,
}

/// Measures the steps of a job.
struct Steps {
    started: Instant,
    taken: Vec<(&'static str, u32)>,
}

impl Steps {
    fn done(&mut self, name: &'static str) {
        self.taken.push((name, self.started.elapsed().as_micros() as u32));
        self.started = Instant::now();
    }
}

pub fn set_up(machine: &Machine, setup: &Setup) -> Result<Ready> {
    let mut steps = Steps { started: Instant::now(), taken: Vec::new() };
    if let Some(hardware) = &machine.hardware {
        told("clock", sys::set_clock(setup.clock_ns))?;
        steps.started = Instant::now();
        told("entropy", stir(&hardware.random, &setup.entropy))?;
    }
    let boot_id = told("boot id", boot_id(machine))?;
    told("hostname", sys::set_host_name(&setup.hostname))?;
    steps.done("identity");
    if let Some(hardware) = &machine.hardware {
        told("disk", cap_disk(hardware, setup.disk_bytes))?;
        add_partitions(&hardware.layers_disk, &setup.layers)?;
        steps.done("disks");
    }

    let namespaces = &machine.namespaces;
    told("namespaces", sys::enter(&namespaces.pidfd, sys::CLONE_NEWNS))?;
    let result = build_root(machine, setup, &mut steps);
    told("namespaces", sys::enter(&namespaces.home, sys::CLONE_NEWNS))?;
    let placeholders = result?;
    if let Some(settings) = setup.network.as_ref().filter(|_| machine.hardware.is_some()) {
        network::configure(settings)?;
        steps.done("network");
    }
    Ok(Ready { boot_id, steps: steps.taken, placeholders, layers: setup.layers.len() })
}

/// Credits the host's entropy to the pool and reseeds at once, so that runs of one template never share a random byte.
fn stir(random: &OwnedFd, entropy: &[u8]) -> Result<()> {
    const RND_ADD_ENTROPY: c_ulong = 0x4008_5203;
    const RND_RESEED_CRNG: c_ulong = 0x5207;
    let bits = (entropy.len() * 8) as i32;
    let mut pool = Vec::with_capacity(8 + entropy.len());
    pool.extend_from_slice(&bits.to_ne_bytes());
    pool.extend_from_slice(&(entropy.len() as i32).to_ne_bytes());
    pool.extend_from_slice(entropy);
    sys::control(random, RND_ADD_ENTROPY, &mut pool[0])?;
    sys::control_number(random, RND_RESEED_CRNG, 0).map(|_| ())
}

/// Reads a line of /proc or /sys, as it is now.
pub fn read_line(fd: &OwnedFd) -> Result<String> {
    let mut text = [0u8; 64];
    let length = sys::read_start(fd.as_raw_fd(), &mut text)?;
    Ok(String::from_utf8_lossy(&text[..length]).trim_end().to_string())
}

fn boot_id(machine: &Machine) -> Result<String> {
    match &machine.hardware {
        Some(hardware) => read_line(&hardware.boot_id),
        None => Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_string()),
    }
}

/// Leaves `bytes` of the disk to the run. The rest becomes the file system's reserve, which even root cannot use.
fn cap_disk(machine: &Hardware, bytes: u64) -> Result<()> {
    let space = sys::stat_fs(crate::boot::DISK)?;
    let wanted = bytes / space.block_size as u64;
    let reserve = space.blocks_free.saturating_sub(wanted);
    sys::write_fd(machine.reserve.as_raw_fd(), reserve.to_string().as_bytes()).map(|_| ())
}

/// `struct blkpg_partition` and the `struct blkpg_ioctl_arg` that points to it.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: c_int,
    names: [u8; 128],
}

#[repr(C)]
struct PartitionRequest {
    operation: c_int,
    flags: c_int,
    length: c_int,
    data: *mut c_void,
}

fn add_partitions(disk: &str, layers: &[Extent]) -> Result<()> {
    const BLKPG: c_ulong = 0x1269;
    const ADD: c_int = 1;
    if layers.is_empty() || layers.len() > LAYERS_MAX {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            format!("{} layers; 1 to {LAYERS_MAX} can be mounted", layers.len()),
        ));
    }
    let device = sys::open_path(&format!("/dev/{disk}"), sys::O_RDONLY)?;
    for (index, layer) in layers.iter().enumerate() {
        let (start, length) = (layer.offset as i64, layer.bytes as i64);
        let mut partition = Partition { start, length, number: index as c_int + 1, names: [0; 128] };
        let data = (&mut partition as *mut Partition).cast();
        let length = std::mem::size_of::<Partition>() as c_int;
        let mut request = PartitionRequest { operation: ADD, flags: 0, length, data };
        sys::control(&device, BLKPG, &mut request)
            .map_err(|error| Error::new(error.kind(), format!("partition {}: {error}", index + 1)))?;
    }
    Ok(())
}

/// Mounts the image and makes it the root of the user's mount namespace. Returns the placeholders that were created.
fn build_root(machine: &Machine, setup: &Setup, steps: &mut Steps) -> Result<Vec<String>> {
    let count = setup.layers.len();
    machine.mount_layers(count)?;
    steps.done("layers");
    let mut lower = machine.lower_folders(count);
    told("root directory", adopt_root_metadata(&lower[0]))?;
    lower.push(SKELETON.to_string());
    let mut options = format!("lowerdir={},upperdir={UPPER},workdir={WORK}", lower.join(":"));
    if machine.hardware.is_some() {
        // Plain files in the upper directory, so that it can be sent as an OCI layer; its content is not needed after a crash.
        options.push_str(",redirect_dir=off,metacopy=off,index=off,xino=auto,volatile");
    }
    sys::mount_fs("overlay", ROOT, "overlay", 0, &options)?;
    steps.done("overlay");
    for name in ["dev", "proc", "sys"] {
        let (from, to) = (format!("{STAGE}/{name}"), format!("{ROOT}/{name}"));
        sys::mount_fs(&from, &to, "", sys::MS_MOVE, "")?;
    }
    told("root", sys::pivot_root(ROOT))?;
    let mut placeholders = Vec::new();
    for file in &machine.namespaces.files {
        sys::write_fd(file.content.as_raw_fd(), content_of(file.name, setup).as_bytes())?;
        told(file.name, attach_file(file, &mut placeholders))?;
    }
    steps.done("root");
    Ok(placeholders)
}

/// Copies the metadata of the image's root to the upper directory, because the root of an overlay shows those.
fn adopt_root_metadata(top: &str) -> Result<()> {
    let top = fs::metadata(top)?;
    sys::change_owner(&c(UPPER.as_bytes())?, top.uid(), top.gid())?;
    fs::set_permissions(UPPER, fs::Permissions::from_mode(top.mode() & 0o7777))?;
    sys::set_mtime(&c(UPPER.as_bytes())?, top.mtime(), top.mtime_nsec())
}

fn content_of(name: &str, setup: &Setup) -> String {
    let hostname = String::from_utf8_lossy(&setup.hostname);
    match name {
        "hostname" => format!("{hostname}\n"),
        "hosts" => format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{hostname}\n"),
        _ => {
            let servers = setup.network.iter().flat_map(|network| &network.nameservers);
            servers.map(|server| format!("nameserver {}\n", String::from_utf8_lossy(server))).collect()
        }
    }
}

/// Mounts a staged file over its path in /etc of the image, which is the root now. The image may have a dangling symbolic
/// link there (systemd's resolv.conf); then its target is created and recorded as a placeholder.
fn attach_file(file: &StagedFile, placeholders: &mut Vec<String>) -> Result<()> {
    let path = format!("/etc/{}", file.name);
    let result = match attach(file, &path) {
        Err(error) if error.raw_os_error() == Some(sys::ENOENT) => {
            if create_target(&path, placeholders).is_ok() {
                let _ = attach(file, &path);
            }
            Ok(())
        }
        // Not below a folder: /etc is something else, or links lead nowhere. It is left as it is.
        Err(error) if matches!(error.raw_os_error(), Some(sys::ENOTDIR) | Some(sys::ELOOP)) => Ok(()),
        // The image has a folder of this name, which is left as it is.
        Err(_) if std::path::Path::new(&path).is_dir() => Ok(()),
        other => other,
    };
    if let StagedMount::BelowDev = file.mount {
        fs::remove_file(place_below_dev(file.name))?;
    }
    result
}

fn attach(file: &StagedFile, path: &str) -> Result<()> {
    match &file.mount {
        StagedMount::Detached(tree) => sys::attach(tree, path),
        StagedMount::BelowDev => sys::bind(&place_below_dev(file.name), path),
    }
}

/// Creates the file that `path` resolves to, and its missing parent folders.
fn create_target(path: &str, placeholders: &mut Vec<String>) -> Result<()> {
    let mut target = std::path::PathBuf::from(path);
    for _ in 0..8 {
        match fs::read_link(&target) {
            Ok(link) => target = target.parent().unwrap_or(&target).join(link),
            Err(_) => break,
        }
    }
    let mut missing: Vec<_> = target.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
    missing.reverse();
    for folder in missing {
        fs::create_dir(folder)?;
        placeholders.push(canonical(folder)?);
    }
    fs::File::create(&target)?;
    placeholders.push(canonical(&target)?);
    Ok(())
}

fn canonical(path: &std::path::Path) -> Result<String> {
    Ok(fs::canonicalize(path)?.to_string_lossy().into_owned())
}

/// Reports whether the run's disk is practically full, so that a failure is due to the limit and not to the program.
pub fn disk_full() -> bool {
    const BLOCKS_LEFT: u64 = 16;
    sys::stat_fs(crate::boot::DISK).map(|space| space.blocks_available < BLOCKS_LEFT).unwrap_or(false)
}
