"""Models in the clear: where they come from, what they take, what they say."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import gelu

DENSE = {"input": [4], "layers": [{"layer": "dense", "outputs": 3}]}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity", None])
def test_probabilities_equal_those_of_scikit_learn(iris, classes, activation):
    X, y = iris
    known = np.isin(y, np.unique(y)[:classes])
    X, y = X[known], y[known]
    last = LogisticRegression() if activation is None else MLPClassifier((5, 4), activation=activation, random_state=0)
    pipeline = make_pipeline(StandardScaler(), last).fit(X, y)
    model = gelu.from_sklearn(pipeline)
    exact = model.predict_proba_clear(X, "float")
    assert np.allclose(exact, pipeline.predict_proba(X), atol=1e-9)
    assert (model.predict_clear(X, "float") == pipeline.predict(X)).all()
    calibration = model.calibrate(X, y)
    assert calibration.accuracy_float == pipeline.score(X, y)
    assert calibration.agreement > 0.9 and calibration.rows == len(X)


def test_more_bits_bring_the_integers_closer(pipeline, iris):
    X, _ = iris
    distances = []
    for bits in (4, 10, 16):
        model = gelu.from_sklearn(pipeline, precision=gelu.Precision(weight_fraction=bits, activation_fraction=bits))
        distance = model.predict_proba_clear(X) - model.predict_proba_clear(X, "float")
        distances.append(np.abs(distance).max())
    assert distances[0] > 4 * distances[1] > 16 * distances[2]


def test_every_step_without_a_counterpart_is_named(iris):
    X, y = iris
    strange = make_pipeline(MinMaxScaler(), PCA(2), GaussianNB()).fit(X, y)
    with pytest.raises(gelu.UsageError, match="MinMaxScaler, PCA, GaussianNB"):
        gelu.from_sklearn(strange)
    with pytest.raises(gelu.UsageError, match="more than one"):
        gelu.from_sklearn(make_pipeline(StandardScaler(), StandardScaler(), LogisticRegression()).fit(X, y))
    with pytest.raises(gelu.UsageError, match="not fitted"):
        gelu.from_sklearn(LogisticRegression())
    with pytest.raises(gelu.UsageError, match="several labels"):
        several = np.stack([y == word for word in np.unique(y)] + [y != "setosa"], axis=1).astype(int)
        gelu.from_sklearn(MLPClassifier((2,), max_iter=300).fit(X, several))


def convolution(images, weights, biases):
    """By its definition, stride 1, no padding."""
    windows = np.lib.stride_tricks.sliding_window_view(images, weights.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,fcij->nfhw", windows, weights) + biases[:, None, None]


@pytest.fixture
def torch_like():
    """What PyTorch's `state_dict` of a small network holds, and its answers."""
    random = np.random.default_rng(5)
    state = {
        "features.0.weight": random.normal(size=(3, 2, 3, 3)) / 4,
        "features.0.bias": random.normal(size=3) / 4,
        "head.weight": random.normal(size=(4, 3 * 2 * 3)) / 4,
    }
    architecture = {
        "input": [2, 4, 5],
        "layers": [
            {"layer": "conv2d", "filters": 3, "kernel": 3},
            {"layer": "activation", "function": "relu"},
            {"layer": "dense", "outputs": 4},
        ],
    }
    images = random.normal(size=(6, 2, 4, 5))
    hidden = np.maximum(convolution(images, state["features.0.weight"], state["features.0.bias"]), 0)
    scores = hidden.reshape(6, -1) @ state["head.weight"].T
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return state, architecture, images, expected


def test_a_state_dict_gives_the_network_of_pytorch(torch_like):
    state, architecture, images, expected = torch_like
    model = gelu.from_torch(state, architecture)
    assert np.allclose(model.predict_proba_clear(images, "float"), expected, atol=1e-9)
    flat = images.reshape(6, -1)
    assert np.array_equal(model.predict_proba_clear(flat), model.predict_proba_clear(images))
    weights, biases = model.weights()["conv1"]
    assert weights.shape == (3, 2, 3, 3) and np.abs(weights - state["features.0.weight"]).max() <= 2**-7


def test_the_order_in_memory_changes_nothing(torch_like):
    state, architecture, images, expected = torch_like
    fortran = {key: np.asfortranarray(tensor) for key, tensor in state.items()}
    model = gelu.from_torch(fortran, architecture)
    for X in (images, np.asfortranarray(images), images.astype(np.float32)[::1], np.flip(np.flip(images, 0), 0)):
        assert np.allclose(model.predict_proba_clear(X, "float"), expected, atol=1e-6)


def test_tensors_that_do_not_fit_are_named(torch_like):
    state, architecture, *_ = torch_like
    norm = {**state, "norm.running_mean": np.zeros(3), "norm.weight": np.ones(3)}
    with pytest.raises(gelu.UsageError, match=r"norm.running_mean \[3\], norm.weight \[3\]"):
        gelu.from_torch(norm, architecture)
    with pytest.raises(gelu.UsageError, match=r"weights of dense1 have shape \[18, 4\], not \[4, 18\]"):
        gelu.from_torch({**state, "head.weight": state["head.weight"].T}, architecture)
    with pytest.raises(gelu.UsageError, match="2 layers with weights, but weights of 1"):
        gelu.from_torch({"head.weight": state["head.weight"]}, architecture)
    with pytest.raises(gelu.UsageError, match="lstm"):
        gelu.from_torch(state, {"input": [4], "layers": [{"layer": "lstm"}]})


def test_a_file_keeps_weights_and_inputs(model, iris, tmp_path):
    X, _ = iris
    path = tmp_path / "m.safetensors"
    model.save(path)
    again = gelu.load(path)
    assert again.schema == model.schema and again.architecture == model.architecture
    assert np.array_equal(again.predict_proba_clear(X), model.predict_proba_clear(X))
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(gelu.FileError, match="nowhere"):
        gelu.load(tmp_path / "nowhere")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(gelu.FileError):
        gelu.load(path)


def test_a_schema_is_the_one_of_the_program(model, tmp_path):
    text = model.schema.to_json()
    assert gelu.Schema.from_json(text) == model.schema and hash(gelu.Schema.from_json(text)) == hash(model.schema)
    assert model.schema.classes == ("setosa", "versicolor", "virginica") and model.schema.features == 4
    (tmp_path / "schema.json").write_text(text)
    assert gelu.Schema.load(tmp_path / "schema.json") == model.schema
    for wrong in ("", "[]", "{}", '{"version": 1}', text.replace('"version":1', '"version":9'), text.replace("x2", "x1")):
        with pytest.raises(gelu.UsageError):
            gelu.Schema.from_json(wrong)
    with pytest.raises(gelu.UsageError, match="4 features"):
        gelu.fresh({"input": [5], "layers": DENSE["layers"]}, schema=model.schema)


def test_a_table_with_words_dates_and_missing_values_is_read_by_its_schema():
    columns = [
        {"type": "number", "name": "age", "range": [0, 100], "missing": "mean", "scale": {"mean": 50, "deviation": 10}},
        {"type": "category", "name": "drug", "words": ["none", "statin"]},
        {"type": "category", "name": "ward", "words": ["1", "2"]},
        {"type": "date", "name": "admitted", "as": ["month_sin"]},
    ]
    label = {"name": "outcome", "classes": ["0", "1"]}
    described = {"version": 1, "columns": columns, "label": label, "ignore": ["id"]}
    schema = gelu.Schema.from_json(json.dumps(described))
    frame = pd.DataFrame(
        {
            "id": [7, 8],
            "ward": [2.0, 1.0],
            "admitted": pd.to_datetime(["2024-01-01", "2024-07-02"]),
            "age": [60, None],
            "drug": ["statin", "none"],
            "outcome": [0, 1],
        }
    )
    rows = schema.table(frame)
    assert rows[:, :5].tolist() == [[1, 0, 1, 0, 1], [0, 1, 0, 1, 0]]
    assert schema.classes == (0, 1) and schema.labels([1, "0", 1.0, np.int64(0)]) == [1, 0, 1, 0]
    for column, value, said in (
        ("age", 101, "row 0, column age: \"101\" is outside"),
        ("drug", "aspirin", "row 0, column drug: \"aspirin\""),
        ("ward", None, "row 0, column ward: \"\" is missing"),
        ("admitted", "soon", "column admitted: \"soon\""),
    ):
        wrong = frame.astype(object)
        wrong.loc[0, column] = value
        with pytest.raises(gelu.UsageError, match=re.escape(said)):
            schema.table(wrong)


def test_images_are_whole_pixels():
    schema = gelu.Schema.of_image((1, 2, 2), max=16, mean=[0.5], deviation=[0.25], classes=range(3))
    model = gelu.fresh({"input": [1, 2, 2], "layers": DENSE["layers"]}, schema=schema)
    images = np.array([[[[0, 16], [8, 4]]]])
    assert schema.images(images).tolist() == [[-2, 2, 0, -1]]
    assert np.array_equal(model.predict_proba_clear(images), model.predict_proba_clear(images.reshape(1, 4) * 1.0))
    for wrong, said in ((images + 1, "17.0 is no pixel"), (images / 16, "no pixel"), (images[:, :, 0], "shape")):
        with pytest.raises(gelu.UsageError, match=said):
            model.predict_clear(wrong)


def test_owners_of_public_ranges_have_one_scale():
    schema = gelu.Schema.of_numbers(["a", "b"], ranges=[(0, 10), (-1, 1)])
    assert schema.table([[0, -1], [5, 0], [10, 1]]).tolist() == [[-1, -1], [0, 0], [1, 1]]
    with pytest.raises(gelu.UsageError, match="column b"):
        schema.table([[0, 1.5]])


def test_a_copy_is_the_same_model(model, iris):
    again = pickle.loads(pickle.dumps(model))
    for arithmetic in ("fixed", "float"):
        expected = model.predict_proba_clear(iris[0], arithmetic)
        assert np.array_equal(again.predict_proba_clear(iris[0], arithmetic), expected)
    assert again.schema == model.schema and again.name == model.name


@pytest.fixture(scope="module")
def by_name():
    frame = load_iris(as_frame=True)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame.data, frame.target)
    return gelu.from_sklearn(pipeline), frame.data


def test_frames_are_matched_by_name(by_name):
    model, frame = by_name
    expected = model.predict_proba_clear(frame)
    swapped = frame[list(reversed(frame.columns))]
    assert np.array_equal(model.predict_proba_clear(swapped), expected)
    assert np.array_equal(model.predict_proba_clear(frame.to_numpy()), expected)


def test_frames_of_other_columns_are_refused_by_name(by_name):
    model, frame = by_name
    for wrong, said in (
        (frame.drop(columns="petal width (cm)"), "missing are .*petal width"),
        (frame.rename(columns={"petal width (cm)": "width"}), "not known are .*'width'"),
        (frame.assign(patient=1), "not known are .*'patient'"),
        (pd.DataFrame(frame.to_numpy()), "missing are"),
        (pd.concat([frame, frame.iloc[:, :1]], axis=1), "there twice are .*sepal length"),
    ):
        with pytest.raises(gelu.UsageError, match=said):
            model.predict_clear(wrong)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (np.zeros((3, 5)), r"shape \[3, 5\].*\['rows', 4\]"),
        (np.zeros(4), "reshape"),
        (np.zeros((0, 4)), "no rows"),
        (np.zeros((2, 2, 2)), "shape"),
        ([[1, 2, 3, "word"]], "number"),
        ([[1, 2], [3]], "number"),
        ([[0, 0, 0, 0], [0, np.nan, 0, 0]], "row 1, column (1: nan|x2: .* missing)"),
        ([[0, 0, np.inf, 0]], "column (2: inf|x3: .*inf)"),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_rows_of_another_kind_are_refused(model, known, wrong, said):
    """With a schema and without."""
    with pytest.raises(gelu.UsageError, match=said):
        (model if known else gelu.fresh(DENSE)).predict_clear(wrong)


def test_what_was_cut_off_is_counted_and_said(model, iris):
    X, y = iris
    assert model.calibrate(X, y).saturated == 0
    far = 1000 * X
    assert model.calibrate(far, y).saturated > 0
    with pytest.warns(gelu.SaturationWarning):
        model.predict_clear(far)


def test_labels_that_are_no_classes_are_refused(model, iris):
    with pytest.raises(gelu.UsageError, match="rose"):
        model.calibrate(iris[0][:1], ["rose"])
    with pytest.raises(gelu.UsageError, match="numbers from 0 to 2"):
        gelu.fresh(DENSE).calibrate(iris[0][:1], [3])


def test_an_onnx_pipeline_gives_what_scikit_learn_gave():
    """Of columns of numbers, one with a gap, and of words; see `make.py` beside the files."""
    data = Path(__file__).parents[2] / "gelu-import" / "tests" / "data"
    rows = pd.read_csv(data / "rows.csv")
    expected = np.load(data / "columns_mlp.outputs.npy")
    words = np.array(["frail", "ill", "well"])
    model = gelu.from_onnx(data / "columns_mlp.onnx", rows, words[expected.argmax(axis=1)])
    assert model.classes == 3 and model.features == 9
    assert np.abs(model.predict_proba_clear(rows) - expected).max() < 0.06
    assert (model.predict_clear(rows) == words[expected.argmax(axis=1)]).all()
    array = np.load(data / "tensor_logistic.inputs.npy")
    assert gelu.from_onnx(data / "tensor_logistic.onnx", array).features == 4


def test_an_onnx_file_is_read_by_the_program(tmp_path):
    """What it reads is tested there, on files of other programs; here that its words come back."""
    file = tmp_path / "net.onnx"
    file.write_bytes(b"no such thing")
    with pytest.raises(gelu.UsageError, match="net.onnx.*next: ") as refused:
        gelu.from_onnx(file)
    assert "error:" not in str(refused.value)


def test_audit_and_plan_are_those_of_the_program(model):
    audit = model.audit()
    assert audit.verdict == audit["inference"]["verdict"] and audit["inference"]["safe_samples"] > 0
    assert "Verdict" in str(audit) and audit["parameters"] == 15
    plan = model.plan("lattice", batch=100)
    assert plan["costs"]["batch"] == 100 and plan["purpose"] == "inference" and plan["key_bits"] == 4096
    assert model.plan("lattice", batch=10, steps=5)["key_bits"] == 8192
    with pytest.raises(gelu.UsageError, match="choose one of paillier"):
        model.audit("enigma")
    with pytest.raises(gelu.UsageError, match="not 1000"):
        model.plan("paillier", key_bits=1000)


def test_fresh_weights_follow_the_seed():
    first = gelu.fresh(DENSE, seed=1).weights()["dense1"][0]
    assert np.array_equal(first, gelu.fresh(DENSE, seed=1).weights()["dense1"][0])
    assert not np.array_equal(first, gelu.fresh(DENSE, seed=2).weights()["dense1"][0])


def test_no_weight_is_printed(model):
    shown = repr(model) + str(vars(model))
    assert "iris" in shown
    for weights, _ in model.weights().values():
        assert not any(f"{abs(weight):.3f}" in shown for weight in weights.flat)


def test_options_of_the_program_are_named_as_parameters():
    error = gelu.RefusedError("needs --lease-samples", "say --allow-model-extraction")
    assert str(error) == "needs lease_samples; next: say allow_model_extraction"


def test_the_package_is_typed():
    assert (Path(gelu.__file__).parent / "py.typed").exists()
