"""The runbook and the files of this folder speak of the program as it is: its commands, its options, its refusals."""

import functools
import re
import shlex
import unittest

from common import GELU, PACKAGING, ROOT, run

RUNBOOK = ROOT / "docs/src/operating.md"
PAGES = [RUNBOOK, ROOT / "docs/src/commands.md", PACKAGING / "kubernetes/README.md", PACKAGING / "server.toml"]
# What a client or an operator can be told, by file and enum.
REFUSALS = [
    ("gelu-core/src/error.rs", "Refused"),
    ("gelu-core/src/error.rs", "PeerIncompatible"),
    ("gelu-wire/src/error.rs", "Goodbye"),
]


@functools.cache
def help_of(*command):
    """The help of a command, or None where there is no such command."""
    said, code = run(GELU, *command, "--help")
    return None if code else said


def wrong(command):
    """What of a command the program does not know."""
    words = shlex.split(command)[1:]
    if words[0] == "help":
        return wrong(" ".join(words)) if words[1:2] != ["COMMAND"] else None
    path = []
    for word in words:
        if not re.fullmatch(r"[a-z-]+", word) or word.startswith("-"):
            break
        if path and "\nCommands:\n" not in (help_of(*path) or ""):
            break
        if help_of(*path, word) is None:
            return f"no command {word!r}"
        path.append(word)
    known = help_of(*path)
    options = [word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)]
    unknown = [option for option in options if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", known)]
    return f"no option {unknown}" if unknown else None


def commands():
    """Every command of the pages, in code between backticks and in blocks, and what starts the server."""
    found = []
    for page in PAGES:
        text = page.read_text()
        spans = re.findall(r"`(gelu [^`\n]+)`", text)
        lines = re.findall(r"(?m)^(?:sudo (?:-u gelu )?)?(gelu [^#\n]+)", text)
        found += [(page.name, command.strip()) for command in spans + lines]
    unit = (PACKAGING / "systemd/gelu.service").read_text()
    found += [("gelu.service", command) for command in re.findall(r"(?m)^ExecStart=\S*/(gelu .*)$", unit)]
    words = {
        "Containerfile": re.search(r"(?m)^CMD \[(.*)\]$", (PACKAGING / "Containerfile").read_text()),
        "deployment.yaml": re.search(r"(?m)^ +args: \[(.*)\]$", (PACKAGING / "kubernetes/deployment.yaml").read_text()),
    }
    return found + [(name, "gelu " + match[1].replace(",", "")) for name, match in words.items()]


def messages(file, enum):
    """The texts of an enum of errors, each without what is put in."""
    source = (ROOT / file).read_text()
    body = re.search(rf"(?s)pub enum {enum} \{{(.*?)\n\}}", source)[1]
    for text in re.findall(r'(?s)#\[error\(\s*"((?:[^"\\]|\\.)*)"', body):
        text = re.sub(r"\\\n\s*", "", text)
        yield [part.strip(" ,;:") for part in re.split(r"\{[^}]*\}", text)]


class Runbook(unittest.TestCase):
    def test_the_program_has_every_command_and_option(self):
        found = commands()
        self.assertGreater(len(found), 30)
        for page, command in found:
            with self.subTest(page=page, command=command):
                self.assertIsNone(wrong(command))

    def test_a_command_that_there_is_not_is_found(self):
        for command in ("gelu serv", "gelu certs forget alice", "gelu keygen --for-ever alice.key"):
            self.assertIsNotNone(wrong(command), command)

    def test_every_refusal_is_explained(self):
        page = " ".join(RUNBOOK.read_text().split())
        missing, seen = [], 0
        for file, enum in REFUSALS:
            for parts in messages(file, enum):
                longest = max(parts, key=len)
                if longest:
                    seen += 1
                    if longest not in page:
                        missing.append(f"{enum}: {longest}")
        self.assertGreater(seen, 15)
        self.assertEqual(missing, [])

    def test_links_within_the_page_lead_somewhere(self):
        text = RUNBOOK.read_text()
        titles = re.findall(r"(?m)^#+ (.*)$", text)
        anchors = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in titles}
        for anchor in re.findall(r"\]\(#([^)]*)\)", text):
            self.assertIn(anchor, anchors)


if __name__ == "__main__":
    unittest.main()
