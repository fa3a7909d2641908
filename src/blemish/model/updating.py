"""Folding further images into a fitted model: types get more examples and are made again, and new types are proposed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from blemish.clustering import UNLIKE, TypeClassifier, center_distances, cluster, fit_classifier
from blemish.clustering.classifier import SAME
from blemish.config.sections import Cluster
from blemish.errors import InputError
from blemish.model.fitted import FittedModel
from blemish.results import Result
from blemish.stages import of_several_types
from blemish.types import BoolArray, FloatArray, IntArray

NEW_TYPE_IMAGES = 4
"""Fewest images, unlike every type but alike each other, that become a new type."""

SURE = 0.9
"""Least probability of an image that becomes an example of a named type or of the normal group."""

MAX_PENDING = 1000
"""Most rows that are kept for types to come; older ones are dropped."""


@dataclass(frozen=True)
class Update:
    """What an update changed.

    Attributes:
        model: the new model. Numbers and names of its earlier groups are those of the old one.
        added: number of images that became further examples.
        moved: number of earlier examples that went to another type.
        labels: N int64, group of each image, with new types in place of -1 where one was found.
        new_types: labels of the new types.
        pending: number of images that are unlike every type and wait for more of their kind.
    """

    model: FittedModel
    added: int
    moved: int
    labels: IntArray
    new_types: list[int]
    pending: int


@dataclass(frozen=True)
class Examples:
    """The examples that a classifier is fitted to.

    Attributes:
        rows: M x D float32.
        labels: M int64.
        types: M bool, see :class:`blemish.clustering.TypeClassifier`.
    """

    rows: FloatArray
    labels: IntArray
    types: BoolArray


def update(model: FittedModel, result: Result) -> Update:
    """Fold the images of a prediction into the model that made it.

    Images become examples of their type, unless they show defects of several types; examples of named types and of the
    normal group, which are not made again, have to be `SURE`. Images that are unlike every type are kept; once
    `NEW_TYPE_IMAGES` of them are as alike as images of one known type, they become a new type. The types that nobody has
    named are then made again of all their examples: a first small set may have halved a type or joined two. Localization
    model, heads and threshold stay as they are: a new material, light or camera needs a new fit. Images that the model
    has already change nothing.

    Args:
        model: the model.
        result: of its :meth:`FittedModel.predict`.

    Raises:
        InputError: another model made the result, or most images look unlike the fitted ones.

    Cost: as :func:`blemish.clustering.fit_classifier`, and one clustering of the examples.
    """
    if result.info.get("model") != model.digest:
        raise InputError("the result was not made by this model; predict the images with it before the update")
    if result.drift_warning is not None:
        raise InputError(f"the model was not updated: {result.drift_warning}")
    old = model.classifier
    fresh = ~_contained(result.descriptors, np.concatenate([old.references, model.pending]))
    rows, labels = result.descriptors[fresh], result.labels[fresh].copy()
    unlike = np.concatenate([model.pending, rows[labels == UNLIKE]])
    proposed = _new_types(unlike, old)
    new_labels = [len(model.names) + one for one in range(proposed.max(initial=UNLIKE) + 1)]
    # new types first reach the images of this update, so that one table can show them
    assigned = np.where(proposed == UNLIKE, UNLIKE, proposed + len(model.names))
    earlier = assigned[: len(model.pending)]
    labels[labels == UNLIKE] = assigned[len(model.pending) :]
    names: list[str | None] = [*model.names, *(None for _ in new_labels)]
    probability = np.ones(len(rows)) if result.type_probability is None else result.type_probability[fresh]
    sure = (labels != UNLIKE) & (probability >= SURE)
    single = ~of_several_types(result.regions, len(fresh))[fresh]
    taken = single & (sure | np.isin(labels, _open_types(names, old.normal_label)))
    further = Examples(
        np.concatenate([model.pending[earlier != UNLIKE], rows[taken]]),
        np.concatenate([earlier[earlier != UNLIKE], labels[taken]]),
        np.concatenate([np.ones((earlier != UNLIKE).sum(), bool), result.is_anomalous[fresh][taken]]),
    )
    classifier, found = _refitted(model, further, names) if len(further.rows) else (old, old.reference_labels)
    moved = int((found[: len(old.references)] != old.reference_labels).sum())
    labels[taken] = found[len(found) - int(taken.sum()) :]
    counts = np.bincount(found, minlength=len(names)) - np.bincount(old.reference_labels, minlength=len(names))
    updated = replace(
        model,
        classifier=classifier,
        names=names,
        counts=(counts + np.array([*model.counts, *(0 for _ in new_labels)])).tolist(),
        pending=unlike[assigned == UNLIKE][-MAX_PENDING:],
    )
    everywhere = result.labels.copy()
    everywhere[fresh] = labels
    return Update(updated, int(taken.sum()), moved, everywhere, new_labels, len(updated.pending))


def _contained(rows: FloatArray, others: FloatArray) -> BoolArray:
    """Which rows coincide with one of the others."""
    from scipy.spatial import cKDTree

    if not len(others):
        return np.zeros(len(rows), bool)
    distances, _ = cKDTree(others).query(rows)
    return np.asarray(distances < SAME, bool)


def _refitted(model: FittedModel, further: Examples, names: Sequence[str | None]) -> tuple[TypeClassifier, IntArray]:
    """The classifier with further examples, and the group of each example, the earlier ones first.

    Only examples of types count as anomalous, so a normal row never is one.
    """
    old, settings = model.classifier, model.config.cluster
    rows = np.concatenate([old.references, further.rows])
    labels = np.concatenate([old.reference_labels, further.labels])
    types = np.concatenate([old.reference_types, further.types])
    open_ = np.isin(labels, _open_types(names, old.normal_label))
    if open_.any():
        labels[open_] = _regrouped(rows[open_], labels[open_], settings, model.config.seed)
    fitted = fit_classifier(rows, labels, types, old.normal_label, unlike=settings.unlike)
    return replace(fitted, region_reach=max(old.region_reach, fitted.reach)), labels


def _open_types(names: Sequence[str | None], normal_label: int | None) -> list[int]:
    """The types that an update may make again: nobody has named them."""
    return [label for label, name in enumerate(names) if name is None and label != normal_label]


def _regrouped(rows: FloatArray, labels: IntArray, settings: Cluster, seed: int) -> IntArray:
    """The types of some examples, made again, in the same number; as they are if that is no better or ends a type.

    It is better if the types are more compact: the squared distances to their centers are smaller. A type goes on, with its
    number, if more than half of its examples stay together.

    Args:
        rows: M x D.
        labels: M.
        settings: the method of the clustering.
        seed: of its draws.
    """
    types, members = np.unique(labels, return_inverse=True)
    found = cluster(rows, len(types), method=settings.method, seed=seed)
    shared = np.zeros((len(types), len(types)), np.int64)
    np.add.at(shared, (members, found), 1)
    goes_on = shared.argmax(1)
    ended = (2 * shared.max(1) <= shared.sum(1)).any() or len(set(goes_on.tolist())) < len(types)
    if ended or _squared_distances(rows, found) >= _squared_distances(rows, labels):
        return labels
    return types[np.argsort(goes_on)[found]]


def _squared_distances(rows: FloatArray, labels: IntArray) -> float:
    """Sum of the squared distances of rows to the centers of their groups."""
    return float(np.square(center_distances(rows, labels)).sum(dtype=np.float64))


def _new_types(rows: FloatArray, classifier: TypeClassifier) -> IntArray:
    """Number of the new type of each row, from 0; `UNLIKE` for a row without enough rows like it.

    Rows are linked by average linkage up to the mean distance between two rows of one known type.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    found = np.full(len(rows), UNLIKE, np.int64)
    limit = _typical_distance(classifier)
    if len(rows) < NEW_TYPE_IMAGES or limit is None:
        return found
    groups = fcluster(linkage(rows.astype(np.float64), "average"), limit, "distance")
    sizes = np.bincount(groups)
    for number, group in enumerate(
        sorted(np.flatnonzero(sizes >= NEW_TYPE_IMAGES), key=lambda one: (-sizes[one], one))
    ):
        found[groups == group] = number
    return found


def _typical_distance(classifier: TypeClassifier) -> float | None:
    """Mean distance between two references of one type, the median over types; None without a type of two."""
    from scipy.spatial.distance import pdist

    means = []
    for label in np.unique(classifier.reference_labels[classifier.reference_types]):
        rows = classifier.references[classifier.reference_types & (classifier.reference_labels == label)]
        if len(rows) > 1:
            means.append(float(pdist(rows.astype(np.float64)).mean()))
    return float(np.median(means)) if means else None
