"""Encrypted neural networks: the server holds the model and works on ciphertexts, the client holds data and keys.

>>> import gelu
>>> m = gelu.from_sklearn(pipeline)                        # doctest: +SKIP
>>> with gelu.serve(m) as server:                          # doctest: +SKIP
...     gelu.Classifier(server, account="alice").predict(X)

Every docstring says what leaves this machine, and what it reveals. Exceptions are sorted by who must act: `gelu.errors`.
Processes that are forked from one which has computed have no threads to compute: start workers by `spawn`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .classifier import Classifier
from .convert import from_onnx, from_sklearn, from_torch
from .errors import (
    BudgetSpent,
    DataExposed,
    FileError,
    GeluError,
    IncompatibleError,
    InternalError,
    NetworkError,
    PeerError,
    RefusedError,
    SaturationWarning,
    UsageError,
)
from .model import Calibration, Model, Precision, Report, fresh, from_weights
from .schema import Schema
from .server import Server, serve

if TYPE_CHECKING:
    from .estimator import EncryptedMLP

load = Model.load

__all__ = [
    "BudgetSpent",
    "Calibration",
    "Classifier",
    "DataExposed",
    "EncryptedMLP",
    "FileError",
    "GeluError",
    "IncompatibleError",
    "InternalError",
    "Model",
    "NetworkError",
    "PeerError",
    "Precision",
    "RefusedError",
    "Report",
    "SaturationWarning",
    "Schema",
    "Server",
    "UsageError",
    "fresh",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "from_weights",
    "load",
    "serve",
]


def __getattr__(name: str) -> Any:
    """`EncryptedMLP` alone needs scikit-learn, which takes a second to load."""
    if name == "EncryptedMLP":
        from .estimator import EncryptedMLP

        return EncryptedMLP
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
