"""The number of groups: how much better do k groups explain a set than they explain null samples without groups?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.clustering.methods import content_order
from blemish.types import FloatArray

Array = npt.NDArray[np.float64]

MAX_ROWS = 200
"""Most rows that a tree is made of. With more rows, ever smaller departures from a normal distribution would stand out."""

SUBSAMPLES = 10
"""Number of random subsamples of a larger set, whose results are averaged."""

NULL_SAMPLES = 60
"""Number of null samples; the error of the mean of their steps is then an eighth of a step's deviation."""

SPLIT_DEVIATIONS = 3.0, 4.0
"""Deviations by which the first split, or any later split, must exceed a null sample's; otherwise the set is one group. More
is asked of the later splits, because the best of many is taken, which chance may lift higher."""

STEP_DEVIATIONS = 2.0
"""Deviations by which one more group must exceed one more group of a null sample; otherwise there are enough groups."""

STEP_SHARE = 1 / 2
"""Least advantage of one more group, as a share of the best advantage before it; splits within a type have less."""


def estimate_clusters(descriptors: FloatArray, *, max_clusters: int = 12, seed: int = 0) -> int:
    """Number of groups that explain the rows better than they would explain null samples, see :func:`ward_gaps`.

    Args:
        descriptors: N x D, finite.
        max_clusters: most groups considered, at least 1; never more than there are distinct rows.
        seed: seed of the draws.

    Returns:
        1 to ``max_clusters``; 1 for fewer than three rows. Types of few images, or types that differ little, may count as
        one.

    Source: not in Ardelean & Weyrich, where the number is known.
    """
    distinct = len(np.unique(descriptors, axis=0))
    if len(descriptors) < 3:
        return 1  # two images always differ; that does not make them two types
    if distinct < 3:
        return min(distinct, max_clusters)
    # One more than the largest result: its last group has to be compared with a further one.
    rows = descriptors[content_order(descriptors)]
    return min(ward_gaps(rows, min(max_clusters + 1, distinct), seed=seed).number(), max_clusters)


@dataclass(frozen=True)
class Gaps:
    """The advantage of one more group, for k = 1, 2, ... groups.

    Attributes:
        step: how much further the log of the share within groups falls from k to k + 1 groups than it falls on average in
            null samples.
        deviation: standard deviation of that fall over the null samples.
    """

    step: Array
    deviation: Array

    def number(self) -> int:
        """The number of groups: 1 if no split stands out; else the least k >= 2 whose next splits add little or are chance.

        The next split counts by its own advantage, or by that of the next two on average if this is larger: a split that
        separates two pairs of types can add little before each pair is separated.

        >>> Gaps(np.array([0.1, 0.2, 0.05]), np.full(3, 0.01)).number()
        3
        >>> Gaps(np.array([0.1, 0.2, 0.09, 0.15, 0.01]), np.full(5, 0.01)).number()
        5
        >>> Gaps(np.array([0.02, 0.01, -0.1]), np.full(3, 0.01)).number()
        1
        """
        first, later = SPLIT_DEVIATIONS
        if not (self.step[:1] > first * self.deviation[:1]).any() and not (self.step > later * self.deviation).any():
            return 1
        best = np.maximum.accumulate(self.step)
        gain = np.maximum(self.step, (self.step + np.append(self.step[1:], 0.0)) / 2)
        worth = (gain > STEP_DEVIATIONS * self.deviation) & (gain > STEP_SHARE * best)
        worth[0] = True  # there are at least two groups
        return len(worth) + 1 if worth.all() else int(np.argmin(worth)) + 1


def ward_gaps(rows: npt.NDArray[np.floating], most: int, *, seed: int = 0) -> Gaps:
    """Ward's groups of the rows, compared with Ward's groups of null samples.

    A null sample has as many rows, the very same covariance and no groups. Whatever Ward splits, more groups explain it
    better, an elongated set above all. What counts is therefore how much faster the share of the sum of squares that is
    left within the groups falls than it does in null samples, which are exactly as long and as wide in every direction.
    A null sample is made of the rows turned at random in the space of the images: a random orthonormal basis takes the
    place of the rows' left singular vectors. If the rows are normally distributed, they are one null sample among others.

    Args:
        rows: N x D, finite. If N is above `MAX_ROWS`, that many rows are drawn `SUBSAMPLES` times.
        most: most groups considered, at least 1; fewer are considered if there are few rows (at most one more than half
            of them).
        seed: seed of the draws.

    Returns:
        Natural logarithms, one for each number of groups from 1; none where there is nothing to split. Moving, turning or
        scaling the rows changes them by rounding only.

    Cost: `NULL_SAMPLES` trees and QR decompositions of at most `MAX_ROWS` rows: 0.4 s, or 1 s with subsamples.

    Source: the gap statistic (Tibshirani, Walther & Hastie 2001). Deviations: the reference is a normal distribution, as in
    SigClust (Liu et al. 2008), instead of a uniform one, from which any elongated set differs. It has exactly the given
    covariance, as in rotation tests (Langsrud 2005), because the covariance of few rows is far from the covariance of the
    next few. Shares take the place of sums of squares. The deviation is that of one step instead of the whole gap, and two
    of them are asked for instead of one. `STEP_SHARE` is needed because no type is a normal distribution, so that splits
    within types exceed a null sample's too.
    """
    rng = np.random.default_rng(seed)
    n = min(len(rows), MAX_ROWS)
    values = rows.astype(np.float64)
    samples = (
        [values] if n == len(rows) else [values[rng.choice(len(rows), n, replace=False)] for _ in range(SUBSAMPLES)]
    )
    samples = [sample - sample.mean(0) for sample in samples]
    lengths = [_squares(sample) for sample in samples]
    most = min(most, n - 1, n // 2 + 1)
    if most < 2 or not max(map(len, lengths)):
        return Gaps(np.zeros(0), np.zeros(0))
    falls = -np.diff([_log_shares(sample, most) for sample in samples])
    # Each subsample has its own covariance, and so have its null samples.
    null_shares = [
        _log_shares(_null_sample(n, squares, rng), most)
        for squares in lengths
        for _ in range(NULL_SAMPLES // len(samples))
    ]
    null_falls = -np.diff(null_shares)
    return Gaps(falls.mean(0) - null_falls.mean(0), null_falls.std(0, ddof=1))


def _squares(centered: Array) -> Array:
    """Sums of squares of the rows along the axes of their covariance, falling; those that are mere rounding are left out."""
    squares = np.sort(np.linalg.eigvalsh(centered.T @ centered))[::-1][: len(centered) - 1]
    return np.asarray(squares[squares > 1e-9 * squares.max(initial=0.0)])


def _null_sample(n: int, squares: Array, rng: np.random.Generator) -> Array:
    """N rows of mean 0 with these sums of squares along the axes; every rotation is equally likely."""
    draw = rng.standard_normal((n, len(squares)))
    basis: Array = np.linalg.qr(draw - draw.mean(0))[0]
    return basis * squares**0.5


def _log_shares(rows: Array, most: int) -> Array:
    """Logarithm of the share of the sum of squares within Ward's groups, for 1 to ``most`` groups."""
    from scipy.cluster.hierarchy import linkage

    # The square of a merge's height is twice the amount that it adds to the sum of squares within groups.
    within = np.cumsum(linkage(rows, "ward")[:, 2] ** 2 / 2)
    if not within[-1] > 0:  # a subsample of equal rows: one group explains everything
        return np.zeros(most)
    shares = within[::-1][:most] / within[-1]
    return np.log(np.maximum(shares, 1e-12))
