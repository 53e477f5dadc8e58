"""What a client must know to use a model: which numbers it takes, in which order and scale, and its classes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import FileError, UsageError

Matrix = NDArray[np.float64]
Word = str | int | float | bool

_FORMAT = 1


@dataclass(frozen=True)
class Inputs:
    """Which numbers a model takes, and what its answers are called.

    It stands in the model's file, and does not travel to clients: give it to them (`save`, `load`), or they take
    columns by count and classes by number. It holds no weights; `mean` and `scale` say the mean and the deviation of
    each column of the data that the model was trained on.
    """

    shape: tuple[int, ...]
    """Of one row: `(30,)`, or `(1, 28, 28)` for channels, height and width of an image."""
    columns: tuple[str, ...] | None = None
    """Names, in order. Frames are then matched by them, whatever their order."""
    mean: tuple[float, ...] | None = None
    """Taken from each column."""
    scale: tuple[float, ...] | None = None
    """What is left is divided by it."""
    classes: tuple[Word, ...] | None = None
    """By number, from 0."""

    def __post_init__(self) -> None:
        features = self.features
        for what, values in (("columns", self.columns), ("mean", self.mean), ("scale", self.scale)):
            if values is not None and len(values) != features:
                raise UsageError(f"{what}: {len(values)} for {features} features")
        if self.scale is not None and not all(s > 0 and math.isfinite(s) for s in self.scale):
            raise UsageError("scale: must be positive")
        if self.columns is not None and len(set(self.columns)) != features:
            raise UsageError("columns: a name stands there twice", "give each column a name of its own")

    @property
    def features(self) -> int:
        """Numbers of one row."""
        return math.prod(self.shape)

    def matrix(self, X: ArrayLike) -> Matrix:
        """`X` as the network takes it, `[rows, features]`, scaled. Nothing leaves this machine.

        Raises `UsageError` for columns of other names, another number of them, and what is no finite number.
        """
        names = getattr(X, "columns", None)
        if names is not None and self.columns is not None:
            X = self._by_name(X, [str(name) for name in names])
        if hasattr(X, "toarray"):
            raise UsageError("a sparse matrix: rows travel as dense numbers", "pass X.toarray()")
        try:
            array = np.asarray(X, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UsageError(f"X holds what is no number: {error}") from error
        rows = self._rows(array)
        if not np.isfinite(rows).all():
            row, column = np.argwhere(~np.isfinite(rows))[0]
            raise UsageError(f"row {row}, {self._name(column)}: {rows[row, column]} is not finite")
        if self.mean is not None:
            rows = rows - np.asarray(self.mean)
        if self.scale is not None:
            rows = rows / np.asarray(self.scale)
        matrix: Matrix = np.ascontiguousarray(rows)
        return matrix

    def labels(self, y: ArrayLike, classes: int) -> list[int]:
        """The number of each label's class. Raises `UsageError` for a label that is no class."""
        words = self.classes if self.classes is not None else tuple(range(classes))
        numbers = {word: number for number, word in enumerate(words)}
        labels = np.asarray(y).tolist()
        unknown = next((label for label in labels if label not in numbers), None)
        if unknown is not None:
            raise UsageError(f"the label {unknown!r} is none of the classes {list(words)}")
        return [numbers[label] for label in labels]

    def words(self, probabilities: Matrix) -> NDArray[Any]:
        """The most probable class of each row, by its word where there are words."""
        numbers = probabilities.argmax(axis=1)
        words: NDArray[Any] = numbers if self.classes is None else np.asarray(self.classes)[numbers]
        return words

    def to_json(self) -> str:
        """As text that `from_json` reads."""
        fields = {name: value for name, value in vars(self).items() if value is not None}
        return json.dumps({"format": _FORMAT, **fields})

    @classmethod
    def from_json(cls, text: str) -> Inputs:
        """Reads what `to_json` wrote. Raises `FileError` for what is none."""
        try:
            fields = json.loads(text)
            if fields.pop("format") != _FORMAT:
                raise ValueError(f"not of format {_FORMAT}")
            return cls(**{name: tuple(values) for name, values in fields.items()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise FileError(f"no description of inputs: {error!r}") from error

    def save(self, path: str | Path) -> None:
        """Writes a new file for clients."""
        with open(path, "x", encoding="utf-8") as file:
            file.write(self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> Inputs:
        """Reads what `save` wrote."""
        return cls.from_json(Path(path).read_text(encoding="utf-8"))

    def _by_name(self, X: Any, names: list[str]) -> Any:
        wanted = self.columns or ()
        missing = [name for name in wanted if name not in names]
        strange = [name for name in names if name not in wanted]
        if missing or strange or len(names) != len(wanted):
            raise UsageError(
                f"the columns do not fit: missing are {missing}, not known are {strange}, of {len(names)}",
                "pass a frame of the model's columns, in any order, or X.to_numpy() to take them by count",
            )
        return X.iloc[:, [names.index(name) for name in wanted]] if hasattr(X, "iloc") else X[list(wanted)]

    def _rows(self, array: Matrix) -> Matrix:
        if array.ndim == 1 and self.shape != (1,):
            raise UsageError("X is one list of numbers, not rows", "pass X.reshape(1, -1) for one row")
        if array.shape[1:] not in (self.shape, (self.features,)):
            expected = " or ".join(str(["rows", *shape]) for shape in {self.shape, (self.features,)})
            raise UsageError(f"X has shape {list(array.shape)}, and the model takes {expected}")
        if len(array) == 0:
            raise UsageError("X has no rows")
        return array.reshape(len(array), self.features)

    def _name(self, column: int) -> str:
        return f"column {column}" if self.columns is None else f"column {self.columns[column]!r}"


def words_of(values: Iterable[Any] | Sequence[Any]) -> tuple[Word, ...]:
    """Class words as Python's own values, which JSON keeps."""
    words = tuple(value.item() if isinstance(value, np.generic) else value for value in values)
    wrong = next((word for word in words if not isinstance(word, (str, int, float, bool))), None)
    if wrong is not None:
        raise UsageError(f"the class {wrong!r} is neither text nor a number")
    if len(set(words)) != len(words):
        raise UsageError(f"a class stands twice in {list(words)}")
    if len({isinstance(word, str) for word in words}) > 1:
        raise UsageError(f"some classes are text and some are numbers: {list(words)}")
    return words
