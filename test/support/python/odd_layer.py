"""Writes a layer tar of everything that is rare in an image: devices, FIFOs, xattrs with binary values, hard links into
the layer below, whiteouts, opaque directories, replaced types, old and far times, odd names, sparse-looking content.

Usage: odd_layer.py OUTPUT.tar   (meant to lie on a Debian root filesystem)
"""
import io
import sys
import tarfile

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000").decode("utf-8", "surrogateescape")
TIME = 1_600_000_000


def entry(name, kind=tarfile.REGTYPE, mode=0o644, data=b"", link="", device=(0, 0), owner=(0, 0), time=TIME, pax=None):
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.linkname, info.mtime, info.size = kind, mode, link, time, len(data)
    info.devmajor, info.devminor = device
    info.uid, info.gid = owner
    info.pax_headers = pax or {}
    return info, data


ENTRIES = [
    entry("odd", tarfile.DIRTYPE, 0o1777),
    entry("odd/fifo", tarfile.FIFOTYPE, 0o600),
    entry("odd/null", tarfile.CHRTYPE, 0o666, device=(1, 3)),
    entry("odd/loop", tarfile.BLKTYPE, 0o660, device=(7, 300), owner=(0, 6)),
    entry("odd/capable", mode=0o755, data=b"#!/bin/sh\n", pax={"SCHILY.xattr.security.capability": CAPABILITY}),
    entry("odd/labelled", data=b"x", pax={"SCHILY.xattr.user.comment": "a b=c", "SCHILY.xattr.trusted.note": "t"}),
    entry("odd/setuid", mode=0o6755, data=b"s" * 5000, owner=(65534, 65534)),
    entry("odd/empty"),
    entry("odd/exactly-4096", data=bytes(range(256)) * 16),
    entry("odd/exactly-4097", data=bytes(range(256)) * 16 + b"!"),
    entry("odd/large", data=b"0123456789abcdef" * 70_000),
    entry("odd/large-again", tarfile.LNKTYPE, link="odd/large"),
    entry("odd/os-release", tarfile.LNKTYPE, link="usr/lib/os-release"),
    entry("odd/dangling", tarfile.SYMTYPE, 0o777, link="/nowhere/at/all"),
    entry("odd/" + "n" * 255, data=b"long name"),
    entry("odd/" + "/".join(["deep"] * 60) + "/end", data=b"deep"),
    entry("odd/new\nline and \x1b[2J", data=b"escape"),
    entry("odd/" + b"latin-\xe9".decode("utf-8", "surrogateescape"), data=b"not UTF-8"),
    entry("odd/ancient", time=1),
    entry("odd/far-future", time=4_102_444_800),
    entry("odd/huge-owner", owner=(4_000_000_000, 3_000_000_000)),
    entry("bin/through-symlink", mode=0o755, data=b"#!/bin/sh\necho through\n"),
    entry("usr/share/doc/.wh..wh..opq"),
    entry("usr/share/doc/only-this", data=b"opaque"),
    entry("etc/.wh.debian_version"),
    entry("usr/.wh.games"),
    entry("etc/issue", tarfile.DIRTYPE, 0o750),
    entry("etc/issue/now-a-directory", data=b"was a file"),
    entry("etc/skel", data=b"was a directory"),
]

with tarfile.open(sys.argv[1], "w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
    for info, data in ENTRIES:
        tar.addfile(info, io.BytesIO(data))
