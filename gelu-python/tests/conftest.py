"""What several tests use: small data, small models, cheap servers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import gelu

CLEAR = "insecure-clear"


@pytest.fixture(scope="session")
def iris() -> tuple[np.ndarray, np.ndarray]:
    """Rows and class words, in another order each time it would matter."""
    data = load_iris()
    order = np.random.default_rng(1).permutation(len(data.data))
    return data.data[order], data.target_names[data.target][order]


@pytest.fixture(scope="session")
def pipeline(iris: tuple[np.ndarray, np.ndarray]) -> Pipeline:
    """The smallest one: five coefficients for each class."""
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(*iris)


@pytest.fixture(scope="session")
def model(pipeline: Pipeline) -> gelu.Model:
    return gelu.from_sklearn(pipeline, name="iris")


@pytest.fixture
def server(model: gelu.Model) -> Iterator[gelu.Server]:
    """Encrypts nothing, counts nothing."""
    with gelu.serve(model, backend=CLEAR, allow_model_extraction=True) as server:
        yield server
