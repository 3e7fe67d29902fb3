"""without.py RULE... -- PROGRAM [ARGUMENT]...: runs a program under a seccomp filter, as containers have them.

RULE is the number of a system call, or `namespaces`: then no user namespace can be made.
"""

import ctypes
import os
import struct
import sys

EPERM, ENOSYS = 1, 38
CLONE, UNSHARE, CLONE3 = 56, 272, 435
NEW_USER = 0x10000000
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
NUMBER, FIRST_ARGUMENT = 0, 16


def instruction(code, value, when=0, otherwise=0):
    return struct.pack('HBBI', code, when, otherwise, value)


def refused(number, error=EPERM):
    return [instruction(EQUAL, number, 0, 1), instruction(RETURN, REFUSE | error)]


def no_user_namespaces():
    """clone3 takes its flags from memory, which a filter cannot read: callers fall back to clone."""
    with_flag = lambda number: [
        instruction(EQUAL, number, 0, 4),
        instruction(LOAD, FIRST_ARGUMENT),
        instruction(ANY_BIT, NEW_USER, 0, 1),
        instruction(RETURN, REFUSE | EPERM),
        instruction(RETURN, ALLOW),
    ]
    return [*with_flag(CLONE), *with_flag(UNSHARE), *refused(CLONE3, ENOSYS)]


separator = sys.argv.index('--')
rules = [no_user_namespaces() if rule == 'namespaces' else refused(int(rule)) for rule in sys.argv[1:separator]]
program = b''.join([instruction(LOAD, NUMBER), *(line for rule in rules for line in rule), instruction(RETURN, ALLOW)])
memory = ctypes.create_string_buffer(program)
header = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(program) // 8, ctypes.addressof(memory)))
libc = ctypes.CDLL(None, use_errno=True)
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
for setting in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, header, 0, 0)):
    if libc.prctl(*setting) != 0:
        raise OSError(ctypes.get_errno(), 'prctl')
os.execvp(sys.argv[separator + 1], sys.argv[separator + 1 :])
