"""The contrastive head: a small per-pixel network that draws like defects together and pushes unlike ones apart.

Source: Ardelean & Weyrich, arXiv 2404.12246; margin loss over pixels of the image itself, its nearest images and far ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from blemish.errors import InputError
from blemish.localization.reconstruction import seeded_linear
from blemish.runtime.random import seeded_generator
from blemish.types import FloatArray


def label_free_threshold(descriptors: FloatArray, maxima: FloatArray, n_clusters: int, seed: int = 0) -> float:
    """Map value between normal and anomalous pixels, without labels.

    k-means on the descriptors; the cluster with the lowest mean of ``maxima`` is taken as normal; the threshold is the
    quantile of ``maxima`` at that cluster's share of the images.

    Args:
        descriptors: N x D. maxima: N, highest map value per image. n_clusters: at least 1; capped at the distinct rows.
    """
    from sklearn.cluster import KMeans

    k = min(n_clusters, len(np.unique(descriptors, axis=0)))
    if k <= 1:
        return float(maxima.max())
    labels = KMeans(k, n_init=10, random_state=seed).fit_predict(descriptors.astype(np.float64))
    means = [float(maxima[labels == label].mean()) if (labels == label).any() else np.inf for label in range(k)]
    return float(np.quantile(maxima, float((labels == int(np.argmin(means))).mean())))


def margin_loss(
    same_pos: Tensor, same_neg: Tensor, close_pos: Tensor, close_neg: Tensor, counter: Tensor, margin: float = 0.5
) -> Tensor:
    """Attract + repulse over embedded pixels, a scalar >= 0.

    d is the squared Euclidean distance over all pairs; attract = mean of d(same+, close+) and d(same-, close-);
    repulse = mean of relu(margin - d(same+, close-)) and relu(margin - d(close+, counter+)). A term with an empty side
    is 0 (an image may have no anomalous pixel).

    Args:
        same_pos, same_neg, close_pos, close_neg, counter: n x D each, n may be 0 and differ.

    >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> float(margin_loss(a, b, a, b, b))
    0.0
    """

    def distance(x: Tensor, y: Tensor) -> Tensor:
        # the same as the sum of (x - y)^2, without an n x m x D array of differences
        return x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T

    def mean(x: Tensor) -> Tensor:
        return x.mean() if x.numel() else x.new_zeros(())

    attract = (mean(distance(same_pos, close_pos)) + mean(distance(same_neg, close_neg))) / 2
    repulse = mean(torch.relu(margin - distance(same_pos, close_neg)))
    repulse = (repulse + mean(torch.relu(margin - distance(close_pos, counter)))) / 2
    return attract + repulse


class Head(nn.Module):
    """C -> hidden -> dim per pixel with unit length output; takes N x C vectors or B x C x h x w maps."""

    def __init__(self, channels: int, hidden: int = 256, dim: int = 32, *, seed: int = 0) -> None:
        super().__init__()
        generator = seeded_generator(seed)
        self.first = seeded_linear(channels, hidden, generator)
        self.second = seeded_linear(hidden, dim, generator)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Head:
        """The head with this ``state_dict``, its widths read from the shapes; no gradients."""
        (hidden, channels), dim = state["first.weight"].shape, state["second.weight"].shape[0]
        head = cls(channels, hidden, dim)
        head.load_state_dict(dict(state))
        return head.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Unit vectors in the layout of the input; a vector that the network maps to zero stays zero."""
        if x.ndim == 4:
            return (
                self(x.permute(0, 2, 3, 1).reshape(-1, x.shape[1]))
                .unflatten(0, (x.shape[0], *x.shape[2:]))
                .permute(0, 3, 1, 2)
            )
        if x.ndim != 2:
            raise InputError(f"the head takes N x C or B x C x h x w, got {tuple(x.shape)}")
        return nn.functional.normalize(self.second(torch.relu(self.first(x))), dim=1, eps=1e-8)


def order_by_distance(descriptors: FloatArray, index: int) -> npt.NDArray[np.int64]:
    """The other images from near to far of image ``index``, N - 1; ties by index. O(N D + N log N)."""
    far = np.square(descriptors - descriptors[index]).sum(1).astype(np.float64)
    far[index] = -1.0
    return np.argsort(far, kind="stable")[1:]


def train_head(
    features: Sequence[npt.NDArray[np.floating]],
    values: Sequence[FloatArray],
    descriptors: FloatArray,
    threshold: float,
    *,
    hidden: int = 256,
    dim: int = 32,
    epochs: int = 10,
    steps: int | None = None,
    lr: float = 5e-4,
    weight_decay: float = 0.01,
    margin: float = 0.5,
    n_same: int = 20,
    n_close: int = 50,
    n_counter: int = 50,
    n_near: int = 3,
    n_counter_images: int = 5,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Head:
    """Train a head on pixels of the set.

    Args:
        features: pixels of N images, P x C each, float16 or float32; P may differ and be 0.
        values: their anomaly map's values, P each. Pixels above ``threshold`` are anomalous, the others normal.
        descriptors: N x D, which images are near and far. threshold: see :func:`blemish.descriptors.pixels.head_threshold`.
        steps: at most so many, so that the last epoch may be a part of one; None: all epochs.
        progress: called with 1 after each step.

    Returns:
        The trained head. One seed, one machine: the same bits. AdamW, one step per image and epoch.
    """
    n = len(features)
    head = Head(features[0].shape[1], hidden, dim, seed=seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
    rng = np.random.default_rng(seed)
    high = [np.flatnonzero(one > threshold) for one in values]
    low = [np.flatnonzero(one <= threshold) for one in values]

    def draw(
        images: Sequence[int], pool: Sequence[npt.NDArray[np.int64]], count: int
    ) -> list[npt.NDArray[np.floating]]:
        starts = np.cumsum([0, *(len(pool[i]) for i in images)])
        total = int(starts[-1])
        picks = np.sort(rng.choice(total, min(count, total), replace=False))
        edges = np.searchsorted(picks, starts)
        return [
            features[i][pool[i][picks[edges[place] : edges[place + 1]] - starts[place]]]
            for place, i in enumerate(images)
        ]

    visits = (int(i) for _ in range(epochs) for i in rng.permutation(n))
    for i in islice(visits, steps):
        order = order_by_distance(descriptors, i)
        near, far = [i, *order[:n_near].tolist()], order[len(order) // 2 :]
        far = rng.choice(far, min(n_counter_images, len(far)), replace=False)
        parts = [
            draw([i], high, n_same),
            draw([i], low, n_same),
            draw(near, high, n_close),
            draw(near, low, n_close),
            draw(far.tolist(), high, n_counter),
        ]
        pixels = torch.from_numpy(np.concatenate([rows for part in parts for rows in part])).float()
        lengths = [sum(map(len, part)) for part in parts]
        same_pos, same_neg, close_pos, close_neg, counter = head(pixels).split(lengths)
        loss = margin_loss(same_pos, same_neg, close_pos, close_neg, counter, margin)
        if loss.requires_grad:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if progress:
            progress(1)
    return head.eval().requires_grad_(False)
