"""The example configuration, served: under the rules of the unit, with what the unit and the probes expect of the program."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import unittest

from common import GELU, PACKAGING, needs, run, temporary

UNIT = PACKAGING / "systemd/gelu.service"
# Seconds for what takes one, on a machine that does much else.
PATIENCE = 60


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@needs("systemd-analyze")
@unittest.skipIf(os.geteuid() != 0, "only root can set the sandbox up")
class Serving(unittest.TestCase):
    def setUp(self):
        self.state = temporary(self)
        self.port, self.admin = free_port(), free_port()
        (self.state / "models").mkdir()
        program = shutil.copy(GELU, self.state / "gelu")
        self.gelu("train", "--plaintext", "--dataset", "digits", "--out", self.state / "models/digits.safetensors")
        self.gelu("certs", "init", "--account", "alice", "--dir", self.state / "certs")
        config = (PACKAGING / "server.toml").read_text()
        for ours, here in {
            "/etc/gelu/certs": self.state / "certs",
            "/var/lib/gelu": self.state,
            "0.0.0.0:7878": f"127.0.0.1:{self.port}",
            "127.0.0.1:9878": f"127.0.0.1:{self.admin}",
        }.items():
            self.assertIn(ours, config)
            config = config.replace(ours, str(here))
        (self.state / "server.toml").write_text(config)
        for path in self.state.rglob("*"):
            os.chown(path, 65534, 65534)
        # What systemd would listen on.
        self.notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.notices.close)
        self.notices.bind(str(self.state / "notify"))
        (self.state / "notify").chmod(0o777)
        sandbox = [sys.executable, "-B", PACKAGING / "tests/sandbox.py", UNIT, self.state]
        serve = [program, "serve", "--config", self.state / "server.toml", "-v"]
        self.log = (self.state / "log").open("w+")
        self.addCleanup(self.log.close)
        environment = os.environ | {"NOTIFY_SOCKET": str(self.state / "notify")}
        command = [str(word) for word in sandbox + serve]
        # Under nohup SIGHUP is ignored, and the program keeps to that.
        heard = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)
        self.server = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=environment, preexec_fn=heard)
        self.addCleanup(self.stop)

    def gelu(self, *command):
        said, code = run(GELU, *command)
        self.assertEqual(code, 0, said)

    def stop(self):
        self.server.kill()
        self.server.wait()

    def said(self):
        self.log.flush()
        return (self.state / "log").read_text()

    def notice(self):
        """The next notice to systemd."""
        self.notices.settimeout(0.1)
        for _ in range(10 * PATIENCE):
            try:
                lines = self.notices.recv(4096).decode().splitlines()
                break
            except TimeoutError:
                self.assertIsNone(self.server.poll(), f"the server has ended:\n{self.said()}")
        else:
            self.fail(f"no notice came; the server said:\n{self.said()}")
        return dict(line.partition("=")[::2] for line in lines)

    def notice_of(self, key):
        while key not in (found := self.notice()):
            pass
        return found

    def ask(self, method, path):
        admin = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=PATIENCE)
        self.addCleanup(admin.close)
        admin.request(method, path)
        answer = admin.getresponse()
        return answer.status, answer.read().decode()

    def test_the_example_answers_reloads_backs_up_and_stops(self):
        self.assertEqual(self.notice_of("READY")["READY"], "1")
        for path in ("/healthz", "/readyz", "/metrics"):
            status, said = self.ask("GET", path)
            self.assertEqual(status, 200, f"{path}: {said}")
        client = ("--account", "alice", "--certs", self.state / "certs", "--dataset", "digits", "--count", "2")
        self.gelu("infer", "--server", f"localhost:{self.port}/digits", *client)
        self.server.send_signal(signal.SIGHUP)
        # notify-reload waits for the first with its time, then for the second.
        self.assertGreater(int(self.notice_of("RELOADING")["MONOTONIC_USEC"]), 0)
        self.assertEqual(self.notice_of("READY")["READY"], "1")
        before = set(self.state.iterdir())
        status, said = self.ask("POST", "/backup")
        self.assertEqual(status // 100, 2, said)
        (copy,) = [path for path in self.state.iterdir() if path not in before and path.suffix != ".lock"]
        for file in (self.state / "gelu.redb", copy):
            self.assertEqual(file.stat().st_mode & 0o777, 0o600, file)
        self.gelu("ledger", "verify", "--store", copy)
        self.server.send_signal(signal.SIGTERM)
        self.assertEqual(self.notice_of("STOPPING")["STOPPING"], "1")
        self.assertEqual(self.server.wait(PATIENCE), 0, self.said())


if __name__ == "__main__":
    unittest.main()
