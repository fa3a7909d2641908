"""The threshold on image scores, slowly: plain expectation maximization and the rules as the method page states them."""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

Component = tuple[float, float, float]
"""Mean, variance and weight."""


@dataclass(frozen=True)
class Texture:
    """r, u and Q(q90): score of a typical normal image, its spread, and the map level of the lowest images."""

    score: float
    spread: float = 0.0
    level: float = 0.0

    @property
    def median_limit(self) -> float:
        return max(1.13 * self.score, 1.4 * self.level)


def density(x: Array, components: list[Component]) -> Array:
    """Weighted density of each component at each place."""
    return np.array([w * np.exp(-0.5 * (x - m) ** 2 / v) / np.sqrt(2 * np.pi * v) for m, v, w in components])


def likeliest_mixture(x: Array, count: int) -> tuple[float, list[Component]]:
    """Log likelihood and components, lowest mean first, from many starts."""
    best: tuple[float, list[Component]] = (-np.inf, [])
    for quantiles, part in itertools.product(itertools.combinations((0.05, 0.3, 0.6, 0.9, 0.97), count), (4, 30)):
        components = [(float(np.quantile(x, q)), x.var() / part + 1e-4, 1 / count) for q in quantiles]
        for _ in range(500):
            share = density(x, components) + 1e-300
            share /= share.sum(0)
            components = []
            for mine in share:
                mean = (mine * x).sum() / mine.sum()
                components.append((mean, (mine * (x - mean) ** 2).sum() / mine.sum() + 1e-4, mine.mean()))
        best = max(best, (float(np.log(density(x, components).sum(0)).sum()), components))
    return best[0], sorted(best[1])


def information_criterion(likelihood: float, components: int, scores: int, counted: int) -> float:
    """BIC of so many Gaussians, with at most ``counted`` scores."""
    effective = min(scores, counted)
    return (3 * components - 1) * math.log(effective) - 2 * likelihood * effective / scores


def mixture_cuts(x: Array, counted: int = 150) -> tuple[list[float], float]:
    """The places where the lowest components give way to the others, and the lowest criterion."""
    counts = (2, 3) if len(x) >= 30 else (2,)
    found = [likeliest_mixture(x, count) for count in counts]
    criteria = [information_criterion(one[0], k, len(x), counted) for k, one in zip(counts, found, strict=True)]
    components, cuts = found[int(np.argmin(criteria))][1], []
    for lower in range(1, len(components)):
        grid = np.linspace(components[lower - 1][0], x.max(), 100_000)
        each = density(grid, components)
        beyond = each[:lower].sum(0) < each[lower:].sum(0)
        cuts.append(float(grid[beyond.argmax()]) if beyond.any() else math.inf)
    return cuts, min(criteria)


def separation(x: Array, cut: float) -> float:
    """D: difference of the medians of both sides, in standard deviations of the lower side."""
    lower, upper = [v for v in x if v <= cut], [v for v in x if v > cut]
    if not lower or not upper:
        return 0.0
    return (statistics.median(upper) - statistics.median(lower)) / max(statistics.pstdev(lower), 0.05)


def threshold_loop(scores: npt.NDArray[np.floating], texture: Texture | None = None, *, rough: bool = False) -> float:
    """The threshold, rule by rule. It is the largest score if no image is anomalous."""
    values = [float(score) for score in scores]
    top = max(values)
    x = np.array([math.log(max(value / top, 0.001)) for value in values])
    cuts, mixture = mixture_cuts(x)
    cut = cuts[0]
    one_class = _one_class_cut(x, values, texture, mixture, rough)
    reliable = None if rough else texture
    if one_class is not None:
        cut = one_class
    elif reliable and len(cuts) > 1:
        below = statistics.median(v for v in x if v <= cuts[1])
        normal = math.exp(below) * top <= reliable.median_limit
        if normal and separation(x, cuts[1]) > max(5.0, separation(x, cut)):
            cut = cuts[1]
    threshold = math.exp(cut) * top
    if reliable:
        threshold = _within_limits(threshold, values, separation(x, cut) > 5, reliable)
    lower, upper = [v for v in values if v <= threshold], [v for v in values if v > threshold]
    if not upper or (lower and statistics.median(upper) < 1.1 * statistics.median(lower)):
        return top
    return threshold


def _one_class_cut(x: Array, values: list[float], texture: Texture | None, mixture: float, rough: bool) -> float | None:
    """Where outliers of a defect-free batch begin; None if the batch is none."""
    if texture is None or statistics.median(values) > texture.median_limit:
        return None
    deviation = math.sqrt(x.var() + 1e-4)
    likelihood = float(np.log(density(x, [(float(x.mean()), deviation**2, 1.0)])).sum())
    one = information_criterion(likelihood, 1, len(x), 150)
    allowed = 0.1 if rough else max(0.1, 2 * texture.spread)
    if deviation < allowed and one < mixture + (0 if rough else 10):
        return float(x.mean()) + 3 * deviation
    return None


def _within_limits(threshold: float, values: list[float], clear: bool, texture: Texture) -> float:
    lower = statistics.median(v for v in values if v <= threshold)
    if lower > texture.median_limit * (1.15 if clear else 1.0):
        return texture.score
    threshold = max(threshold, 1.06 * texture.score)
    return threshold if clear else min(threshold, 1.4 * texture.score)
