//! Headers of a POSIX PAX tar. Pure functions from an entry to whole 512-byte blocks.

pub const BLOCK: usize = 512;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    File = b'0' as isize,
    HardLink = b'1' as isize,
    Symlink = b'2' as isize,
    Character = b'3' as isize,
    Block = b'4' as isize,
    Directory = b'5' as isize,
    Fifo = b'6' as isize,
}

pub struct Entry<'a> {
    /// Path relative to the root of the layer; that of a folder ends with a slash.
    pub path: &'a [u8],
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Modification time: seconds since 1970, and nanoseconds.
    pub mtime: (i64, u32),
    /// Target of a link.
    pub link: &'a [u8],
    /// Major and minor number of a device.
    pub device: (u32, u32),
    pub xattrs: &'a [(Vec<u8>, Vec<u8>)],
}

/// Largest number of 7 and 11 octal digits.
const OCTAL_7_MAX: u64 = 0o7777777;
const OCTAL_11_MAX: u64 = 0o77777777777;

/// Appends the entry's header, preceded by a PAX header for fields that ustar cannot represent.
pub fn append_header(out: &mut Vec<u8>, entry: &Entry) {
    let records = pax_records(entry);
    if !records.is_empty() {
        append_block(out, b"PaxHeader", b'x', records.len() as u64, &PLAIN);
        out.extend_from_slice(&records);
        pad(out, records.len() as u64);
    }
    append_block(out, entry.path, entry.kind as isize as u8, entry.size, entry);
}

/// Pads `bytes` bytes of content to whole blocks.
pub fn pad(out: &mut Vec<u8>, bytes: u64) {
    let rest = (bytes % BLOCK as u64) as usize;
    if rest > 0 {
        out.resize(out.len() + BLOCK - rest, 0);
    }
}

/// Appends the end of the archive: two empty blocks.
pub fn append_end(out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * BLOCK, 0);
}

/// A file without content.
pub const PLAIN: Entry = Entry {
    path: b"",
    kind: Kind::File,
    mode: 0o644,
    uid: 0,
    gid: 0,
    size: 0,
    mtime: (0, 0),
    link: b"",
    device: (0, 0),
    xattrs: &[],
};

fn append_block(out: &mut Vec<u8>, path: &[u8], kind: u8, size: u64, entry: &Entry) {
    let start = out.len();
    out.resize(start + BLOCK, 0);
    let block = &mut out[start..];
    let (prefix, name) = split_path(path).unwrap_or((b"", &path[..path.len().min(100)]));
    block[..name.len()].copy_from_slice(name);
    octal(&mut block[100..107], u64::from(entry.mode & 0o7777));
    octal(&mut block[108..115], u64::from(entry.uid));
    octal(&mut block[116..123], u64::from(entry.gid));
    octal(&mut block[124..135], size);
    octal(&mut block[136..147], entry.mtime.0.max(0) as u64);
    block[148..156].fill(b' ');
    block[156] = kind;
    let link = &entry.link[..entry.link.len().min(100)];
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut block[329..336], u64::from(entry.device.0));
    octal(&mut block[337..344], u64::from(entry.device.1));
    block[345..345 + prefix.len()].copy_from_slice(prefix);
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..154], sum);
    block[154] = 0;
}

/// Writes octal digits that fill the field. A number that does not fit is in a PAX record instead.
fn octal(field: &mut [u8], value: u64) {
    let mut rest = value;
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (rest & 7) as u8;
        rest >>= 3;
    }
}

/// Splits the path into ustar's prefix and name. Returns None when it does not fit.
fn split_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if path.len() <= 100 {
        return Some((b"", path));
    }
    let first = path.len().checked_sub(101)?;
    let cut = (first..path.len().min(156)).find(|at| path[*at] == b'/' && *at > 0 && *at + 1 < path.len())?;
    Some((&path[..cut], &path[cut + 1..]))
}

fn pax_records(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::new();
    if split_path(entry.path).is_none() {
        append_record(&mut out, b"path", entry.path);
    }
    if entry.link.len() > 100 {
        append_record(&mut out, b"linkpath", entry.link);
    }
    let numbers = [
        (&b"size"[..], entry.size, OCTAL_11_MAX),
        (&b"uid"[..], u64::from(entry.uid), OCTAL_7_MAX),
        (&b"gid"[..], u64::from(entry.gid), OCTAL_7_MAX),
    ];
    for (key, value, max) in numbers {
        if value > max {
            append_record(&mut out, key, value.to_string().as_bytes());
        }
    }
    let (seconds, nanoseconds) = entry.mtime;
    if nanoseconds > 0 || seconds < 0 || seconds as u64 > OCTAL_11_MAX {
        append_record(&mut out, b"mtime", pax_time(seconds, nanoseconds).as_bytes());
    }
    for (name, value) in entry.xattrs {
        append_record(&mut out, &[b"SCHILY.xattr.", &name[..]].concat(), value);
    }
    out
}

/// Formats decimal seconds; before 1970 both parts count downwards from zero.
fn pax_time(seconds: i64, nanoseconds: u32) -> String {
    if seconds < 0 && nanoseconds > 0 {
        return format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanoseconds);
    }
    format!("{seconds}.{nanoseconds:09}")
}

/// Appends `LENGTH KEY=VALUE\n`, where LENGTH counts itself.
fn append_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + rest.to_string().len();
    length = rest + length.to_string().len();
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        append_header(&mut out, entry);
        out
    }

    #[test]
    fn a_plain_entry_is_one_block_with_a_valid_checksum() {
        let out = header(&Entry { path: b"etc/motd", size: 5, mtime: (1_700_000_000, 0), ..PLAIN });
        assert_eq!(out.len(), BLOCK);
        assert_eq!(&out[..9], b"etc/motd\0");
        assert_eq!(&out[124..136], b"00000000005\0");
        let told = u64::from_str_radix(std::str::from_utf8(&out[148..154]).unwrap(), 8).unwrap();
        let mut blank = out.clone();
        blank[148..156].fill(b' ');
        assert_eq!(told, blank.iter().map(|byte| u64::from(*byte)).sum::<u64>());
    }

    #[test]
    fn long_names_use_the_prefix_and_then_pax() {
        let nested = [b"a".repeat(80), b"b".repeat(80)].join(&b'/');
        let out = header(&Entry { path: &nested, ..PLAIN });
        assert_eq!(out.len(), BLOCK);
        assert_eq!(&out[..80], &b"b".repeat(80)[..]);
        assert_eq!(&out[345..425], &b"a".repeat(80)[..]);
        let long = b"c".repeat(200);
        let out = header(&Entry { path: &long, ..PLAIN });
        assert_eq!(out.len(), 3 * BLOCK);
        assert!(out[BLOCK..].starts_with(format!("210 path={}\n", "c".repeat(200)).as_bytes()));
    }

    #[test]
    fn what_ustar_cannot_count_is_a_pax_record() {
        let records = pax_records(&Entry {
            path: b"x",
            uid: 4_000_000_000,
            size: 1 << 33,
            mtime: (-1, 500_000_000),
            xattrs: &[(b"user.n".to_vec(), b"\x00\n=".to_vec())],
            ..PLAIN
        });
        assert_eq!(
            records,
            b"19 size=8589934592\n18 uid=4000000000\n22 mtime=-0.500000000\n27 SCHILY.xattr.user.n=\0\n=\n"
        );
    }

    #[test]
    fn a_records_length_counts_its_own_digits() {
        for length in 80..120 {
            let mut out = Vec::new();
            append_record(&mut out, b"k", &vec![b'v'; length]);
            let told: usize = std::str::from_utf8(&out).unwrap().split(' ').next().unwrap().parse().unwrap();
            assert_eq!(told, out.len());
        }
    }
}
