"""Two-dimensional pictures of the descriptors for the scatter plot: principal components, and t-SNE."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blemish.runtime.threads import limited_threads
from blemish.types import FloatArray, IntArray

Places = npt.NDArray[np.float64]

MAX_TSNE = 1000
"""Images that t-SNE places itself; its cost grows faster than their number. The others follow their neighbors."""

COMPONENTS = 50
"""Principal components that t-SNE sees; further ones are mostly noise and cost time."""

NEIGHBORS = 3
"""Placed images whose mean place an image that t-SNE has not seen gets, weighted by inverse distance."""


def project(descriptors: FloatArray, seed: int = 0) -> tuple[Places, Places, int]:
    """Places of the images in two scatter plots.

    Args:
        descriptors: N x D, finite.
        seed: of the random draws.

    Returns:
        N x 2 principal components and N x 2 places by t-SNE, both rounded to four decimals and scaled to [-1, 1]; and the
        number of images that t-SNE placed. Everything is 0 where all rows are equal.

    Cost: a second per 300 images, about four seconds for any larger number.
    """
    rows = np.asarray(descriptors, np.float64)
    n = len(rows)
    reduced = _principal_components(rows, seed)
    pca = np.zeros((n, 2))
    pca[:, : min(2, reduced.shape[1])] = reduced[:, :2]
    chosen = np.sort(np.random.default_rng(seed).choice(n, min(n, MAX_TSNE), replace=False))
    tsne = _tsne(reduced, chosen, seed) if len(chosen) >= 5 and reduced.shape[1] > 1 else pca
    return _scaled(pca), _scaled(tsne), len(chosen)


def _principal_components(rows: Places, seed: int) -> Places:
    from sklearn.decomposition import PCA

    count = min(COMPONENTS, *rows.shape)
    if len(rows) < 2 or not np.ptp(rows, axis=0).any():
        return np.zeros((len(rows), 0))
    solver = "randomized" if min(rows.shape) > 4 * count else "full"
    with limited_threads(1):  # sums of several threads are added in any order, and equal runs give equal bytes
        found: Places = PCA(count, svd_solver=solver, random_state=seed).fit_transform(rows)
    return found[:, found.std(axis=0) > 1e-9 * max(float(found.std()), 1e-30)]


def _tsne(rows: Places, chosen: IntArray, seed: int) -> Places:
    from sklearn.manifold import TSNE
    from sklearn.neighbors import NearestNeighbors

    sample = rows[chosen]
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    with limited_threads(1):
        model = TSNE(2, init="pca", perplexity=perplexity, max_iter=500, random_state=seed)
        placed: Places = model.fit_transform(sample.astype(np.float32)).astype(np.float64)
    if len(chosen) == len(rows):
        return placed
    distances, nearest = NearestNeighbors(n_neighbors=NEIGHBORS).fit(sample).kneighbors(rows)
    weights = 1 / np.maximum(distances, 1e-9)
    places: Places = (placed[nearest] * (weights / weights.sum(axis=1, keepdims=True))[..., None]).sum(axis=1)
    places[chosen] = placed
    return places


def _scaled(places: Places) -> Places:
    """Centered, and within [-1, 1] with one scale for both axes."""
    if not len(places):
        return places
    middle = (places.max(axis=0) + places.min(axis=0)) / 2
    reach = float(np.abs(places - middle).max())
    return np.asarray(np.round((places - middle) / (reach or 1.0), 4))
