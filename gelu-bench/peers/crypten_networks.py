#!/usr/bin/env python3
"""Secret sharing between two parties: CrypTen 0.4.1, with a trusted dealer of multiplication triples.

    DIR/bin/python gelu-bench/peers/crypten_networks.py --network dense300|mnist-dense|conv1|lenet5 \\
        [--weights FILE] [--images FILE] [--function square|relu|sigmoid] --runs N

Two processes on this machine, one thread each, talk over loopback. Another model than encryption:
nobody learns anything but sizes, provided that the dealer, a third party, colludes with nobody and both
parties follow the protocol. The dealer's triples are drawn by both from a common seed, which costs no
bytes here and would elsewhere. Times run from the image in the clear at one party to its scores there.
"""

import statistics
import sys
import time

import numpy as np

import networks
from networks import CONVOLUTION, DENSE, POOL
from report import emit, missing, versions


def evaluate(network, images, runs):
    """What both parties run: a query a row, `(scores, seconds)`, then rounds and bytes of one query."""
    import crypten
    import torch

    torch.set_num_threads(1)
    # Party 0 has the weights, party 1 the images.
    shared = [
        (layer, *(crypten.cryptensor(torch.tensor(part, dtype=torch.float32), src=0)
                  for part in (layer.weight, layer.bias) if part is not None))
        for layer in network.layers
    ]

    def query(image):
        start = time.perf_counter()
        pixels = torch.tensor(image, dtype=torch.float32).reshape(1, *network.input_shape)
        x = crypten.cryptensor(pixels, src=1)
        for layer, *parts in shared:
            if layer.kind == CONVOLUTION:
                x = x.conv2d(parts[0], stride=layer.stride) + parts[1].reshape(1, -1, 1, 1)
            elif layer.kind == POOL:
                x = x.avg_pool2d(layer.window)
            elif layer.kind == DENSE:
                x = x.reshape(1, -1).matmul(parts[0].t()) + parts[1]
            else:
                x = getattr(x, layer.function)()
        # Opened to party 1 only: the other one gets nothing.
        scores = x.get_plain_text(dst=1)
        scores = None if scores is None else scores.flatten().tolist()
        return scores, time.perf_counter() - start

    query(images[0])
    comm, counting = crypten.communicator.get(), crypten.cfg.communicator
    counting.verbose = True
    comm.reset_communication_stats()
    query(images[0])
    stats = comm.get_communication_stats()
    counting.verbose = False
    return [query(images[i % len(images)]) for i in range(runs)], stats, comm.get_rank()


def main():
    options = networks.options("Secret sharing through CrypTen.")
    try:
        import crypten.mpc as mpc
    except ImportError as reason:
        missing("CrypTen", reason)
    try:
        network, images = networks.asked_for(options, options.function)
    except (networks.ModelError, OSError) as reason:
        sys.exit(str(reason))
    parties = mpc.run_multiprocess(world_size=2)(evaluate)(network, images, options.runs)
    if not parties:
        sys.exit("CrypTen: a party failed")
    (answers, stats, _), = [party for party in parties if party[2] == 1]
    expected = network.clear(images)
    error = networks.check("CrypTen", [np.array(scores) for scores, _ in answers], expected)
    emit(
        "CrypTen",
        networks.named(network),
        statistics.median(seconds for _, seconds in answers),
        runs=len(answers),
        max_error=error,
        largest_score=float(abs(expected).max()),
        bytes_of_a_party=stats["bytes"],
        rounds=stats["rounds"],
        weights=network.source,
        seed=options.seed,
        threads=1,
        security="against parties that follow the protocol, and a dealer that colludes with neither",
        learns="nobody anything but sizes; the client the scores",
        versions=versions("crypten", "torch"),
    )


if __name__ == "__main__":
    main()
