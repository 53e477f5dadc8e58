"""The networks that all peers run: read, drawn, and evaluated in the clear by NumPy.

Weights are those of gelu's own files (gelu-nn/src/storage.rs), or random ones of the same shapes.
The clear network is plain float64 arithmetic without any bound or rounding: every peer's answer is
compared with it before a time is reported.
"""

import argparse
import json
import struct
from dataclasses import dataclass, field

import numpy as np

CONVOLUTION, POOL, ACTIVATION, DENSE = "conv2d", "mean_pool2d", "activation", "dense"

# The paper's networks as gelu-nn/src/zoo.rs builds them, for random weights; dense300 is mnist-dense's first layer.
# An activation that names a function is there with this function only.
ARCHITECTURES = {
    "dense300": ([784], [(DENSE, 300)]),
    "mnist-dense": ([784], [(DENSE, 300), (ACTIVATION,), (DENSE, 10)]),
    "conv1": (
        [1, 28, 28],
        [(CONVOLUTION, 5, 5, 2), (ACTIVATION,), (POOL, 2), (ACTIVATION,), (DENSE, 10)],
    ),
    "lenet5": (
        [1, 28, 28],
        [
            (CONVOLUTION, 6, 5, 1), (POOL, 2), (ACTIVATION,),
            (CONVOLUTION, 16, 5, 1), (POOL, 2), (ACTIVATION,),
            (DENSE, 120), (ACTIVATION, "relu"), (DENSE, 84), (ACTIVATION, "relu"), (DENSE, 10),
        ],
    ),
}


class ModelError(Exception):
    """A file that is no model of gelu's, or not the network asked for."""


@dataclass
class Layer:
    """One step of a network; weights and bias where it has any, as float64."""

    kind: str
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    stride: int = 1
    window: int = 1
    function: str = ""


@dataclass
class Network:
    """Layers in order, and where their weights come from."""

    name: str
    layers: list[Layer]
    source: str
    input_shape: list[int] = field(default_factory=lambda: [1, 28, 28])

    def clear(self, images):
        """What the network says of the images, `[samples, features]` or more axes."""
        x = np.asarray(images, dtype=np.float64).reshape(len(images), *self.input_shape)
        for layer in self.layers:
            x = apply(layer, x)
        return x

    def multiplications(self):
        """Multiply-accumulates of one image in the clear."""
        x, total = np.zeros((1, *self.input_shape)), 0
        for layer in self.layers:
            x = apply(layer, x)
            if layer.kind == CONVOLUTION:
                total += x.size * layer.weight[0].size
            elif layer.kind == DENSE:
                total += layer.weight.size
        return total


def apply(layer, x):
    """One layer over `[samples, ...]`."""
    if layer.kind == CONVOLUTION:
        return convolve(x, layer.weight, layer.bias, layer.stride)
    if layer.kind == POOL:
        n, c, h, w = x.shape
        q = layer.window
        return x.reshape(n, c, h // q, q, w // q, q).mean(axis=(3, 5))
    if layer.kind == DENSE:
        return x.reshape(len(x), -1) @ layer.weight.T + layer.bias
    functions = {
        "square": np.square,
        "relu": lambda v: np.maximum(v, 0),
        "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    }
    if layer.function not in functions:
        raise ModelError(f"the activation {layer.function} is not one that the peers are asked for")
    return functions[layer.function](x)


def convolve(x, weight, bias, stride):
    """A convolution without padding, `[samples, filters, rows, columns]`."""
    k = weight.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))
    windows = windows[:, :, ::stride, ::stride]
    return np.einsum("ncyxuv,fcuv->nfyx", windows, weight) + bias[:, None, None]


def folded(network):
    """The same function in fewer steps: linear maps that follow each other become one.

    Whoever holds the weights may multiply them out beforehand. A mean pooling after a convolution
    becomes a larger kernel with a larger stride; dense layers without an activation between them
    become one matrix. Every level of a leveled scheme that this saves is time.
    """
    layers = []
    for layer in network.layers:
        before = layers[-1] if layers else None
        if before and before.kind == CONVOLUTION and layer.kind == POOL:
            q, s, k = layer.window, before.stride, before.weight.shape[-1]
            kernel = np.zeros((*before.weight.shape[:2], k + s * (q - 1), k + s * (q - 1)))
            for i in range(q):
                for j in range(q):
                    kernel[:, :, s * i : s * i + k, s * j : s * j + k] += before.weight / (q * q)
            layers[-1] = Layer(CONVOLUTION, kernel, before.bias, stride=s * q)
        elif before and before.kind == DENSE and layer.kind == DENSE:
            weight = layer.weight @ before.weight
            layers[-1] = Layer(DENSE, weight, layer.weight @ before.bias + layer.bias)
        else:
            layers.append(layer)
    return Network(network.name, layers, network.source, network.input_shape)


def read(path, name):
    """The network `name` of a .safetensors file that gelu wrote."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        model = json.loads(header["__metadata__"]["gelu"])
    except (struct.error, KeyError, ValueError) as reason:
        raise ModelError(f"{path} is no model file of gelu's ({reason!r})") from None
    if model["format"] not in (1, 2):
        raise ModelError(f"{path} has format {model['format']}; this program reads formats 1 and 2")
    unit = 2.0 ** -model["precision"]["weights"]["fraction"]

    def tensors(prefix):
        # A pooling that follows directly is part of the name: conv1+pool1.weight.
        found = {}
        for key, entry in header.items():
            block, _, kind = key.rpartition(".")
            if block.split("+")[0] == prefix:
                begin, end = entry["data_offsets"]
                values = np.frombuffer(data[8 + length + begin : 8 + length + end], dtype="<i8")
                found[kind] = values.reshape(entry["shape"]) * unit
        if set(found) != {"weight", "bias"}:
            raise ModelError(f"{path} has no weight and bias of {prefix}")
        return found["weight"], found["bias"]

    layers, convolutions, denses = [], 0, 0
    for spec in model["architecture"]["layers"]:
        if spec["layer"] == CONVOLUTION:
            convolutions += 1
            if spec["padding"]:
                raise ModelError(f"{path}: a padded convolution, which the peers are not asked for")
            layers.append(Layer(CONVOLUTION, *tensors(f"conv{convolutions}"), stride=spec["stride"]))
        elif spec["layer"] == DENSE:
            denses += 1
            layers.append(Layer(DENSE, *tensors(f"dense{denses}")))
        elif spec["layer"] == POOL:
            layers.append(Layer(POOL, window=spec["window"]))
        else:
            layers.append(Layer(ACTIVATION, function=spec["function"]))
    network = Network(name, layers, str(path), model["architecture"]["input"])
    # With ReLU, LeNet-5 has activations between its dense layers; with squares it has none there.
    expected = [kind for kind, *_ in ARCHITECTURES[name][1] if kind != ACTIVATION]
    if [layer.kind for layer in layers if layer.kind != ACTIVATION] != expected:
        raise ModelError(f"{path} holds {model['name']}, which is not {name}")
    return network


def drawn(name, function, seed):
    """Random weights of the size that training leaves, all from the seed."""
    rng = np.random.default_rng(seed)
    shape, specs = ARCHITECTURES[name]
    layers, x = [], np.zeros((1, *shape))
    for kind, *numbers in specs:
        if kind == CONVOLUTION:
            filters, k, stride = numbers
            size, fan_in = (filters, x.shape[1], k, k), x.shape[1] * k * k
            layer = Layer(kind, weights(rng, size, fan_in), weights(rng, filters, fan_in), stride)
        elif kind == DENSE:
            (outputs,) = numbers
            layer = Layer(kind, weights(rng, (outputs, x.size), x.size), weights(rng, outputs, x.size))
        elif kind == POOL:
            layer = Layer(kind, window=numbers[0])
        elif numbers and function not in numbers:
            continue
        else:
            layer = Layer(kind, function=function)
        layers.append(layer)
        x = apply(layer, x)
    return Network(name, layers, f"random, drawn from seed {seed}", shape)


def weights(rng, size, fan_in):
    """Uniform as PyTorch draws them, rounded to the 6 fractional bits of gelu's own weights."""
    bound = 1 / np.sqrt(fan_in)
    return np.round(rng.uniform(-bound, bound, size) * 64) / 64


def random_images(count, seed):
    """Pixels in [0, 1], three in four of them 0, like handwriting."""
    rng = np.random.default_rng(seed + 1)
    return rng.uniform(0, 1, (count, 784)) * (rng.uniform(0, 1, (count, 784)) < 0.25)


def read_images(path):
    """A JSON list of lists of 784 pixels in [0, 1]."""
    with open(path, encoding="utf-8") as file:
        images = np.array(json.load(file), dtype=np.float64)
    if images.ndim != 2 or images.shape[1] != 784:
        raise ModelError(f"{path}: expected a list of lists of 784 pixels, got {images.shape}")
    return images


def options(description):
    """The options of a peer that computes every activation."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--network", choices=list(ARCHITECTURES), required=True)
    parser.add_argument("--weights")
    parser.add_argument("--images")
    parser.add_argument("--function", choices=["square", "relu", "sigmoid"], default="square")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def named(network):
    """What a measurement of it is called: its name, and its activation if it has one."""
    activation = next((layer.function for layer in network.layers if layer.function), None)
    return f"network/{network.name}" + (f"-{activation}" if activation else "")


def asked_for(options, function):
    """Network and images as the options `--network --weights --images --runs --seed` say."""
    if options.weights:
        network = read(options.weights, options.network)
    else:
        network = drawn(options.network, function, options.seed)
    if options.images:
        return network, read_images(options.images)
    return network, random_images(min(options.runs, 10), options.seed)


def power_of_two_above(value):
    """The least power of two that is not below; at least 1."""
    return 2 ** max(0, int(np.ceil(np.log2(value))))


def check(peer, answers, expected):
    """The largest error of the scores. Ends the program when an answer is wrong.

    An answer is right when its error is small beside the scores, and when the class it predicts is
    the clear network's, or so near to it in the clear that the error explains the exchange.
    """
    wanted = [expected[i % len(expected)] for i in range(len(answers))]
    errors = [float(abs(np.ravel(got) - want).max()) for got, want in zip(answers, wanted)]
    for i, (got, want, error) in enumerate(zip(answers, wanted, errors)):
        lost = want.max() - want[int(np.argmax(got))]
        if error > 0.05 * abs(expected).max() or lost > 2 * error:
            raise SystemExit(f"{peer}: answer {i} is wrong by {error:.3g}; no time is reported")
    return max(errors)
