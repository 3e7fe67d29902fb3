//! Phase 1: from the start of the agent to the moment the template is saved.

use crate::sys;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::raw::c_int;
use std::os::unix::fs::{symlink, PermissionsExt};
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Mount point of the run's ext4, which holds `upper` and `work` of the overlay.
pub const DISK: &str = "/disk";
pub const UPPER: &str = "/disk/upper";
pub const WORK: &str = "/disk/work";
/// Folder with a mount point for each layer.
pub const LAYERS: &str = "/layers";
pub const LAYERS_MAX: usize = 64;

// These paths exist only in the user's mount namespace, and only until the image becomes its root.

/// Lowest directory of every overlay: the mount points that an image may lack.
pub const SKELETON: &str = "/skeleton";
/// Mounts that setup moves into the image's root: `dev`, `proc` and `sys`, and files of `etc`.
pub const STAGE: &str = "/stage";
/// Mount point of the overlay.
pub const ROOT: &str = "/root";

/// Environment of the agent, as far as the later phases need it.
pub struct Machine {
    /// Present in a microVM only: a container's kernel (gVisor) neither needs nor offers it.
    pub hardware: Option<Hardware>,
    pub namespaces: Namespaces,
    /// Lower directories of the overlay, bottom first, if they are mounted from the start.
    pub mounted: Option<Vec<String>>,
    /// Memory limit in bytes, where the agent has to enforce it because the kernel does not.
    pub memory_bytes: Option<u64>,
}

/// Files opened before the template is saved, because every path lookup delays a restored run.
pub struct Hardware {
    /// Kernel messages that follow the boot.
    pub kernel_log: OwnedFd,
    pub random: OwnedFd,
    /// Must not be read before the run's entropy is credited: the kernel generates the id at the first read.
    pub boot_id: OwnedFd,
    /// Setting for the number of reserved blocks on the run's disk.
    pub reserve: OwnedFd,
    /// Number of errors on the file system of the run's disk.
    pub disk_errors: OwnedFd,
    /// Name below /dev of the read-only disk with the layers, for example `vda`.
    pub layers_disk: String,
}

/// Namespaces of the user's processes, kept alive by a process of the agent that is their pid 1.
pub struct Namespaces {
    pub init: c_int,
    /// Refers to the namespaces of `init`.
    pub pidfd: OwnedFd,
    /// The agent's own mount namespace.
    pub home: OwnedFd,
    /// The user's /dev/pts.
    pub terminals: OwnedFd,
    /// /dev/null, which the user may remove: its folder is the same file system as the agent's.
    pub null: OwnedFd,
    pub files: Vec<StagedFile>,
    /// The `cgroup.procs` of the control group that commands are put into.
    pub group: Option<&'static str>,
}

/// A file that the agent mounts over /etc of the image, so that changes to it are never committed.
pub struct StagedFile {
    pub name: &'static str,
    pub content: OwnedFd,
    pub mount: StagedMount,
}

/// Form in which a staged file is kept until it is mounted in the image's root.
pub enum StagedMount {
    /// A detached mount.
    Detached(OwnedFd),
    /// A file below /dev of the stage, because gVisor can detach only folders.
    BelowDev,
}

/// Prepares the machine and opens the channel.
pub fn boot() -> Result<(Machine, OwnedFd)> {
    sys::own_directories()?;
    mount_own()?;
    // Before the network driver is loaded: an interface copies the defaults when it appears.
    tune();
    load_modules()?;
    let layers_disk = disk_with_serial("layers")?;
    let disk = disk_with_serial("disk")?;
    tune_disks(&[&layers_disk, &disk]);
    fs::create_dir_all(DISK)?;
    sys::mount_fs(&format!("/dev/{disk}"), DISK, "ext4", sys::MS_NOATIME, "noinit_itable,nobarrier")?;
    for path in [UPPER, WORK] {
        fs::create_dir_all(path)?;
    }
    make_layer_folders()?;
    let namespaces = Namespaces::create(stage)?;
    let kernel_log = sys::open_path("/dev/kmsg", sys::O_RDONLY | sys::O_NONBLOCK)?;
    skip_log(kernel_log.as_raw_fd());
    let random = sys::open_path("/dev/urandom", sys::O_RDWR)?;
    let boot_id = sys::open_path("/proc/sys/kernel/random/boot_id", sys::O_RDONLY)?;
    let reserve = sys::open_path(&format!("/sys/fs/ext4/{disk}/reserved_clusters"), sys::O_RDWR)?;
    let disk_errors = sys::open_path(&format!("/sys/fs/ext4/{disk}/errors_count"), sys::O_RDONLY)?;
    let port = open_port()?;
    sys::sync_disks();
    let hardware = Some(Hardware { kernel_log, random, boot_id, reserve, disk_errors, layers_disk });
    Ok((Machine { hardware, namespaces, mounted: None, memory_bytes: None }, port))
}

impl Machine {
    /// Mounts the layers in the current mount namespace, unless they are mounted from the start.
    pub fn mount_layers(&self, count: usize) -> Result<()> {
        match &self.hardware {
            Some(Hardware { layers_disk: disk, .. }) => {
                (1..=count).try_for_each(|number| mount_layer(&format!("/dev/{disk}{number}"), number))
            }
            None => Ok(()),
        }
    }

    /// Does the same after the run, which may have removed anything in /dev: with device nodes that only the agent sees.
    pub fn mount_layers_again(&self, count: usize) -> Result<()> {
        const NODE: &str = "/layer";
        let disk = match &self.hardware {
            Some(hardware) => &hardware.layers_disk,
            None => return Ok(()),
        };
        let node = sys::c(NODE.as_bytes())?;
        for number in 1..=count {
            let device = fs::read_to_string(format!("/sys/block/{disk}/{disk}{number}/dev"))?;
            sys::make_block_device(&node, device.trim_end())?;
            let mounted = mount_layer(NODE, number);
            fs::remove_file(NODE)?;
            mounted?;
        }
        Ok(())
    }

    /// Returns the lower directories of an image of `count` layers, top first.
    pub fn lower_folders(&self, count: usize) -> Vec<String> {
        let folders = self.mounted.clone();
        let mut folders = folders.unwrap_or_else(|| (1..=count).map(|number| format!("{LAYERS}/{number}")).collect());
        folders.reverse();
        folders
    }
}

fn mount_layer(source: &str, number: usize) -> Result<()> {
    sys::mount_fs(source, &format!("{LAYERS}/{number}"), "erofs", sys::MS_RDONLY | sys::MS_NOATIME, "")
}

fn mount_own() -> Result<()> {
    let quiet = sys::MS_NOSUID | sys::MS_NOEXEC | sys::MS_NODEV;
    for (kind, target, flags) in
        [("proc", "/proc", quiet), ("sysfs", "/sys", quiet), ("devtmpfs", "/dev", sys::MS_NOSUID)]
    {
        fs::create_dir_all(target)?;
        sys::mount_fs(kind, target, kind, flags, "")?;
    }
    Ok(())
}

/// Loads the modules of the initramfs in the order of their names, and frees their files.
fn load_modules() -> Result<()> {
    let mut files: Vec<_> =
        fs::read_dir("/modules")?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.sort();
    for path in files {
        let file = sys::open_path(&path.to_string_lossy(), sys::O_RDONLY)?;
        sys::load_module(&file).map_err(|error| Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        fs::remove_file(&path)?;
    }
    fs::remove_dir("/modules")
}

/// Applies the kernel settings that commands in a sandbox expect. Settings that the kernel lacks are skipped.
pub fn tune() {
    const SETTINGS: [(&str, &str); 9] = [
        ("kernel/printk", "1"),
        ("vm/max_map_count", "262144"),
        ("fs/inotify/max_user_instances", "8192"),
        ("net/ipv4/ping_group_range", "0 2147483647"),
        ("net/ipv4/ip_unprivileged_port_start", "0"),
        ("net/ipv6/conf/all/accept_ra", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/all/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_dad", "0"),
    ];
    for (name, value) in SETTINGS {
        let _ = fs::write(format!("/proc/sys/{name}"), value);
    }
    // With several CPUs a mount spends most of its time waiting for RCU grace periods.
    let _ = fs::write("/sys/kernel/rcu_expedited", "1");
    const FILES: (u64, u64) = (65_536, 1_048_576);
    let _ = sys::set_limit(sys::RLIMIT_NOFILE, FILES.0, FILES.1);
    let _ = sys::set_limit(sys::RLIMIT_NPROC, sys::RLIM_INFINITY, sys::RLIM_INFINITY);
    let _ = sys::set_limit(sys::RLIMIT_MEMLOCK, sys::RLIM_INFINITY, sys::RLIM_INFINITY);
    let _ = sys::set_limit(sys::RLIMIT_STACK, 8 * 1024 * 1024, sys::RLIM_INFINITY);
    let _ = sys::set_limit(sys::RLIMIT_FSIZE, sys::RLIM_INFINITY, sys::RLIM_INFINITY);
    let _ = sys::set_limit(sys::RLIMIT_CORE, 0, sys::RLIM_INFINITY);
    sys::set_umask(0o022);
}

/// Tunes disks that the host's page cache serves: no I/O scheduler, and few large requests instead of many small ones.
fn tune_disks(disks: &[&str]) {
    const SETTINGS: [(&str, &str); 2] = [("scheduler", "none"), ("read_ahead_kb", "512")];
    for disk in disks {
        for (name, value) in SETTINGS {
            let _ = fs::write(format!("/sys/block/{disk}/queue/{name}"), value);
        }
    }
}

/// Waits for something to appear, because drivers create their devices asynchronously.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    const TRIES: u32 = 2_000;
    for _ in 0..TRIES {
        if let Some(found) = look() {
            return Ok(found);
        }
        sleep(Duration::from_millis(5));
    }
    Err(Error::new(ErrorKind::NotFound, format!("the machine has no {what}")))
}

fn disk_with_serial(serial: &str) -> Result<String> {
    eventually(&format!("disk with serial \"{serial}\""), || {
        fs::read_dir("/sys/block").ok()?.flatten().find_map(|entry| {
            let found = fs::read_to_string(entry.path().join("serial")).ok()?;
            (found.trim_end() == serial).then(|| entry.file_name().to_string_lossy().into_owned())
        })
    })
}

fn open_port() -> Result<OwnedFd> {
    let name = eventually("virtio-serial port \"contree\"", || {
        fs::read_dir("/sys/class/virtio-ports").ok()?.flatten().find_map(|entry| {
            let found = fs::read_to_string(entry.path().join("name")).ok()?;
            (found.trim_end() == "contree").then(|| entry.file_name().to_string_lossy().into_owned())
        })
    })?;
    eventually("device of the channel", || sys::open_path(&format!("/dev/{name}"), sys::O_RDWR | sys::O_NONBLOCK).ok())
}

fn make_layer_folders() -> Result<()> {
    fs::create_dir(LAYERS)?;
    (1..=LAYERS_MAX).try_for_each(|number| fs::create_dir(format!("{LAYERS}/{number}")))
}

fn make_skeleton() -> Result<()> {
    for path in ["dev", "proc", "sys", "etc", "tmp"] {
        fs::create_dir_all(format!("{SKELETON}/{path}"))?;
    }
    fs::set_permissions(format!("{SKELETON}/tmp"), fs::Permissions::from_mode(0o1777))?;
    for name in ["hosts", "hostname", "resolv.conf"] {
        fs::write(format!("{SKELETON}/etc/{name}"), "")?;
    }
    Ok(())
}

/// Moves the reader of the kernel log behind the last message.
fn skip_log(fd: RawFd) {
    let mut record = [0u8; 8192];
    while sys::read_fd(fd, &mut record).is_ok() {}
}

impl Namespaces {
    /// Starts the pid 1 of the user's processes and enters its PID namespace for all later children.
    /// `stage` runs inside the new mount namespace and prepares it.
    pub fn create(stage: impl FnOnce() -> Result<()>) -> Result<Namespaces> {
        let (ready, done) = sys::pipe()?;
        let init = sys::fork_into(sys::CLONE_NEWPID | sys::CLONE_NEWNS)?;
        if init == 0 {
            drop(ready);
            let reason = stage().err().map(|error| error.to_string()).unwrap_or_default();
            let _ = sys::write_fd(done.as_raw_fd(), reason.as_bytes());
            drop(done);
            // It is visible to the run, which has no use for the agent's descriptors.
            sys::close_all();
            reap_for_ever();
        }
        drop(done);
        let mut reason = [0u8; 1024];
        let length = sys::read_fd(ready.as_raw_fd(), &mut reason)?;
        if length > 0 {
            return Err(Error::new(ErrorKind::Other, String::from_utf8_lossy(&reason[..length]).into_owned()));
        }
        let pidfd = sys::open_pidfd(init)?;
        let home = sys::open_path("/proc/self/ns/mnt", sys::O_RDONLY)?;
        sys::enter(&pidfd, sys::CLONE_NEWPID | sys::CLONE_NEWNS)?;
        let terminals = sys::open_path(&format!("{STAGE}/dev/pts"), sys::O_RDONLY | sys::O_DIRECTORY)?;
        let null = sys::open_path(&format!("{STAGE}/dev/null"), sys::O_RDONLY)?;
        let names = ["hosts", "hostname", "resolv.conf"].into_iter();
        let files = names.map(|name| stage_file(name).or_else(|_| stage_below_dev(name))).collect::<Result<_>>()?;
        sys::enter(&home, sys::CLONE_NEWNS)?;
        Ok(Namespaces { init, pidfd, home, terminals, null, files, group: None })
    }
}

fn stage_file(name: &'static str) -> Result<StagedFile> {
    let path = format!("{STAGE}/etc/{name}");
    fs::write(&path, "")?;
    let mount = StagedMount::Detached(sys::open_tree(&path)?);
    Ok(StagedFile { name, content: sys::open_path(&path, sys::O_RDWR)?, mount })
}

/// Returns the path of a staged file below /dev until it is moved to its place.
pub fn place_below_dev(name: &str) -> String {
    format!("/dev/.contree-{name}")
}

fn stage_below_dev(name: &'static str) -> Result<StagedFile> {
    let path = format!("{STAGE}{}", place_below_dev(name));
    fs::write(&path, "")?;
    Ok(StagedFile { name, content: sys::open_path(&path, sys::O_RDWR)?, mount: StagedMount::BelowDev })
}

/// Prepares the new mount namespace, long before the image is known.
fn stage() -> Result<()> {
    fs::create_dir(CELL)?;
    enter_cell(&[DISK])?;
    make_layer_folders()?;
    furnish("size=50%")
}

/// Path at which the root of the user's mount namespace is made, because the initial root cannot be unmounted.
const CELL: &str = "/cell";

/// Makes an empty file system the root of this mount namespace and keeps the mounts `kept` of the old root in it.
pub fn enter_cell(kept: &[&str]) -> Result<()> {
    sys::mount_fs("tmpfs", CELL, "tmpfs", 0, "mode=755")?;
    for path in kept {
        fs::create_dir(format!("{CELL}{path}"))?;
        sys::mount_fs(path, &format!("{CELL}{path}"), "", sys::MS_BIND | sys::MS_REC, "")?;
    }
    fs::write("/proc/self/oom_score_adj", "-1000")?;
    sys::change_directory(CELL)?;
    sys::mount_fs(".", "/", "", sys::MS_MOVE, "")?;
    sys::change_root(".")
}

/// Mounts in the new root what setup later moves into the image's root. Runs inside the new namespaces. `shared_memory` is
/// a mount option of /dev/shm.
pub fn furnish(shared_memory: &str) -> Result<()> {
    make_skeleton()?;
    fs::create_dir(ROOT)?;
    fs::create_dir_all(format!("{STAGE}/etc"))?;
    symlink("stage/dev", "/dev")?;
    mount_stage(shared_memory)
}

fn mount_stage(shared_memory: &str) -> Result<()> {
    let quiet = sys::MS_NOSUID | sys::MS_NOEXEC | sys::MS_NODEV;
    let mounts = [
        ("proc", "proc", quiet, ""),
        ("sysfs", "sys", quiet, ""),
        ("cgroup2", "sys/fs/cgroup", quiet, ""),
        ("devtmpfs", "dev", sys::MS_NOSUID, ""),
        ("devpts", "dev/pts", sys::MS_NOSUID | sys::MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"),
        ("mqueue", "dev/mqueue", quiet, ""),
        ("tmpfs", "dev/shm", sys::MS_NOSUID | sys::MS_NODEV, &format!("mode=1777,{shared_memory}")),
    ];
    for (kind, path, flags, options) in mounts {
        let target = format!("{STAGE}/{path}");
        if !Path::new(&target).exists() {
            fs::create_dir_all(&target)?;
        }
        sys::mount_fs(kind, &target, kind, flags, options)?;
    }
    for (target, link) in [("/proc/self/fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr")] {
        match symlink(target, format!("{STAGE}/dev/{link}")) {
            // gVisor provides them.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

/// Runs as pid 1 of the namespaces and only waits. The kernel gives orphans to it and reaps them, because it ignores
/// SIGCHLD. When the agent kills it, everything in the namespaces ends with it.
fn reap_for_ever() -> ! {
    sys::ignore_children();
    loop {
        sys::pause_here();
    }
}
