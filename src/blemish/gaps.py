"""How much better than one cloud do k groups explain a set? For the number of groups, where nobody knows it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MOST_ROWS = 200
"""Rows that Ward's tree is made of. With more, ever smaller departures from a normal distribution would stand out."""

SAMPLES = 10
"""Draws of so many rows from a larger set, whose results are averaged."""

CLOUDS = 60
"""Drawn sets without groups: the error of their mean is then an eighth of their deviation."""

GROUPED = 2.5, 3.0
"""Deviations by which the first split, or any later one, must do better than a cloud's, or the set is one group. Of many later
ones the best is looked for, which chance may lift higher."""

FURTHER = 2.0
"""Deviations by which one group more must do better than one more of a cloud, or there are enough."""

TELLING = 1 / 3
"""Of the best advantage of the splits before, what the next one must have at least: splits within a type have less."""


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
    """Ward's groups of the rows, against Ward's groups of clouds: normal distributions with the rows' own covariance.

    Everything that Ward splits is explained better by more groups, a long cloud above all. What counts is how much faster
    the share of the sum of squares that is left within the groups falls than it does in clouds that are as long and as
    wide in every direction.

    Args:
        rows: N x D, finite. Of more than `MOST_ROWS` that many are drawn, `SAMPLES` times.
        most: groups considered, at least 1; fewer come back of fewer rows, or where they span less.
        seed: of the draws.

    Returns:
        Natural logarithms, one for each number of groups from 1, none where there is nothing to split. Moving, turning and
        scaling the rows changes them by rounding only.

    Cost: `CLOUDS` trees of at most `MOST_ROWS` rows, 0.3 s, and the covariance of the rows, O(N D^2).

    Source: the gap statistic (Tibshirani, Walther & Hastie 2001). Deviations: the reference is a normal distribution, as in
    SigClust (Liu et al. 2008), instead of a uniform one, which any long cloud differs from; shares instead of sums of
    squares; the deviation of one step, not of the whole gap, which is several times as large, and two of them instead of one;
    `TELLING`: no type is a normal distribution, so that splits within types, too, do better than a cloud's.
    """
    rng = np.random.default_rng(seed)
    n = min(len(rows), MOST_ROWS)
    centred = rows.astype(np.float64) - rows.mean(0, dtype=np.float64)
    variances = np.linalg.eigvalsh(centred.T @ centred)
    # far more columns than rows: the others are rounding
    variances = np.sort(variances)[::-1][: len(rows) - 1] / max(1, len(rows) - 1)
    variances = variances[variances > 1e-9 * variances.max(initial=0.0)]
    most = min(most, n - 1)
    if most < 2 or not len(variances):
        return Gaps(np.zeros(0), np.zeros(0))
    parts = [centred] if n == len(rows) else [centred[rng.choice(len(rows), n, replace=False)] for _ in range(SAMPLES)]
    seen = np.mean([_log_shares(part, most) for part in parts], axis=0)
    clouds = np.array(
        [_log_shares(rng.standard_normal((n, len(variances))) * variances**0.5, most) for _ in range(CLOUDS)]
    )
    falls = -np.diff(clouds)
    return Gaps(-np.diff(seen) - falls.mean(0), falls.std(0, ddof=1))


def _log_shares(rows: Array, most: int) -> Array:
    """Logarithm of the share of the sum of squares that is within Ward's groups, of 1 to ``most`` groups."""
    from scipy.cluster.hierarchy import linkage

    # a merge's height squared is twice what it adds to the sum of squares within
    within = np.cumsum(linkage(rows, "ward")[:, 2] ** 2 / 2)
    if not within[-1] > 0:  # a draw of equal rows from a set that has others: one group says all
        return np.zeros(most)
    shares = within[::-1][:most] / within[-1]
    return np.log(np.maximum(shares, 1e-12))
