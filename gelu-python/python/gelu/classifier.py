"""The client of a server: predictions under encryption."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _native
from .errors import GeluError, IncompatibleError, RefusedError, SaturationWarning, UsageError
from .inputs import Answers, Inputs, Matrix
from .schema import Schema
from .server import Server

Progress = Callable[[int, int], object]


class Identity:
    """Which server, and who we are there: an address, an account with its certificate, and a key pair.

    Nothing leaves this machine before `connect`. The secret key never does.
    """

    def __init__(
        self,
        server: str | Server,
        account: str,
        certs: str | Path,
        key: str | Path | None,
        backend: str,
        key_bits: int | None,
    ) -> None:
        if isinstance(server, Server):
            server.admit(account)
            certs, backend, key_bits = server.certs, server.backend, key_bits or server.key_bits
        self.url: str = server.url if isinstance(server, Server) else server
        self.account, self.certs, self.backend, self.key_bits = account, Path(certs), backend, key_bits
        self.key: Path | None = None if key is None else Path(key)
        self._secret: _native.Key | None = None

    def connect(self, observer: Callable[[str, float], object] | None = None) -> _native.Session:
        """Greets the server: it learns our account and address, no data and no key."""
        return _native.Session.connect(self.url, self.certs, self.account, self.backend, observer)

    def bits(self, session: _native.Session, training: bool) -> int:
        """The size of the key, before there is one: one that the server takes and whose numbers are large enough."""
        bits = self._bits(training)
        chosen = self._secret is not None or self.key_bits is not None
        try:
            session.check_key_bits(bits)
        except UsageError:
            if chosen or training:
                raise
            bits = self._bits(training=True)
            session.check_key_bits(bits)
        return bits

    def _bits(self, training: bool) -> int:
        secret = self._secret
        if secret is None and self.key is not None and self.key.exists():
            secret = self._secret = _native.Key.load(self.backend, self.key)
        if secret is not None:
            if self.key_bits not in (None, secret.bits):
                where = "in memory" if self.key is None else f"in {self.key}"
                raise IncompatibleError(f"the key {where} has {secret.bits} bits, not {self.key_bits}")
            return secret.bits
        return self.key_bits or _native.Key.default_bits(self.backend, self.key is not None, training)

    def secret(self, bits: int) -> _native.Key:
        """The key: of the file, which is made if it is not there, or in memory for as long as this object lives."""
        if self._secret is None:
            if self.key is None:
                self._secret = _native.Key.fresh(self.backend, bits)
            else:
                self._secret = _native.Key.create(self.backend, bits, self.key)
        return self._secret

    def __getstate__(self) -> dict[str, Any]:
        """No key travels with a copy: one in memory is made anew there, one in a file is read again."""
        return {**vars(self), "_secret": None}


@dataclass
class _Open:
    """An open session."""

    session: _native.Session
    inputs: Inputs
    batch: int


class Classifier:
    """Asks a server for the classes of rows that it cannot see.

    ========  ==================================================================================================
    party     learns from a prediction
    ========  ==================================================================================================
    server    the account, the number of rows, the time; of the rows nothing: they arrive encrypted or under masks
    client    by open queries, the sums of every layer for its own rows: equations about the weights, which the
              server's ledger counts; by blind queries the class of its own rows, or the scores, and no sums
    ========  ==================================================================================================

    Columns, scales and class words are those of the model's schema, which the server sends first: see `Schema`.

    Each call has a session of its own. In a `with` block there is one for all calls, from the first one on:

        with gelu.Classifier(server, mode="blind", tickets=64) as classifier:
            ...

    Parameters: `server` is HOST:PORT, or a `Server` of this machine, which then gives certificates and cryptosystem.
    `certs` is the folder with `ca.pem` and `clients/ACCOUNT.pem` and `.key`. `key` is the file of the key pair: made at the
    first use, readable by its owner only, never sent; without it there is a key in memory, which ends with this object.
    `backend` must be the server's. `schema` is the one that the model must have, if you know it: another one is refused.
    `batch` is how many rows a query has; by default as many as the cryptosystem is fastest at, or 16 of a blind one.
    `progress` is called with the rows answered and all rows after each query.

    `mode` is "open" or "blind", by default what the server prefers; both give the same answers. A blind query tells what
    `answer` says: "class", or "scores" and with them the probabilities, which is the default where the server tells them.
    It spends a ticket for each row; `tickets` of them are made when the session opens, by default as queries need them.
    """

    def __init__(
        self,
        server: str | Server,
        account: str = "client",
        *,
        certs: str | Path = "certs",
        key: str | Path | None = None,
        backend: str = "paillier",
        key_bits: int | None = None,
        schema: Schema | None = None,
        batch: int | None = None,
        progress: Progress | None = None,
        mode: str | None = None,
        answer: str | None = None,
        tickets: int | None = None,
    ) -> None:
        if batch is not None and batch < 1:
            raise UsageError(f"batch is {batch}, must be 1 or more")
        if tickets is not None and tickets < 0:
            raise UsageError(f"tickets is {tickets}, must be 0 or more")
        self._identity = Identity(server, account, certs, key, backend, key_bits)
        self.schema: Schema | None = schema
        """The one that the model must have."""
        self.batch, self.progress = batch, progress
        self.mode, self.answer, self.tickets = mode, answer, tickets
        self.answered_: Answers | None = None
        """The answers of the last call, also of one that ended early: the first rows, answered and paid for. Probabilities
        `[rows, classes]`, or where the server tells the class alone, its number for each row."""
        self._keeps = False
        self._kept: _Open | None = None

    def card(self) -> dict[str, Any]:
        """What the server says about its model and its terms.

        Leaves this machine: a greeting. The server learns our account and address.
        """
        session = self._identity.connect()
        try:
            card: dict[str, Any] = json.loads(session.card())
            return card
        finally:
            session.close()

    def predict_proba(self, X: ArrayLike) -> Matrix:
        """Class probabilities, `[rows, classes]`, of rows `[rows, features]`: an array or a frame.

        Leaves this machine: the rows, encrypted or under masks; what each party learns stands at the class.

        The lock of the interpreter is free meanwhile, and Ctrl-C ends it. A query that the server refuses is asked again
        for half as many rows, so all that is left of a budget can be used. Raises `BudgetSpent` when the account may ask no
        more: `.answered` of the exception, and `answered_` of this object, are the rows answered by then. Raises
        `UsageError`, before a key is used, where the server tells the class alone.
        """
        return self._ask(X, probabilities=True)[0]

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class of each row, by its word where the model's schema has words.

        Leaves this machine, and is raised: the same as in `predict_proba`; a server that tells the class alone is enough.
        """
        answers, inputs = self._ask(X, probabilities=False)
        return inputs.words(answers)

    def close(self) -> None:
        """Ends the session of a `with` block, if there is one; the next call opens another."""
        kept, self._kept = self._kept, None
        if kept is not None:
            kept.session.close()

    def __enter__(self) -> Classifier:
        self._keeps = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._keeps = False
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """No session travels with a copy."""
        return {**vars(self), "_keeps": False, "_kept": None}

    def __repr__(self) -> str:
        return f"<gelu.Classifier of {self._identity.account!r} at {self._identity.url}>"

    def _ask(self, X: ArrayLike, probabilities: bool) -> tuple[Answers, Inputs]:
        self.answered_ = None
        opened, rows = self._session(X, probabilities)
        session, before = opened.session, opened.session.saturations()
        keep = False
        try:
            answers, ended = session.ask(rows, opened.batch, self.progress)
            cut_off = session.saturations() - before
            # A refusal leaves the session open.
            keep = self._keeps and (ended is None or isinstance(ended, RefusedError))
        finally:
            if not keep:
                self._kept = None
                session.close()
        done = len(answers)
        self.answered_ = answers if done > 0 else None
        if ended is not None:
            if done > 0 and isinstance(ended, GeluError):
                ended.answered = answers
                ended.what = f"{done} of {len(rows)} rows are answered (see .answered), then: {ended.what}"
            raise ended
        if cut_off:
            warnings.warn(f"{cut_off} values were cut off", SaturationWarning, stacklevel=3)
        return answers, opened.inputs

    def _session(self, X: ArrayLike, probabilities: bool) -> tuple[_Open, Matrix]:
        """An open session, and the rows as it takes them. Whatever can be refused is refused here, before a key is made
        or used."""
        if self._kept is not None:
            kept = self._kept
            _check(kept.inputs, probabilities)
            return kept, kept.inputs.matrix(X)
        session = self._identity.connect()
        try:
            card = json.loads(session.card())
            agreed = session.agree(self.mode, self.answer, self.tickets)
            inputs = self._inputs(card, agreed)
            _check(inputs, probabilities)
            rows = inputs.matrix(X)
            bits = self._identity.bits(session, training=False)
            batch = self.batch or session.rows_of_query(bits)
            session.open(self._identity.secret(bits))
        except BaseException:
            session.close()
            raise
        opened = _Open(session, inputs, batch)
        if self._keeps:
            self._kept = opened
        return opened, rows

    def _inputs(self, card: dict[str, Any], agreed: str = "open") -> Inputs:
        schema = None if card["schema"] is None else Schema.from_json(card["schema"])
        if self.schema is not None and self.schema != schema:
            raise IncompatibleError(
                f"the server's model {card['name']!r} has {schema!r}, which is not the schema that was asked for",
                "compare both: Classifier.card()['schema']; ask the server's operator which one is right",
            )
        shape = tuple(json.loads(card["architecture"])["input"])
        return Inputs(shape, card["classes"], schema, tells_probabilities=agreed != "class")


def _check(inputs: Inputs, probabilities: bool) -> None:
    if probabilities and not inputs.tells_probabilities:
        raise UsageError(
            "a blind query tells the class alone here, and no probabilities",
            "call predict, or take answer=\"scores\" where the server tells them (see card())",
        )
