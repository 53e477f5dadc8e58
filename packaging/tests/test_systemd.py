"""The unit: by systemd's own judgement, and the program under its rules."""

import json
import os
import re
import shutil
import sys
import unittest

from common import GELU, PACKAGING, needs, run, temporary

FOLDER = PACKAGING / "systemd"
UNIT = FOLDER / "gelu.service"
# Of 100; systemd calls 20 and less safe. What is left is the network, and a root directory that is the machine's.
MOST_EXPOSURE = 15


def version():
    return int(re.search(r"systemd (\d+)", run("systemctl", "--version")[0])[1])


@needs("systemd-analyze")
class Unit(unittest.TestCase):
    def setUp(self):
        folder = temporary(self)
        self.unit = folder / UNIT.name
        # Where it would be installed there is no program here.
        self.unit.write_text(UNIT.read_text().replace("/usr/local/bin/gelu serve", f"{GELU} serve"))

    def install(self, addition):
        folder = self.unit.with_name("gelu.service.d")
        folder.mkdir()
        shutil.copy(addition, folder)

    def complaints(self):
        said, _ = run("systemd-analyze", "--man=no", "verify", self.unit)
        return {re.sub(r"^\S+: ", "", line) for line in said.splitlines()}

    def test_systemd_has_nothing_against_it(self):
        expected = set()
        if version() < 253:
            self.install(FOLDER / "before-253.conf")
            expected = {"Failed to parse service type, ignoring: notify-reload"}
        self.assertEqual(self.complaints(), expected)

    def test_systemd_complains_of_a_unit_that_is_wrong(self):
        self.unit.write_text(self.unit.read_text().replace("ProtectHome=yes", "ProtectHome=perhaps\nProtectHouse=yes"))
        found = " ".join(self.complaints())
        self.assertIn("perhaps", found)
        self.assertIn("ProtectHouse", found)

    def test_it_exposes_little(self):
        def judge():
            command = ("systemd-analyze", "--no-pager", "security", "--offline=true", f"--threshold={MOST_EXPOSURE}")
            return run(*command, self.unit)

        said, code = judge()
        self.assertEqual(code, 0, said)
        self.unit.write_text(re.sub(r"(?m)^SystemCallFilter=.*\n", "", self.unit.read_text()))
        self.assertNotEqual(judge()[1], 0, "without a filter of system calls it exposes more")

    @needs("systemd-sysusers")
    def test_its_user_can_be_made(self):
        nowhere = self.unit.parent
        said, code = run("systemd-sysusers", "--dry-run", f"--root={nowhere}", FOLDER / "gelu.sysusers")
        self.assertEqual(code, 0, said)
        self.assertIn("Creating user 'gelu'", said)


@needs("systemd-analyze")
@unittest.skipIf(os.geteuid() != 0, "only root can set the sandbox up")
class Sandbox(unittest.TestCase):
    def setUp(self):
        self.state = temporary(self)

    def sandboxed(self, *command):
        return run(sys.executable, "-B", PACKAGING / "tests/sandbox.py", UNIT, self.state, *command)

    def test_the_program_trains_and_answers_under_the_rules_of_the_unit(self):
        # A file of its user's: the checkout may be where nobody can look.
        program = shutil.copy(GELU, self.state / "gelu")
        said, code = self.sandboxed(program, "demo", "--json", "--report", "report.html")
        self.assertEqual(code, 0, said)
        result = json.loads(said[said.index("\n{") :])
        self.assertIs(result["weights_equal_oracle"], True)
        self.assertTrue((self.state / "report.html").stat().st_size)

    @needs("/usr/bin/python3")
    def test_what_the_unit_forbids_fails(self):
        said, code = self.sandboxed("/usr/bin/python3", "-c", FORBIDDEN)
        self.assertEqual(code, 0, said)
        done = dict(line.split() for line in said.splitlines() if line.endswith((" done", " refused")))
        self.assertEqual({name for name, result in done.items() if result == "done"}, {"inet", "state"}, said)
        self.assertEqual(len(done), 10)


FORBIDDEN = """
import mmap, os, socket
attempts = {
    "inet": lambda: socket.socket(socket.AF_INET),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "state": lambda: open("file", "w"),
    "elsewhere": lambda: open("/var/file", "w"),
    "chroot": lambda: os.chroot("."),
    "priority": lambda: os.nice(1),
    "code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "machine": lambda: open("/proc/meminfo"),
    "program": lambda: os.posix_spawn("/usr/bin/true", ["true"], {}),
    "own": lambda: (os.symlink("/usr/bin/true", "link"), os.posix_spawn("link", ["link"], {})),
}
for name, attempt in attempts.items():
    try:
        attempt()
        print(name, "done")
    except OSError:
        print(name, "refused")
"""

if __name__ == "__main__":
    unittest.main()
