"""Makes `digits-cnn.npz`, the file that the notebook `pytorch-cnn` starts from.

It holds what `{name: tensor.numpy() for name, tensor in net.state_dict().items()}` gives for

    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 10))

but was trained with numpy, as PyTorch is too large for our tests: plain stochastic gradient descent on the digits of
scikit-learn, whose even rows are for training.
"""

from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
images, labels = digits.images[::2, None] / 16, digits.target[::2]
random = np.random.default_rng(7)
kernel = random.normal(size=(8, 1, 3, 3)) / 3
bias = np.zeros(8)
head = random.normal(size=(10, 72)) / 8
head_bias = np.zeros(10)


def pooled(values):
    """The mean of windows of 2 by 2, of [batch, filters, 6, 6]."""
    return values.reshape(len(values), 8, 3, 2, 3, 2).mean(axis=(3, 5))


for epoch in range(60):
    rate = 0.2 if epoch < 40 else 0.05
    for batch in np.array_split(random.permutation(len(labels)), 60):
        windows = np.lib.stride_tricks.sliding_window_view(images[batch, 0], (3, 3), axis=(1, 2))
        sums = np.einsum("nhwij,fij->nfhw", windows, kernel[:, 0]) + bias[:, None, None]
        features = pooled(np.maximum(sums, 0)).reshape(len(batch), 72)
        scores = np.exp(features @ head.T + head_bias)
        error = scores / scores.sum(axis=1, keepdims=True)
        error[np.arange(len(batch)), labels[batch]] -= 1
        error /= len(batch)
        back = (error @ head).reshape(len(batch), 8, 3, 3) / 4
        back = back.repeat(2, axis=2).repeat(2, axis=3) * (sums > 0)
        head -= rate * error.T @ features
        head_bias -= rate * error.sum(axis=0)
        kernel[:, 0] -= rate * np.einsum("nfhw,nhwij->fij", back, windows)
        bias -= rate * back.sum(axis=(0, 2, 3))

state = {"0.weight": kernel, "0.bias": bias, "4.weight": head, "4.bias": head_bias}
np.savez(Path(__file__).with_name("digits-cnn.npz"), **{name: t.astype(np.float32) for name, t in state.items()})
