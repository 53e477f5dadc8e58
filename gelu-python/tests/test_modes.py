"""Open and blind queries, sessions that are kept, and budgets that are used to their end."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import gelu

CLEAR = "insecure-clear"


@pytest.mark.parametrize("backend", ["paillier", "lattice", CLEAR])
def test_blind_answers_equal_the_open_ones(model, iris, backend):
    X = iris[0][:9]
    with gelu.serve(model, backend=backend, answer="scores", allow_model_extraction=True) as server:
        opened, blind = (gelu.Classifier(server, mode=mode, batch=4) for mode in ("open", "blind"))
        expected = opened.predict_proba(X)
        assert np.array_equal(blind.predict_proba(X), expected)
        assert np.array_equal(expected, model.predict_proba_clear(X))
        told = gelu.Classifier(server, mode="blind", answer="class", tickets=5)
        assert (told.predict(X) == opened.predict(X)).all()
        assert (told.answered_ == expected.argmax(axis=1)).all() and told.answered_.dtype.kind == "i"
        card = told.card()
        assert (card["modes"], card["answer"], card["tickets"]) == (["open", "blind"], "scores", 256)


def test_what_the_server_does_not_offer_is_refused_before_a_key(model, iris):
    X = iris[0][:2]

    def refused(server, match, call="predict", **options):
        client = gelu.Classifier(server, **options)
        with pytest.raises(gelu.UsageError, match=match):
            getattr(client, call)(X)
        assert client._identity._secret is None

    with gelu.serve(model, backend=CLEAR, modes="blind", most_tickets=3) as server:
        refused(server, "no open queries.*next: .*mode blind", mode="open")
        refused(server, "no scores.*next: .*answer scores", mode="blind", answer="scores")
        refused(server, "the class alone.*next: call predict", call="predict_proba")
        refused(server, "hold 3 tickets", tickets=4)
        refused(server, "mode is .sideways., must be one of open, blind", mode="sideways")
        refused(server, "answer is .all., must be one of class, scores", answer="all")
        assert (gelu.Classifier(server).predict(X) == model.predict_clear(X)).all(), "what it prefers"
    with gelu.serve(model, backend=CLEAR, modes=["open"]) as server:
        refused(server, "no blind queries", mode="blind")
        refused(server, "answer and tickets are for blind queries", tickets=1)
    with pytest.raises(gelu.UsageError, match="tickets is -1"):
        gelu.Classifier("localhost:1", tickets=-1)


def test_a_model_that_one_open_query_gives_away_is_served_blind():
    narrow = gelu.fresh({"input": [1], "layers": [{"layer": "dense", "outputs": 2}]})
    with gelu.serve(narrow, backend=CLEAR) as server:
        client = gelu.Classifier(server)
        assert client.card()["modes"] == ["blind"]
        X = np.array([[0.5], [-0.5]])
        assert (client.predict(X) == narrow.predict_clear(X)).all()


@pytest.mark.parametrize("mode", ["open", "blind"])
@pytest.mark.parametrize("batch", [None, 64, 7])
def test_a_budget_is_used_to_its_end(iris, mode, batch):
    """A query that is refused is asked again for half as many rows, whatever their number was."""
    X = np.tile(iris[0], (20, 1))
    model = gelu.fresh({"input": [4], "layers": [{"layer": "dense", "outputs": 3}]})
    with gelu.serve(model, backend=CLEAR, answer="scores") as server:
        client = gelu.Classifier(server, account="alice", mode=mode, batch=batch)
        with client, pytest.raises(gelu.BudgetSpent) as spent:
            client.predict_proba(X)
        answered = len(spent.value.answered)
        assert f"{answered} of {len(X)} rows are answered" in str(spent.value)
        assert np.array_equal(spent.value.answered, model.predict_proba_clear(X[:answered]))
        bob = gelu.Classifier(server, account="bob", mode=mode, batch=1)
        with bob, pytest.raises(gelu.BudgetSpent) as one_by_one:
            bob.predict_proba(X)
        assert 0 < answered == len(one_by_one.value.answered)


def test_a_with_block_has_one_session(model, iris, monkeypatch):
    X = iris[0]
    connected = []
    connect = gelu.classifier.Identity.connect
    monkeypatch.setattr(
        gelu.classifier.Identity, "connect", lambda *own: connected.append(own) or connect(*own)
    )
    with gelu.serve(model, backend=CLEAR, allow_model_extraction=True) as server:
        with gelu.Classifier(server, mode="blind", tickets=8) as client:
            for start in range(0, 12, 4):
                rows = X[start : start + 4]
                assert (client.predict(rows) == model.predict_clear(rows)).all()
            with pytest.raises(gelu.UsageError, match="rows"):
                client.predict(X[:, :3])
            with pytest.raises(gelu.UsageError, match="the class alone"):
                client.predict_proba(X[:2])
            copy = pickle.loads(pickle.dumps(client))
            assert len(connected) == 1
            client.close()
            client.predict(X[:1])
            assert len(connected) == 2
        assert client._kept is None and copy._kept is None
        client.predict(X[:1])
        copy.predict(X[:1])
        assert len(connected) == 4 and client._kept is None


def test_a_session_that_broke_is_not_kept(model, iris):
    X = iris[0]

    def progress(done, total):
        if len(calls := progress.calls) == 1:
            calls.append(done)
            raise ZeroDivisionError
        calls.append(done)

    progress.calls = []
    with gelu.serve(model, backend=CLEAR, allow_model_extraction=True) as server:
        with gelu.Classifier(server, progress=progress, batch=5) as client:
            with pytest.raises(ZeroDivisionError):
                client.predict(X)
            assert len(client.answered_) == 10, "what was answered stays"
            assert (client.predict(X[:9]) == model.predict_clear(X[:9])).all()
