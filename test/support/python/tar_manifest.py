"""The same lines as manifest.py prints, of a tar archive. Usage: tar_manifest.py ARCHIVE [PATH_TO_SKIP ...]"""
import hashlib
import json
import stat
import sys
import tarfile

TYPES = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "symlink", tarfile.CHRTYPE: "char",
         tarfile.BLKTYPE: "block", tarfile.FIFOTYPE: "fifo"}
XATTR = "SCHILY.xattr."


def describe(tar, member, name):
    entry = {"path": name, "type": TYPES[member.type], "mode": stat.S_IMODE(member.mode), "uid": member.uid,
             "gid": member.gid, "mtime": int(member.mtime)}
    if member.isreg():
        entry["size"] = member.size
        entry["sha256"] = hashlib.sha256(tar.extractfile(member).read()).hexdigest()
    if member.issym():
        entry["target"] = member.linkname
    if member.ischr() or member.isblk():
        entry["device"] = [member.devmajor, member.devminor]
    xattrs = {key[len(XATTR):]: value.encode("utf-8", "surrogateescape").hex()
              for key, value in member.pax_headers.items() if key.startswith(XATTR)}
    if xattrs:
        entry["xattrs"] = xattrs
    return entry


def main():
    path, *skipped = sys.argv[1:]
    entries, links = {}, {}
    with tarfile.open(path, errors="surrogateescape") as tar:
        for member in tar:
            name = member.name.strip("/").removeprefix("./") or "."
            if any(name == skip or name.startswith(skip + "/") for skip in skipped):
                continue
            if member.islnk():
                target = member.linkname.removeprefix("./").strip("/")
                links.setdefault(target, [target]).append(name)
                entries[name] = dict(entries[target], path=name)
            else:
                entries[name] = describe(tar, member, name)
    for group in links.values():
        for name in group:
            entries[name]["links"] = sorted(group)
    for name in sorted(entries):
        print(json.dumps(entries[name], sort_keys=True, ensure_ascii=True))


main()
