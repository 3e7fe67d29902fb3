#!/usr/bin/python3
"""Puts a key into a session keyring of its own, and says whether a program finds it: one it starts itself, and one that
the host helper (the argument) starts."""

import ctypes
import os
import subprocess
import sys

KEYCTL, ADD_KEY = 250, 248
JOIN, SEARCH, SESSION = 1, 10, -3
libc = ctypes.CDLL(None, use_errno=True)

if sys.argv[1] == "search":
    found = libc.syscall(KEYCTL, SEARCH, SESSION, b"user", b"contree-canary", 0)
    print("found" if found >= 0 else "not found")
    sys.exit()

assert libc.syscall(KEYCTL, JOIN, None) >= 0, os.strerror(ctypes.get_errno())
assert libc.syscall(ADD_KEY, b"user", b"contree-canary", b"secret", 6, SESSION) >= 0
search = [sys.executable, __file__, "search"]
subprocess.run(search, check=True)
subprocess.run([sys.argv[1], "confine", "3", "facts=1", "--", *search], check=True)
