"""From features to anomaly maps: distance to the rest of the set, border calibration, and a threshold without labels."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from blemish.errors import InputError
from blemish.results import FloatArray

BORDER_DEPTH = 4
"""Cells from the edge whose typical level is compared with the interior's."""

BLOCK = 512
"""Cells whose distances are in memory at a time (19 MB of 9 216 vectors: beyond 32 MB glibc asks the system every time)."""

SPREAD_QUANTILE = 0.1
"""How far a vector lies from the rest of the set is the distance at this quantile over the other images, nearest first."""

SPREAD_FLOOR = 0.1
"""Least spread that counts, in parts of the median: vectors that several images share to the last bit are no sharper."""

MIN_SEPARATION = 1.1
"""Images are called anomalous only if the upper group's median score exceeds the lower group's by this factor."""


@dataclass(frozen=True)
class NeighbourModel:
    """Feature vectors sampled from some images of the set: what the rest of the set looks like.

    Attributes:
        vectors: M images x S vectors x C, float32.
        owners: M, index of the image that each row came from, so that no image is compared with itself.
        quantile: which of the M distances, in ascending order, counts; above 0 a few images that share a defect do not
            make it normal.
        gains: M x S, what a distance to each vector is multiplied by, see :meth:`evened`; None: 1.
    """

    vectors: Tensor
    owners: tuple[int, ...]
    quantile: float = 0.03
    gains: Tensor | None = None

    @functools.cached_property
    def _bank(self) -> tuple[Tensor, Tensor]:
        """All vectors as columns, C x S M, and their squared lengths, S M; images side by side, which minima run along."""
        flat = self.vectors.transpose(0, 1).flatten(0, 1)
        return flat.T.contiguous(), flat.square().sum(1)

    @torch.no_grad()
    def distance(self, features: Tensor, owner: int | None = None) -> Tensor:
        """Euclidean distance of each cell to its nearest vector in the other images, at the quantile over these images.

        Args:
            features: C x h x w, float32, scaled as the vectors are.
            owner: index of this image in the set; its own vectors are left out.

        Returns:
            h x w, float32, >= 0. Zeros where there is no other image to compare with.

        Cost: h w M S C multiply-adds, 4 ``BLOCK`` M S bytes.
        Source: mutual scoring of unlabelled images (MuSc, Li et al. 2024) on a bounded sample, with a quantile in place of
        its interval mean; not part of Ardelean & Weyrich.
        """
        height, width = features.shape[1:]
        keep = torch.tensor([own != owner for own in self.owners])
        if not keep.any():
            return torch.zeros(height, width)
        columns, lengths = self._bank
        cells = features.flatten(1).T.contiguous()  # P x C
        room = torch.empty(min(BLOCK, len(cells)), len(lengths))
        parts = [
            self._nearest(torch.addmm(lengths, block, columns, alpha=-2, out=room[: len(block)]), keep)
            for block in cells.split(BLOCK)
        ]
        squares = cells.square().sum(1)
        chosen = torch.cat([part for part, _ in parts]) + squares
        # the expansion |a|^2 - 2ab + |b|^2 leaves rounding of about 1e-6 |a|^2: equal vectors must come out as equal
        found = torch.where(chosen > 4e-6 * (1 + squares), chosen.clamp_min(0).sqrt(), 0.0)
        if self.gains is not None:
            found = found * self.gains.T.flatten()[torch.cat([which for _, which in parts])]
        return found.unflatten(0, (height, width))

    def _nearest(self, products: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
        """From |b|^2 - 2 a b of P cells and all vectors: that of the vector that counts, and its column; P each."""
        images, each = self.vectors.shape[:2]
        products = products.unflatten(1, (each, images))
        nearest = products.amin(1)[:, keep]  # P x M
        rank = int(self.quantile * (nearest.shape[1] - 1))
        values, places = nearest.topk(rank + 1, dim=1, largest=False)
        if self.gains is None:
            return values[:, -1], places[:, -1]  # the place is not asked for
        image = keep.nonzero().flatten()[places[:, -1]]
        row = products.gather(2, image[:, None, None].expand(-1, each, 1)).argmin(1).flatten()
        return values[:, -1], row * images + image

    @torch.no_grad()
    def evened(self, exponent: float) -> NeighbourModel:
        """The same with distances in units of how far each vector itself lies from the rest of the set.

        Rare but sound material (a vein, a glossy spot, coarse grain) has few like it in a bounded sample, so that every
        cell of it is far from all vectors; the vectors it is nearest to are as far from each other. A distance to vector b
        is multiplied by (median s / s_b)^exponent, s_b the distance of b to the other images at `SPREAD_QUANTILE`.

        Args:
            exponent: 0 (nothing changes) to 1 (the ratio itself).

        Returns:
            A model with ``gains``, or this one where there is nothing to compare or the exponent is 0. Cost: one
            :meth:`distance` of M S cells.

        Source: the local outlier factor (Breunig et al. 2000), with one reference vector per cell and a power in between;
        not part of Ardelean & Weyrich.
        """
        if not exponent:
            return self
        plain = NeighbourModel(self.vectors, self.owners, SPREAD_QUANTILE)
        spreads = torch.stack(
            [plain.distance(rows.T[:, None], own)[0] for rows, own in zip(self.vectors, self.owners, strict=True)]
        )
        middle = float(spreads.median())
        if not middle > 0:
            return self
        return replace(self, gains=(spreads / middle).clamp_min(SPREAD_FLOOR) ** -exponent)


@torch.no_grad()
def pca_residual(features: Tensor, mean: Tensor, components: Tensor) -> Tensor:
    """What the principal components do not explain: F - m - V V^T (F - m), C x h x w; ``components`` is D x C, orthonormal."""
    centred = features.flatten(1) - mean[:, None]
    return (centred - components.T @ (components @ centred)).unflatten(1, features.shape[1:])


def edge_distance(height: int, width: int, depth: int = BORDER_DEPTH) -> npt.NDArray[np.int64]:
    """Cells between each cell and the nearest edge, at most ``depth``.

    >>> edge_distance(3, 3, depth=4).tolist()
    [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    """
    rows = np.minimum(np.arange(height), np.arange(height)[::-1])[:, None]
    columns = np.minimum(np.arange(width), np.arange(width)[::-1])[None]
    return np.minimum(np.minimum(rows, columns), depth)


@dataclass(frozen=True)
class BorderCalibration:
    """How far values near the border lie above the interior's throughout the set; see :func:`fit_border`."""

    median: tuple[float, ...]
    spread: tuple[float, ...]

    def apply(self, values: FloatArray) -> FloatArray:
        """The map with its border brought down to the interior's level; a border that is not higher stays as it is."""
        distance, out = edge_distance(*values.shape), values.copy()
        inner_median, inner_spread = self.median[-1], self.spread[-1]
        inner_upper = inner_median + inner_spread
        for ring in range(BORDER_DEPTH):
            here, median, spread = distance == ring, self.median[ring], self.spread[ring]
            if median > inner_median:
                gain = min(1.0, inner_spread / spread) if spread > 0 else 1.0
                out[here] = inner_median + (values[here] - median) * gain
            elif median + spread > inner_upper > 0:
                out[here] = values[here] * (inner_upper / (median + spread))
        return np.maximum(out, 0.0).astype(np.float32)


def fit_border(maps: Sequence[FloatArray]) -> BorderCalibration:
    """Median and upper spread (90th percentile - median) of map values for each distance to the edge, over a sample of maps.

    Padding, vignetting and cut edges make the rim of every image look unusual. The paper zeroes five cells and so loses
    the defects there; we compare the rim with the rim of the other images instead (a deviation).
    """
    values = np.concatenate([one.ravel() for one in maps])
    rings = np.concatenate([edge_distance(*one.shape).ravel() for one in maps])
    inner = values[rings == BORDER_DEPTH]
    groups = [values[rings == ring] for ring in range(BORDER_DEPTH)] + [inner if inner.size else values]
    groups = [group if group.size else groups[-1] for group in groups]
    medians = tuple(float(np.median(group)) for group in groups)
    spreads = tuple(float(np.quantile(group, 0.9)) - median for group, median in zip(groups, medians, strict=True))
    return BorderCalibration(medians, spreads)


STARTS = (
    ((0.05, 0.5), (0.1, 0.8), (0.2, 0.6), (0.3, 0.7), (0.4, 0.9), (0.5, 0.95)),
    ((0.05, 0.15, 0.6), (0.05, 0.3, 0.8), (0.1, 0.3, 0.7), (0.1, 0.5, 0.9), (0.2, 0.6, 0.9), (0.3, 0.7, 0.95)),
)
"""Quantiles of the log scores at which the means of two and of three peaks start; the likeliest end of all these counts."""

THREE_PEAKS_FROM = 30
"""Scores from which three peaks are thought of: ten for each."""


def split_scores(scores: FloatArray) -> float:
    """Threshold on image scores between normal and anomalous, without labels.

    A mixture of Gaussians over the logarithms, each with a spread of its own: normal images resemble each other and make
    a narrow peak, defects of all sizes a broad one, so that a criterion with one spread for both (Otsu's) cuts through
    the defects. Faint and strong defects can make a peak each, and two Gaussians would then join the faint ones and the
    normal images: there are two or three, whichever has the lower Bayesian information criterion. The threshold is where,
    coming from the lowest peak, the others together are as likely. Nothing is anomalous if the two sides are hardly apart
    (``MIN_SEPARATION``): then the answer is the largest score.

    Args:
        scores: N, >= 0.

    Returns:
        Threshold; scores above it are anomalous. Scaling all scores scales it.

    Raises:
        InputError: no score, or one that is NaN or infinite.

    Source: not part of Ardelean & Weyrich, who do not decide which images are anomalous.

    >>> split_scores(np.array([1.0, 1.1, 0.9, 1.05, 5.0, 6.0], np.float32)) < 5
    True
    >>> split_scores(np.ones(4, np.float32))
    1.0
    """
    if not len(scores) or not np.isfinite(scores).all():
        raise InputError("the threshold needs at least one score, and all of them finite")
    values = scores.astype(np.float64)
    top = float(values.max())
    if top <= 0:
        return top
    logs = log_scores(values)
    if len(np.unique(logs)) < 3:
        cut = float(np.mean([logs.min(), logs.max()]))
    else:
        cut = _mixture_cut(logs)
    threshold = float(np.exp(cut)) * top
    lower, upper = values[values <= threshold], values[values > threshold]
    if not len(upper) or not len(lower) or np.median(upper) < MIN_SEPARATION * np.median(lower):
        return top
    return threshold


def image_scores(maps: Sequence[FloatArray], quantile: float) -> FloatArray:
    """One number per image, a quantile of its map; N float32."""
    return np.array([np.quantile(one, quantile) for one in maps], np.float32)


def log_scores(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Logarithms of scores in units of the largest, nothing below a thousandth; N float64 <= 0. All 0 without a score > 0."""
    values = scores.astype(np.float64)
    top = values.max(initial=0.0)
    return np.log(np.maximum(values / top, 1e-3)) if top > 0 else np.zeros(len(values))


def _mixture_cut(logs: npt.NDArray[np.float64]) -> float:
    """Where the lowest peak gives way to the others; ``inf`` if it never does."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    column, likeliest = logs[:, None], []
    with warnings.catch_warnings():
        # too few steps for the last digit of the likelihood still give a usable cut; repeated scores leave a peak empty
        warnings.simplefilter("ignore", ConvergenceWarning)
        for starts in STARTS if len(logs) >= THREE_PEAKS_FROM else STARTS[:1]:
            best = None
            for start in starts:
                means = np.quantile(column, start)[:, None]
                # variances: at least (1 %)^2 of the score, or a few equal scores would become a peak of their own
                mixture = GaussianMixture(
                    len(start), means_init=means, reg_covar=1e-4, random_state=0, max_iter=500
                ).fit(column)
                if best is None or mixture.lower_bound_ > best.lower_bound_ + 1e-9:
                    best = mixture
            assert best is not None
            likeliest.append(best)
    chosen = min(likeliest, key=lambda mixture: mixture.bic(column))
    low = int(np.argmin(chosen.means_[:, 0]))
    between = np.linspace(chosen.means_[low, 0], logs.max(), 4096)
    upper = chosen.predict_proba(between[:, None])[:, low] < 0.5
    return float(between[upper.argmax()]) if upper.any() else float("inf")


def anomaly_weights(scores: FloatArray, threshold: float, width: float, floor: float = 0.0) -> FloatArray:
    """How far each image counts as anomalous: a logistic step of its log score over the threshold's, from a floor to 1.

    Ward's trees split what has the largest sum of squares, and that of the normal images grows with their number: at full
    length a majority of them is split before two types are told apart, while a few normal images that resemble each other
    are a group like any other, and fading them only makes doubtful images look like them. So the floor is lowered by A / B
    where A anomalous images face more, B, normal ones.

    Args:
        scores: N, >= 0.
        threshold: >= 0, half way from the floor to 1.
        width: > 0, of the step, as a share of the score: an image ``width`` above the threshold is 0.73 of the way up.
        floor: 0 to 1, the weight far below the threshold, if at least half of the images are above it.

    Returns:
        N float32 in [0, 1], rising with the score. With a threshold of 0 every positive score has weight 1.

    >>> anomaly_weights(np.array([0.0, 1.0, 1.05, 9.0], np.float32), 1.0, 0.05).round(2).tolist()
    [0.0, 0.5, 0.7300000190734863, 1.0]
    >>> anomaly_weights(np.array([0.1, 0.1, 9.0], np.float32), 1.0, 0.05, 0.5).tolist()
    [0.25, 0.25, 1.0]
    """
    smallest = np.finfo(np.float64).tiny  # in place of 0, which has no logarithm
    values = scores.astype(np.float64)
    steps = (np.log(np.maximum(values, smallest)) - np.log(max(threshold, smallest))) / width
    # the limits keep products of weights and descriptors within float32
    rising = np.where(values > 0, 1 / (1 + np.exp(-np.clip(steps, -30, 30))), 0.0)
    above = int((scores > threshold).sum())
    least = floor * min(1.0, above / max(1, len(scores) - above))
    return (least + (1 - least) * rising).astype(np.float32)
