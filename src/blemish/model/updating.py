"""Folding further images into a fitted model: known types get more examples, and new types are proposed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from blemish.clustering import UNLIKE, TypeClassifier, fit_classifier
from blemish.clustering.classifier import SAME
from blemish.errors import InputError
from blemish.model.fitted import FittedModel
from blemish.results import Result
from blemish.stages import of_several_types
from blemish.types import BoolArray, FloatArray, IntArray

NEW_TYPE_IMAGES = 4
"""Fewest images, unlike every type but alike each other, that become a new type."""

SURE = 0.9
"""Images whose group is less probable are not taken as examples of it."""

MAX_PENDING = 1000
"""Most rows that are kept for types to come; older ones are dropped."""


@dataclass(frozen=True)
class Update:
    """What an update changed.

    Attributes:
        model: the new model. Numbers and names of its earlier groups are those of the old one.
        added: number of images that became further examples.
        labels: N int64, group of each image, with new types in place of -1 where one was found.
        new_types: labels of the new types.
        pending: number of images that are unlike every type and wait for more of their kind.
    """

    model: FittedModel
    added: int
    labels: IntArray
    new_types: list[int]
    pending: int


def update(model: FittedModel, result: Result) -> Update:
    """Fold the images of a prediction into the model that made it.

    Images of a group that is at least `SURE` become examples of it, unless they show defects of several types. Images that
    are unlike every type are kept; once `NEW_TYPE_IMAGES` of them are as alike as images of one known type, they become a
    new type. Localization model, heads and threshold stay as they are: a new material, light or camera needs a new fit.
    Images that the model has already change nothing.

    Args:
        model: the model.
        result: of its :meth:`FittedModel.predict`.

    Raises:
        InputError: another model made the result, or most images look unlike the fitted ones.

    Cost: as :func:`blemish.clustering.fit_classifier`.
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
    pending_before = len(model.pending)
    # new types first reach the images of this update, so that one table can show them
    assigned = np.where(proposed == UNLIKE, UNLIKE, proposed + len(model.names))
    labels[labels == UNLIKE] = assigned[pending_before:]
    probability = np.ones(len(rows)) if result.type_probability is None else result.type_probability[fresh]
    taken = (labels != UNLIKE) & ((probability >= SURE) | (labels >= len(model.names)))
    taken &= ~of_several_types(result.regions, len(fresh))[fresh]
    earlier = assigned[:pending_before]
    examples = (
        np.concatenate([old.references, model.pending[earlier != UNLIKE], rows[taken]]),
        np.concatenate([old.reference_labels, earlier[earlier != UNLIKE], labels[taken]]),
        np.concatenate(
            [old.reference_types, np.ones((earlier != UNLIKE).sum(), bool), result.is_anomalous[fresh][taken]]
        ),
    )
    counts = np.bincount(examples[1], minlength=len(model.names) + len(new_labels)) - np.bincount(
        old.reference_labels, minlength=len(model.names) + len(new_labels)
    )
    updated = replace(
        model,
        classifier=_refitted(model, *examples) if len(examples[0]) > len(old.references) else old,
        names=[*model.names, *(None for _ in new_labels)],
        counts=(counts + np.array([*model.counts, *(0 for _ in new_labels)])).tolist(),
        pending=unlike[assigned == UNLIKE][-MAX_PENDING:],
    )
    everywhere = result.labels.copy()
    everywhere[fresh] = labels
    return Update(updated, int(taken.sum()), everywhere, new_labels, len(updated.pending))


def _contained(rows: FloatArray, others: FloatArray) -> BoolArray:
    """Which rows coincide with one of the others."""
    from scipy.spatial import cKDTree

    if not len(others):
        return np.zeros(len(rows), bool)
    distances, _ = cKDTree(others).query(rows)
    return np.asarray(distances < SAME, bool)


def _refitted(model: FittedModel, rows: FloatArray, labels: IntArray, types: BoolArray) -> TypeClassifier:
    """The classifier with further examples. Only examples of types count as anomalous, so a normal row never is one."""
    old = model.classifier
    fitted = fit_classifier(rows, labels, types, old.normal_label, unlike=model.config.cluster.unlike)
    return replace(fitted, region_reach=max(old.region_reach, fitted.reach))


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
