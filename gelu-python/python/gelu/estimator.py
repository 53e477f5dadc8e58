"""A network that is trained under encryption, as an estimator of scikit-learn."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data

from .classifier import Classifier, Identity, Progress
from .errors import SaturationWarning, UsageError
from .inputs import Inputs, Matrix, classes_of
from .model import Model, fresh
from .server import Server, serve


class EncryptedMLP(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A multi-layer perceptron, trained under encryption by a server that does not see the rows.

    `fit(X, y, server=…)` trains the model of that server, whose operator chose its layers; `fit(X, y)` starts a server
    process on this machine for the time of the training, with the layers `hidden`, and keeps the model afterwards. Either
    way the weights equal those of the same training in the clear, bit for bit.

    ========  ==================================================================================================
    party     learns from a training
    ========  ==================================================================================================
    server    the account, the number of rows, batches and steps; the new weights, which are a sum over all rows of a
              lease: over too few different rows it would expose them, so such leases are refused (`DataExposed`)
    client    the sums of every layer for its own rows, with masks on them: the server's ledger counts
    ========  ==================================================================================================

    With `server`, the schema of its model says which columns there are, how they are scaled and which classes there are: hand in
    the frame as it is. Without one, inputs are taken as they are: put a `StandardScaler` before it in a `Pipeline`. Values
    beyond 8 are cut off, with a `SaturationWarning`.

    Parameters
    ----------
    hidden, activation : widths of the hidden layers, and "sigmoid", "tanh" or "relu"; only without a server.
    rate : learning rate; only without a server, whose operator sets it.
    epochs, batch : how often each row is used, and rows of a mini-batch (all rows, where there are fewer).
    classes : all classes in the server's order, where its model has no schema and `y` does not show each of them.
    backend, key_bits, account, certs, key : as of `Classifier`. Earlier sums over the same rows are counted in
        `clients/ACCOUNT.sums` of `certs`.
    allow_input_reconstruction : give the protection of the rows up. Without a server it is given up: both parties are
        this machine.
    random_state : draws the first weights (without a server) and the order of rows; never keys.
    progress : is called with the mini-batches done and all of them.
    """

    def __init__(
        self,
        hidden: tuple[int, ...] = (12,),
        *,
        activation: str = "sigmoid",
        epochs: int = 5,
        batch: int = 10,
        rate: float = 0.5,
        classes: Any = None,
        backend: str = "paillier",
        key_bits: int | None = None,
        account: str = "client",
        certs: str | Path = "certs",
        key: str | Path | None = None,
        allow_input_reconstruction: bool = False,
        random_state: Any = None,
        progress: Progress | None = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.epochs = epochs
        self.batch = batch
        self.rate = rate
        self.classes = classes
        self.backend = backend
        self.key_bits = key_bits
        self.account = account
        self.certs = certs
        self.key = key
        self.allow_input_reconstruction = allow_input_reconstruction
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: ArrayLike, y: ArrayLike, server: str | Server | None = None) -> EncryptedMLP:
        """Trains under encryption, on rows `[rows, features]` and their classes.

        Leaves this machine: with `server`, encrypted rows and masked sums of updates, as the class says; without it,
        nothing.

        Where it ends early, what was committed stays: `report_`, and `.report` of the exception, say how much. Raises
        `DataExposed` or `UsageError` before a key is used where no lease over these rows is safe.
        """
        if self.epochs < 1 or self.batch < 1:
            raise UsageError(f"epochs is {self.epochs} and batch {self.batch}: both must be 1 or more")
        if server is not None:
            return self._fit_elsewhere(X, y, server)
        rows: Matrix
        rows, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise UsageError(f"y has 1 class, {self.classes_[0]!r}: there is nothing to tell apart")
        seed = self._seed()
        model = fresh(self._architecture(rows.shape[1], len(self.classes_)), seed=seed)
        with serve(
            model, backend=self.backend, key_bits=self.key_bits, rate=self.rate, allow_model_extraction=True
        ) as own:
            try:
                self._train(self._classifier(own), lambda _: (rows, labels.tolist()), seed, True)
            finally:
                self.model_: Model | None = own.model()
        self.classifier_: Classifier | None = None
        return self

    def _fit_elsewhere(self, X: ArrayLike, y: ArrayLike, server: str | Server) -> EncryptedMLP:
        """The server's schema says which columns and classes there are; without one, `classes` and the order of columns."""
        _, y = validate_data(self, X, y, dtype=None, ensure_all_finite=False)
        check_classification_targets(y)
        self.model_, self.classifier_ = None, self._classifier(server)

        def rows_and_labels(inputs: Inputs) -> tuple[Matrix, list[int]]:
            known = () if inputs.schema is None else inputs.schema.classes
            self.classes_ = np.asarray(known or (np.unique(y) if self.classes is None else self.classes))
            if len(self.classes_) != inputs.classes:
                raise UsageError(
                    f"there are {len(self.classes_)} classes, {list(self.classes_)}, and the server's model tells "
                    f"{inputs.classes} apart",
                    "name all of them, in the server's order, by `classes`",
                )
            if known:
                return inputs.matrix(X), inputs.labels(y)
            numbers = {word: number for number, word in enumerate(self.classes_.tolist())}
            wrong = next((label for label in np.asarray(y).tolist() if label not in numbers), None)
            if wrong is not None:
                raise UsageError(f"the label {wrong!r} is none of the classes {list(numbers)}")
            return inputs.matrix(X), [numbers[label] for label in np.asarray(y).tolist()]

        self._train(self.classifier_, rows_and_labels, self._seed(), self.allow_input_reconstruction)
        return self

    def predict_proba(self, X: ArrayLike) -> Matrix:
        """Class probabilities, `[rows, classes]`.

        Leaves this machine: after `fit` with a server, the rows, encrypted, as `Classifier.predict_proba` says; after
        `fit` without one, nothing: the model is here, and answers in the clear in the integers of the protocol.
        """
        check_is_fitted(self)
        if self.classifier_ is not None:
            return self.classifier_.predict_proba(X)
        assert self.model_ is not None  # one of the two is there after `fit`
        return self.model_.predict_proba_clear(validate_data(self, X, dtype=np.float64, reset=False))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The class of each row. Leaves this machine: what `predict_proba` sends."""
        check_is_fitted(self)
        if self.classifier_ is not None:
            answers, _ = self.classifier_._ask(X, probabilities=False)
        else:
            answers = self.predict_proba(X)
        classes: NDArray[Any] = self.classes_[classes_of(answers)]
        return classes

    def _architecture(self, features: int, classes: int) -> dict[str, Any]:
        layers: list[dict[str, Any]] = []
        for width in self.hidden:
            layers.append({"layer": "dense", "outputs": int(width)})
            layers.append({"layer": "activation", "function": self.activation})
        return {"input": [features], "layers": [*layers, {"layer": "dense", "outputs": classes}]}

    def _seed(self) -> int:
        return int(check_random_state(self.random_state).randint(2**31))

    def _classifier(self, server: str | Server) -> Classifier:
        return Classifier(
            server,
            self.account,
            certs=self.certs,
            key=self.key,
            backend=self.backend,
            key_bits=self.key_bits,
        )

    def _train(
        self,
        classifier: Classifier,
        data: Callable[[Inputs], tuple[Matrix, list[int]]],
        seed: int,
        reconstruction: bool,
    ) -> None:
        identity: Identity = classifier._identity
        done = steps = 0

        def observe(event: str, value: float) -> None:
            nonlocal done
            if event == "step" and self.progress is not None:
                done += 1
                self.progress(done, steps)

        session = identity.connect(observe)
        try:
            rows, labels = data(classifier._inputs(json.loads(session.card())))
            batch = min(self.batch, len(rows))
            steps = self.epochs * (len(rows) // batch)
            bits = identity.bits(session, training=True)
            sums = identity.certs / "clients" / f"{identity.account}.sums"
            session.prepare(rows, labels, batch, steps, seed, bits, reconstruction, sums)
            session.open(identity.secret(bits))
            report, ended = session.train()
        finally:
            session.close()
        self.report_: dict[str, Any] = json.loads(report)
        if cut_off := self.report_.get("saturations"):
            warnings.warn(f"{cut_off} values were cut off", SaturationWarning, stacklevel=4)
        if ended is not None:
            if hasattr(ended, "report"):
                ended.report = self.report_
            raise ended
