"""Runs a program at a terminal of its own. Usage: terminal.py ROWS COLUMNS PROGRAM [ARGUMENT ...]

What the program shows is copied to standard output. Each line of standard input is JSON: a text is typed, and a list of two
numbers is the new size of the window. At its end the terminal is closed. Exits with the status of the program.
"""
import fcntl
import json
import os
import pty
import select
import signal
import struct
import sys
import termios


def resize(terminal, rows, columns):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def relay(terminal):
    pending = b""
    while True:
        ready, _, _ = select.select([terminal, 0], [], [])
        if terminal in ready:
            try:
                shown = os.read(terminal, 65536)
            except OSError:
                return
            os.write(1, shown)
        if 0 in ready:
            chunk = os.read(0, 65536)
            if not chunk:
                return
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if isinstance(message, str):
                    os.write(terminal, message.encode())
                else:
                    resize(terminal, *message)


def main():
    rows, columns, *argv = sys.argv[1:]
    child, terminal = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # The size is set before anything is drawn.
        resize(0, int(rows), int(columns))
        os.execvp(argv[0], argv)
    relay(terminal)
    os.close(terminal)
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


main()
