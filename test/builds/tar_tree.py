"""The lines of a tree as tree.ts has them, of a tar on standard input, as one JSON object by path."""
import hashlib
import json
import os
import stat
import sys
import tarfile

PIECE_BYTES = 1 << 20


def digest_of(content):
    digest = hashlib.sha256()
    while piece := content.read(PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()[:16]


def describe(tar, member):
    owner = f"{member.uid}:{member.gid}"
    common = f"{stat.S_IMODE(member.mode):04o} {owner}"
    if member.isdir():
        return f"directory {common}"
    if member.issym():
        return f"symlink {owner} -> {member.linkname}"
    if member.isreg():
        return f"file {common} {digest_of(tar.extractfile(member))}"
    if member.isfifo():
        return f"fifo {common} 0"
    return f"special {common} {os.makedev(member.devmajor, member.devminor)}"


def main():
    lines = {}
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|", errors="surrogateescape") as tar:
        for member in tar:
            name = member.name.removeprefix("./").strip("/")
            if name in ("", "."):
                continue
            target = member.linkname.removeprefix("./").strip("/")
            lines["/" + name] = lines["/" + target] if member.islnk() else describe(tar, member)
    json.dump({path.encode("utf-8", "surrogateescape").decode("utf-8", "replace"): line for path, line in lines.items()},
              sys.stdout)


main()
