"""Prints one JSON line for each path below a root: what stat, readlink, listxattr and sha256 say of it.

Run on the host over an unpacked image and in a guest over /, so that the two can be compared line by line.
Usage: manifest.py ROOT [PATH_TO_SKIP ...]   (paths relative to the root; what is below a skipped path is skipped too)
"""
import hashlib
import json
import os
import stat
import sys

TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
         stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}


def digest(path):
    sha = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(1 << 20):
            sha.update(chunk)
    return sha.hexdigest()


def describe(path, name, links):
    info = os.lstat(path)
    kind = TYPES[stat.S_IFMT(info.st_mode)]
    entry = {"path": os.fsdecode(name), "type": kind, "mode": stat.S_IMODE(info.st_mode), "uid": info.st_uid,
             "gid": info.st_gid, "mtime": int(info.st_mtime)}
    if kind == "file":
        entry["size"] = info.st_size
        entry["sha256"] = digest(path)
    if kind == "symlink":
        entry["target"] = os.fsdecode(os.readlink(path))
    if kind in ("char", "block"):
        entry["device"] = [os.major(info.st_rdev), os.minor(info.st_rdev)]
    if kind != "directory" and info.st_nlink > 1:
        links.setdefault((info.st_dev, info.st_ino), []).append(entry)
    names = sorted(os.listxattr(path, follow_symlinks=False)) if kind != "symlink" else []
    xattrs = {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names if name != "security.selinux"}
    if xattrs:
        entry["xattrs"] = xattrs
    return entry


def walk(root, name, skipped, entries, links):
    path = os.path.join(root, name) if name else root
    entry = describe(path, name or b".", links)
    entries.append(entry)
    if entry["type"] != "directory":
        return
    for child in os.listdir(path):
        below = os.path.join(name, child) if name else child
        if below not in skipped:
            walk(root, below, skipped, entries, links)


def main():
    root, *skipped = [os.fsencode(argument) for argument in sys.argv[1:]]
    entries, links = [], {}
    walk(root, b"", set(skipped), entries, links)
    for group in links.values():
        names = sorted(entry["path"] for entry in group)
        for entry in group:
            entry["links"] = names
    for entry in sorted(entries, key=lambda entry: entry["path"]):
        print(json.dumps(entry, sort_keys=True, ensure_ascii=True))


main()
