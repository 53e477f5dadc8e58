#!/usr/bin/env python3
"""Secure computation between two parties: SPU 0.9.5 with Cheetah, which needs no dealer.

    DIR/bin/python gelu-bench/peers/spu_networks.py --network dense300|conv1|lenet5 \\
        [--weights FILE] [--images FILE] [--function square|relu] --runs N

Two runtimes in this process, a thread each, talk over TCP on loopback. Another model than the split
protocol: nobody learns anything but sizes, and the client the scores, provided that both parties follow
the protocol. Cheetah (USENIX Security 2022) makes products by lattice encryption and comparisons by
oblivious transfer. Fixed point, rings of 64 bits, 18 of them fractional (SPU's default). Times run from
the image in the clear at the client to its scores there; weights are shared before.
"""

import os
import socket
import statistics
import sys
import threading
import time

import numpy as np

import networks
from networks import CONVOLUTION, DENSE, POOL
from report import emit, missing, versions


def forward(network):
    """The network as a JAX function of one image and of all weights."""
    import jax
    import jax.numpy as jnp

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
                x = x * x if layer.function == "square" else jnp.maximum(x, 0)
        return x

    return answer


class Parties:
    """Both runtimes, connected, with the weights shared."""

    def __init__(self, network):
        import spu
        import spu.utils.frontend as frontend

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
        self.io = spu.Io(2, config)
        link = spu.libspu.link.Desc()
        for rank in range(2):
            link.add_party(f"party{rank}", f"127.0.0.1:{free_port()}")
        shares = [self.io.make_shares(part, self.secret) for part in weights]
        self.runtimes = [None, None]

        def connect(rank):
            runtime = spu.Runtime(spu.libspu.link.create_brpc(link, rank), config)
            for name, parts in zip(self.executable.input_names[1:], shares):
                runtime.set_var(name, parts[rank])
            self.runtimes[rank] = runtime

        both(connect)

    def query(self, image):
        """The scores of one image, and the seconds that they took."""
        start = time.perf_counter()
        pixels = np.asarray(image, dtype=np.float32).reshape(self.shape)
        shares = self.io.make_shares(pixels, self.secret)
        answers = [None, None]

        def run(rank):
            runtime = self.runtimes[rank]
            runtime.set_var(self.executable.input_names[0], shares[rank])
            runtime.run(self.executable)
            answers[rank] = runtime.get_var(self.executable.output_names[0])

        both(run)
        scores = self.io.reconstruct(answers)
        return np.asarray(scores).flatten(), time.perf_counter() - start


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


def on_loopback():
    """Bytes that went over the loopback interface so far, those of all processes."""
    with open("/proc/self/net/dev", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.strip().startswith("lo:"))


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
    parties = Parties(network)
    parties.query(images[0])
    before = on_loopback()
    parties.query(images[0])
    carried = on_loopback() - before
    answers = [parties.query(images[i % len(images)]) for i in range(options.runs)]
    expected = network.clear(images)
    error = networks.check("SPU", [scores for scores, _ in answers], expected)
    emit(
        "SPU",
        networks.named(network),
        statistics.median(seconds for _, seconds in answers),
        runs=len(answers),
        max_error=error,
        largest_score=float(abs(expected).max()),
        bytes_on_loopback=carried,
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
