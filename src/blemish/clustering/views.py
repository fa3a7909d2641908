"""Two views of a set: images grouped by their local defects, or by their whole surface; and the choice between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from blemish.localization.threshold import FEWEST_KNOWN
from blemish.types import FloatArray

View = Literal["defect", "image"]


DOUBTFUL = 2.0
"""The choice is said to be doubtful if the two energies differ by less than this factor."""


def weak(between: float, local: float) -> bool:
    """Whether two energies differ by less than `DOUBTFUL`."""
    return max(between, local) < DOUBTFUL * min(between, local)


@dataclass(frozen=True)
class ViewChoice:
    """Which view a set calls for, and the evidence.

    Attributes:
        view: ``defect`` or ``image``.
        between: energy of the differences between images as a whole, in units of the mean squared feature; NaN if unknown.
        local: energy of what stands out within an image, in the same unit; NaN if unknown.
        reason: one or two sentences for users.
    """

    view: View
    between: float
    local: float
    reason: str

    @property
    def doubtful(self) -> bool:
        """Whether the two energies hardly differ."""
        return weak(self.between, self.local)


def choose_view(means: FloatArray, maps: Sequence[FloatArray], normal: Sequence[int] = ()) -> ViewChoice:
    """Whether the images of a set differ as a whole, or by what stands out locally in them.

    Two energies are compared, both in units of the mean squared feature of a cell. ``between`` is the variance of the
    images' mean features: the part of the feature energy that lies between images, as in an analysis of variance with
    each image as a class. ``local`` is the squared distance by which the most unusual percent of an image exceeds its
    typical cell: the 0.99 quantile of its map minus the median, of the median image. Where a set consists of several
    surfaces, ``between`` is large, and the maps are flat. Where images share one surface and differ by defects, the maps
    have high peaks, and ``between`` is small. The larger energy decides.

    Known normal images differ as a whole too (light, pose), and these differences are not types of defects. From
    `FEWEST_KNOWN` of them on, ``between`` is what exceeds their own variance.

    Args:
        means: N x C, mean feature vector of each image, normalized over the dataset.
        maps: N anomaly maps of nearest-neighbor distances, before median filling.
        normal: rows of the images that are known to be normal.

    Returns:
        The choice; ``defect`` if nothing differs at all.

    Cost: two quantiles of each map.
    Source: ours; not in Ardelean & Weyrich, who always group by local defects.

    >>> flat, peak = np.full((10, 10), 0.2, np.float32), np.full((10, 10), 0.2, np.float32)
    >>> peak[0] = 1.0
    >>> choose_view(np.eye(2, dtype=np.float32), [flat, flat]).view, choose_view(np.zeros((2, 2)), [peak, peak]).view
    ('image', 'defect')
    """
    between = _variance(means)
    if len(normal) >= FEWEST_KNOWN:
        between = max(0.0, between - _variance(means[list(normal)]))
    quantiles = np.array([np.quantile(one, [0.5, 0.99]) for one in maps])
    local = float(np.median(np.square(quantiles[:, 1] - quantiles[:, 0])))
    doubt = " The evidence is weak; groups.csv has both groupings." if weak(between, local) else ""
    if between > local:
        reason = (
            f"Grouped by whole images: they differ more as a whole ({between:.3f}) than by local defects ({local:.3f})."
        )
        return ViewChoice("image", between, local, reason + doubt)
    reason = (
        f"Grouped by local defects: they stand out more ({local:.3f}) than images differ as a whole ({between:.3f})."
    )
    return ViewChoice("defect", between, local, reason + doubt)


def _variance(means: FloatArray) -> float:
    """Mean squared distance of N x C rows to their mean."""
    return float(np.square(means - means.mean(0)).sum(1).mean())


def unknown_choice() -> ViewChoice:
    """The choice with localization methods whose maps and features have no common unit."""
    reason = "Grouped by local defects: this localization method gives no evidence for or against whole images."
    return ViewChoice("defect", float("nan"), float("nan"), reason)


def mostly_normal_choice(choice: ViewChoice) -> ViewChoice:
    """The choice where images differ as a whole, but most of them are normal and nobody says how many types there are."""
    reason = (
        "Grouped by local defects, because most images are normal. They differ more as a whole "
        f"({choice.between:.3f}) than by local defects ({choice.local:.3f}); groups.csv has that grouping."
    )
    return ViewChoice("defect", choice.between, choice.local, reason)


def requested_choice(view: View, choice: ViewChoice) -> ViewChoice:
    """The choice of the settings, whatever the evidence says."""
    name = "whole images" if view == "image" else "local defects"
    return ViewChoice(view, choice.between, choice.local, f"Grouped by {name}, as the settings ask.")
