"""The two-group model of image scores: normal and anomalous ones, averaged over everything that is unknown about them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

HEAVIER_TAIL = 0.1
"""Log of how much higher the score of normal texture is than a Gaussian tail says, from normal images alone and defective
images alone: 0.08 on even surfaces (nine photographs, five drawn materials), 0.23 on 14 random photographs of textures."""

LEVEL_DEVIATION = 0.1
"""How well the maps tell the typical log score of a normal image: the standard deviation of the error over normal images
alone and over defective images alone was 0.07 on even surfaces and 0.17 on random photographs of textures, see
`HEAVIER_TAIL`."""

SPREAD = 0.12, 0.4
"""Standard deviation of the log scores of normal images: its median over materials, and its log-normal deviation."""

EXCESS = 0.5, 0.5
"""Mean excess of anomalous over normal log scores: its median over materials, and its log-normal deviation."""

EXCESS_SHAPES = 2, 5, 12
"""Shapes of the gamma distribution of the excess, equally likely: defects of one set may differ in strength a lot or little."""

NORMAL_SHARE = 0.5, 0.5
"""Beta distribution of the share of normal images (Jeffreys): batches that are nearly all of one kind are common."""

EVIDENCE = 100
"""Larger sets count as this many order statistics. No score distribution is exactly of the assumed form; with unlimited
evidence the model would explain this difference in place of defects (a coarsened posterior, Miller & Dunson 2019)."""

UNEXPLAINED = 1e-12
"""Density, relative to the highest, of a score that neither group explains, so that one odd score does not decide."""

NEGLIGIBLE = 1e-4
"""Hypotheses with less weight are left out of the probabilities."""


@dataclass(frozen=True)
class NormalScores:
    """What is known beforehand of the log scores of normal images, which are normally distributed.

    Attributes:
        level: their mean.
        deviation: standard deviation of the error of the level.
        spread: their standard deviation, and the standard deviation of the error of its logarithm.
    """

    level: float
    deviation: float = LEVEL_DEVIATION
    spread: tuple[float, float] = SPREAD

    def limit(self, share: float) -> float:
        """The prediction limit: a further normal image lies above it with this probability, 0 to 1."""
        from statistics import NormalDist

        return self.level + NormalDist().inv_cdf(1 - share) * float(np.hypot(self.spread[0], self.deviation))


def known_scores(logs: Array) -> NormalScores:
    """What the log scores of two or more known normal images say of those of all normal images.

    Their spread counts beside `SPREAD`, which is worth as many images as a sample needs to be as exact.

    >>> known = known_scores(np.array([0.0, 0.2] * 50))
    >>> round(known.level, 2), round(known.spread[0], 2), round(known.deviation, 2)
    (0.1, 0.1, 0.01)
    """
    # the logarithm of a spread that is known from f degrees of freedom errs by sqrt(1 / 2f)
    usual, worth = SPREAD[0], 0.5 / SPREAD[1] ** 2
    degrees = worth + len(logs) - 1
    spread = float(np.sqrt((worth * usual**2 + np.square(logs - logs.mean()).sum()) / degrees))
    return NormalScores(float(logs.mean()), spread / len(logs) ** 0.5, (spread, (0.5 / degrees) ** 0.5))


def posterior(logs: Array, normal: NormalScores, grid: Array) -> tuple[Array, Array]:
    """What the scores of a set say about any score.

    The posterior distribution is summed over a lattice of the five unknowns: level and spread of the normal log scores,
    mean and shape of the excess, and share of the normal images.

    Args:
        logs: N log scores, ascending, at least one.
        normal: what is known of normal images beforehand.
        grid: G log scores, ascending.

    Returns:
        The probability that an image with each score of the grid is anomalous, G, ascending. The share of normal images
        with a higher score, G, falling.

    Cost: some 0.2 s, 15 MB.
    """
    from scipy.special import ndtr

    if len(logs) > EVIDENCE:
        logs = np.quantile(logs, (np.arange(EVIDENCE) + 0.5) / EVIDENCE)
    deviations = np.linspace(-3, 3, 41)
    levels = normal.level + normal.deviation * deviations
    spreads, spread_prior = _log_normal(*normal.spread, 9)
    means, mean_prior = _log_normal(*EXCESS, 5)
    shares = _beta_quantiles(13)
    excesses = [mean * _gamma_quantiles(shape) for mean in means for shape in EXCESS_SHAPES]
    excess_prior = np.repeat(mean_prior, len(EXCESS_SHAPES))
    weights = np.empty((len(spreads), len(excesses), len(levels), len(shares)))
    for s, spread in enumerate(spreads):
        for e, excess in enumerate(excesses):
            likelihood = _log_likelihood(logs - levels[:, None], spread, excess, shares)
            weights[s, e] = likelihood + spread_prior[s] + excess_prior[e] - 0.5 * deviations[:, None] ** 2
    weights = np.exp(weights - weights.max())
    weights /= weights.sum()
    probability, above = np.zeros(len(grid)), np.zeros(len(grid))
    away = grid - levels[:, None]  # M x G
    for s, spread in enumerate(spreads):
        above += weights[s].sum((0, 2)) @ ndtr(-away / spread)
        for e, excess in enumerate(excesses):
            if weights[s, e].sum() > NEGLIGIBLE:
                probability += _anomalous(away, spread, excess, shares, weights[s, e])
    probability /= weights.sum((2, 3))[weights.sum((2, 3)) > NEGLIGIBLE].sum()
    return np.maximum.accumulate(probability), above


def _log_likelihood(away: Array, spread: float, excess: Array, shares: Array) -> Array:
    """Log-likelihood of each level and each share, M x P, from N log scores less M levels, M x N."""
    table = np.linspace(away.min(), away.max(), 512)
    density = np.exp(-0.5 * ((table[:, None] - excess) / spread) ** 2).mean(1)
    normal = np.exp(-0.5 * (away / spread) ** 2) + UNEXPLAINED
    anomalous = np.interp(away, table, density) + UNEXPLAINED
    mixtures = (np.log(share * normal + (1 - share) * anomalous).sum(1) for share in shares)
    return np.stack(list(mixtures), 1) - away.shape[1] * np.log(spread)


def _anomalous(away: Array, spread: float, excess: Array, shares: Array, weights: Array) -> Array:
    """Probability of being anomalous at G log scores, summed over M levels and P shares with M x P weights."""
    from scipy.special import expit, logsumexp

    table = np.linspace(away.min(), away.max(), 512)
    ratios = logsumexp((table[:, None] * excess - excess**2 / 2) / spread**2, axis=1) - np.log(len(excess))
    ratio = np.interp(away, table, ratios)  # M x G, log of anomalous over normal density; it rises with the score
    total = np.zeros(away.shape[1])
    for share, weight in zip(shares, weights.T, strict=True):
        total += weight @ expit(ratio + np.log((1 - share) / share))
    return total


def _log_normal(median: float, deviation: float, count: int) -> tuple[Array, Array]:
    """Values of a log-normal distribution, evenly spaced in their logarithms, and the logarithms of their weights."""
    steps = np.linspace(-2.2, 2.2, count)
    return median * np.exp(deviation * steps), -0.5 * steps**2


def _gamma_quantiles(shape: float) -> Array:
    """Equally likely values of a gamma distribution with mean 1; fewer would cut off the faintest defects."""
    from scipy.special import gammaincinv

    return np.asarray(gammaincinv(shape, (np.arange(40) + 0.5) / 40) / shape)


def _beta_quantiles(count: int) -> Array:
    """Equally likely shares of normal images."""
    from scipy.special import betaincinv

    return np.asarray(betaincinv(*NORMAL_SHARE, (np.arange(count) + 0.5) / count))
