"""The contrastive head: a small per-pixel network that draws like defects together and pushes unlike ones apart.

Source: Ardelean & Weyrich, arXiv 2404.12246: a margin loss over pixels of the image itself, of its nearest images and of
far images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from blemish.errors import InputError
from blemish.runtime.random import seeded_generator, seeded_linear
from blemish.types import FloatArray


def margin_loss(
    same_pos: Tensor, same_neg: Tensor, close_pos: Tensor, close_neg: Tensor, counter: Tensor, margin: float = 0.5
) -> Tensor:
    """Sum of an attracting and a repelling term over embedded pixels, a scalar >= 0.

    With d the squared Euclidean distance over all pairs: attract = mean of d(same+, close+) and d(same-, close-);
    repulse = mean of relu(margin - d(same+, close-)) and relu(margin - d(close+, counter+)). A term with an empty side
    is 0, as an image may have no anomalous pixel.

    Args:
        same_pos: n x D anomalous pixels of the image itself; n may be 0 and differ between the five arguments.
        same_neg: n x D normal pixels of the image itself.
        close_pos: n x D anomalous pixels of the image and its nearest images.
        close_neg: n x D normal pixels of the image and its nearest images.
        counter: n x D anomalous pixels of far images.
        margin: squared distance beyond which unlike pixels no longer repel each other.

    >>> a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> float(margin_loss(a, b, a, b, b))
    0.0
    """

    def distance(x: Tensor, y: Tensor) -> Tensor:
        # The expansion equals the sum of (x - y)^2 and needs no n x m x D array of differences.
        return x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T

    def mean(x: Tensor) -> Tensor:
        return x.mean() if x.numel() else x.new_zeros(())

    attract = (mean(distance(same_pos, close_pos)) + mean(distance(same_neg, close_neg))) / 2
    repulse = mean(torch.relu(margin - distance(same_pos, close_neg)))
    repulse = (repulse + mean(torch.relu(margin - distance(close_pos, counter)))) / 2
    return attract + repulse


class Head(nn.Module):
    """Two linear layers, C -> hidden -> dim, applied to each pixel; the output has length 1.

    Args:
        channels: C.
        hidden: width of the hidden layer.
        dim: width of the output.
        seed: seed of the initial weights.
    """

    def __init__(self, channels: int, hidden: int = 256, dim: int = 32, *, seed: int = 0) -> None:
        super().__init__()
        generator = seeded_generator(seed)
        self.first = seeded_linear(channels, hidden, generator)
        self.second = seeded_linear(hidden, dim, generator)

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Head:
        """The head with this ``state_dict``, without gradients; its widths are read from the shapes."""
        (hidden, channels), dim = state["first.weight"].shape, state["second.weight"].shape[0]
        head = cls(channels, hidden, dim)
        head.load_state_dict(dict(state))
        return head.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Unit vectors in the layout of the input, N x C or B x C x h x w; a vector that maps to zero stays zero."""
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
    max_steps: int | None = None,
    learning_rate: float = 5e-4,
    weight_decay: float = 0.01,
    margin: float = 0.5,
    n_anchors: int = 20,
    n_positives: int = 50,
    n_negatives: int = 50,
    n_neighbors: int = 3,
    n_negative_images: int = 5,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Head:
    """Train a head on pixels of the set with AdamW, one step per image and epoch.

    Args:
        features: pixels of N images, P x C each, float16 or float32; P may differ and be 0.
        values: anomaly map values of these pixels, P each.
        descriptors: N x D; their distances decide which images are near and far.
        threshold: map value above which a pixel is anomalous, see :func:`blemish.descriptors.heads.head_threshold`.
        hidden: width of the hidden layer.
        dim: width of the output.
        epochs: passes over the images.
        max_steps: largest number of steps, which may end training within an epoch; None: all epochs.
        learning_rate: learning rate of AdamW.
        weight_decay: weight decay of AdamW.
        margin: see :func:`margin_loss`.
        n_anchors: anomalous pixels, and normal pixels, drawn from the image itself.
        n_positives: anomalous pixels, and normal pixels, drawn from the image and its nearest images together.
        n_negatives: anomalous pixels drawn from far images.
        n_neighbors: number of nearest images.
        n_negative_images: number of far images, drawn from the farther half.
        seed: seed of initial weights and draws.
        progress: called with 1 after each step.

    Returns:
        The trained head, without gradients. One seed gives the same bits on one machine.
    """
    n = len(features)
    head = Head(features[0].shape[1], hidden, dim, seed=seed)
    optimizer = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    rng = np.random.default_rng(seed)
    high = [np.flatnonzero(one > threshold) for one in values]
    low = [np.flatnonzero(one <= threshold) for one in values]

    visits = (int(i) for _ in range(epochs) for i in rng.permutation(n))
    for i in islice(visits, max_steps):
        order = order_by_distance(descriptors, i)
        near, far = [i, *order[:n_neighbors].tolist()], order[len(order) // 2 :]
        far = rng.choice(far, min(n_negative_images, len(far)), replace=False)
        drawn = [
            _draw(features, [i], high, n_anchors, rng),
            _draw(features, [i], low, n_anchors, rng),
            _draw(features, near, high, n_positives, rng),
            _draw(features, near, low, n_positives, rng),
            _draw(features, far.tolist(), high, n_negatives, rng),
        ]
        pixels = torch.from_numpy(np.concatenate([rows for part in drawn for rows in part])).float()
        lengths = [sum(map(len, part)) for part in drawn]
        same_pos, same_neg, close_pos, close_neg, counter = head(pixels).split(lengths)
        loss = margin_loss(same_pos, same_neg, close_pos, close_neg, counter, margin)
        if loss.requires_grad:
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if progress:
            progress(1)
    return head.eval().requires_grad_(False)


def _draw(
    features: Sequence[npt.NDArray[np.floating]],
    images: Sequence[int],
    pool: Sequence[npt.NDArray[np.int64]],
    count: int,
    rng: np.random.Generator,
) -> list[npt.NDArray[np.floating]]:
    """At most ``count`` pixels, drawn without replacement from the pool of these images together; one array per image.

    Args:
        features: pixels of all images, P x C each.
        images: indices of the images to draw from.
        pool: for all images, the indices of the pixels that may be drawn.
    """
    starts = np.cumsum([0, *(len(pool[i]) for i in images)])
    total = int(starts[-1])
    picks = np.sort(rng.choice(total, min(count, total), replace=False))
    edges = np.searchsorted(picks, starts)
    return [
        features[i][pool[i][picks[edges[place] : edges[place + 1]] - starts[place]]] for place, i in enumerate(images)
    ]
