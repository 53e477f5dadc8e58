"""A server of a model in a process of its own, on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import weakref
from pathlib import Path
from types import TracebackType
from typing import IO

from . import _native
from ._program import STOPPING, words
from .errors import UsageError
from .model import Model

_PATIENCE = 60.0


class Server:
    """A running server: see `serve`. `stop`, or leave its `with` block, to end it."""

    def __init__(self, model: Model, backend: str, key_bits: int | None, arguments: list[str]) -> None:
        self.backend: str = backend
        """The cryptosystem."""
        self.key_bits: int | None = key_bits
        """The size of its clients' keys, where not the cryptosystem's smallest."""
        self._last: Model | None = None
        # Not below the server's own folder: it is read when that is gone.
        self._log = tempfile.TemporaryFile()
        self._folder = Path(tempfile.mkdtemp(prefix="gelu-"))
        try:
            _native.make_authority(self.certs)
            model.save(self._file)
            command = [*words("host"), str(os.getpid()), str(self._folder)]
            command += ["serve", "--json", "--stop-with-stdin", "--listen", "127.0.0.1:0"]
            command += ["--certs", str(self.certs), "--model", str(self._file), "--backend", backend]
            # Its folder is new, so nobody has seen anything here: no books are missing.
            command += ["--new-ledger"]
            # `Classifier` asks open queries.
            command += ["--modes", "open"]
            self._process = subprocess.Popen(
                command + arguments,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                # Ctrl-C is for the client: the server ends with us.
                start_new_session=True,
            )
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        self._end = weakref.finalize(self, _end, self._process, self._folder, os.getpid())
        self.url: str = self._ready()
        """Where it listens, HOST:PORT."""

    @property
    def certs(self) -> Path:
        """The folder with `ca.pem` and the certificates of accounts; gone when the server is."""
        return self._folder / "certs"

    @property
    def _file(self) -> Path:
        return self._folder / "model.safetensors"

    def admit(self, account: str) -> None:
        """Makes a certificate for `account`, if it has none yet. Nothing leaves this machine."""
        if not (self.certs / "clients" / f"{account}.pem").exists():
            _native.issue_client(self.certs, account)

    def model(self) -> Model:
        """The model as it is now: with every training that was committed. Nothing leaves this machine."""
        return Model.load(self._file) if self._last is None else self._last

    def stop(self) -> None:
        """Lets a lease that is under way end, and ends the server; its folder is gone afterwards."""
        if not self._end.alive:
            return
        _stop(self._process, self._folder)
        try:
            self._last = Model.load(self._file)
        finally:
            self._end()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<gelu.Server {self.url} ({self.backend})>"

    def _ready(self) -> str:
        assert self._process.stdout is not None  # a pipe
        try:
            line = self._process.stdout.readline()
            if line:
                return str(json.loads(line)["address"])
            self._process.wait()
            said = _read(self._log)
        except BaseException:
            self._end()
            raise
        self._end()
        what, _, advice = said.strip().partition("\n next: ")
        raise UsageError(f"the server did not start: {what.removeprefix('error: ')}", advice or None)


def serve(
    model: Model,
    *,
    backend: str = "paillier",
    key_bits: int | None = None,
    rate: float | None = None,
    lease_samples: int | None = None,
    allow_model_extraction: bool = False,
    precompute: bool = False,
    threads: int | None = None,
) -> Server:
    """Serves `model` on this machine, in a process of its own, until the `with` block ends.

    Nothing leaves this machine: it listens on the loopback interface, for clients with a certificate of its own
    authority, which lies with the model and its ledger in a temporary folder. The folder is gone when the server ends,
    also when this process crashes. With it the ledger ends: where others ask, run `gelu serve` in a folder that stays.

    Clients see the model's name, architecture, schema, precision and terms, and the scores of their own rows. Each answer is an
    equation about the weights; the ledger refuses an account that could soon solve them (`BudgetSpent`), unless
    `allow_model_extraction` says that whoever asks may have the model.

    `rate` is the learning rate of trainings (0.1), `lease_samples` the most rows of a lease, `threads` how many compute.
    Raises `UsageError` with the server's own words if it does not start.
    """
    arguments: list[str] = []
    key_bits = key_bits or model.large_keys(backend)
    for option, value in (
        ("--key-bits", key_bits),
        ("--rate", rate),
        ("--lease-samples", lease_samples),
        ("--threads", threads),
    ):
        if value is not None:
            arguments += [option, str(value)]
    arguments += ["--allow-model-extraction"] * allow_model_extraction + ["--precompute"] * precompute
    return Server(model, backend, key_bits, arguments)


def _stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Ends the server's standard input, at which it stops."""
    with contextlib.suppress(FileNotFoundError):
        (folder / STOPPING).touch()
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end(process: subprocess.Popen[bytes], folder: Path, owner: int) -> None:
    """Also at exit; not in a process that was forked from ours."""
    if os.getpid() != owner:
        return
    try:
        _stop(process, folder)
        if process.stdout is not None:
            process.stdout.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _read(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")
