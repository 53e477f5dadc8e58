"""Models of scikit-learn, PyTorch and ONNX as models of ours. Nothing here leaves this machine."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ._program import words
from .errors import UsageError
from .model import Model, Precision, from_weights
from .schema import Schema

_ACTIVATIONS = {"relu": "relu", "logistic": "sigmoid", "tanh": "tanh", "identity": None}


def from_sklearn(
    estimator: Any,
    feature_names: Sequence[str] | None = None,
    *,
    name: str = "model",
    precision: Precision | None = Precision(),
) -> Model:
    """The network of a fitted `MLPClassifier` or `LogisticRegression`, or of a `Pipeline` of `StandardScaler` and one of
    them. Nothing leaves this machine.

    The scaler becomes `model.schema`, and the client applies it before encryption. Column names are `feature_names`, or those
    of the frame that the estimator was fitted on, or x1, x2 and so on. Probabilities equal the estimator's `predict_proba`,
    up to the precision.

    Raises `UsageError` naming every step that has no counterpart.
    """
    steps = [step for _, step in estimator.steps] if hasattr(estimator, "steps") else [estimator]
    steps = [step for step in steps if step is not None and not isinstance(step, str)]
    *before, last = steps or [estimator]
    strange = [type(step).__name__ for step in before if type(step).__name__ != "StandardScaler"]
    if type(last).__name__ not in ("MLPClassifier", "LogisticRegression"):
        strange.append(type(last).__name__)
    if strange or len(before) > 1:
        names = ", ".join(strange) or "more than one StandardScaler"
        raise UsageError(
            f"there is no counterpart for {names}",
            "use StandardScaler and then MLPClassifier or LogisticRegression, or from_weights",
        )
    if not hasattr(last, "classes_"):
        raise UsageError(f"the {type(last).__name__} is not fitted", "call fit first")
    layers, weights = _network(last)
    features = np.asarray(weights[0][0]).shape[1]
    names_in = feature_names if feature_names is not None else getattr(steps[0], "feature_names_in_", None)
    scaler = before[0] if before else None
    schema = Schema.of_numbers(
        [f"x{number}" for number in range(1, features + 1)] if names_in is None else names_in,
        mean=getattr(scaler, "mean_", None),
        deviation=getattr(scaler, "scale_", None),
        classes=last.classes_,
    )
    architecture = {"input": [features], "layers": layers}
    return from_weights(architecture, weights, name=name, schema=schema, precision=precision)


def _network(last: Any) -> tuple[list[dict[str, Any]], list[tuple[ArrayLike, ArrayLike]]]:
    classes = len(last.classes_)
    if type(last).__name__ == "LogisticRegression":
        if classes > 2 and last.solver == "liblinear":
            raise UsageError(
                "liblinear fits one model for each class, and the network has one for all",
                "fit with another solver, such as lbfgs",
            )
        weights, function = [(np.asarray(last.coef_), np.asarray(last.intercept_))], None
    else:
        if last.out_activation_ != "softmax" and classes > 2:
            raise UsageError("several labels a row: the network gives each row one class")
        weights = [(np.asarray(w).T, np.asarray(b)) for w, b in zip(last.coefs_, last.intercepts_)]
        function = _ACTIVATIONS[last.activation]
    if len(weights[-1][1]) == 1:
        # The sigmoid of z is the softmax of (-z/2, z/2).
        w, b = weights[-1]
        weights[-1] = (np.concatenate([-w / 2, w / 2]), np.concatenate([-b / 2, b / 2]))
    layers: list[dict[str, Any]] = []
    for number, (_, biases) in enumerate(weights):
        if number > 0 and function is not None:
            layers.append({"layer": "activation", "function": function})
        layers.append({"layer": "dense", "outputs": len(biases)})
    return layers, list(weights)


def from_torch(
    state_dict: Mapping[str, Any],
    architecture: Mapping[str, Any],
    *,
    name: str = "model",
    schema: Schema | None = None,
    precision: Precision | None = Precision(),
) -> Model:
    """A model of a PyTorch `state_dict`, its tensors as numpy arrays. Nothing leaves this machine.

    `{name: tensor.numpy() for name, tensor in net.state_dict().items()}` makes it; the order is PyTorch's, which is
    that of the modules. `architecture` is that of `from_weights`. A layer without a bias gets zeros.

    Raises `UsageError` naming every tensor that belongs to no convolution or dense layer (of a normalisation, say), and
    the first layer of another shape.
    """
    layers: dict[str, dict[str, Any]] = {}
    strange = []
    for key, tensor in state_dict.items():
        module, _, kind = key.rpartition(".")
        array = np.asarray(tensor, dtype=np.float64)
        if kind == "weight" and array.ndim in (2, 4):
            layers.setdefault(module, {})["weight"] = array
        elif kind == "bias" and "weight" in layers.get(module, {}):
            layers[module]["bias"] = array
        else:
            strange.append(f"{key} {list(array.shape)}")
    if strange:
        raise UsageError(
            f"these tensors belong to no convolution or dense layer: {', '.join(strange)}",
            "fold normalisations into the layer before them first",
        )
    weights = [(w["weight"], w.get("bias", np.zeros(len(w["weight"])))) for w in layers.values()]
    return from_weights(architecture, weights, name=name, schema=schema, precision=precision)


def from_onnx(
    path: str | Path,
    X: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    classes: Sequence[str] = (),
    tolerance: float = 0.01,
) -> Model:
    """The network of an ONNX file, by `gelu import`, which runs in a process of its own. Nothing leaves this machine.

    `X` are a few hundred samples as the original model takes them, and `y` their classes by number, where they are known:
    they decide how many bits the integers get. Without them values that are cut off stay unseen. A frame is taken with the
    names of its columns, which pipelines with words in them need, and then `y` are the words of the classes.

    Raises `UsageError` with the program's words: all nodes that have no counterpart at once, or that the integers lose more
    than `tolerance` of the rows.
    """
    with tempfile.TemporaryDirectory(prefix="gelu-") as folder:
        out = Path(folder) / "model.safetensors"
        arguments = ["import", str(path), "--out", str(out), "--tolerance", str(tolerance), "--name", Path(path).stem]
        if classes:
            arguments += ["--classes", ",".join(classes)]
        frame: Any = X
        if hasattr(frame, "to_csv"):
            file = Path(folder) / "sample.csv"
            (frame if y is None else frame.assign(**{"class": np.asarray(y)})).to_csv(file, index=False)
            arguments += ["--calibrate", str(file), *([] if y is None else ["--label", "class"])]
            X = y = None
        for option, values in (("--calibrate", X), ("--labels", y)):
            if values is not None:
                file = Path(folder) / f"{option[2:]}.npy"
                np.save(file, np.ascontiguousarray(values))
                arguments += [option, str(file)]
        done = subprocess.run([*words("main"), *arguments], capture_output=True, text=True)
        if done.returncode != 0:
            what, _, advice = done.stderr.strip().removeprefix("error: ").partition("\n next: ")
            raise UsageError(what, advice or None)
        return Model.load(out)
