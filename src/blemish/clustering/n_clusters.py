"""How much better than one cloud do k groups explain a set? For the number of groups, where nobody knows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blemish.results import FloatArray

Array = npt.NDArray[np.float64]

MOST_ROWS = 200
"""Rows that Ward's tree is made of. With more, ever smaller departures from a normal distribution would stand out."""

SAMPLES = 10
"""Draws of so many rows from a larger set, whose results are averaged."""

CLOUDS = 60
"""Drawn sets without groups: the error of the mean of their steps is then an eighth of a step's deviation."""

GROUPED = 3.0, 4.0
"""Deviations by which the first split, or any later one, must do better than a cloud's, or the set is one group. Of many later
ones the best is looked for, which chance may lift higher."""

FURTHER = 2.0
"""Deviations by which one group more must do better than one more of a cloud, or there are enough."""

TELLING = 1 / 3
"""Of the best advantage of the splits before, what the next one must have at least: splits within a type have less."""


def estimate_clusters(descriptors: FloatArray, *, max_clusters: int = 12, seed: int = 0) -> int:
    """Number of groups: as many as explain the rows better than one cloud of them would be explained (`ward_gaps`).

    Args:
        descriptors: N x D, finite.
        max_clusters: most groups considered; never more than there are distinct rows.
        seed: of the draws.

    Returns:
        1 to ``max_clusters``. Types of few images, or that differ little, may count as one.

    Source: not in Ardelean & Weyrich, who know the number.
    """
    distinct = len(np.unique(descriptors, axis=0))
    if len(descriptors) < 3:
        return 1  # two rows always differ: that makes no two types
    if distinct < 3:
        return min(distinct, max_clusters)
    # one more than may come back: the last one has to be compared with a further one
    return min(ward_gaps(descriptors, min(max_clusters + 1, distinct), seed=seed).number(), max_clusters)


@dataclass(frozen=True)
class Gaps:
    """What one group more is worth, for k = 1, 2, ... groups.

    Attributes:
        step: how much further the log of the share within groups falls from k to k + 1 groups than it does in clouds.
        deviation: of such a fall, over the clouds.
    """

    step: Array
    deviation: Array

    def number(self) -> int:
        """The least number of groups, from 2, after which one more tells little or could be chance; 1 for a cloud.

        >>> Gaps(np.array([0.1, 0.2, 0.05]), np.full(3, 0.01)).number()
        3
        >>> Gaps(np.array([0.02, 0.01, -0.1]), np.full(3, 0.01)).number()
        1
        """
        first, later = GROUPED
        if not (self.step[:1] > first * self.deviation[:1]).any() and not (self.step > later * self.deviation).any():
            return 1
        worth = (self.step > FURTHER * self.deviation) & (self.step > TELLING * np.maximum.accumulate(self.step))
        worth[0] = True  # there are two groups at least
        return len(worth) + 1 if worth.all() else int(np.argmin(worth)) + 1


def ward_gaps(rows: npt.NDArray[np.floating], most: int, *, seed: int = 0) -> Gaps:
    """Ward's groups of the rows, against Ward's groups of clouds: as many rows without groups, with the very same covariance.

    Everything that Ward splits is explained better by more groups, a long cloud above all. What counts is how much faster
    the share of the sum of squares that is left within the groups falls than it does in clouds that are exactly as long and
    as wide in every direction. Such a cloud is the rows turned at random in the space of the images: a random orthonormal
    basis in place of the rows' left singular vectors. If the rows are normally distributed they are one cloud among others.

    Args:
        rows: N x D, finite. Of more than `MOST_ROWS` that many are drawn, `SAMPLES` times.
        most: groups considered, at least 1; fewer come back of fewer rows (one more than half of them), or where they span less.
        seed: of the draws.

    Returns:
        Natural logarithms, one for each number of groups from 1, none where there is nothing to split. Moving, turning and
        scaling the rows changes them by rounding only.

    Cost: `CLOUDS` trees and QR decompositions of at most `MOST_ROWS` rows, 0.4 s, or 1 s for a set of which samples are drawn.

    Source: the gap statistic (Tibshirani, Walther & Hastie 2001). Deviations: the reference is a normal distribution, as in
    SigClust (Liu et al. 2008), instead of a uniform one, which any long cloud differs from, and given the covariance, as in
    rotation tests (Langsrud 2005), since that of few rows is far from that of the next few; shares instead of sums of
    squares; the deviation of one step, not of the whole gap, and two of them instead of one; `TELLING`: no type is a normal
    distribution, so that splits within types, too, do better than a cloud's.
    """
    rng = np.random.default_rng(seed)
    n = min(len(rows), MOST_ROWS)
    values = rows.astype(np.float64)
    parts = [values] if n == len(rows) else [values[rng.choice(len(rows), n, replace=False)] for _ in range(SAMPLES)]
    parts = [part - part.mean(0) for part in parts]
    lengths = [_squares(part) for part in parts]
    most = min(most, n - 1, n // 2 + 1)
    if most < 2 or not max(map(len, lengths)):
        return Gaps(np.zeros(0), np.zeros(0))
    falls = -np.diff([_log_shares(part, most) for part in parts])
    # each part has its own covariance, and so have its clouds
    clouds = [_log_shares(_cloud(n, squares, rng), most) for squares in lengths for _ in range(CLOUDS // len(parts))]
    free = -np.diff(clouds)
    return Gaps(falls.mean(0) - free.mean(0), free.std(0, ddof=1))


def _squares(centerd: Array) -> Array:
    """Sums of squares of the rows along the axes of their covariance, falling, but for those that are rounding."""
    squares = np.sort(np.linalg.eigvalsh(centerd.T @ centerd))[::-1][: len(centerd) - 1]
    return np.asarray(squares[squares > 1e-9 * squares.max(initial=0.0)])


def _cloud(n: int, squares: Array, rng: np.random.Generator) -> Array:
    """So many rows of mean 0 whose sums of squares along the axes are these; every way to turn them is as likely."""
    draw = rng.standard_normal((n, len(squares)))
    basis: Array = np.linalg.qr(draw - draw.mean(0))[0]
    return basis * squares**0.5


def _log_shares(rows: Array, most: int) -> Array:
    """Logarithm of the share of the sum of squares that is within Ward's groups, of 1 to ``most`` groups."""
    from scipy.cluster.hierarchy import linkage

    # a merge's height squared is twice what it adds to the sum of squares within
    within = np.cumsum(linkage(rows, "ward")[:, 2] ** 2 / 2)
    if not within[-1] > 0:  # a draw of equal rows from a set that has others: one group says all
        return np.zeros(most)
    shares = within[::-1][:most] / within[-1]
    return np.log(np.maximum(shares, 1e-12))
