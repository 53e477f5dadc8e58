"""Rows as a network takes them: by its schema, or where it has none, by count and as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import UsageError
from .schema import Schema

Matrix = NDArray[np.float64]
Answers = NDArray[Any]
"""Probabilities, `[rows, classes]`, or the number of a class for each row."""


@dataclass(frozen=True)
class Inputs:
    """How rows become features, and numbers of classes become words."""

    shape: tuple[int, ...]
    """Of one row of the network: `(30,)`, or `(1, 28, 28)` for channels, height and width of an image."""
    classes: int
    schema: Schema | None = None
    tells_probabilities: bool = True
    """Whether answers have them, and not the class alone."""

    def matrix(self, X: ArrayLike) -> Matrix:
        """`X` as the network takes it, `[rows, features]`. Nothing leaves this machine.

        Raises `UsageError` for other columns than the network's, and for what is no finite number.
        """
        if hasattr(X, "toarray"):
            raise UsageError("a sparse matrix: rows travel as dense numbers", "pass X.toarray()")
        try:
            rows = self._read(X)
        except (TypeError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"X holds what is no number: {error}") from error
        if len(rows) == 0:
            raise UsageError("X has no rows")
        if not np.isfinite(rows).all():
            row, column = np.argwhere(~np.isfinite(rows))[0]
            raise UsageError(f"row {row}, column {column}: {rows[row, column]} is not finite")
        matrix: Matrix = np.ascontiguousarray(rows)
        return matrix

    def labels(self, y: ArrayLike) -> list[int]:
        """The number of each label's class. Raises `UsageError` for a label that is no class."""
        labels = np.asarray(y).tolist()
        if self.schema is not None and self.schema.classes:
            return self.schema.labels(labels)
        wrong = next((label for label in labels if label not in range(self.classes)), None)
        if wrong is not None:
            raise UsageError(f"{wrong!r} is none of the classes: they are numbers from 0 to {self.classes - 1}")
        return [int(label) for label in labels]

    def words(self, answers: Answers) -> NDArray[Any]:
        """The class of each row, the most probable one, by its word where there are words."""
        numbers = classes_of(answers)
        known = () if self.schema is None else self.schema.classes
        words: NDArray[Any] = np.asarray(known)[numbers] if known else numbers
        return words

    def _read(self, X: ArrayLike) -> Matrix:
        if self.schema is not None:
            return self.schema.images(X) if "image" in self.schema.description else self.schema.table(X)
        array = np.asarray(X, dtype=np.float64)
        flat = (math.prod(self.shape),)
        if array.shape[1:] not in (self.shape, flat) or array.ndim == 1:
            expected = " or ".join(str(["rows", *shape]) for shape in {self.shape: 0, flat: 0})
            raise UsageError(
                f"X has shape {list(array.shape)}, and the model takes {expected}", "pass X.reshape(1, -1) for one row"
            )
        return array.reshape(len(array), *flat)


def classes_of(answers: Answers) -> NDArray[np.int64]:
    """The number of each row's class: of equally probable ones the first."""
    numbers = answers if answers.ndim == 1 else answers.argmax(axis=1)
    return numbers.astype(np.int64, copy=False)
