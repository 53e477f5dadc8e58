"""Runs a command under the rules of the unit that this machine's kernel can apply without systemd.

    python sandbox.py UNIT STATE COMMAND...

The system calls and socket families of the unit, no new privileges, no memory that is writable and executable, an
ordinary user, files that are read-only but for STATE and run only where the unit says, and a /proc of nothing but
processes. systemd itself says (by `systemd-analyze syscall-filter`) which calls a group has. Needs root.
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
CLONE_NEWNS, MS_RDONLY, MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 1, 8, 0x20, 0x1000, 0x4000, 0x40000
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
    text = subprocess.check_output(
        ["systemd-analyze", "--no-pager", "syscall-filter"], stderr=subprocess.DEVNULL, text=True
    )
    found, name = {}, None
    for line in text.splitlines():
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


def limit_calls(unit, calls):
    (families,) = setting(unit, "RestrictAddressFamilies")
    rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
    for call in sorted(calls):
        number = seccomp.resolve_syscall(seccomp.Arch.NATIVE, call)
        # Negative where this processor has no such call.
        if number >= 0 and call != "socket":
            rules.add_rule(seccomp.ALLOW, number)
    for family in families:
        rules.add_rule(seccomp.ALLOW, "socket", seccomp.Arg(0, seccomp.EQ, FAMILIES[family]))
    rules.load()


def executable(unit, program):
    """What the unit lets run, with `program` in the place of the installed one."""
    (paths,) = setting(unit, "ExecPaths")
    paths = [program if path == "/usr/local/bin/gelu" else path.lstrip("-") for path in paths]
    return {os.path.realpath(path) for path in paths if os.path.exists(path)}


def main(unit, state, *command):
    unit = Path(unit).read_text()
    calls = allowed(unit)
    checked(libc.unshare(CLONE_NEWNS))
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount(state, state, None, MS_BIND)
    mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOEXEC)
    mount(None, state, None, MS_REMOUNT | MS_BIND | MS_NOEXEC)
    for path in executable(unit, command[0]):
        mount(path, path, None, MS_BIND)
        mount(None, path, None, MS_REMOUNT | MS_BIND | MS_RDONLY)
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
    limit_calls(unit, calls)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
