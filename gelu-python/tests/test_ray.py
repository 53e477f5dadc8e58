"""The example on Ray Data, where there is Ray: real workers, a real server. What waits for ever fails by its name."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import gelu

ray = pytest.importorskip("ray", reason="there is no Ray here: pip install 'ray[data]'")
EXAMPLES = Path(__file__).parents[1] / "examples"
CLEAR = "insecure-clear"
# Seconds: twice what the longest test takes on two processors with 13 other processes that compute.
LIMIT = 600


@contextmanager
def bounded(what: str) -> Iterator[None]:
    """Raises a `TimeoutError` that names `what` if it is not over within the limit."""

    def over(*_: object) -> None:
        raise TimeoutError(f"{what} took longer than {LIMIT} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(LIMIT)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def example():
    sys.path.insert(0, str(EXAMPLES))
    path = ":".join([str(EXAMPLES), *sys.path])
    with bounded("the start of Ray"):
        ray.init(num_cpus=4, include_dashboard=False, runtime_env={"env_vars": {"PYTHONPATH": path}})
    import ray_data

    yield ray_data
    with bounded("the end of Ray"):
        ray.shutdown()
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(autouse=True)
def bounded_test(request: pytest.FixtureRequest) -> Iterator[None]:
    with bounded(request.node.name):
        yield


def table(iris, copies):
    rows = pd.DataFrame(np.tile(iris[0], (copies, 1)), columns=["x1", "x2", "x3", "x4"])
    rows.insert(2, "flower", [f"f{number:04}" for number in range(len(rows))])
    return rows


def options(server):
    server.admit("client")
    return {"server": server.url, "certs": str(server.certs), "backend": CLEAR}


def test_answers_are_those_of_one_classifier_with_ids_in_order(example, model, iris):
    rows = table(iris, 8)
    with gelu.serve(model, backend=CLEAR, allow_model_extraction=True) as server:
        for mode in ["open", "blind"]:
            dataset = ray.data.from_pandas(rows).repartition(24)
            dataset = example.classify(dataset, "flower", workers=2, rows=100, mode=mode, **options(server))
            answers = dataset.to_pandas()
            assert list(answers.columns) == ["flower", "class"]
            assert (answers["flower"] == rows["flower"]).all()
            assert (answers["class"] == model.predict_clear(rows.drop(columns=["flower"]))).all()


def test_a_spent_budget_ends_it_by_its_own_name(example, model, iris):
    with gelu.serve(model, backend=CLEAR, modes="open") as server:
        dataset = example.classify(ray.data.from_pandas(table(iris, 1)), "flower", rows=50, **options(server))
        with pytest.raises(gelu.BudgetSpent, match="rows are answered.* determine") as spent, example.by_name():
            dataset.to_pandas()
        assert type(spent.value) is gelu.BudgetSpent and len(spent.value.answered) > 0


def test_more_workers_than_there_are_processors_for_are_refused_and_not_waited_for(example, iris):
    with pytest.raises(ValueError, match="take fewer workers, or start Ray with num_cpus=5"):
        example.classify(ray.data.from_pandas(table(iris, 1)), "flower", workers=4)


def test_the_example_runs_as_it_stands(tmp_path):
    command = [sys.executable, str(EXAMPLES / "ray_data.py")]
    out, err = tmp_path / "out", tmp_path / "err"
    # To files, and in a group of its own: what it has started may live on, and would hold a pipe open.
    with out.open("w") as stdout, err.open("w") as stderr:
        running = subprocess.Popen(command, cwd=tmp_path, stdout=stdout, stderr=stderr, start_new_session=True)
        try:
            status = running.wait()
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
                running.wait()
    assert status == 0, err.read_text()
    said = out.read_text()
    assert "1500 rows by 2 workers" in said and "the same answers" in said
