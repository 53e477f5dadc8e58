"""A model: its architecture and weights, what it leaks, what it costs, how well it answers in integers."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _native
from .errors import SaturationWarning, UsageError
from .inputs import Inputs, Matrix
from .schema import Schema

Arithmetic = Literal["fixed", "float"]
Weights = Sequence[tuple[ArrayLike, ArrayLike]]


@dataclass(frozen=True)
class Precision:
    """Bits of a model's numbers for queries. Each one widens every ciphertext."""

    weight_fraction: int = 6
    """After the point of a weight; before it are as many as the largest weight needs."""
    activation_integer: int = 4
    """Before the point of an input or an activation: 4 hold values from -16 to 16."""
    activation_fraction: int = 8
    """After the point of an input or an activation."""


class Report(Mapping[str, Any]):
    """A table to print (`str`), and the same as a mapping."""

    def __init__(self, values: str, text: str) -> None:
        self._values: dict[str, Any] = json.loads(values)
        self._text = text

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __str__(self) -> str:
        return self._text

    __repr__ = __str__

    @property
    def verdict(self) -> str:
        """Of an audit: the ledger's verdict on queries, in a sentence."""
        return str(self._values["inference"]["verdict"])


@dataclass(frozen=True)
class Calibration:
    """A model in integers beside the same in floating point, on the same rows."""

    rows: int
    accuracy_float: float
    """Share of right answers in floating point."""
    accuracy_fixed: float
    """Share of right answers in the integers of the protocol: what clients will see."""
    agreement: float
    """Share of rows with the same answer in both."""
    saturated: int
    """Values that were cut off at the bound of their format."""

    def __str__(self) -> str:
        return (
            f"{self.rows} rows: {self.accuracy_float:.1%} right in floating point, {self.accuracy_fixed:.1%} in "
            f"integers, {self.agreement:.1%} of the answers agree, {self.saturated} values were cut off"
        )


class Model:
    """A neural network with integer weights, for a server to serve.

    Its weights are the server's secret. No method here sends anything: a model leaves this machine only when you
    copy its file. Made by `from_sklearn`, `from_torch`, `from_weights`, `fresh` or `load`.
    """

    def __init__(self, native: _native.Model) -> None:
        self._native = native
        schema = native.schema
        self.schema: Schema | None = None if schema is None else Schema(schema)
        """What its inputs and classes mean, if that is known. Without it columns are taken by count, as they are, and classes
        are numbers."""
        self._inputs = Inputs(tuple(self.architecture["input"]), native.classes, self.schema)

    @staticmethod
    def load(path: str | Path) -> Model:
        """Reads a model file, of this package or of the program. Nothing leaves this machine."""
        return Model(_native.Model.load(path))

    def save(self, path: str | Path) -> None:
        """Writes the model file, all or nothing, with its schema; `gelu serve --model` serves it.

        Nothing leaves this machine. A new file is readable by its owner only: it holds the weights.
        """
        self._native.save(path)

    def with_schema(self, schema: Schema) -> Model:
        """The same model, whose inputs and classes mean what `schema` says. Nothing leaves this machine."""
        return Model(self._native.with_schema(schema._native))

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy holds the weights, as the file does."""
        return (_again, (self._native.to_bytes(), self._native.exact()))

    @property
    def name(self) -> str:
        """Its name, which clients are told."""
        return self._native.name

    @property
    def version(self) -> int:
        """Each training under encryption makes a new one."""
        return self._native.version

    @property
    def features(self) -> int:
        """Numbers of one row."""
        return self._native.features

    @property
    def classes(self) -> int:
        """How many classes it tells apart."""
        return self._native.classes

    @property
    def architecture(self) -> dict[str, Any]:
        """Its layers, which clients are told."""
        architecture: dict[str, Any] = json.loads(self._native.architecture)
        return architecture

    def weights(self) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Weights and biases of each layer as real numbers. Nothing leaves this machine."""
        return {name: (weights, biases) for name, weights, biases in self._native.weights()}

    def __repr__(self) -> str:
        return f"<gelu.Model {self.name!r} version {self.version}: {self._native}>"

    def predict_proba_clear(self, X: ArrayLike, arithmetic: Arithmetic = "fixed") -> Matrix:
        """Class probabilities `[rows, classes]` in the clear. Nothing leaves this machine.

        `"fixed"` computes in exactly the integers of the protocol, as encrypted queries do; `"float"` in floating
        point, by the weights that the model was made from, or where it comes from a file, by those of the file. Warns with `SaturationWarning` when values are cut off.
        """
        return self._clear(X, arithmetic)

    def predict_clear(self, X: ArrayLike, arithmetic: Arithmetic = "fixed") -> NDArray[Any]:
        """The class of each row in the clear: see `predict_proba_clear`. Nothing leaves this machine."""
        return self._inputs.words(self._clear(X, arithmetic))

    def _clear(self, X: ArrayLike, arithmetic: Arithmetic) -> Matrix:
        if arithmetic not in ("fixed", "float"):
            raise UsageError(f"arithmetic is {arithmetic!r}, must be 'fixed' or 'float'")
        probabilities, cut_off = self._native.probabilities(self._inputs.matrix(X), arithmetic == "fixed")
        if cut_off:
            warnings.warn(f"{cut_off} values were cut off", SaturationWarning, stacklevel=3)
        return probabilities

    def calibrate(self, X: ArrayLike, y: ArrayLike) -> Calibration:
        """How much the integers cost, on rows with known classes. Nothing leaves this machine."""
        labels = np.asarray(self._inputs.labels(y))
        rows = self._inputs.matrix(X)
        fixed, cut_off = self._native.probabilities(rows, True)
        exact, _ = self._native.probabilities(rows, False)
        answers, expected = fixed.argmax(axis=1), exact.argmax(axis=1)
        return Calibration(
            rows=len(labels),
            accuracy_float=float((expected == labels).mean()),
            accuracy_fixed=float((answers == labels).mean()),
            agreement=float((answers == expected).mean()),
            saturated=cut_off,
        )

    def audit(
        self, backend: str = "paillier", key_bits: int | None = None, batch: int = 10, steps: int = 20
    ) -> Report:
        """What each party could learn, layer by layer, before anybody learns it. Nothing leaves this machine.

        `print` shows the table of `gelu audit`; `.verdict` says how many rows an account may ask.
        """
        return Report(*self._native.audit(backend, key_bits or self.large_keys(backend), batch, steps))

    def plan(
        self, backend: str = "paillier", key_bits: int | None = None, batch: int = 1, steps: int | None = None
    ) -> Report:
        """What a query of `batch` rows costs, or with `steps` a mini-batch of a training. Nothing leaves this machine.

        `print` shows the table of `gelu plan`: ciphertexts, bytes, expected time.
        """
        if key_bits is None and steps is None:
            key_bits = self.large_keys(backend)
        return Report(*self._native.plan(backend, key_bits, batch, steps))

    def large_keys(self, backend: str) -> int | None:
        """The size of the keys of a training, where queries of this model need them as well; otherwise `None`."""
        try:
            self._native.plan(backend, _native.Key.default_bits(backend, False, False), 1, None)
        except UsageError:
            return _native.Key.default_bits(backend, False, True)
        return None


def _again(content: bytes, exact: Any) -> Model:
    return Model(_native.Model.from_bytes(content, exact))


def from_weights(
    architecture: Mapping[str, Any],
    weights: Weights,
    *,
    name: str = "model",
    schema: Schema | None = None,
    precision: Precision | None = Precision(),
) -> Model:
    """A model of an architecture and its weights. Nothing leaves this machine.

    `architecture` is what `gelu` reads as JSON: `{"input": [30], "layers": [{"layer": "dense", "outputs": 12},
    {"layer": "activation", "function": "relu"}, {"layer": "dense", "outputs": 2}]}`. `weights` are pairs (weights,
    biases), layer by layer: `[outputs, inputs]` of a dense layer, `[filters, channels, kernel, kernel]` of a
    convolution. `precision=None` is the one for training.

    Raises `UsageError` naming the layer whose weights have another shape or do not fit.
    """
    layers = [(_array(w), _array(b)) for w, b in weights]
    bits = None
    if precision is not None:
        bits = (precision.weight_fraction, precision.activation_integer, precision.activation_fraction)
    model = Model(_native.Model.from_weights(name, json.dumps(architecture), layers, bits))
    return model if schema is None else model.with_schema(schema)


def fresh(
    architecture: Mapping[str, Any], *, name: str = "model", seed: int = 0, schema: Schema | None = None
) -> Model:
    """A model with random weights, for clients to train under encryption. Nothing leaves this machine."""
    model = Model(_native.Model.fresh(name, json.dumps(architecture), seed))
    return model if schema is None else model.with_schema(schema)


def _array(values: ArrayLike) -> NDArray[np.float64]:
    return np.ascontiguousarray(np.asarray(values, dtype=np.float64))
