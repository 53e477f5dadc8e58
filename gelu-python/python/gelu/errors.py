"""What can go wrong, sorted by who must act. Each text says what happened and, where it is known, what to do next.

====================  =================================================================================
exception             who acts
====================  =================================================================================
`UsageError`          the caller: shapes, options, values that do not fit
`FileError`           whoever owns the file: missing, unreadable, damaged, exposed to others
`NetworkError`        whoever runs the network or the server: unreachable, silent, gone, not trusted
`IncompatibleError`   both parties: another version, cryptosystem or size of keys
`RefusedError`        the server's operator: a rule of the server says no
`BudgetSpent`         the server's operator: answering on would let this account solve for the weights
`DataExposed`         the owner of the data: the sum over so few rows would expose them
`PeerError`           nobody here: the other side sent what no honest party sends
`InternalError`       the authors of this package: please report it
====================  =================================================================================
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


class GeluError(Exception):
    """The base of all exceptions of this package."""

    what: str
    """What happened, in a sentence."""
    advice: str | None
    """What to do next, where it is known."""
    answered: NDArray[Any] | None
    """Of a prediction that ended early: the answers of the first rows, which are paid for: see `Classifier.answered_`."""
    report: dict[str, Any] | None
    """Of a training that ended early: what was committed by then, and stays."""

    def __init__(self, what: str, advice: str | None = None) -> None:
        self.what = _in_python(what)
        self.advice = None if advice is None else _in_python(advice)
        self.answered = None
        self.report = None
        super().__init__(str(self))

    def __str__(self) -> str:
        return self.what if self.advice is None else f"{self.what}; next: {self.advice}"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"answered": self.answered, "report": self.report}
        return (type(self), (self.what, self.advice), state)


class UsageError(GeluError, ValueError):
    """The caller must act: a shape, an option or a value that does not fit."""


class FileError(GeluError, OSError):
    """Whoever owns the file must act."""


class NetworkError(GeluError, ConnectionError):
    """The server cannot be reached, is silent or gone, or the parties do not trust each other's certificates."""


class IncompatibleError(GeluError):
    """Both parties are honest and have no version, cryptosystem or size of keys in common."""


class RefusedError(GeluError):
    """A rule of the server, or of its operator, says no."""


class BudgetSpent(RefusedError):
    """The server's ledger says no: with more answers this account could solve for the model's weights.

    The ledger counts by account and over all sessions: asking again later does not help.
    """


class DataExposed(GeluError):
    """This side says no: the sum of a lease over so few different rows would expose them to the server."""


class PeerError(GeluError):
    """The other side sent what no honest party sends; the session has ended."""


class InternalError(GeluError):
    """A mistake in this package: please report it."""


class SaturationWarning(UserWarning):
    """Values were cut off at the bound of the model's number format: answers are of the cut-off values.

    Scale the inputs as those of the training were, or give the model more integer bits
    (`Precision.activation_integer`).
    """


def _in_python(text: str) -> str:
    """Options of the program as parameters of this package: `--lease-samples` is `lease_samples`."""
    return re.sub(r"--([a-z][a-z-]*[a-z])", lambda option: option[1].replace("-", "_"), text)
