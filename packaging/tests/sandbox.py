"""Runs a command under the rules of the unit that this machine's kernel can apply without systemd.

    python sandbox.py UNIT STATE COMMAND...

The system calls and socket families of the unit, no new privileges, no memory that is writable and executable, an
ordinary user, files that are read-only but for STATE, and a /proc without anything but processes. systemd itself says
(by `systemd-analyze syscall-filter`) which calls a group has. Needs root.
"""

import ctypes
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pyseccomp as seccomp

PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 38, 65, 1
CLONE_NEWNS, MS_RDONLY, MS_BIND, MS_REMOUNT, MS_REC, MS_PRIVATE = 0x20000, 0x1, 0x1000, 0x20, 0x4000, 0x40000
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10}
NOBODY = 65534
libc = ctypes.CDLL(None, use_errno=True)


def checked(result):
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def mount(source, target, kind, flags, data=None):
    words = [None if word is None else str(word).encode() for word in (source, target, kind, data)]
    checked(libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3]))


def setting(unit, key):
    """The words of every line of a setting, in order."""
    return [line.split() for line in re.findall(rf"(?m)^{key}=(.*)$", unit)]


def groups():
    """System calls by group, as this systemd has them."""
    text = subprocess.run(["systemd-analyze", "--no-pager", "syscall-filter"], stdout=subprocess.PIPE, text=True, check=True)
    found, name = {}, None
    for line in text.stdout.splitlines():
        if line.startswith("@"):
            name = line.strip()
            found[name] = []
        elif name and line.startswith("    ") and not line.strip().startswith("#"):
            found[name].append(line.strip())
    return found


def allowed(unit):
    """The calls that are left: the first line allows, those with ~ take away."""
    known, calls = groups(), set()

    def members(word):
        return set().union(*map(members, known[word])) if word.startswith("@") else {word}

    for words in setting(unit, "SystemCallFilter"):
        named = set().union(*(members(word.lstrip("~")) for word in words))
        calls = calls - named if words[0].startswith("~") else calls | named
    return calls


def limit_calls(unit):
    (families,) = setting(unit, "RestrictAddressFamilies")
    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    for call in sorted(allowed(unit)):
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, call)
        # Negative where this processor has no such call.
        if number >= 0 and call != "socket":
            rules.add_rule(seccomp.ALLOW, number)
    for family in families:
        rules.add_rule(seccomp.ALLOW, "socket", seccomp.Arg(0, seccomp.EQ, FAMILIES[family]))
    rules.load()


def main(unit, state, *command):
    unit = Path(unit).read_text()
    checked(libc.unshare(CLONE_NEWNS))
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount(state, state, None, MS_BIND)
    mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY)
    mount("proc", "/proc", "proc", 0, "subset=pid,hidepid=invisible")
    os.chown(state, NOBODY, NOBODY)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    (mask,) = setting(unit, "UMask")
    os.umask(int(mask[0], 8))
    os.chdir(state)
    os.environ["TMPDIR"] = state  # as with PrivateTmp
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    checked(libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0))
    limit_calls(unit)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
