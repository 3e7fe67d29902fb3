//! Files in folders that only another user may enter, shown to the jail's user without copies.

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::Result;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::io::AsRawFd;
use std::path::Path;

use crate::sys;

/// Permission to enter a folder, for everyone.
const ENTER: u32 = 0o001;

/// Makes files reachable by their paths, for this process and what it starts: in a mount namespace of its own, the topmost folder
/// of each path that others may not enter is covered by one that has only these files.
pub fn show(files: &[&str]) -> Result<()> {
    if files.is_empty() {
        return Ok(());
    }
    sys::own_mounts()?;
    let mut open = Vec::new();
    for path in files.iter().map(Path::new) {
        open.push((path, File::open(path)?, closed_folder(path)?));
    }
    let mut covered = HashSet::new();
    for (path, file, closed) in &open {
        let folder = match closed {
            Some(folder) => folder,
            None => continue,
        };
        if covered.insert(folder) {
            sys::cover(folder)?;
        }
        for parent in path.ancestors().skip(1).take_while(|parent| parent != folder).collect::<Vec<_>>().iter().rev() {
            if !parent.exists() {
                fs::create_dir(parent)?;
                fs::set_permissions(parent, Permissions::from_mode(0o711))?;
            }
        }
        File::create(path)?;
        sys::bind_file(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())), path)?;
    }
    Ok(())
}

/// Returns the topmost folder of a path that others may not enter.
fn closed_folder(path: &Path) -> Result<Option<&Path>> {
    let folders: Vec<&Path> = path.ancestors().skip(1).collect();
    for folder in folders.into_iter().rev() {
        if fs::metadata(folder)?.mode() & ENTER == 0 {
            return Ok(Some(folder));
        }
    }
    Ok(None)
}
