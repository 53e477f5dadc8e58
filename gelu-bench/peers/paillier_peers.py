#!/usr/bin/env python3
"""Paillier by others: unit costs, and a dense layer. One thread, keys of 2048 bits.

    DIR/bin/python gelu-bench/peers/paillier_peers.py phe|heu --seed 1

`phe` is python-paillier with GMP; `heu` is SecretFlow's library in C++, Paillier as it calls
ZPaillier. Times are of the processor, as there is one thread. Plaintext weights are signed and have 8 bits in dot products, 16 in products; an element of
a dot product is a multiply-accumulate. Keys and encryptions take the system's randomness.
"""

import argparse
import os
import random
import time

# Before anything starts a thread: figures are those of one core, like those of `he` and `layer`.
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np

from report import emit, median_seconds, missing, versions, wrong

BITS, INPUTS, OUTPUTS, FACTOR = 2048, 784, 300, 54_321


def operands(seed):
    """Pixels and a matrix of signed 8-bit weights, `[inputs, outputs]`."""
    rng = random.Random(seed)
    pixels = [rng.randrange(256) for _ in range(INPUTS)]
    matrix = np.array([[rng.randrange(-128, 128) for _ in range(OUTPUTS)] for _ in range(INPUTS)])
    return pixels, matrix


def units(peer, more, encrypt, decrypt, add, multiply):
    """Encryption, decryption, addition, product with a scalar of 16 bits."""
    a, b = encrypt(123_456), encrypt(-77)
    for what, got, expected in [
        ("decrypt", decrypt(a), 123_456),
        ("add", decrypt(add(a, b)), 123_379),
        ("mul_plain_16_bit", decrypt(multiply(a, FACTOR)), 123_456 * FACTOR),
    ]:
        if got != expected:
            wrong(peer, what, got, expected)
    for what, run in [
        ("encrypt", lambda: encrypt(123_456)),
        ("decrypt", lambda: decrypt(a)),
        ("add", lambda: add(a, b)),
        ("mul_plain_16_bit", lambda: multiply(a, FACTOR)),
    ]:
        seconds = median_seconds(run, clock=time.process_time)
        emit(peer, f"he/{what}/{BITS}", seconds, **more)


def layer(peer, more, what, seconds, got, expected):
    """A layer's time, all of it and for each multiply-accumulate."""
    if list(got) != list(expected):
        wrong(peer, what, list(got)[:3], list(expected)[:3])
    each = seconds / (INPUTS * len(list(expected)))
    emit(peer, f"layer/{what}", seconds, seconds_per_mac=each, **more)


def python_paillier(seed):
    """What its users write: sums of EncryptedNumber times int."""
    try:
        import phe
        import gmpy2  # noqa: F401
    except ImportError as reason:
        missing("python-paillier", reason)
    public, private = phe.generate_paillier_keypair(n_length=BITS)
    more = {"versions": versions("phe", "gmpy2"), "threads": 1, "seed": seed}
    encrypt, decrypt = public.encrypt, private.decrypt
    units("python-paillier", more, encrypt, decrypt, lambda a, b: a + b, lambda a, k: a * k)

    pixels, matrix = operands(seed)
    encrypted = [encrypt(pixel) for pixel in pixels]

    def column(weights):
        total = encrypted[0] * weights[0]
        for a, w in zip(encrypted[1:], weights[1:]):
            total = total + a * w
        return total

    columns = [[int(w) for w in weights] for weights in matrix.T]
    expected = [sum(w * x for w, x in zip(weights, pixels)) for weights in columns]
    for outputs in (1, OUTPUTS):
        run = lambda: [column(weights) for weights in columns[:outputs]]  # noqa: B023
        got = [decrypt(total) for total in run()]
        seconds = median_seconds(run, 1, 0, time.process_time)
        layer("python-paillier", more, f"{INPUTS}x{outputs}", seconds, got, expected[:outputs])


def heu(seed):
    """Unit costs through its scalar interface, layers through its matrices."""
    try:
        from heu import numpy as hnp
        from heu import phe
    except ImportError as reason:
        missing("sf-heu", reason)
    more = {"versions": versions("sf_heu"), "threads": 1, "seed": seed, "schema": "ZPaillier"}
    kit = phe.setup(phe.SchemaType.ZPaillier, BITS)
    encryptor, decryptor, evaluator = kit.encryptor(), kit.decryptor(), kit.evaluator()
    factor = {FACTOR: kit.plaintext(FACTOR)}
    units(
        "sf-heu",
        more,
        encryptor.encrypt_raw,
        decryptor.decrypt_raw,
        evaluator.add,
        lambda a, k: evaluator.mul(a, factor[k]),
    )

    pixels, matrix = operands(seed)
    kit = hnp.setup(phe.SchemaType.ZPaillier, BITS)
    encoder = phe.IntegerEncoderParams(1)
    encrypted = kit.encryptor().encrypt(kit.array(np.array([pixels]), encoder))
    expected = np.array(pixels) @ matrix
    # Each multiply-accumulate costs the same, whatever the width, and 300 columns take minutes.
    for outputs in (1, 10):
        weights = kit.array(np.ascontiguousarray(matrix[:, :outputs]), encoder)
        run = lambda: kit.evaluator().matmul(encrypted, weights)  # noqa: B023
        got = kit.decryptor().decrypt(run()).to_numpy(kit.integer_encoder(1))
        seconds = median_seconds(run, 1, 0, time.process_time)
        layer("sf-heu", more, f"{INPUTS}x{outputs}", seconds, got.flatten(), expected[:outputs])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Paillier by others.")
    parser.add_argument("peer", choices=["phe", "heu"])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    {"phe": python_paillier, "heu": heu}[options.peer](options.seed)
