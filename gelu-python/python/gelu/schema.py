"""What the inputs and classes of a model mean: which column becomes which features, and which word is which class."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _native
from .errors import UsageError

Word = str | int


class Schema:
    """A schema travels with its model: in the model's file, and in the card that a server sends to clients.

    Frames are then matched by column names, numbers are scaled as in training, and answers are words. It holds no weights;
    scales say mean and deviation of the rows that the model was trained on. Made by `of_numbers`, `of_image`, `from_json` (of
    what `gelu schema infer` writes), or by `from_sklearn`.
    """

    def __init__(self, native: _native.Schema) -> None:
        self._native = native
        self.description: dict[str, Any] = json.loads(native.json)
        """The same as a dictionary."""

    @staticmethod
    def from_json(text: str) -> Schema:
        """Reads and checks a schema. Raises `UsageError` for what is none."""
        return Schema(_native.Schema.from_json(text))

    @staticmethod
    def load(path: str | Path) -> Schema:
        """Reads the file of a schema."""
        return Schema.from_json(Path(path).read_text(encoding="utf-8"))

    @staticmethod
    def of_numbers(
        columns: Sequence[str],
        *,
        mean: Sequence[float] | None = None,
        deviation: Sequence[float] | None = None,
        ranges: Sequence[tuple[float, float]] | None = None,
        classes: Iterable[Any] | None = None,
        label: str = "class",
    ) -> Schema:
        """Of columns of numbers, in the network's order: x becomes (x - mean) / deviation.

        `ranges` are bounds of what is accepted. Where no scale is given, they are put onto -1 to 1: owners of data who agree
        on public ranges have the same scale, and tell each other nothing.
        """
        described: list[dict[str, Any]] = []
        for index, name in enumerate(columns):
            column: dict[str, Any] = {"type": "number", "name": str(name)}
            scale = {"mean": 0.0, "deviation": 1.0}
            if ranges is not None:
                low, high = (float(bound) for bound in ranges[index])
                column["range"] = [low, high]
                scale = {"mean": (low + high) / 2, "deviation": (high - low) / 2}
            if mean is not None or deviation is not None:
                scale = {"mean": float(mean[index]) if mean is not None else 0.0}
                scale["deviation"] = float(deviation[index]) if deviation is not None else 1.0
            described.append({**column, "scale": scale})
        return Schema._of({"columns": described}, classes, label)

    @staticmethod
    def of_image(
        shape: tuple[int, int, int],
        *,
        max: int = 255,
        mean: Sequence[float] = (),
        deviation: Sequence[float] = (),
        classes: Iterable[Any] | None = None,
        label: str = "class",
    ) -> Schema:
        """Of images, channels, height and width: a pixel from 0 to `max` becomes p / max, then (x - mean) / deviation by
        channel."""
        if len(mean) != len(deviation):
            raise UsageError(f"{len(mean)} means and {len(deviation)} deviations")
        scale = [{"mean": float(m), "deviation": float(d)} for m, d in zip(mean, deviation)]
        image = {"shape": list(shape), "max": max, "scale": scale}
        return Schema._of({"image": image}, classes, label)

    @staticmethod
    def _of(inputs: dict[str, Any], classes: Iterable[Any] | None, label: str) -> Schema:
        description = {"version": 1, **inputs}
        if classes is not None:
            description["label"] = {"name": label, "classes": [word_of(value) for value in classes]}
        return Schema.from_json(json.dumps(description))

    @property
    def features(self) -> int:
        """Numbers of one row, as the network takes it."""
        return self._native.features

    @property
    def classes(self) -> tuple[Word, ...]:
        """The classes, in the network's order: words, or numbers where all words are whole numbers. None if not known."""
        words: list[str] = self.description.get("label", {}).get("classes", [])
        whole = all(word.lstrip("-").isdigit() and str(int(word)) == word for word in words)
        return tuple(int(word) for word in words) if whole else tuple(words)

    def to_json(self) -> str:
        """As text: equal schemas have equal texts."""
        return self._native.json

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.to_json() == other.to_json()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def __reduce__(self) -> tuple[Any, ...]:
        return (Schema.from_json, (self.to_json(),))

    def __repr__(self) -> str:
        kind = "an image" if "image" in self.description else f"{len(self.description['columns'])} columns"
        return f"<gelu.Schema of {kind}, {len(self.classes)} classes>"

    def table(self, X: Any) -> NDArray[np.float64]:
        """The features of a frame, by the names of its columns, or of an array, by their count; scaled.

        Nothing leaves this machine. Raises `UsageError` naming row, column and value, or all columns that do not fit.
        """
        columns: list[dict[str, Any]] = self.description["columns"]
        wanted = [column["name"] for column in columns]
        if hasattr(X, "columns"):
            names = [str(name) for name in X.columns]
            self._check_names(wanted, names)
            values = [_column(X, names.index(name)) for name in wanted]
        else:
            array = np.asarray(X)
            if array.ndim != 2 or array.shape[1] != len(wanted):
                raise UsageError(
                    f"X has shape {list(array.shape)}, and the model takes ['rows', {len(wanted)}]",
                    "pass X.reshape(1, -1) for one row",
                )
            values = [array[:, index].tolist() for index in range(len(wanted))]
        cells = [[cell_of(v, c["type"]) for v in column] for column, c in zip(values, columns)]
        return self._native.rows(cells)

    def images(self, X: Any) -> NDArray[np.float64]:
        """The features of images, of whole pixels from 0 to the schema's `max`; scaled. Nothing leaves this machine."""
        image = self.description["image"]
        array = np.asarray(X, dtype=np.float64)
        if array.shape[1:] not in (tuple(image["shape"]), (self.features,)):
            raise UsageError(f"X has shape {list(array.shape)}, and the model takes {['images', *image['shape']]}")
        whole = (array >= 0) & (array <= image["max"]) & (array == np.floor(array))
        if not whole.all():
            value = array[~whole].flat[0]
            raise UsageError(f"{value} is no pixel: they are whole numbers from 0 to {image['max']}")
        pixels = np.ascontiguousarray(array.reshape(len(array), self.features).astype(np.uint16))
        return self._native.images(pixels)

    def labels(self, y: Iterable[Any]) -> list[int]:
        """The number of each label's class. Raises `UsageError` for a label that is no class."""
        return self._native.labels([word_of(value) for value in y])

    def _check_names(self, wanted: list[str], names: list[str]) -> None:
        passed = [*self.description.get("ignore", []), self.description.get("label", {}).get("name")]
        missing = [name for name in wanted if name not in names]
        strange = [name for name in names if name not in wanted and name not in passed]
        twice = sorted({name for name in names if names.count(name) > 1})
        if missing or strange or twice:
            raise UsageError(
                f"the columns do not fit: missing are {missing}, not known are {strange}, there twice are {twice}",
                "pass a frame of the model's columns, in any order, or X.to_numpy() to take them by count",
            )


def word_of(value: Any) -> str:
    """A class, or a cell of words, as text: 1.0 is the word 1, as frames make whole numbers beside missing ones."""
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


def cell_of(value: Any, kind: str) -> str:
    """A cell as text; empty where there is no value."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(value, (float, np.floating)):
        number = float(value)
        if number != number:
            return ""
        return repr(number) if kind == "number" else word_of(number)
    if isinstance(value, (bool, np.bool_)) and kind == "number":
        return str(int(value))
    if kind == "date" and hasattr(value, "date"):
        return str(value.date())
    return str(value)


def _column(X: Any, index: int) -> list[Any]:
    values = X.iloc[:, index] if hasattr(X, "iloc") else X[X.columns[index]]
    return list(values.tolist() if hasattr(values, "tolist") else values)
