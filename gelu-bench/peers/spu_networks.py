#!/usr/bin/env python3
"""Secure computation between two parties: SPU 0.9.5 with Cheetah, which needs no dealer.

    DIR/bin/python gelu-bench/peers/spu_networks.py --network dense300|mnist-dense|conv1|lenet5 \\
        [--weights FILE] [--images FILE] [--function square|relu|sigmoid] --runs N

Two runtimes in this process, a thread each, talk over TCP on loopback. Another model than the open split
protocol, the same as blind inference: nobody learns anything but sizes, and the client the scores, provided that
both parties follow the protocol. Cheetah (USENIX Security 2022) makes products by lattice encryption and comparisons
by oblivious transfer. Fixed point, rings of 64 bits, 18 of them fractional (SPU's default).

SPU is told that the server owns the weights and the client the image: products of a number with one that its
owner knows are half as dear as those of two shared numbers. Times run from the image in the clear at the client to its
scores there. Keys and a stock of oblivious transfers are made in the first query, which is reported apart. Bytes and
messages are those of a later query, of both directions, by SPU's own statistics of its link.
"""

import os
import re
import socket
import statistics
import sys
import tempfile
import threading
import time

import numpy as np

import networks
from networks import CONVOLUTION, DENSE, POOL
from report import emit, missing, versions

# Ranks of the parties.
SERVER, CLIENT = 0, 1


def forward(network):
    """The network as a JAX function of one image and of all weights."""
    import jax
    import jax.numpy as jnp

    functions = {"square": jnp.square, "relu": lambda x: jnp.maximum(x, 0), "sigmoid": jax.nn.sigmoid}

    def answer(image, weights):
        x, weights = image, iter(weights)
        for layer in network.layers:
            if layer.kind == CONVOLUTION:
                strides = (layer.stride, layer.stride)
                x = jax.lax.conv_general_dilated(x, next(weights), strides, "VALID")
                x = x + next(weights).reshape(1, -1, 1, 1)
            elif layer.kind == POOL:
                q = layer.window
                sums = jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 1, q, q), (1, 1, q, q), "VALID")
                x = sums / (q * q)
            elif layer.kind == DENSE:
                x = jnp.dot(x.reshape(1, -1), next(weights).T) + next(weights)
            else:
                x = functions[layer.function](x)
        return x

    return answer


class Parties:
    """Both runtimes, connected, with the weights at the server. `log` is a file for what SPU says."""

    def __init__(self, network, log):
        import spu
        import spu.utils.frontend as frontend

        logging = spu.libspu.logging.LogOptions()
        logging.enable_console_logger = False
        logging.system_log_path = self.log = log
        spu.libspu.logging.setup_logging(logging)
        self.shape = [1, *network.input_shape]
        weights = [
            part.astype(np.float32)
            for layer in network.layers
            for part in (layer.weight, layer.bias)
            if part is not None
        ]
        image = np.zeros(self.shape, dtype=np.float32)
        names = [f"in{i}" for i in range(1 + len(weights))]
        self.secret = spu.Visibility.VIS_SECRET
        self.executable, _ = frontend.compile(
            frontend.Kind.JAX, forward(network), (image, weights), {}, names,
            [self.secret] * len(names), lambda out: [f"out{i}" for i in range(len(out))],
        )
        config = spu.RuntimeConfig(protocol=spu.ProtocolKind.CHEETAH, field=spu.FieldType.FM64)
        config.experimental_enable_colocated_optimization = True
        config.enable_pphlo_profile = True
        self.io = spu.Io(2, config)
        link = spu.libspu.link.Desc()
        for rank in range(2):
            link.add_party(f"party{rank}", f"127.0.0.1:{free_port()}")
        shares = [self.io.make_shares(part, self.secret, SERVER) for part in weights]
        self.runtimes = [None, None]

        def connect(rank):
            runtime = spu.Runtime(spu.libspu.link.create_brpc(link, rank), config)
            for name, parts in zip(self.executable.input_names[1:], shares):
                runtime.set_var(name, parts[rank])
            self.runtimes[rank] = runtime

        both(connect)

    def query(self, image):
        """One image: the scores, and what they took."""
        start, processor = time.perf_counter(), time.process_time()
        pixels = np.asarray(image, dtype=np.float32).reshape(self.shape)
        shares = self.io.make_shares(pixels, self.secret, CLIENT)
        answers = [None, None]

        def run(rank):
            runtime = self.runtimes[rank]
            runtime.set_var(self.executable.input_names[0], shares[rank])
            runtime.run(self.executable)
            answers[rank] = runtime.get_var(self.executable.output_names[0])

        both(run)
        scores = np.asarray(self.io.reconstruct(answers)).flatten()
        return scores, {
            "seconds": time.perf_counter() - start,
            "processor_s": time.process_time() - processor,
            **self.carried(),
        }

    def carried(self):
        """Bytes and messages of the last query, both directions. What one party sent the other has received."""
        with open(self.log, encoding="utf-8") as file:
            found = re.findall(
                r"total send bytes (\d+), recv bytes (\d+), send actions (\d+), recv actions (\d+)", file.read()
            )
        one, other = (tuple(map(int, line)) for line in found[-2:])
        if one != (other[1], other[0], other[3], other[2]):
            sys.exit(f"SPU: its parties disagree about what they sent: {one} and {other}")
        return {"bytes": one[0] + one[1], "messages": one[2] + one[3]}


def both(work):
    """Runs `work(rank)` for both parties at the same time."""
    reasons = []

    def guarded(rank):
        try:
            work(rank)
        except Exception as reason:  # the other one would wait for ever
            reasons.append(reason)

    threads = [threading.Thread(target=guarded, args=(rank,), daemon=True) for rank in range(2)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and not reasons:
        for thread in threads:
            thread.join(timeout=0.001 if reasons else 0.05)
    if reasons:
        sys.exit(f"SPU: a party failed: {reasons[0]}")


def free_port():
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    options = networks.options("Secure two-party computation through SPU.")
    try:
        import jax  # noqa: F401
        import spu  # noqa: F401
    except ImportError as reason:
        missing("SPU", reason)
    try:
        network, images = networks.asked_for(options, options.function)
    except (networks.ModelError, OSError) as reason:
        sys.exit(str(reason))
    with tempfile.TemporaryDirectory() as folder:
        parties = Parties(network, os.path.join(folder, "spu.log"))
        _, first = parties.query(images[0])
        answers = [parties.query(images[i % len(images)]) for i in range(options.runs)]
    expected = network.clear(images)
    error = networks.check("SPU", [scores for scores, _ in answers], expected)
    costs = [cost for _, cost in answers]
    emit(
        "SPU",
        networks.named(network),
        **{what: statistics.median_high(cost[what] for cost in costs) for what in first},
        first_query=first,
        runs=len(answers),
        max_error=error,
        largest_score=float(abs(expected).max()),
        weights=network.source,
        seed=options.seed,
        threads="all",
        security="against parties that follow the protocol",
        learns="nobody anything but sizes; the client the scores",
        versions=versions("spu", "jax"),
    )
    # Its channels wait half a minute for each other before they close.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
