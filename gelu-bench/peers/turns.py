"""Programs that take turns: each in a process of its own, which says in JSON what it measured."""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def printed(command):
    """What a program prints. A side that fails ends the run: half a comparison says nothing."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        sys.exit(f"{' '.join(map(str, command))} failed: {said}")
    return done.stdout


def lines(command):
    """The JSON objects that a program prints, each on a line of its own."""
    return [json.loads(text) for text in printed(command).splitlines() if text.startswith("{")]


def python(*arguments):
    """A script beside this one."""
    return [sys.executable, str(HERE / arguments[0]), *arguments[1:]]
