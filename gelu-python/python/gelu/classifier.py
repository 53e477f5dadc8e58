"""The client of a server: predictions under encryption."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _native
from .errors import GeluError, IncompatibleError, RefusedError, SaturationWarning, UsageError
from .inputs import Inputs, Matrix
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


class Classifier:
    """Asks a server for the classes of rows that it cannot see.

    ========  ==================================================================================================
    party     learns from a prediction
    ========  ==================================================================================================
    server    the account, the number of rows, the time; of the rows nothing: they arrive encrypted, and between
              layers this side computes the activations and encrypts again
    client    the sums of every layer for its own rows: equations about the weights, which the server's ledger counts
    ========  ==================================================================================================

    Columns, scales and class words are those of the model's schema, which the server sends first: see `Schema`.

    Parameters: `server` is HOST:PORT, or a `Server` of this machine, which then gives certificates and cryptosystem.
    `certs` is the folder with `ca.pem` and `clients/ACCOUNT.pem` and `.key`. `key` is the file of the key pair: made at the
    first use, readable by its owner only, never sent; without it there is a key in memory, which ends with this object.
    `backend` must be the server's. `schema` is the one that the model must have, if you know it: another one is refused.
    `batch` is how many rows a query has; by default as many as the cryptosystem is fastest at. `progress` is called with the
    rows answered and all rows after each query.
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
    ) -> None:
        if batch is not None and batch < 1:
            raise UsageError(f"batch is {batch}, must be 1 or more")
        self._identity = Identity(server, account, certs, key, backend, key_bits)
        self.schema: Schema | None = schema
        """The one that the model must have."""
        self.batch, self.progress = batch, progress
        self.answered_: Matrix | None = None
        """The probabilities of the last call, also of one that ended early: the first rows, answered and paid for."""

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

        Leaves this machine: the rows, encrypted; what each party learns stands at the class.

        The lock of the interpreter is free meanwhile, and Ctrl-C ends it. Raises `BudgetSpent` when the account may ask
        no more: `.answered` of the exception, and `answered_` of this object, are the rows answered by then.
        """
        return self._ask(X)[0]

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class of each row, by its word where the model's schema has words.

        Leaves this machine: the same as in `predict_proba`.
        """
        probabilities, inputs = self._ask(X)
        return inputs.words(probabilities)

    def __repr__(self) -> str:
        return f"<gelu.Classifier of {self._identity.account!r} at {self._identity.url}>"

    def _ask(self, X: ArrayLike) -> tuple[Matrix, Inputs]:
        self.answered_ = None
        session = self._identity.connect()
        try:
            # Whatever can be refused is refused here, before a key is made or used.
            inputs = self._inputs(json.loads(session.card()))
            rows = inputs.matrix(X)
            bits = self._identity.bits(session, training=False)
            batch = self.batch or session.rows_of_query(bits)
            session.open(self._identity.secret(bits))
            answers = self._queries(session, rows, batch)
            if cut_off := session.saturations():
                warnings.warn(f"{cut_off} values were cut off", SaturationWarning, stacklevel=3)
            return answers, inputs
        finally:
            session.close()

    def _inputs(self, card: dict[str, Any]) -> Inputs:
        schema = None if card["schema"] is None else Schema.from_json(card["schema"])
        if self.schema is not None and self.schema != schema:
            raise IncompatibleError(
                f"the server's model {card['name']!r} has {schema!r}, which is not the schema that was asked for",
                "compare both: Classifier.card()['schema']; ask the server's operator which one is right",
            )
        return Inputs(tuple(json.loads(card["architecture"])["input"]), card["classes"], schema)

    def _queries(self, session: _native.Session, rows: Matrix, batch: int) -> Matrix:
        """Row after row. A server refuses a query as a whole: it is asked again for half as many, so that an account
        can use all that is left of its budget."""
        answers: list[Matrix] = []
        done = 0
        try:
            while done < len(rows):
                query = rows[done : done + batch]
                try:
                    answers.append(session.query(query))
                except RefusedError:
                    if len(query) == 1:
                        raise
                    batch = len(query) // 2
                    continue
                done += len(query)
                if self.progress is not None:
                    self.progress(done, len(rows))
        except GeluError as error:
            if done > 0:
                error.answered = np.concatenate(answers)
                error.what = f"{done} of {len(rows)} rows are answered (see .answered), then: {error.what}"
            raise
        finally:
            self.answered_ = np.concatenate(answers) if answers else None
        return np.concatenate(answers)
