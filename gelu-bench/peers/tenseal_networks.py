#!/usr/bin/env python3
"""CKKS through TenSEAL 0.3.18 (Microsoft SEAL): a dense layer, Conv-1 and LeNet-5 with squares.

    DIR/bin/python gelu-bench/peers/tenseal_networks.py --network dense300|conv1|lenet5 \\
        [--weights FILE] [--images FILE] --runs N

TenSEAL convolves by `im2col`, prepared by the client, and only what fits one ciphertext: Conv-1's 144
windows of 25 pixels, padded to 32, do not fit the 4,096 slots. What it has beside is the product of a
vector with a matrix in the clear, which rotates once a diagonal; so every linear layer is given to it
as a matrix. That is slower than the packing of Orion, and it is what its users can write. Times run
from the image in the clear to its scores in the clear.
"""

import argparse
import statistics
import sys
import time

import numpy as np

import networks
from networks import CONVOLUTION, DENSE, POOL
from report import emit, missing, versions

# A level a layer; log QP is at most 215 of the 218 that 128 bits allow at N = 8192, and SEAL enforces it.
DEGREE, SCALE = 8192, 2**29


def moduli(depth):
    """The primes of a chain with `depth` levels, in bits, the key-switching prime last."""
    return [35, *[29] * depth, 35]


def as_matrix(layer, shape):
    """A linear layer as a matrix `[inputs, outputs]` and a bias, columns by unit vectors."""
    inputs = int(np.prod(shape))
    bias = networks.apply(layer, np.zeros((1, *shape))).ravel()
    rows = networks.apply(layer, np.eye(inputs).reshape(inputs, *shape)).reshape(inputs, -1)
    return rows - bias, bias


def steps(network, divisor):
    """What TenSEAL is told to do: ("mm", matrix, bias) or ("square",), the last one divided."""
    todo, shape = [], tuple(network.input_shape)
    for layer in network.layers:
        if layer.kind in (CONVOLUTION, POOL, DENSE):
            scale = 1 / divisor if layer is network.layers[-1] else 1
            todo.append(("mm", *((part * scale).tolist() for part in as_matrix(layer, shape))))
        else:
            todo.append(("square",))
        shape = networks.apply(layer, np.zeros((1, *shape))).shape[1:]
    return todo


class Session:
    """Keys, and the network as TenSEAL's operations."""

    def __init__(self, network, divisor):
        import tenseal as ts

        start = time.perf_counter()
        self.ts, self.divisor, self.steps = ts, divisor, steps(network, divisor)
        self.moduli = moduli(len(self.steps))
        self.context = ts.context(ts.SCHEME_TYPE.CKKS, DEGREE, -1, self.moduli)
        self.context.global_scale = SCALE
        self.context.generate_galois_keys()
        self.context.generate_relin_keys()
        self.setup_s = time.perf_counter() - start

    def classify(self, image):
        """Scores; seconds of the query, of the server."""
        start = time.perf_counter()
        x = self.ts.ckks_vector(self.context, list(image))
        self.up = len(x.serialize())
        sent = time.perf_counter()
        for kind, *rest in self.steps:
            if kind == "mm":
                x = x.mm(rest[0]) + rest[1]
            else:
                x.square_()
        answered = time.perf_counter()
        self.down = len(x.serialize())
        scores = np.array(x.decrypt()) * self.divisor
        return scores, time.perf_counter() - start, answered - sent


def main():
    parser = argparse.ArgumentParser(description="CKKS through TenSEAL.")
    parser.add_argument("--network", choices=["dense300", "conv1", "lenet5"], required=True)
    parser.add_argument("--weights")
    parser.add_argument("--images")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    try:
        import tenseal  # noqa: F401
    except ImportError as reason:
        missing("TenSEAL", reason)
    try:
        network, images = networks.asked_for(options, "square")
    except (networks.ModelError, OSError) as reason:
        sys.exit(str(reason))
    expected = network.clear(images)
    divisor = networks.power_of_two_above(abs(expected).max() / 4)
    session = Session(networks.folded(network), divisor)
    # No warm-up: a query takes seconds, and nothing is kept between two.
    rows = [session.classify(images[i % len(images)]) for i in range(options.runs)]
    error = networks.check("TenSEAL", [scores for scores, *_ in rows], expected)
    keys = session.context.serialize(save_secret_key=False)
    emit(
        "TenSEAL",
        f"network/{options.network}" + ("" if options.network == "dense300" else "-square"),
        statistics.median(whole for _, whole, _ in rows),
        server_seconds=statistics.median(server for *_, server in rows),
        runs=len(rows),
        max_error=error,
        largest_score=float(abs(expected).max()),
        bytes_up=session.up,
        bytes_down=session.down,
        key_bytes=len(keys),
        setup_seconds=session.setup_s,
        weights=network.source,
        seed=options.seed,
        threads=1,
        security=f"128 bits: N = {DEGREE}, log QP = {sum(session.moduli)} of 218, ternary secret (SEAL enforces it)",
        learns="the server sizes; the client the scores and noise that depends on the weights",
        versions=versions("tenseal"),
    )


if __name__ == "__main__":
    main()
