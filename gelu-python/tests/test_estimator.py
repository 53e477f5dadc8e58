"""Training under encryption, as scikit-learn does it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import gelu

CLEAR = "insecure-clear"


def scaled(X):
    return StandardScaler().fit_transform(X)


@pytest.mark.parametrize("backend", ["paillier", "lattice"])
def test_weights_equal_those_of_a_training_in_the_clear(iris, backend):
    """Bit for bit: only the keys and the masks differ."""
    X, y = scaled(iris[0][:60]), iris[1][:60]
    weights = [
        gelu.EncryptedMLP((3,), epochs=1, batch=20, backend=of, random_state=4).fit(X, y).model_.weights()
        for of in (backend, CLEAR)
    ]
    for layer in weights[0]:
        assert all(np.array_equal(a, b) for a, b in zip(weights[0][layer], weights[1][layer])), layer


def test_a_pipeline_learns_and_says_words(iris):
    X, y = iris
    done = []
    network = gelu.EncryptedMLP((8,), epochs=30, backend=CLEAR, random_state=1, progress=lambda *of: done.append(of))
    pipeline = make_pipeline(StandardScaler(), network).fit(X, y)
    assert pipeline.score(X, y) > 0.9
    assert set(pipeline.predict(X)) == set(y)
    assert done[-1] == (450, 450) and len(done) == 450
    assert network.report_["steps_done"] == 450 and network.report_["losses"][-1] < network.report_["losses"][0]
    assert network.model_.version == network.report_["versions"][-1]


def test_owners_train_one_after_the_other(iris):
    X, y = scaled(iris[0]), iris[1]
    words = np.unique(y)
    schema = gelu.Schema.of_numbers(["a", "b", "c", "d"], classes=words)
    architecture = {
        "input": [4],
        "layers": [
            {"layer": "dense", "outputs": 8},
            {"layer": "activation", "function": "sigmoid"},
            {"layer": "dense", "outputs": 3},
        ],
    }
    versions = [0]
    model = gelu.fresh(architecture, schema=schema)
    with gelu.serve(model, backend=CLEAR, rate=0.5, allow_model_extraction=True) as server:
        for number, rows in enumerate(np.array_split(np.arange(150), 3)):
            # The first has two of three classes, and its columns in another order.
            rows = rows if number > 0 else rows[y[rows] != words[1]]
            frame = pd.DataFrame(X[rows], columns=["a", "b", "c", "d"])[["d", "a", "c", "b"]]
            owner = gelu.EncryptedMLP(epochs=20, backend=CLEAR, account=f"hospital{number}")
            owner.fit(frame, y[rows], server=server)
            assert list(owner.classes_) == list(words)
            versions.append(server.model().version)
        assert owner.model_ is None
        assert owner.score(X, y) > 0.8
        assert (server.certs / "clients" / "hospital0.sums").exists()
    assert versions == sorted(set(versions))


def test_rows_that_a_training_would_expose_are_not_sent(iris):
    X, y = scaled(iris[0]), iris[1]
    architecture = {"input": [4], "layers": [{"layer": "dense", "outputs": 3}]}
    with gelu.serve(gelu.fresh(architecture), backend=CLEAR, allow_model_extraction=True) as server:
        few = gelu.EncryptedMLP(epochs=1, batch=3, backend=CLEAR, classes=np.unique(y))
        with pytest.raises(gelu.DataExposed, match="exposes the inputs"):
            few.fit(X[:3], y[:3], server=server)
        assert server.model().version == 0
        few.set_params(allow_input_reconstruction=True).fit(X[:3], y[:3], server=server)
        assert server.model().version == 1


def test_labels_outside_of_the_classes_are_refused(iris):
    X, y = iris
    bare = gelu.fresh({"input": [4], "layers": [{"layer": "dense", "outputs": 3}]})
    with gelu.serve(bare, backend=CLEAR, allow_model_extraction=True) as server:
        with pytest.raises(gelu.UsageError, match="is none of the classes"):
            gelu.EncryptedMLP(classes=["setosa", "rose", "virginica"], backend=CLEAR).fit(X, y, server=server)
        with pytest.raises(gelu.UsageError, match="name all of them"):
            gelu.EncryptedMLP(backend=CLEAR).fit(X[y != "setosa"], y[y != "setosa"], server=server)


def test_data_of_another_kind_is_refused(server, iris):
    X, y = iris
    with pytest.raises(gelu.UsageError, match="rows"):
        gelu.EncryptedMLP(backend=CLEAR).fit(X[:, :2], y, server=server)
    with pytest.raises(gelu.UsageError, match="rose"):
        gelu.EncryptedMLP(backend=CLEAR).fit(X, ["rose"] * len(X), server=server)


def test_what_is_cut_off_is_said(iris):
    with pytest.warns(gelu.SaturationWarning):
        gelu.EncryptedMLP((2,), epochs=1, backend=CLEAR).fit(100 * iris[0], iris[1])


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch": 0}, {"hidden": (0,)}, {"activation": "step"}])
def test_parameters_out_of_bounds_are_refused(iris, wrong):
    with pytest.raises(gelu.UsageError):
        gelu.EncryptedMLP(backend=CLEAR, **wrong).fit(*iris)
    with pytest.raises(gelu.UsageError, match="1 or more"):
        gelu.Classifier("localhost:1", batch=0)


def test_parameters_survive_a_clone():
    network = gelu.EncryptedMLP((3, 2), epochs=7, backend=CLEAR)
    assert clone(network).get_params() == network.get_params()
    assert network.get_params()["hidden"] == (3, 2)


NOT_CHECKED: dict[str, str] = {}


@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks_hold():
    """Without encryption, which changes no result: the test above says so."""
    estimator = gelu.EncryptedMLP((8,), epochs=20, batch=20, backend=CLEAR, random_state=0)
    results = check_estimator(estimator, expected_failed_checks=NOT_CHECKED, on_fail=None, on_skip=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not failed, failed
    assert {r["check_name"] for r in results if r["status"] == "xfail"} == set(NOT_CHECKED)
