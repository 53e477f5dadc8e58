"""What the tests of this folder share."""

import os
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

try:
    import tomllib
except ImportError:  # before Python 3.11
    import tomli as tomllib

PACKAGING = Path(__file__).resolve().parent.parent
ROOT = PACKAGING.parent
# The program that is packaged: packaging/check sets it.
GELU = os.environ["GELU"]

__all__ = ["GELU", "PACKAGING", "ROOT", "needs", "run", "temporary", "tomllib"]


def run(*command, **options):
    """Runs a command, and returns what it has said to both outputs and its exit code."""
    ran = subprocess.run(
        [str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )
    return ran.stdout, ran.returncode


def needs(*tools):
    """Skips a test, by name of what is missing."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    return unittest.skipIf(missing, f"there is no {', '.join(missing)} here")


def temporary(test):
    """A folder that is gone when the test is over."""
    folder = tempfile.TemporaryDirectory(prefix="gelu-packaging-")
    test.addCleanup(folder.cleanup)
    return Path(folder.name)
