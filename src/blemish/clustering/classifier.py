"""The types of later images and regions: a classifier fitted to the groups of one set, which also says what is unlike them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from blemish.types import BoolArray, FloatArray, IntArray

UNLIKE = -1
"""Label of what is unlike every type."""

MAX_REFERENCES = 2000
"""Most rows of the fitted set that are kept, about 2 MB."""

FOLDS = 5
"""Parts of the set for the cross-validation that finds the temperature."""

SAME = 1e-3
"""Rows closer than this, in units of their length 1, belong to one image: rounding alone differs between two passes."""


@dataclass(frozen=True)
class Classified:
    """Types of M rows.

    Attributes:
        labels: M int64; `UNLIKE` where no type is near.
        probabilities: M float32 in [0, 1], probability of the label; where it is `UNLIKE`, of the likeliest group.
        distances: M float32, distance to the nearest reference of a type; infinite without any.
    """

    labels: IntArray
    probabilities: FloatArray
    distances: FloatArray


@dataclass(frozen=True)
class Discriminants:
    """Linear discriminants of K groups.

    Attributes:
        coefficients: K x D float32.
        intercepts: K float32.
        temperature: >= 1, divides the discriminants before they become probabilities.
    """

    coefficients: FloatArray
    intercepts: FloatArray
    temperature: float

    def posterior(self, rows: FloatArray, without: int | None = None) -> np.ndarray:
        """Probability of each group, M x K; 0 for the group ``without``."""
        logits = (rows @ self.coefficients.T + self.intercepts).astype(np.float64) / self.temperature
        if without is not None:
            logits[:, without] = -np.inf
        posterior = np.exp(logits - logits.max(1, keepdims=True))
        return posterior / posterior.sum(1, keepdims=True)


@dataclass(frozen=True)
class TypeClassifier:
    """From the vectors that were clustered to the groups that the clustering found; it holds no image.

    Attributes:
        images: discriminants for images, from all images of the set.
        regions: discriminants for regions, see :func:`without_examples`.
        references: M x D float32, rows of the fitted set.
        reference_labels: M int64.
        reference_types: M bool, whether the row belongs to an anomalous image of a type.
        centers: K x D float32, mean of the rows of each group.
        normal_label: label of the normal group; None if there is none.
        reach: distance to the nearest reference of a type beyond which a row is unlike every type.
        region_reach: the same for the row of a region among several of its image. It is larger, because such a region is
            described with less around it than the references.
    """

    images: Discriminants
    regions: Discriminants
    references: FloatArray
    reference_labels: IntArray
    reference_types: BoolArray
    centers: FloatArray
    normal_label: int | None
    reach: float
    region_reach: float

    def classify(self, rows: FloatArray, anomalous: BoolArray, *, types_only: bool = False) -> Classified:
        """The groups of some rows.

        A row that coincides with a reference has the reference's label: an image of the fitted set keeps its group.
        Another anomalous row is `UNLIKE` if it lies beyond the reach of every type.

        Args:
            rows: M x D, from the space that the classifier was fitted in.
            anomalous: M bool.
            types_only: the rows are anomalous regions, which have a type: the normal group is not considered, and the reach
                is that of regions.
        """
        if not len(rows):
            return Classified(np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32))
        reach = self.region_reach if types_only else self.reach
        discriminants = self.regions if types_only else self.images
        types_only = types_only and self.normal_label is not None and len(self.centers) > 1
        probabilities = discriminants.posterior(rows, self.normal_label if types_only else None)
        allowed = self.reference_types if types_only else np.ones(len(self.references), bool)
        labels = probabilities.argmax(1).astype(np.int64)
        distances = _distances(rows, self.references)
        to_types = distances[:, self.reference_types].min(1, initial=np.inf)
        nearest = distances.argmin(1)
        known = (distances.min(1) < SAME) & allowed[nearest]
        labels[known] = self.reference_labels[nearest[known]]
        chosen = probabilities[np.arange(len(rows)), labels].astype(np.float32)
        labels[anomalous & ~known & (to_types > reach)] = UNLIKE
        return Classified(labels, chosen, to_types.astype(np.float32))

    def probabilities(self, rows: FloatArray, labels: IntArray) -> FloatArray:
        """Probability of given groups, M float32 in [0, 1], of M rows and their labels; no row is compared with others."""
        return self.images.posterior(rows)[np.arange(len(rows)), labels].astype(np.float32)

    def center_distances(self, rows: FloatArray, labels: IntArray) -> FloatArray:
        """Distance of each row to the center of its group, M float32; to the nearest center where it is `UNLIKE`."""
        distances = _distances(rows, self.centers)
        own = distances[np.arange(len(rows)), np.maximum(labels, 0)]
        return np.where(labels == UNLIKE, distances.min(1), own).astype(np.float32)


def fit_classifier(
    rows: FloatArray, labels: IntArray, anomalous: BoolArray, normal_label: int | None, *, unlike: float
) -> TypeClassifier:
    """Fit a classifier to the groups of a set.

    Linear discriminants with the shrunk covariance of Ledoit & Wolf (2004) follow the groups more closely than the nearest
    center or the nearest image does, because rows have more dimensions than a type has images. Their probabilities are too
    sure of themselves, so a temperature of at least 1 divides them, the one that is most likely in a cross-validation.

    Args:
        rows: N x D, the input of the clustering.
        labels: N in 0..K-1, the groups that it found.
        anomalous: N bool.
        normal_label: label of the normal group, or None.
        unlike: share of the set's own defects that would count as unlike the others, 0 to 1. A larger value calls more
            later defects unlike anything seen.

    Returns:
        The classifier. With one group, every row belongs to it.

    Cost: six decompositions of a matrix of the smaller of N and D, and one table of distances between at most `MAX_REFERENCES` rows.
    """
    kept = _spread(len(rows), MAX_REFERENCES)
    discriminants = _fit_discriminants(rows, labels)
    types = anomalous & (labels != normal_label) if normal_label is not None else anomalous.copy()
    reach = _reach(rows[kept][types[kept]], unlike)
    return TypeClassifier(
        discriminants,
        discriminants,
        rows[kept],
        labels[kept],
        types[kept],
        np.stack([rows[labels == label].mean(0) for label in range(int(labels.max()) + 1)]),
        normal_label,
        reach,
        reach,
    )


def fit_region_reach(classifier: TypeClassifier, rows: FloatArray, images: FloatArray, unlike: float) -> TypeClassifier:
    """The classifier with the reach of regions, fitted to the regions of the set that it was fitted to.

    Args:
        classifier: fitted to the images of the set.
        rows: R x D, the vectors of the set's regions.
        images: R x D, the vector of the image of each of them, which does not count as an example of the region's type.
        unlike: share of the set's own regions that would count as unlike every type, 0 to 1.

    Cost: two tables of distances between at most `MAX_REFERENCES` rows each.
    """
    examples = classifier.references[classifier.reference_types]
    kept = _spread(len(rows), MAX_REFERENCES)
    distances = _distances(rows[kept], examples)
    distances[_distances(images[kept], examples) < SAME] = np.inf
    nearest = distances.min(1, initial=np.inf)
    nearest = nearest[np.isfinite(nearest)]
    if len(nearest) < 3:
        return classifier
    reach = float(np.quantile(nearest, 1 - unlike))
    return replace(classifier, region_reach=max(classifier.reach, reach))


def without_examples(
    classifier: TypeClassifier, rows: FloatArray, labels: IntArray, left_out: BoolArray
) -> TypeClassifier:
    """The classifier whose discriminants for regions are fitted without some of its images.

    An image with defects of several types is no example of what one of them looks like alone. But it is an example of the
    images of its group: on a surface with many small defects, some regions have another type by chance, and later images
    will as well. A group that would have no example keeps all of them.

    Args:
        classifier: fitted to the rows.
        rows: N x D.
        labels: N in 0..K-1.
        left_out: N bool.

    Cost: as :func:`fit_classifier`, without distances.
    """
    kept = ~left_out
    empty = np.setdiff1d(labels, labels[kept])
    kept |= np.isin(labels, empty)
    if kept.all():
        return classifier
    return replace(classifier, regions=_fit_discriminants(rows[kept], labels[kept], len(classifier.centers)))


def _spread(count: int, most: int) -> IntArray:
    """At most ``most`` indices, evenly spread over ``count``."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _fit_discriminants(rows: FloatArray, labels: IntArray, k: int | None = None) -> Discriminants:
    """The discriminants of k groups, with the temperature of a cross-validation."""
    return Discriminants(*_discriminants(rows, labels, k or int(labels.max()) + 1), _temperature(rows, labels))


def _discriminants(rows: FloatArray, labels: IntArray, k: int) -> tuple[FloatArray, FloatArray]:
    """Coefficients K x D and intercepts K of linear discriminants; minus infinity for a group without rows."""
    coefficients, intercepts = np.zeros((k, rows.shape[1]), np.float32), np.full(k, -np.inf, np.float32)
    present, members, counts = np.unique(labels, return_inverse=True, return_counts=True)
    values = rows.astype(np.float64)
    means = np.stack([values[members == place].mean(0) for place in range(len(present))])
    within = values - means[members]
    solved = means
    if (
        np.square(within).sum() > 1e-12
    ):  # otherwise every row is a group of its own, or equal to the others of its group
        solved = _covariance_solved(within, means)
    coefficients[present] = solved
    intercepts[present] = np.log(counts / len(rows)) - 0.5 * (means * solved).sum(1)
    return coefficients, intercepts


def _covariance_solved(within: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Each of the means, K x D, multiplied by the inverse of the shrunk covariance of the rows, N x D, whose mean is 0.

    The covariance is a multiple of the identity plus N outer products. With fewer rows than dimensions, its inverse
    follows from a matrix of N x N (Woodbury's identity), which takes a small part of the time.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    n, dimensions = within.shape
    shrinkage = float(ledoit_wolf_shrinkage(within, assume_centered=True))
    share = (1 - shrinkage) / n
    floor = (shrinkage + 1e-6) * np.square(within).sum() / (n * dimensions)  # 1e-6: few rows shrink to nothing
    if n >= dimensions:
        return np.linalg.solve(share * within.T @ within + floor * np.eye(dimensions), means.T).T
    inner = np.linalg.solve(share * within @ within.T + floor * np.eye(n), share * within @ means.T)  # N x K
    return (means - inner.T @ within) / floor


def _temperature(rows: FloatArray, labels: IntArray) -> float:
    """The divisor under which left-out rows' own labels are most likely; 1 if there is too little to leave out."""
    k = int(labels.max()) + 1
    if k < 2 or len(rows) < 2 * FOLDS:
        return 1.0
    fold = np.arange(len(rows)) % FOLDS
    left_out = np.full((len(rows), k), -np.inf)
    for one in range(FOLDS):
        coefficients, intercepts = _discriminants(rows[fold != one], labels[fold != one], k)
        left_out[fold == one] = rows[fold == one] @ coefficients.T + intercepts
    usable = np.isfinite(left_out[np.arange(len(rows)), labels])
    if not usable.any():
        return 1.0
    logits, own = left_out[usable], labels[usable]
    candidates = np.geomspace(1, 64, 25)
    return float(max(candidates, key=lambda value: (_log_likelihood(logits / value, own), -value)))


def _log_likelihood(logits: np.ndarray, labels: IntArray) -> float:
    shifted = logits - logits.max(1, keepdims=True)
    return float((shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(1))).mean())


def _reach(rows: FloatArray, unlike: float) -> float:
    """Quantile of the distances from each row to the nearest other one; infinite if there is nothing to compare."""
    if len(rows) < 3:
        return float("inf")
    distances = _distances(rows, rows)
    np.fill_diagonal(distances, np.inf)
    return float(np.quantile(distances.min(1), 1 - unlike))


def _distances(rows: FloatArray, others: FloatArray) -> np.ndarray:
    """Euclidean distances, M x N float64."""
    from scipy.spatial.distance import cdist

    return np.asarray(cdist(rows.astype(np.float64), others.astype(np.float64)))
