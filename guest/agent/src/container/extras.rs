//! Extended attributes, opaque folders and device numbers, which gVisor cannot read from a layer. They come as a list beside the layer's
//! tree (src/sandbox/gvisor/plain-layer.ts) and become separate lower directories.

use crate::boot::{DISK, LAYERS};
use crate::sys::{self, c};
use crate::wire::{Malformed, Parsed, Reader};
use std::collections::HashMap;
use std::fs;
use std::io::{Error, ErrorKind, Result};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{symlink, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

struct Extra {
    /// Path relative to the layer's root; empty for the root itself.
    path: Vec<u8>,
    /// True when the folder hides its content in lower layers.
    opaque: bool,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Major and minor number of a device; 0 and 0 for other files.
    device: (u32, u32),
}

impl Extra {
    /// Reports whether the layer's file has to be replaced by a copy.
    fn is_copied(&self) -> bool {
        !self.xattrs.is_empty() || self.device != (0, 0)
    }
}

/// Returns the lower directories of layer `number`, bottom first. An opaque folder gets an opaque directory just below the
/// layer; files with extended attributes and devices are copied, with them, just above the layer.
pub fn lower_folders(number: u64) -> Result<Vec<String>> {
    let layer = format!("{LAYERS}/{number}");
    let list = fs::read(format!("{layer}/extras"))?;
    let extras =
        parse(&list).map_err(|Malformed(rule)| Error::new(ErrorKind::InvalidData, format!("extras: {rule}")))?;
    let root = format!("{layer}/root");
    let mut folders = Vec::new();
    let opaque: Vec<_> = extras.iter().filter(|extra| extra.opaque).collect();
    if !opaque.is_empty() {
        let below = format!("{DISK}/extras/{number}-below");
        for extra in opaque {
            let path = join(&below, &extra.path);
            fs::create_dir_all(&path)?;
            sys::set_xattr(&c(path.as_os_str().as_bytes())?, &c(b"trusted.overlay.opaque")?, b"y")?;
        }
        folders.push(below);
    }
    folders.push(root.clone());
    if extras.iter().any(Extra::is_copied) {
        let above = format!("{DISK}/extras/{number}-above");
        fs::create_dir_all(&above)?;
        let mut copy =
            Copy { root: root.into(), target: above.clone().into(), links: HashMap::new(), folders: Vec::new() };
        copy.run(&extras)?;
        folders.push(above);
    }
    Ok(folders)
}

fn parse(list: &[u8]) -> Parsed<Vec<Extra>> {
    let mut reader = Reader::new(list);
    let mut extras = Vec::new();
    while reader.end().is_err() {
        let path = reader.text()?;
        let opaque = reader.u8()? != 0;
        let xattrs = reader.list(|item| Ok((item.text()?, item.bytes()?.to_vec())))?;
        let device = (reader.u32()?, reader.u32()?);
        extras.push(Extra { path, opaque, xattrs, device });
    }
    Ok(extras)
}

fn join(folder: &str, path: &[u8]) -> PathBuf {
    Path::new(folder).join(std::ffi::OsStr::from_bytes(path))
}

struct Copy {
    root: PathBuf,
    target: PathBuf,
    /// Inode → path of its first copy.
    links: HashMap<u64, PathBuf>,
    /// Originals and copies of the folders that were made, parents first. Their times are set last.
    folders: Vec<(PathBuf, PathBuf)>,
}

impl Copy {
    fn run(&mut self, extras: &[Extra]) -> Result<()> {
        self.adopt_folder(Path::new(""))?;
        for extra in extras.iter().filter(|extra| extra.is_copied()) {
            let path = Path::new(std::ffi::OsStr::from_bytes(&extra.path)).to_path_buf();
            self.add(&path, extra.device)?;
            let target = c(self.target.join(&path).as_os_str().as_bytes())?;
            for (name, value) in &extra.xattrs {
                sys::set_xattr(&target, &c(name)?, value)?;
            }
        }
        for (from, to) in self.folders.iter().rev() {
            let stat = fs::symlink_metadata(from)?;
            sys::set_mtime(&c(to.as_os_str().as_bytes())?, stat.mtime(), stat.mtime_nsec())?;
        }
        Ok(())
    }

    fn add(&mut self, path: &Path, device: (u32, u32)) -> Result<()> {
        let from = self.root.join(path);
        let stat = fs::symlink_metadata(&from)?;
        if stat.is_dir() {
            return self.make_folder(path);
        }
        if let Some(parent) = path.parent() {
            self.make_folder(parent)?;
        }
        let to = self.target.join(path);
        if let Some(first) = self.links.get(&stat.ino()) {
            return fs::hard_link(first, &to);
        }
        let kind = stat.file_type();
        let name = c(to.as_os_str().as_bytes())?;
        if kind.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if kind.is_file() {
            fs::copy(&from, &to)?;
        } else {
            sys::make_node(&name, stat.mode(), device)?;
        }
        sys::change_owner(&name, stat.uid(), stat.gid())?;
        if !kind.is_symlink() {
            fs::set_permissions(&to, fs::Permissions::from_mode(stat.mode() & 0o7777))?;
        }
        sys::set_mtime(&name, stat.mtime(), stat.mtime_nsec())?;
        if stat.nlink() > 1 && !kind.is_fifo() {
            self.links.insert(stat.ino(), to);
        }
        Ok(())
    }

    /// Makes a folder and its parents, each with the metadata of the layer's.
    fn make_folder(&mut self, path: &Path) -> Result<()> {
        let missing: Vec<_> = path.ancestors().take_while(|part| !self.target.join(part).exists()).collect();
        for part in missing.into_iter().rev() {
            fs::create_dir(self.target.join(part))?;
            self.adopt_folder(part)?;
        }
        Ok(())
    }

    fn adopt_folder(&mut self, path: &Path) -> Result<()> {
        let (from, to) = (self.root.join(path), self.target.join(path));
        let stat = fs::metadata(&from)?;
        sys::change_owner(&c(to.as_os_str().as_bytes())?, stat.uid(), stat.gid())?;
        fs::set_permissions(&to, fs::Permissions::from_mode(stat.mode() & 0o7777))?;
        self.folders.push((from, to));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_read_to_its_end() {
        let mut list = Vec::new();
        for part in
            [&b"\x03\0\0\0a/b\x01"[..], b"\x01\0\0\0", b"\x06\0\0\0user.x", b"\x02\0\0\0\0\xff", b"\0\0\0\0\0\0\0\0"]
        {
            list.extend_from_slice(part);
        }
        list.extend_from_slice(b"\0\0\0\0\0\0\0\0\0\x07\0\0\0\x2c\x01\0\0");
        let extras = parse(&list).unwrap();
        assert_eq!(extras.len(), 2);
        assert_eq!((extras[0].path.as_slice(), extras[0].opaque), (&b"a/b"[..], true));
        assert_eq!(extras[0].xattrs, [(b"user.x".to_vec(), vec![0, 0xff])]);
        assert_eq!((extras[1].path.as_slice(), extras[1].opaque), (&b""[..], false));
        assert_eq!((extras[0].device, extras[1].device), ((0, 0), (7, 300)));
        assert_eq!((extras[0].is_copied(), extras[1].is_copied()), (true, true));
        assert!(parse(&list[..list.len() - 1]).is_err());
        assert!(parse(&[]).unwrap().is_empty());
    }
}
