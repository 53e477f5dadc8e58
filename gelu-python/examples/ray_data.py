"""Asks about a table of any size from several processes: `gelu.Classifier`, mapped over Ray Data.

    pip install gelu 'ray[data]' pandas scikit-learn

    python ray_data.py                       # both parties here, on Iris: the answers are compared
    python ray_data.py HOST:PORT 'rows/*.csv' answers --id patient --account alice --certs certs --workers 8

Each worker is a process with a classifier of its own: a key in memory and one session, which opens at its first batch
and is kept for all of them. Rows stream: neither the table nor the answers are ever in one place. Answers have the
rows' ids and are in the rows' order. Ray is started here, unless RAY_ADDRESS names a cluster.

All workers are one account, so one budget. Where the server refuses, the run ends with the exception's own name
(`gelu.BudgetSpent`), and files of answers that are complete stay. Ray starts a worker that died again and asks its last
batch again: those rows are then counted twice.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import ray
import ray.data

import gelu


class Worker:
    """One process: a classifier, and its session for all batches."""

    def __init__(self, id: str, options: dict[str, Any]) -> None:
        # Ray gives each worker a processor; without this line each would compute on all of them.
        os.environ.setdefault("RAYON_NUM_THREADS", "1")
        self.id = id
        self.classifier = gelu.Classifier(**options).__enter__()

    def __call__(self, rows: pd.DataFrame) -> pd.DataFrame:
        words = self.classifier.predict(rows.drop(columns=[self.id]))
        return pd.DataFrame({self.id: rows[self.id], "class": words})


def classify(
    table: ray.data.Dataset, id: str, workers: int = 2, rows: int = 1024, **options: Any
) -> ray.data.Dataset:
    """The id and the class of each row, in the rows' order. Nothing is asked before the answers are taken.

    `id` is the column that names the rows: it never leaves this machine. A worker gets `rows` of them at a time;
    `options` are those of `gelu.Classifier`, with `server` as HOST:PORT.
    """
    processors = int(ray.cluster_resources().get("CPU", 0))
    if processors <= workers:
        # A worker keeps its processor to the end, and Ray would wait for ever for another one.
        raise ValueError(
            f"{workers} workers leave none of Ray's {processors} processors to read rows with; "
            f"take fewer workers, or start Ray with num_cpus={workers + 1}"
        )
    # The table's own: it has a copy of what was in force when it was made.
    context = table.context
    context.execution_options.preserve_order = True
    # Not as a text within an exception of Ray's: see `by_name`.
    context.raise_original_map_exception = True
    return table.map_batches(
        Worker,
        fn_constructor_args=(id, options),
        batch_format="pandas",
        batch_size=rows,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )


def start(workers: int) -> None:
    """Starts Ray on this machine, with a processor for each worker and one for what reads the rows: they may share."""
    if "RAY_ADDRESS" not in os.environ:
        ray.init("local", num_cpus=max(os.cpu_count() or 1, workers + 1))
    else:
        ray.init()


@contextmanager
def by_name() -> Iterator[None]:
    """Raises what a worker has raised, and not what Ray has wrapped around it."""
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while cause is not None and type(cause).__module__ != gelu.errors.__name__:
            cause = getattr(cause, "cause", None) or cause.__cause__
        raise (cause or error) from None


def here() -> None:
    """A server of this machine, Iris ten times over, and the same answers by one classifier alone."""
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    iris = load_iris(as_frame=True)
    names = iris.target_names[iris.target]
    model = gelu.from_sklearn(make_pipeline(StandardScaler(), LogisticRegression()).fit(iris.data, names))
    rows = pd.concat([iris.data] * 10, ignore_index=True)
    rows.insert(0, "flower", [f"flower {number}" for number in range(len(rows))])
    start(workers=2)
    with gelu.serve(model, backend="lattice", allow_model_extraction=True) as server:
        server.admit("client")
        options = {"server": server.url, "certs": str(server.certs), "backend": server.backend}
        with by_name():
            answers = classify(ray.data.from_pandas(rows).repartition(8), "flower", rows=200, **options).to_pandas()
        alone = gelu.Classifier(**options).predict(rows.drop(columns=["flower"]))
    assert (answers["flower"] == rows["flower"]).all() and (answers["class"] == alone).all()
    right = np.mean(answers["class"] == np.tile(names, 10))
    print(answers.head())
    print(f"{len(answers)} rows by 2 workers, {right:.1%} right; the same answers as by one classifier alone")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", nargs="?", help="HOST:PORT; without it both parties are here")
    parser.add_argument("table", nargs="?", help="CSV files with a header")
    parser.add_argument("out", nargs="?", help="folder for the answers, as CSV files")
    parser.add_argument("--id", default="id", help="column that names the rows")
    parser.add_argument("--account", default="client")
    parser.add_argument("--certs", default="certs")
    parser.add_argument("--backend", default="paillier")
    parser.add_argument("--mode", choices=["open", "blind"])
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    if args.server is None:
        return here()
    if args.out is None:
        parser.error("name the server, the table and the folder for the answers")
    options = {name: getattr(args, name) for name in ("server", "account", "backend", "mode")}
    # Workers have folders of their own.
    options["certs"] = os.path.abspath(args.certs)
    start(args.workers)
    with by_name():
        answers = classify(ray.data.read_csv(args.table), args.id, args.workers, **options)
        answers.write_csv(os.path.abspath(args.out))


if __name__ == "__main__":
    main()
