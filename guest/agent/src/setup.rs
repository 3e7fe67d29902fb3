//! Phase 2: makes a restored template into this run's machine.

use crate::boot::{Machine, LAYERS, LAYERS_MAX, SKELETON, STAGE, UPPER, WORK};
use crate::message::{Extent, Setup};
use crate::network;
use crate::sys::{self, c, told};
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::raw::{c_int, c_ulong, c_void};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::io::OwnedFd;
use std::time::Instant;

/// What is known once the machine is ready.
pub struct Ready {
    pub boot_id: String,
    /// Name and microseconds of each step, in order.
    pub steps: Vec<(&'static str, u32)>,
    /// Paths in the image we had to create for our own mounts; no change of the run.
    pub placeholders: Vec<String>,
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
    told("clock", sys::set_clock(setup.clock_ns))?;
    steps.started = Instant::now();
    told("entropy", stir(&setup.entropy))?;
    // First read after the restore: the kernel makes it up now, from the entropy above.
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim_end().to_string();
    steps.done("entropy");
    told("disk", cap_disk(&machine.disk, setup.disk_bytes))?;
    steps.done("disk");
    add_partitions(&machine.layers_disk, &setup.layers)?;
    steps.done("partitions");

    let home = sys::open_path("/proc/self/ns/mnt", sys::O_RDONLY)?;
    let home_names = sys::open_path("/proc/self/ns/uts", sys::O_RDONLY)?;
    told("namespaces", sys::enter(&machine.namespaces.pidfd, sys::CLONE_NEWNS | sys::CLONE_NEWUTS))?;
    let result = build_root(machine, setup, &mut steps);
    sys::enter(&home_names, sys::CLONE_NEWUTS)?;
    sys::enter(&home, sys::CLONE_NEWNS)?;
    let placeholders = result?;
    if let Some(settings) = &setup.network {
        network::configure(settings)?;
        steps.done("network");
    }
    Ok(Ready { boot_id, steps: steps.taken, placeholders })
}

/// Credits the host's entropy to the pool and reseeds at once: two runs of one template must not share a random byte.
fn stir(entropy: &[u8]) -> Result<()> {
    const RND_ADD_ENTROPY: c_ulong = 0x4008_5203;
    const RND_RESEED_CRNG: c_ulong = 0x5207;
    let bits = (entropy.len() * 8) as i32;
    let mut pool = Vec::with_capacity(8 + entropy.len());
    pool.extend_from_slice(&bits.to_ne_bytes());
    pool.extend_from_slice(&(entropy.len() as i32).to_ne_bytes());
    pool.extend_from_slice(entropy);
    let random = sys::open_path("/dev/urandom", sys::O_RDWR)?;
    sys::control(&random, RND_ADD_ENTROPY, &mut pool[0])?;
    sys::control_number(&random, RND_RESEED_CRNG, 0).map(|_| ())
}

/// Leaves `bytes` of the disk to the run. The rest becomes the filesystem's reserve, which not even root may touch.
fn cap_disk(disk: &str, bytes: u64) -> Result<()> {
    let space = sys::stat_fs(crate::boot::DISK)?;
    let wanted = bytes / space.block_size as u64;
    let reserve = space.blocks_free.saturating_sub(wanted);
    fs::write(format!("/sys/fs/ext4/{disk}/reserved_clusters"), reserve.to_string())
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
        return Err(Error::new(ErrorKind::InvalidInput, format!("{} layers; 1 to {LAYERS_MAX} can be mounted", layers.len())));
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

/// Mounts the layers, each on its folder, in the mount namespace this process is in now.
pub fn mount_layers(disk: &str, count: usize) -> Result<()> {
    for number in 1..=count {
        let (source, target) = (format!("/dev/{disk}{number}"), format!("{LAYERS}/{number}"));
        sys::mount_fs(&source, &target, "erofs", sys::MS_RDONLY | sys::MS_NOATIME, "")?;
    }
    Ok(())
}

/// The `lowerdir` option: top first, and below everything our skeleton.
pub fn lower_dirs(count: usize) -> String {
    (1..=count).rev().map(|number| format!("{LAYERS}/{number}:")).collect::<String>() + SKELETON
}

/// Puts the image together and makes it the root of the user's mount namespace. Returns the placeholders it had to create.
fn build_root(machine: &Machine, setup: &Setup, steps: &mut Steps) -> Result<Vec<String>> {
    const ROOT: &str = "/root";
    sys::change_directory("/")?;
    mount_layers(&machine.layers_disk, setup.layers.len())?;
    steps.done("layers");
    told("root directory", adopt_root_metadata(setup.layers.len()))?;
    // Plain files in the upper directory, so that it can be told as an OCI layer; and nobody needs it after a crash.
    let lower = lower_dirs(setup.layers.len());
    let options = format!(
        "lowerdir={lower},upperdir={UPPER},workdir={WORK},redirect_dir=off,metacopy=off,index=off,xino=auto,volatile"
    );
    fs::create_dir_all(ROOT)?;
    sys::mount_fs("overlay", ROOT, "overlay", 0, &options)?;
    steps.done("overlay");
    for name in ["dev", "proc", "sys"] {
        let (from, to) = (format!("{STAGE}/{name}"), format!("{ROOT}/{name}"));
        sys::mount_fs(&from, &to, "", sys::MS_MOVE, "")?;
    }
    let hostname = String::from_utf8_lossy(&setup.hostname).into_owned();
    told("hostname", sys::set_host_name(&hostname))?;
    let files = stage_files(&hostname, setup)?;
    sys::change_directory(ROOT)?;
    sys::mount_fs(".", "/", "", sys::MS_MOVE, "")?;
    sys::change_root(".")?;
    let mut placeholders = Vec::new();
    for (name, tree) in files {
        told(name, attach_file(&tree, name, &mut placeholders))?;
    }
    steps.done("root");
    Ok(placeholders)
}

/// The root folder of an overlay shows the metadata of the upper directory: give it those of the image.
fn adopt_root_metadata(count: usize) -> Result<()> {
    let top = fs::metadata(format!("{LAYERS}/{count}"))?;
    sys::change_owner(&c(UPPER.as_bytes())?, top.uid(), top.gid())?;
    fs::set_permissions(UPPER, fs::Permissions::from_mode(top.mode() & 0o7777))?;
    sys::set_mtime(&c(UPPER.as_bytes())?, top.mtime(), top.mtime_nsec())
}

/// Files the run sees in /etc although no image has them: each on its own mount, so no change to them is ever committed.
fn stage_files(hostname: &str, setup: &Setup) -> Result<Vec<(&'static str, OwnedFd)>> {
    const STAGED: &str = "/stage/etc";
    fs::create_dir_all(STAGED)?;
    sys::mount_fs("tmpfs", STAGED, "tmpfs", sys::MS_NOSUID | sys::MS_NODEV, "mode=755")?;
    let nameservers = setup.network.iter().flat_map(|network| &network.nameservers);
    let resolv: String = nameservers.map(|server| format!("nameserver {}\n", String::from_utf8_lossy(server))).collect();
    let hosts = format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{hostname}\n");
    let files = [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", resolv)];
    let mut trees = Vec::with_capacity(files.len());
    for (name, content) in files {
        let path = format!("{STAGED}/{name}");
        fs::write(&path, content)?;
        trees.push((name, sys::open_tree(&path)?));
    }
    Ok(trees)
}

/// Shows a staged file at /etc/`name` of the image, which is our root now. The image's own may be a symbolic link to nowhere
/// (systemd's resolv.conf); then its target is created, and remembered.
fn attach_file(tree: &OwnedFd, name: &str, placeholders: &mut Vec<String>) -> Result<()> {
    let path = format!("/etc/{name}");
    match sys::attach(tree, &path) {
        Err(error) if error.raw_os_error() == Some(sys::ENOENT) => {
            if create_target(&path, placeholders).is_ok() {
                let _ = sys::attach(tree, &path);
            }
            Ok(())
        }
        // The image made a folder of it: it has its reasons, and can do without ours.
        Err(error) if matches!(error.raw_os_error(), Some(sys::ENOTDIR) | Some(sys::ELOOP)) => Ok(()),
        other => other,
    }
}

/// Creates the file `path` leads to, and the folders on the way.
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

/// Whether the run's disk is as good as full: the cap was hit, not a whim of the program.
pub fn disk_full() -> bool {
    const BLOCKS_LEFT: u64 = 16;
    sys::stat_fs(crate::boot::DISK).map(|space| space.blocks_available < BLOCKS_LEFT).unwrap_or(false)
}
