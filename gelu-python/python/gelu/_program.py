"""The program `gelu` in a process of its own, and the process of a local server."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

from . import _native

STOPPING = "stopping"
"""The file by which a parent says that it stops its server, and removes the server's folder itself."""


def words(entry: str) -> list[str]:
    """What starts a process of ours, by the name of a function here, in whatever folder the user is: a module of our name
    in that folder is not run."""
    path = "import sys; sys.path = [folder for folder in sys.path if folder]"
    return [sys.executable, "-c", f"{path}; from gelu._program import {entry}; {entry}()"]


def main() -> None:
    """Runs the program with this process's arguments, and ends with its exit code."""
    sys.exit(_run(sys.argv[1:]))


def host() -> None:
    """The process of a local server: its arguments are the parent's process, the server's folder, and the program's own.

    It ends when its standard input does, which is when its parent ends, however that happens. A parent that stops it
    removes the folder once it has read the model; after a parent that has crashed, the folder is removed here.
    """
    parent, folder, *arguments = sys.argv[1:]
    try:
        code = _run(arguments)
    finally:
        if not (Path(folder) / STOPPING).exists() and _is_gone(int(parent)):
            shutil.rmtree(folder, ignore_errors=True)
    sys.exit(code)


def _run(arguments: list[str]) -> int:
    # The program has its own way to end in order; the interpreter would add a traceback to it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.main(["gelu", *arguments], words("main"))


def _is_gone(parent: int) -> bool:
    """Its files are closed a little before it is gone."""
    for _ in range(100):
        if os.getppid() != parent:
            return True
        time.sleep(0.02)
    return False
