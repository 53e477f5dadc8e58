"""Servers of this machine and their clients: the same answers, the right refusals, nothing left behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gelu

CLEAR = "insecure-clear"


@pytest.mark.parametrize("backend", ["paillier", "lattice", CLEAR])
def test_encrypted_answers_equal_those_in_the_clear(model, iris, backend):
    X, _ = iris
    with gelu.serve(model, backend=backend, allow_model_extraction=True) as server:
        done = []
        client = gelu.Classifier(server, progress=lambda *of: done.append(of), batch=8)
        assert np.array_equal(client.predict_proba(X[:20]), model.predict_proba_clear(X[:20]))
        assert done == [(8, 20), (16, 20), (20, 20)]
        assert (client.predict(X[:3]) == model.predict_clear(X[:3])).all()
        assert client.card()["backend"] == backend and client.card()["name"] == "iris"


def test_the_ledger_ends_it_and_the_answers_stay(model, iris):
    X, _ = iris
    safe = model.audit(CLEAR)["inference"]["safe_samples"]
    with gelu.serve(model, backend=CLEAR) as server:
        client = gelu.Classifier(server, account="alice", batch=3)
        with pytest.raises(gelu.BudgetSpent, match=f"{safe} of 150 rows .* determine") as spent:
            client.predict(X)
        assert np.array_equal(spent.value.answered, model.predict_proba_clear(X[:safe]))
        assert np.array_equal(client.answered_, spent.value.answered)
        with pytest.raises(gelu.BudgetSpent) as again:
            client.predict(X[:1])
        assert again.value.answered is None and client.answered_ is None
        assert len(gelu.Classifier(server, account="bob").predict(X[:1])) == 1


def test_a_training_beyond_the_ledger_is_refused_by_the_same_words(iris):
    """By them a refusal is told to be the ledger's: see `errors.rs`."""
    X, y = iris
    model = gelu.fresh({"input": [4], "layers": [{"layer": "dense", "outputs": 3}]})
    with gelu.serve(model, backend=CLEAR) as server:
        estimator = gelu.EncryptedMLP(epochs=1, batch=50, backend=CLEAR)
        with pytest.raises(gelu.BudgetSpent, match="before weights can be determined"):
            estimator.fit(X, y, server=server)
        assert estimator.report_["steps_done"] == 0


def test_a_key_file_is_made_once_and_is_private(server, iris, tmp_path):
    X, _ = iris
    with pytest.raises(gelu.FileError, match="keeps no keys"):
        gelu.Classifier(server, key=tmp_path / "a.key").predict(X[:1])


def test_a_key_of_paillier_is_kept(model, iris, tmp_path):
    X, _ = iris
    path = tmp_path / "alice.key"
    with gelu.serve(model, allow_model_extraction=True) as server:
        gelu.Classifier(server, key=path, key_bits=2048).predict(X[:1])
        assert path.stat().st_mode & 0o777 == 0o600
        before = path.read_bytes()
        gelu.Classifier(server, key=path).predict(X[:1])
        assert path.read_bytes() == before
        with pytest.raises(gelu.IncompatibleError, match="2048 bits, not 3072"):
            gelu.Classifier(server, key=path, key_bits=3072).predict(X[:1])
        path.chmod(0o644)
        with pytest.raises(gelu.FileError, match="chmod 600"):
            gelu.Classifier(server, key=path).predict(X[:1])


def test_whoever_must_act_is_told(server, model, iris, tmp_path):
    X, _ = iris
    certs = server.certs
    server.admit("client")
    with pytest.raises(gelu.IncompatibleError, match="next: .*backend"):
        gelu.Classifier(server.url, certs=certs, backend="lattice").predict(X[:1])
    with pytest.raises(gelu.FileError):
        gelu.Classifier(server.url, account="nobody", certs=certs, backend=CLEAR).predict(X[:1])
    with pytest.raises(gelu.UsageError, match="no port"):
        gelu.Classifier("localhost", certs=certs, backend=CLEAR).predict(X[:1])
    with pytest.raises(gelu.NetworkError):
        gelu.Classifier("127.0.0.1:1", certs=certs, backend=CLEAR).predict(X[:1])
    with gelu.serve(model, backend=CLEAR) as other:
        other.admit("client")
        with pytest.raises(gelu.NetworkError, match="ca.pem"):
            gelu.Classifier(server.url, certs=other.certs, backend=CLEAR).predict(X[:1])
    other = gelu.Schema.of_numbers(["x1", "x2", "x3", "x4"], classes=["setosa", "versicolor", "virginica"])
    with pytest.raises(gelu.IncompatibleError, match="not the schema that was asked for"):
        gelu.Classifier(server, schema=other).predict(X[:1])
    assert len(gelu.Classifier(server, schema=model.schema).predict(X[:1])) == 1


def test_the_schema_comes_from_the_server(server, model, iris):
    X, _ = iris
    server.admit("client")
    client = gelu.Classifier(server.url, certs=server.certs, backend=CLEAR)
    assert (client.predict(X[:9]) == model.predict_clear(X[:9])).all()
    with pytest.raises(gelu.UsageError, match="rows"):
        client.predict(X[:, :3])
    frame = pd.DataFrame(X[:9], columns=["x1", "x2", "x3", "x4"])
    assert (client.predict(frame[["x3", "x1", "x4", "x2"]]) == model.predict_clear(X[:9])).all()


def test_without_a_schema_columns_are_counted_and_classes_are_numbers(iris):
    bare = gelu.fresh({"input": [4], "layers": [{"layer": "dense", "outputs": 3}]})
    with gelu.serve(bare, backend=CLEAR, allow_model_extraction=True) as server:
        answers = gelu.Classifier(server).predict(iris[0][:9])
    assert answers.dtype.kind == "i" and (answers == bare.predict_clear(iris[0][:9])).all()


def test_no_key_is_printed_or_pickled(model, iris):
    X, _ = iris
    with gelu.serve(model, allow_model_extraction=True) as server:
        client = gelu.Classifier(server)
        client.predict(X[:1])
        secret = client._identity._secret
        assert secret is not None and repr(secret) == "<a secret key of paillier, 2048 bits>"
        with pytest.raises(TypeError):
            pickle.dumps(secret)
        again = pickle.loads(pickle.dumps(client))
        assert again._identity._secret is None
        assert (again.predict(X[:2]) == model.predict_clear(X[:2])).all()


def test_a_failing_callback_ends_the_call(server, iris):
    def progress(done, total):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        gelu.Classifier(server, progress=progress).predict(iris[0])


def slow(model):
    """Queries that take seconds."""
    architecture = {"input": [400], "layers": [{"layer": "dense", "outputs": 60}]}
    return gelu.fresh(architecture), np.random.default_rng(1).normal(size=(400, 400))


def test_other_threads_run_meanwhile_and_ctrl_c_ends_it(model):
    wide, X = slow(model)
    with gelu.serve(wide, key_bits=3072, allow_model_extraction=True) as server:
        client = gelu.Classifier(server, key_bits=3072, batch=200)
        ticks = []

        def interrupt():
            while len(ticks) < 30:
                time.sleep(0.05)
                ticks.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            client.predict(X)
        late = time.monotonic() - ticks[-1]
        thread.join()
        assert late < 10, "it looks ten times a second; a query takes longer"
        assert np.diff(ticks).max() < 1, "the lock is free"


def test_nothing_is_left_behind(model, iris):
    with gelu.serve(model, backend=CLEAR, allow_model_extraction=True) as server:
        folder, process = server.certs.parent, server._process
        assert folder.stat().st_mode & 0o777 == 0o700
        gelu.Classifier(server).predict(iris[0][:1])
    assert not folder.exists() and process.poll() == 0
    assert server.model().name == "iris", "the last model stays in memory"
    server.stop()


CRASH = """
import os, signal, sys, gelu
server = gelu.serve(gelu.load(sys.argv[1]), backend="insecure-clear")
print(server.certs.parent, server._process.pid, flush=True)
END
"""


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "raise RuntimeError", "os._exit(3)", "pass"])
def test_a_crash_leaves_neither_process_nor_folder(model, tmp_path, end):
    path = tmp_path / "m.safetensors"
    model.save(path)
    command = [sys.executable, "-c", CRASH.replace("END", end), str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    folder, pid = done.stdout.split()
    deadline = time.monotonic() + 20
    while (Path(folder).exists() or runs(int(pid))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(folder).exists() and not runs(int(pid))


def runs(pid):
    """Whether it is there and no zombie: nobody waits for an orphan's end in a container."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_a_server_that_cannot_start_says_why_and_leaves_nothing():
    narrow = gelu.fresh({"input": [1], "layers": [{"layer": "dense", "outputs": 2}]})
    before = set(Path("/tmp").glob("gelu-*"))
    with pytest.raises(gelu.UsageError, match="did not start.*next: .*allow_model_extraction"):
        gelu.serve(narrow, backend=CLEAR, modes="open")
    with pytest.raises(gelu.UsageError, match="did not start.*sideways"):
        gelu.serve(narrow, backend=CLEAR, modes=["open", "sideways"])
    with pytest.raises(gelu.UsageError, match="no backend .enigma."):
        gelu.serve(narrow, backend="enigma")
    assert not set(Path("/tmp").glob("gelu-*")) - before
