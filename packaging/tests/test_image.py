"""The image: its file by a linter, its context by cargo, and the image itself, built and run.

The registries of the two bases are out of reach where this must run. The last stage is built for real, on a base of the
same content (Debian's glibc and libgcc); what the first stage would compile is the program that is there already.
"""

import json
import os
import re
import shutil
import unittest

from common import GELU, PACKAGING, ROOT, needs, run, temporary, tomllib

FILE = PACKAGING / "Containerfile"


class Containerfile(unittest.TestCase):
    def test_the_linter_has_nothing_against_it(self):
        said, code = run("hadolint", FILE)
        self.assertEqual((said, code), ("", 0))

    def test_the_linter_finds_what_is_wrong(self):
        wrong = temporary(self) / "Containerfile"
        wrong.write_text(FILE.read_text().replace("WORKDIR /src", "WORKDIR src\nRUN cd /tmp"))
        said, code = run("hadolint", wrong)
        self.assertNotEqual(code, 0)
        self.assertIn("DL3000", said)

    def test_it_builds_with_a_rust_that_is_new_enough(self):
        def number(text):
            return tuple(map(int, text.split(".")))

        oldest = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
        given = re.search(r"(?m)^ARG RUST=(\S+)$", FILE.read_text())[1]
        self.assertGreaterEqual(number(given), number(oldest))

    def test_the_program_needs_no_library_that_the_base_lacks(self):
        said, code = run("ldd", GELU)
        self.assertEqual(code, 0, said)
        needed = {line.split()[0].rpartition("/")[2].partition(".so")[0] for line in said.splitlines()}
        self.assertLessEqual(needed, {"linux-vdso", "ld-linux-x86-64", "ld-linux-aarch64", "libc", "libm", "libgcc_s"})


@needs("buildah", "dpkg")
@unittest.skipIf(os.geteuid() != 0, "only root builds images here")
class Image(unittest.TestCase):
    def setUp(self):
        self.folder = temporary(self)
        # Containers of nobody else's; mounts must be gone before the folder.
        self.addCleanup(self.buildah, "rm", "--all")

    def buildah(self, *command):
        store = ("--root", self.folder / "root", "--runroot", self.folder / "run", "--storage-driver", "vfs")
        said, code = run("buildah", *store, *command)
        self.assertEqual(code, 0, said)
        return said.strip()

    def copied(self, context):
        """What `COPY . .` brings of a folder."""
        container = self.buildah("from", "scratch")
        ignore = ("--contextdir", context, "--ignorefile", ROOT / ".dockerignore")
        self.buildah("copy", "--quiet", *ignore, container, context, "/src")
        return self.folder / self.buildah("mount", container) / "src"

    def test_nothing_private_is_in_the_context(self):
        checkout = self.folder / "checkout"
        private = ["certs/ca.key", "certs/ca.pem", "risk.safetensors", "risk.safetensors.ledger", ".git/config", "target/x",
            "gelu-cli/alice.key", "gelu-cli/certs/server.pem", "gelu-python/target/x", "server.toml"]
        public = ["Cargo.toml", "Cargo.lock", ".cargo/config.toml", "gelu-cli/src/main.rs", "docs/src/operating.md"]
        for name in private + public:
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_text(name)
        source = self.copied(checkout)
        self.assertEqual({str(file.relative_to(source)) for file in source.rglob("*") if file.is_file()}, set(public))

    def test_the_context_is_all_that_cargo_needs(self):
        source = self.copied(ROOT)
        said, code = run("cargo", "metadata", "--locked", "--offline", "--format-version=1", cwd=source)
        self.assertEqual(code, 0, said)
        # Files that are compiled in.
        included = 0
        for file in source.glob("gelu-*/src/**/*.rs"):
            for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', file.read_text()):
                included += 1
                self.assertTrue((file.parent / name).exists(), f"{file} includes {name}")
        self.assertGreater(included, 3)

    def test_the_image_runs_the_program_as_nobody(self):
        image = self.image()
        config = json.loads(self.buildah("inspect", "--type", "image", image))["OCIv1"]["config"]
        self.assertEqual(config["User"], "65532:65532")
        self.assertEqual(config["Entrypoint"], ["/usr/local/bin/gelu"])
        self.assertEqual((list(config["ExposedPorts"]), list(config["Volumes"])), (["7878/tcp"], ["/var/lib/gelu"]))
        container = self.buildah("from", "--pull-never", image)
        tree = self.folder / self.buildah("mount", container)
        state = (tree / "var/lib/gelu").stat()
        self.assertEqual((state.st_uid, state.st_gid, state.st_mode & 0o777), (65532, 65532, 0o700))
        self.assertFalse(any((tree / shell).exists() for shell in ("bin/sh", "usr/bin/sh", "bin/bash")))
        demo = ("demo", "--json", "--report", "/var/lib/gelu/report.html")
        said = self.buildah("run", "--isolation", "chroot", container, "--", *config["Entrypoint"], *demo)
        result = json.loads(said[said.index("\n{") : said.rindex("\n}") + 2])
        self.assertIs(result["weights_equal_oracle"], True)

    def image(self):
        """The last stage of the Containerfile, on a base like its own."""
        base, builder = self.folder / "base", self.folder / "builder"
        for package in ("libc6", "libgcc-s1"):
            for file in run("dpkg", "-L", package)[0].splitlines():
                if re.search(r"/lib.*\.so\b", file) and os.path.isfile(file):
                    target = base / os.path.realpath(os.path.dirname(file))[1:] / os.path.basename(file)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, target)
        (base / "tmp").mkdir()
        (base / "tmp").chmod(0o1777)
        for link in ("lib", "lib64"):
            if os.path.islink(f"/{link}"):
                (base / link).symlink_to(f"usr/{link}")
        (base / "etc").mkdir()
        (base / "etc/passwd").write_text("nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")
        (name,) = re.findall(r"(?m)^FROM (gcr\S+)$", FILE.read_text())
        container = self.buildah("from", "scratch")
        self.buildah("copy", "--quiet", container, base, "/")
        self.buildah("commit", "--quiet", container, name)
        (builder / "out/lib").mkdir(parents=True)
        (builder / "out/lib/gelu").mkdir(mode=0o700)
        shutil.copy(GELU, builder / "out/gelu")
        command = ("build", "--quiet", "--pull-never", "--isolation", "chroot", "--build-context", f"builder={builder}")
        self.buildah(*command, "--tag", "gelu", "--file", FILE, ROOT / "packaging")
        return "localhost/gelu"


if __name__ == "__main__":
    unittest.main()
