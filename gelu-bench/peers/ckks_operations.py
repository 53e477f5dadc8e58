#!/usr/bin/env python3
"""CKKS operation by operation: Lattigo (in Orion's wheel) and SEAL (in TenSEAL's) at the moduli of gelu-ckks.

    DIR/bin/python gelu-bench/peers/ckks_operations.py lattigo|seal --set "2^13, 4 levels" [--seconds S]

prints one JSON object: the shortest processor time, in milliseconds, of a rotation, of a product with
relinearisation and rescaling, and of 64 diagonals by baby and giant steps (8 and 8) with rescaling. All at
the top level, all threads of the process counted, and every answer is decrypted and compared first.

Lattigo is driven by the wheel's shared object alone, without torch. Its product by diagonals is its own;
SEAL has none, so it is written here as a user of SEAL would: rotations of the input once, products, sums,
one rotation for each giant step. SEAL's key switching has one special prime, so at 2^14 it has 8 digits
where the others have 4.
"""

import argparse
import ctypes
import importlib.util
import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np

from report import missing

# The sets of gelu-ckks's example `operations --json`: widths of primes in bits.
SETS = {
    "2^13, 3 levels": {"logn": 13, "q": [46, *[40] * 3], "p": [48]},
    "2^13, 4 levels": {"logn": 13, "q": [38, *[34] * 4], "p": [40]},
    "2^14, 7 levels": {"logn": 14, "q": [50, *[40] * 7], "p": [46, 46]},
}
DIAGONALS, STEP, ROTATION = 64, 8, 5
# Answers are compared as 32-bit floats, which is what Orion's interface returns.
TOLERANCE = 1e-3


class Lattigo:
    """The shared object of Orion's wheel, by its C interface."""

    name = "Lattigo (orion-fhe 1.0.2)"

    def __init__(self, chosen):
        where = importlib.util.find_spec("orion")
        if where is None:
            missing("Lattigo", "orion is not installed")
        name = "lattigo-linux.so" if platform.system() == "Linux" else "lattigo-mac.dylib"
        self.lib = ctypes.CDLL(str(Path(where.origin).parent / "backend/lattigo" / name))
        self.level, self.scale = len(chosen["q"]) - 1, 2 ** chosen["q"][-1]
        self.slots = 2 ** (chosen["logn"] - 1)
        for function in ("GetLinearTransformRotationKeys", "Decode"):
            element = ctypes.c_int if function.startswith("Get") else ctypes.c_float
            getattr(self.lib, function).restype = array_of(element)
        q, p = integers(chosen["q"]), integers(chosen["p"])
        # As many coefficients that are not 0 as a uniform ternary secret has.
        weight = 2 ** (chosen["logn"] + 1) // 3
        self.lib.NewScheme(
            chosen["logn"], q, len(q), p, len(p), chosen["q"][-1], weight, b"standard", b"", b"none"
        )
        for make in (
            "NewKeyGenerator", "GenerateSecretKey", "GeneratePublicKey", "GenerateRelinearizationKey",
            "GenerateEvaluationKeys", "NewEncoder", "NewEncryptor", "NewDecryptor", "NewEvaluator",
            "NewLinearTransformEvaluator",
        ):
            getattr(self.lib, make)()
        self.lib.AddRotationKey(ROTATION)

    def encrypt(self, values):
        """A ciphertext at the top level."""
        scale = ctypes.c_ulong(self.scale)
        plain = self.lib.Encode(floats(values), len(values), self.level, scale)
        return self.lib.Encrypt(plain)

    def decrypt(self, ciphertext):
        """Its numbers."""
        result = self.lib.Decode(self.lib.Decrypt(ciphertext))
        return np.array([result.data[i] for i in range(self.slots)])

    def rotate(self, ciphertext):
        """A new ciphertext."""
        return self.lib.RotateNew(ciphertext, ROTATION)

    def multiply(self, a):
        """A square, relinearised and rescaled."""
        return self.lib.Rescale(self.lib.MulRelinCiphertextNew(a, a))

    def prepare(self, diagonals):
        """Encodes diagonals and makes their keys."""
        data, ids = np.concatenate(diagonals), integers(range(len(diagonals)))
        ratio = ctypes.c_float(1)
        self.map = self.lib.GenerateLinearTransform(
            ids, len(ids), floats(data), len(data), self.level, ratio, b"none"
        )
        elements = self.lib.GetLinearTransformRotationKeys(self.map)
        for i in range(elements.length):
            self.lib.GenerateLinearTransformRotationKey(elements.data[i])

    def diagonals(self, ciphertext):
        """Their product with a ciphertext, rescaled."""
        return self.lib.Rescale(self.lib.EvaluateLinearTransform(self.map, ciphertext))

    def forget(self, ciphertext):
        """Frees it."""
        self.lib.DeleteCiphertext(ciphertext)


class Seal:
    """SEAL as TenSEAL's wheel has it."""

    name = "SEAL (tenseal 0.3.18)"

    def __init__(self, chosen):
        try:
            import tenseal.sealapi as seal
        except ImportError as reason:
            missing("SEAL", reason)
        self.seal, degree = seal, 2 ** chosen["logn"]
        self.slots, self.scale = degree // 2, 2.0 ** chosen["q"][-1]
        parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(degree)
        parameters.set_coeff_modulus(seal.CoeffModulus.Create(degree, [*chosen["q"], chosen["p"][0]]))
        context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
        if not context.parameters_set():
            sys.exit("SEAL refuses these parameters")
        self.encoder, self.evaluator = seal.CKKSEncoder(context), seal.Evaluator(context)
        keygen = seal.KeyGenerator(context)
        public, self.relin, self.galois = seal.PublicKey(), seal.RelinKeys(), seal.GaloisKeys()
        keygen.create_public_key(public)
        keygen.create_relin_keys(self.relin)
        steps = {*range(1, STEP), *range(STEP, DIAGONALS, STEP), ROTATION}
        keygen.create_galois_keys([pow(3, k, 2 * degree) for k in steps], self.galois)
        self.encryptor = seal.Encryptor(context, public)
        self.decryptor = seal.Decryptor(context, keygen.secret_key())

    def encode(self, values, scale):
        """A plaintext at the top level."""
        plain = self.seal.Plaintext()
        self.encoder.encode(list(map(float, values)), scale, plain)
        return plain

    def encrypt(self, values):
        """A ciphertext at the top level."""
        result = self.seal.Ciphertext()
        self.encryptor.encrypt(self.encode(values, self.scale), result)
        return result

    def decrypt(self, ciphertext):
        """Its numbers."""
        plain = self.seal.Plaintext()
        self.decryptor.decrypt(ciphertext, plain)
        return np.array(self.encoder.decode_double(plain))

    def rotate(self, ciphertext, steps=ROTATION):
        """A new ciphertext."""
        result = self.seal.Ciphertext()
        self.evaluator.rotate_vector(ciphertext, steps, self.galois, result)
        return result

    def multiply(self, a):
        """A square, relinearised and rescaled."""
        result = self.seal.Ciphertext()
        self.evaluator.square(a, result)
        self.evaluator.relinearize_inplace(result, self.relin)
        self.evaluator.rescale_to_next_inplace(result)
        return result

    def prepare(self, diagonals):
        """Encodes diagonals, those of giant step g rotated back by g."""
        shifted = [np.roll(d, k // STEP * STEP) for k, d in enumerate(diagonals)]
        self.plains = [self.encode(d, self.scale) for d in shifted]

    def diagonals(self, x):
        """Their product with a ciphertext, rescaled."""
        babies, product, total = [x, *(self.rotate(x, k) for k in range(1, STEP))], self.seal.Ciphertext(), None
        for giant in range(0, DIAGONALS, STEP):
            inner = self.seal.Ciphertext()
            self.evaluator.multiply_plain(x, self.plains[giant], inner)
            for k in range(1, STEP):
                self.evaluator.multiply_plain(babies[k], self.plains[giant + k], product)
                self.evaluator.add_inplace(inner, product)
            if total is None:
                total = inner
            else:
                self.evaluator.rotate_vector_inplace(inner, giant, self.galois)
                self.evaluator.add_inplace(total, inner)
        self.evaluator.rescale_to_next_inplace(total)
        return total

    def forget(self, ciphertext):
        """Python does it."""


def array_of(element):
    """What Orion's interface returns for lists."""

    class Array(ctypes.Structure):
        _fields_ = [("data", ctypes.POINTER(element)), ("length", ctypes.c_ulong)]

    return Array


def integers(values):
    """A list for C."""
    values = list(values)
    return (ctypes.c_int * len(values))(*values)


def floats(values):
    """A list for C."""
    values = np.ascontiguousarray(values, dtype=np.float32)
    return values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def shortest(peer, operation, x, seconds):
    """The shortest processor time of many, in milliseconds; at least ten."""
    best, runs, end = float("inf"), 0, time.process_time() + seconds
    while runs < 10 or time.process_time() < end:
        start = time.process_time()
        result = operation(x)
        best = min(best, time.process_time() - start)
        peer.forget(result)
        runs += 1
    return best * 1e3


def main():
    parser = argparse.ArgumentParser(description="Operations of CKKS under Lattigo or SEAL.")
    parser.add_argument("peer", choices=["lattigo", "seal"])
    parser.add_argument("--set", choices=list(SETS), required=True)
    parser.add_argument("--seconds", type=float, default=1.0, help="processor time of each operation")
    options = parser.parse_args()
    os.environ.setdefault("GOMAXPROCS", "1")
    chosen = SETS[options.set]
    peer = (Lattigo if options.peer == "lattigo" else Seal)(chosen)
    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, peer.slots)
    diagonals = list(rng.uniform(-1, 1, (DIAGONALS, peer.slots)))
    peer.prepare(diagonals)
    encrypted = peer.encrypt(x)
    product = sum(d * np.roll(x, -k) for k, d in enumerate(diagonals))
    times = {}
    for name, operation, expected in [
        ("rotate", peer.rotate, np.roll(x, -ROTATION)),
        ("multiply", peer.multiply, x * x),
        ("diagonals", peer.diagonals, product),
    ]:
        off = abs(peer.decrypt(operation(encrypted)) - expected).max()
        if not off < TOLERANCE:
            sys.exit(f"{peer.name}: {name} is off by {off}; no time is reported")
        times[name] = shortest(peer, operation, encrypted, options.seconds)
    print(json.dumps({"peer": peer.name, "set": options.set, **times}), flush=True)


if __name__ == "__main__":
    main()
