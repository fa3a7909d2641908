"""From descriptors and scores to groups: how scores weigh descriptors, how many groups there are, and which is normal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from blemish.clustering.methods import cluster
from blemish.clustering.n_clusters import estimate_clusters
from blemish.clustering.space import (
    DefectSpace,
    SurfaceSpace,
    fit_defect_space,
    fit_surface_space,
)
from blemish.clustering.views import View, ViewChoice, mostly_normal_choice, requested_choice
from blemish.config.sections import Cluster, Descriptor
from blemish.localization.threshold import ScoreModel
from blemish.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class Grouping:
    """The groups of a set of images.

    Attributes:
        labels: N int64: the normal group first, if there is one, then the types by decreasing size.
        normal_label: 0, or None if no group is normal.
        descriptors: N x D float32, the input of the clustering.
        space: what made them; it makes the same kind of vectors of later images.
    """

    labels: IntArray
    normal_label: int | None
    descriptors: FloatArray
    space: DefectSpace | SurfaceSpace

    @property
    def n_groups(self) -> int:
        """Number of groups, including the normal group."""
        return int(self.labels.max()) + 1


@dataclass(frozen=True)
class GroupedViews:
    """The groups of a set in both views, and the view that counts.

    Attributes:
        by_defect: groups by local defects.
        by_image: groups by whole surfaces.
        choice: the view that counts, and why.
    """

    by_defect: Grouping
    by_image: Grouping
    choice: ViewChoice

    @property
    def view(self) -> View:
        """The view that counts."""
        return self.choice.view

    @property
    def counting(self) -> Grouping:
        """The groups in the view that counts."""
        return self.by_image if self.view == "image" else self.by_defect

    @property
    def other(self) -> Grouping:
        """The groups in the other view."""
        return self.by_defect if self.view == "image" else self.by_image


def group_surfaces(
    means: FloatArray,
    scores: FloatArray,
    score_model: ScoreModel,
    settings: Cluster,
    *,
    n_clusters: int | Literal["auto"] = "auto",
    seed: int = 0,
) -> Grouping:
    """Sort images into groups by their whole surfaces; scores only decide which group is the normal one.

    Args:
        means: N x C, mean normalized feature vector of each image.
        scores: N.
        score_model: which scores are anomalous, and how likely.
        settings: the cluster section of the settings.
        n_clusters: number of groups; ``auto`` estimates it.
        seed: of all random draws.
    """
    space = fit_surface_space(means)
    plain = settings.model_copy(update={"score_weighting": "none"})
    rows = space.rows(means)
    return _grouped(rows, rows, space, scores, score_model, plain, n_clusters, seed)


def resolve_view(
    evidence: ViewChoice,
    scores: FloatArray,
    score_model: ScoreModel,
    settings: Cluster,
    n_clusters: int | Literal["auto"],
) -> ViewChoice:
    """The view that counts: that of the settings, or else that of the evidence.

    Defect-free images differ as a whole too (light, pose), and these differences are not types of defects. Whole surfaces
    therefore count only if enough images are anomalous: most of them if the number of groups is estimated or the evidence
    is weak, or as many as a given number of groups needs, see :func:`most_groups`. Arguments are those of :func:`group_images`.
    """
    if settings.group_by != "auto":
        return requested_choice(settings.group_by, evidence)
    anomalous = score_model.anomalous(scores)
    if n_clusters == "auto" or evidence.doubtful:
        mostly_normal = anomalous.mean() < 0.5
    else:
        mostly_normal = settings.score_weighting != "none" and n_clusters > most_groups(score_model.possible(scores))
    return mostly_normal_choice(evidence) if evidence.view == "image" and mostly_normal else evidence


def most_groups(anomalous: BoolArray) -> int:
    """Largest number of groups that the anomaly decision allows: a type holds an anomalous image, and one group is normal.

    Args:
        anomalous: N bool.

    >>> most_groups(np.array([False, True, True])), most_groups(np.array([False, False])), most_groups(np.array([True]))
    (3, 1, 1)
    """
    return int(anomalous.sum()) + int(not anomalous.all())


def fewer_groups_warning(n_clusters: int | Literal["auto"], found: int, anomalous: BoolArray) -> str | None:
    """Warning shown when there are fewer groups than the settings ask for; None otherwise.

    Args:
        n_clusters: number of groups in the settings.
        found: number of groups that were found.
        anomalous: N bool.

    >>> fewer_groups_warning(6, 2, np.array([True, False, False]))
    'There are 2 groups, although n_clusters is 6: only 1 image is anomalous, and each type needs one.'
    """
    if n_clusters == "auto" or found >= n_clusters:
        return None
    count = int(anomalous.sum())
    if most_groups(anomalous) >= n_clusters:
        reason = "not enough images differ from each other."
    elif count == 0:
        reason = "no image is anomalous, and differences between normal images are not types of defects."
    else:
        reason = f"only {count} image{' is' if count == 1 else 's are'} anomalous, and each type needs one."
    return (
        f"There {'is 1 group' if found == 1 else f'are {found} groups'}, although n_clusters is {n_clusters}: {reason}"
    )


def group_images(
    descriptors: FloatArray,
    shapes: FloatArray,
    scores: FloatArray,
    score_model: ScoreModel,
    settings: Cluster,
    *,
    n_clusters: int | Literal["auto"] = "auto",
    shape_weight: float = Descriptor().shape_weight,
    normalize: bool = Descriptor().normalize,
    seed: int = 0,
    counted: FloatArray | None = None,
) -> Grouping:
    """Sort images into groups.

    How scores affect the groups depends on ``score_weighting``:

    - ``soft``: descriptors are multiplied by :class:`blemish.clustering.ScoreWeights`, so that images
      without a defect, whose descriptors have no meaningful direction, move towards the origin. If no image is anomalous,
      all weights are 1.
    - ``hard``: the images below the threshold form the normal group, and only the others are clustered, into one group
      fewer.
    - ``none``: descriptors are clustered as they are (the paper).

    Except with ``none``, there are at most as many groups as :func:`most_groups` allows, whatever number is given.

    Except with ``hard``, the group with the lowest mean score is the normal one, unless most of its images are anomalous.

    Args:
        descriptors: N x D, N at least 1.
        shapes: N x 3, see :func:`blemish.descriptors.geometry.region_shape`.
        scores: N.
        score_model: which scores are anomalous, and how likely.
        settings: the cluster section of the settings.
        n_clusters: largest number of groups, including the normal group; ``auto`` estimates the number.
        shape_weight: weight of the shapes relative to the descriptors.
        normalize: scale descriptors to length 1.
        seed: of all random draws.
        counted: N x E, the descriptors that the number of groups is estimated from. These are the ones without heads: the
            heads also draw similar types together, so fewer groups stand out in their output. None: ``descriptors``.
    """

    def fitted(rows: FloatArray) -> DefectSpace:
        return fit_defect_space(
            rows, shapes, scores, score_model, settings, shape_weight=shape_weight, normalize=normalize
        )

    space = fitted(descriptors)
    inputs = space.rows(descriptors, shapes, scores)
    plain = inputs if counted is None or n_clusters != "auto" else fitted(counted).rows(counted, shapes, scores)
    return _grouped(inputs, plain, space, scores, score_model, settings, n_clusters, seed)


def _grouped(
    inputs: FloatArray,
    counted: FloatArray,
    space: DefectSpace | SurfaceSpace,
    scores: FloatArray,
    score_model: ScoreModel,
    settings: Cluster,
    n_clusters: int | Literal["auto"],
    seed: int,
) -> Grouping:
    """The groups of N vectors; ``counted`` has the vectors that their number is estimated from."""
    anomalous = score_model.anomalous(scores)
    labels = np.zeros(len(inputs), np.int64)
    hard = settings.score_weighting == "hard" and not anomalous.all()
    part = anomalous if hard else np.ones(len(inputs), bool)
    most = settings.max_clusters if n_clusters == "auto" else n_clusters
    if not part.any() or (hard and most == 1):
        return Grouping(labels, 0, inputs, space)
    rows = inputs[part]
    k = min(most - hard, len(rows))
    if settings.score_weighting == "soft":
        k = min(k, most_groups(anomalous if n_clusters == "auto" else score_model.possible(scores)))
    if n_clusters == "auto":
        k = min(k, _estimated_number(counted[part], anomalous[part], k, settings, seed))
    found = cluster(rows, k, method=settings.method, seed=seed)
    if hard:
        labels[part] = found + 1
        return Grouping(labels, 0, inputs, space)
    ordered, normal_label = _normal_group_first(found, scores, anomalous)
    return Grouping(ordered, normal_label, inputs, space)


def _estimated_number(rows: FloatArray, anomalous: BoolArray, most: int, settings: Cluster, seed: int) -> int:
    """Estimated number of groups: the types of the anomalous images, and one group for the normal images if there are any.

    If scores do not affect the groups, they do not affect their number either.
    """
    if settings.score_weighting == "none":
        return estimate_clusters(rows, max_clusters=most, seed=seed)
    if not anomalous.any():
        return 1  # differences between normal images are not types of defects
    normal = int(not anomalous.all())
    return normal + estimate_clusters(rows[anomalous], max_clusters=max(most - normal, 1), seed=seed)


def _normal_group_first(found: IntArray, scores: FloatArray, anomalous: BoolArray) -> tuple[IntArray, int | None]:
    """Labels with the normal group as 0: the one with the lowest mean score, unless most of its images are anomalous."""
    means = [scores[found == label].mean() for label in range(found.max() + 1)]
    lowest = int(np.argmin(means))
    if anomalous[found == lowest].mean() > 0.5:
        return found, None
    order = [lowest, *(label for label in range(len(means)) if label != lowest)]
    return np.argsort(order)[found].astype(np.int64), 0
