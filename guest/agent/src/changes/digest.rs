//! Digests by which a file is recognised as that of an earlier snapshot. Their key is random, so that no file can be made
//! to look like another one.

use super::node::{Node, Xattrs, S_IFREG};
use std::collections::hash_map::{DefaultHasher, RandomState};
use std::hash::{BuildHasher, Hash, Hasher};

pub struct Digests {
    key: RandomState,
    /// True where the kernel notes the time of each change of a file.
    timely: bool,
}

impl Digests {
    pub fn new(timely: bool) -> Self {
        Digests { key: RandomState::new(), timely }
    }

    pub fn begin(&self) -> DefaultHasher {
        self.key.build_hasher()
    }

    pub fn of(&self, value: impl Hash) -> u64 {
        let mut hasher = self.begin();
        value.hash(&mut hasher);
        hasher.finish()
    }

    pub fn of_folder(&self, node: &Node, xattrs: &Xattrs) -> u64 {
        self.of((node.stat.mode, node.stat.uid, node.stat.gid, xattrs))
    }

    /// Everything but the content.
    pub fn of_leaf(&self, node: &Node, target: &[u8], xattrs: &Xattrs) -> u64 {
        let stat = &node.stat;
        let size = if node.is(S_IFREG) { stat.size } else { 0 };
        let file = (size, stat.mtime.sec, stat.mtime.nsec, stat.rdev_major, stat.rdev_minor);
        self.of((stat.mode, stat.uid, stat.gid, file, target, xattrs))
    }

    /// Changes whenever anything of the file does; 0 where nothing does that.
    pub fn stamp(&self, node: &Node) -> u64 {
        let stat = &node.stat;
        if self.timely {
            self.of((stat.ino, stat.ctime.sec, stat.ctime.nsec)).max(1)
        } else {
            0
        }
    }
}
