"""Trains a small network on an exported set with NumPy alone: python train_without_torch.py SET.npz TEST.npz

SET.npz is written by `python -m gmlight.export run=<folder> format=numpy format.bits=4`. TEST.npz has
`images` [N, channels, H, W], normalised like the set, and `labels` [N].
"""

import sys

import numpy as np


def read(path):
    """Returns images [N, values per image] and labels [N]."""
    with np.load(path) as file:
        images, shape = file["images"], file["shape"]
        bits, number = int(file["bits"]), int(np.prod(shape))
        if bits <= 8:  # packed codes, highest bit first
            digits = np.unpackbits(images)[: number * bits].reshape(number, bits)
            codes = (digits @ (1 << np.arange(bits)[::-1])).reshape(shape)
            scale, offset = (file[name].reshape(1, -1, 1, 1) for name in ("scale", "offset"))
            images = codes * scale + offset
        return images.reshape(len(images), -1).astype(np.float32), file["labels"].astype(int)


def train(images, labels, hidden=64, epochs=300, rate=0.05, momentum=0.9):
    """Trains a network of one hidden layer by gradient descent; returns its weights."""
    rng, classes = np.random.default_rng(0), labels.max() + 1
    sizes = [images.shape[1] + 1, hidden + 1], [hidden, classes]  # the last row of each is the bias
    weights = [rng.normal(0, np.sqrt(2 / n), (n, m)) for n, m in zip(*sizes, strict=True)]
    speeds = [np.zeros_like(w) for w in weights]
    for _ in range(epochs):
        inner, scores = forward(weights, images)
        errors = np.exp(scores - scores.max(1, keepdims=True))
        errors = errors / errors.sum(1, keepdims=True) - np.eye(classes)[labels]  # softmax minus one-hot
        back = (errors @ weights[1][:-1].T) * (inner > 0)
        for i, (into, out) in enumerate([(images, back), (inner, errors)]):
            speeds[i] = momentum * speeds[i] - rate * with_ones(into).T @ out / len(images)
            weights[i] = weights[i] + speeds[i]
    return weights


def forward(weights, images):
    inner = np.maximum(with_ones(images) @ weights[0], 0)
    return inner, with_ones(inner) @ weights[1]


def with_ones(rows):
    return np.hstack([rows, np.ones((len(rows), 1))])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python train_without_torch.py SET.npz TEST.npz")
    trained = train(*read(sys.argv[1]))
    with np.load(sys.argv[2]) as test:
        images, labels = test["images"].reshape(len(test["labels"]), -1), test["labels"]
    print(
        f"{100 * np.mean(forward(trained, images)[1].argmax(1) == labels):.2f} % of {len(labels)} test images"
    )
