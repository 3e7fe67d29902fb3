//! Users as the run's own passwd and group have them. Both files are the run's: they are read to a bound, and lines that
//! are not as they should be are skipped.

use crate::boot::Namespaces;
use crate::sys;
use std::fs::File;
use std::io::{Read, Result};
use std::str::from_utf8;

/// Bytes read of each file; real ones have a few kilobytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const HOME_BYTES_MAX: usize = 4096;
/// Supplementary groups that the kernel takes.
const GROUPS_MAX: usize = 65_536;

#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// All groups, that of `gid` first.
    pub groups: Vec<u32>,
    /// Home directory; `/` where the run has no row for the user, `/root` for root.
    pub home: Vec<u8>,
}

/// Part of a request that the run has no row for.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Unknown {
    User = 1,
    Group = 2,
}

/// The accounts of a run.
pub struct Accounts {
    passwd: Vec<u8>,
    group: Vec<u8>,
}

impl Accounts {
    /// Reads them in the mount namespace of the run. A file that is missing, or no file, has no rows.
    pub fn read(namespaces: &Namespaces) -> Result<Accounts> {
        sys::enter(&namespaces.pidfd, sys::CLONE_NEWNS)?;
        let accounts = Accounts { passwd: read("/etc/passwd"), group: read("/etc/group") };
        sys::enter(&namespaces.home, sys::CLONE_NEWNS)?;
        Ok(accounts)
    }

    /// Resolves `USER` or `USER:GROUP`, each a name or a number, as OCI images have it. A number needs no row; then the group
    /// is 0 unless it is given. Nor does root.
    pub fn resolve(&self, text: &[u8]) -> std::result::Result<Identity, Unknown> {
        let mut parts = text.splitn(2, |byte| *byte == b':');
        let (user, group) = (parts.next().unwrap_or_default(), parts.next().filter(|group| !group.is_empty()));
        let wanted = number(user);
        let row = self.users().find(|row| match wanted {
            Some(uid) => row.uid == uid,
            None => row.name == user,
        });
        let root = if user == b"root" { Some(0) } else { None };
        let uid = wanted.or(row.as_ref().map(|row| row.uid)).or(root).ok_or(Unknown::User)?;
        let gid = match group {
            Some(group) => self.group(group).ok_or(Unknown::Group)?,
            None => row.as_ref().map_or(0, |row| row.gid),
        };
        let mut groups = vec![gid];
        if let Some(row) = &row {
            groups.extend(self.listed(row.name).filter(|listed| *listed != gid).take(GROUPS_MAX - 1));
        }
        let elsewhere = if uid == 0 { &b"/root"[..] } else { b"/" };
        Ok(Identity { uid, gid, groups, home: row.map_or(elsewhere, |row| row.home).to_vec() })
    }

    fn users(&self) -> impl Iterator<Item = User<'_>> {
        rows(&self.passwd).filter_map(|row| {
            let usable =
                |home: &&[u8]| home.starts_with(b"/") && home.len() <= HOME_BYTES_MAX && from_utf8(home).is_ok();
            let (name, uid, gid) = (*row.first()?, number(row.get(2)?)?, number(row.get(3)?)?);
            let home = row.get(5).copied().filter(usable).unwrap_or(b"/");
            Some(User { name, uid, gid, home }).filter(|user| !user.name.is_empty())
        })
    }

    fn group(&self, text: &[u8]) -> Option<u32> {
        number(text).or_else(|| {
            let named = |row: Vec<&[u8]>| if row[0] == text { number(row.get(2)?) } else { None };
            rows(&self.group).find_map(named).filter(|_| !text.is_empty())
        })
    }

    /// Returns the groups that list a user by name.
    fn listed<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = u32> + 'a {
        rows(&self.group)
            .filter(move |row| row.len() > 3 && row[3].split(|byte| *byte == b',').any(|member| member == name))
            .filter_map(|row| number(row[2]))
    }
}

struct User<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

/// Returns the fields of each line; there is at least one.
fn rows(table: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    table.split(|byte| *byte == b'\n').map(|line| line.split(|byte| *byte == b':').collect())
}

/// Returns an id; the highest one means "none" to the kernel.
fn number(field: &[u8]) -> Option<u32> {
    let digits = from_utf8(field).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|id| *id != u32::MAX)
}

fn read(path: &str) -> Vec<u8> {
    let mut content = Vec::new();
    // A FIFO must not make the agent wait.
    let file = sys::open_path(path, sys::O_RDONLY | sys::O_NONBLOCK).map(File::from);
    if let Ok(file) = file.and_then(|file| Ok((file.metadata()?.is_file(), file))) {
        if file.0 {
            let _ = file.1.take(FILE_BYTES_MAX).read_to_end(&mut content);
        }
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        let passwd =
            b"bad\n:x:5:5::/:\nroot:x:0:0:root:/root:/bin/sh\nodd:x:x:1::/odd:\nann:x:1000:100::/home/ann:/bin/sh\n\
            twin:x:1000:7::/twin:\nrel:x:8:8::relative:\nhigh:x:4294967295:0::/:\n1000:x:9:9::/nine:";
        let group = b"root:x:0:\naudio:x:29:bob,ann\nvideo:x:44:annette\nbad:x:nan:ann\nshort:x\nusers:x:100:ann\n";
        Accounts { passwd: passwd.to_vec(), group: group.to_vec() }
    }

    fn resolved(text: &str) -> std::result::Result<(u32, u32, Vec<u32>, String), Unknown> {
        let found = accounts().resolve(text.as_bytes())?;
        Ok((found.uid, found.gid, found.groups, String::from_utf8(found.home).unwrap()))
    }

    #[test]
    fn every_form_is_resolved() {
        let ann = |gid: u32, groups: &[u32]| Ok((1000, gid, groups.to_vec(), "/home/ann".to_string()));
        assert_eq!(resolved("ann"), ann(100, &[100, 29]));
        assert_eq!(resolved("1000"), ann(100, &[100, 29]));
        assert_eq!(resolved("1000:7"), ann(7, &[7, 29, 100]));
        assert_eq!(resolved("ann:audio"), ann(29, &[29, 100]));
        assert_eq!(resolved("root"), Ok((0, 0, vec![0], "/root".into())));
        assert_eq!(resolved("4242"), Ok((4242, 0, vec![0], "/".into())));
        assert_eq!(resolved("4242:video"), Ok((4242, 44, vec![44], "/".into())));
        assert_eq!(resolved("ann:"), ann(100, &[100, 29]));
        let empty = Accounts { passwd: Vec::new(), group: Vec::new() };
        let root = Identity { uid: 0, gid: 0, groups: vec![0], home: b"/root".to_vec() };
        assert_eq!(empty.resolve(b"root"), Ok(root));
        assert_eq!(resolved("rel"), Ok((8, 8, vec![8], "/".into())));
    }

    /// Asserts what the host's tests assert of its own look-up (test/images/inspect/users.test.ts), so that both agree.
    #[test]
    fn the_host_resolves_the_same() {
        let text = include_str!("../../golden/users.txt");
        let section = |name: &str| -> Vec<u8> {
            let (_, rest) = text.split_once(&format!("== {name}\n")).unwrap();
            rest.split("== ").next().unwrap().as_bytes().to_vec()
        };
        let accounts = Accounts { passwd: section("passwd"), group: section("group") };
        let lines = |name: &str| String::from_utf8(section(name)).unwrap();
        for line in lines("resolved").lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let found = accounts.resolve(fields[0].as_bytes()).unwrap();
            let shown = format!("{} {} {}", found.uid, found.gid, String::from_utf8(found.home).unwrap());
            assert_eq!(shown, fields[1..].join(" "), "{line}");
        }
        for (name, unknown) in [("unknown user", Unknown::User), ("unknown group", Unknown::Group)] {
            for line in lines(name).lines() {
                assert_eq!(accounts.resolve(line.as_bytes()), Err(unknown), "{line}");
            }
        }
    }

    #[test]
    fn what_has_no_row_is_unknown() {
        for text in ["", "bob", "odd", "high", "4294967295", "+5", "bad", ":audio", "an"] {
            assert_eq!(resolved(text), Err(Unknown::User), "{text}");
        }
        for text in ["ann:nix", "ann:bad", "ann:short", "1000:4294967295", "ann:audio:x"] {
            assert_eq!(resolved(text), Err(Unknown::Group), "{text}");
        }
    }
}
