"""The method's formulas, slowly: loops over pixels, vectors and pairs, written from the equations alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def mirrored(position: int, length: int) -> int:
    """Where a position beyond the ends of an axis lands when the axis is a row of mirrors."""
    while not 0 <= position < length:
        if length == 1:
            return 0
        position = -position if position < 0 else 2 * (length - 1) - position
    return position


def relu(x: Array) -> Array:
    return np.where(x > 0, x, 0.0)


def layer(weights: dict[str, Array], name: str, x: Array) -> Array:
    """One linear layer on one vector, output by output."""
    matrix, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return np.array([sum(matrix[o, i] * x[i] for i in range(len(x))) + bias[o] for o in range(len(bias))])


def vae_encode(weights: dict[str, Array], x: Array) -> tuple[Array, Array]:
    inner = relu(layer(weights, "encoder.0", x))
    inner = relu(layer(weights, "encoder.2", inner))
    return layer(weights, "mu", inner), layer(weights, "log_sigma", inner)


def vae_decode(weights: dict[str, Array], code: Array) -> Array:
    for name in ("decoder.0", "decoder.2", "decoder.4"):
        code = relu(layer(weights, name, code))
    return code


def vae_residual_loop(weights: dict[str, Array], image: Array) -> Array:
    out = np.empty_like(image)
    for y in range(image.shape[1]):
        for x in range(image.shape[2]):
            mu, _ = vae_encode(weights, image[:, y, x])
            out[:, y, x] = image[:, y, x] - vae_decode(weights, mu)
    return out


def mse_loop(x: Array, rebuilt: Array) -> float:
    return sum((float(a) - float(b)) ** 2 for a, b in zip(x.ravel(), rebuilt.ravel(), strict=True)) / x.size


def kl_loop(mu: Array, log_sigma: Array) -> float:
    total = 0.0
    for m, s in zip(mu.ravel(), log_sigma.ravel(), strict=True):
        sigma = math.exp(s)
        total += sigma * sigma + m * m - math.log(sigma) - 0.5
    return total / mu.size


def blur_loop(image: Array, size: int, sigma: float) -> Array:
    """Gaussian blur of one channel, tap by tap in two dimensions, mirrored at the borders."""
    half = size // 2
    taps = [math.exp(-0.5 * ((k - half) / sigma) ** 2) for k in range(size)]
    taps = [tap / sum(taps) for tap in taps]
    height, width = image.shape
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            for i in range(size):
                for j in range(size):
                    value = image[mirrored(y + i - half, height), mirrored(x + j - half, width)]
                    out[y, x] += taps[i] * taps[j] * value
    return out


def descriptor_loop(image: Array, scores: Array, tau: float, size: int, sigma: float, center: bool) -> Array:
    """Softmax-weighted sum of the blurred (and centered) features of one image."""
    height, width = scores.shape
    top = scores.max()
    weights = [[math.exp((scores[y, x] - top) / tau) for x in range(width)] for y in range(height)]
    total = sum(sum(row) for row in weights)
    out = np.zeros(len(image))
    for channel in range(len(image)):
        blurred = blur_loop(image[channel], size, sigma)
        mean = blurred.mean() if center else 0.0
        for y in range(height):
            for x in range(width):
                out[channel] += weights[y][x] / total * (blurred[y, x] - mean)
    return out


def squared_distance(a: Sequence[float], b: Sequence[float]) -> float:
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def margin_loss_loop(
    same_pos: Array, same_neg: Array, close_pos: Array, close_neg: Array, counter: Array, margin: float
) -> float:
    """Attraction and repulsion, each the mean of its two terms; a term without pairs is 0."""

    def mean(xs: Array, ys: Array, term: Callable[[float], float]) -> float:
        values = [term(squared_distance(x, y)) for x in xs for y in ys]
        return sum(values) / len(values) if values else 0.0

    attract = mean(same_pos, close_pos, float) + mean(same_neg, close_neg, float)
    repulse = mean(same_pos, close_neg, lambda d: max(0.0, margin - d))
    repulse += mean(close_pos, counter, lambda d: max(0.0, margin - d))
    return attract / 2 + repulse / 2


def head_loop(weights: dict[str, Array], x: Array) -> Array:
    out = layer(weights, "second", relu(layer(weights, "first", x)))
    length = math.sqrt(sum(float(v) ** 2 for v in out))
    return out / length if length else out


def quantile_loop(values: Sequence[float], share: float) -> float:
    """The quantile that interpolates linearly between the sorted values."""
    ordered = sorted(float(v) for v in values)
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def threshold_loop(labels: Sequence[int], maxima: Sequence[float]) -> float:
    """Threshold of given clusters: the quantile of all maxima at the share of the cluster whose mean is lowest."""
    means = {}
    for label in set(labels):
        own = [m for m, other in zip(maxima, labels, strict=True) if other == label]
        means[label] = (sum(own) / len(own), len(own))
    _, count = min(means.values())
    return quantile_loop(maxima, count / len(maxima))


def nearest_loop(descriptors: Array, k: int) -> list[list[int]]:
    out = []
    for i, own in enumerate(descriptors):
        others = [(squared_distance(own, d), j) for j, d in enumerate(descriptors) if j != i]
        out.append([j for _, j in sorted(others)[:k]])
    return out
