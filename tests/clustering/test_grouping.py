from __future__ import annotations

import math

import numpy as np
import pytest

from blemish.clustering.grouping import Grouping, fewer_groups_warning, group_images
from blemish.clustering.methods import order_by_size
from blemish.config.sections import Cluster
from blemish.localization.threshold import ScoreModel
from blemish.types import FloatArray

MODES = ("soft", "hard", "none")


def without_shapes(
    rows: np.ndarray, scores: np.ndarray, threshold: float, n_clusters: int | str = "auto", **settings: object
) -> Grouping:
    """Groups of descriptors that have no shapes beside them."""
    shapes = np.zeros((len(rows), 3), np.float32)
    chosen = Cluster(**settings)  # type: ignore[arg-type]
    return group_images(
        rows.astype(np.float32),
        shapes,
        scores.astype(np.float32),
        ScoreModel(threshold),
        chosen,
        n_clusters=n_clusters,  # type: ignore[arg-type]
    )


def pairs(one: np.ndarray, other: np.ndarray) -> set[tuple[int, int]]:
    """The combinations of labels that occur."""
    return set(zip(one.tolist(), other.tolist(), strict=True))


# Slow twin


def unit(row: list[float]) -> list[float]:
    length = math.sqrt(sum(value * value for value in row))
    return [value / length for value in row] if length else row


def inputs_loop(
    rows: FloatArray, shapes: FloatArray, scores: FloatArray, threshold: float, weight: float, settings: Cluster
) -> np.ndarray:
    """Unit descriptors with standardized shapes beside them, at unit length again, times the weight of the score."""
    anomalous = scores > threshold
    reference = shapes[anomalous] if anomalous.sum() > 1 else shapes
    out = []
    for row, shape, score in zip(rows, shapes, scores, strict=True):
        beside = []
        for number in range(3):
            deviation = max(np.std(reference[:, number]), np.std(shapes[:, number]) / 2)
            beside.append(weight / math.sqrt(3) * (shape[number] - np.mean(reference[:, number])) / deviation)
        prepared = unit([*unit(row.tolist()), *beside])
        if settings.score_weighting == "soft" and anomalous.any():
            least = settings.soft_floor * min(1.0, anomalous.sum() / max(1, (~anomalous).sum()))
            step = 1 / (1 + (threshold / score) ** (1 / settings.soft_width))
            prepared = [(least + (1 - least) * step) * value for value in prepared]
        out.append(prepared)
    return np.array(out)


def ward_loop(rows: np.ndarray, k: int) -> np.ndarray:
    """Merge the pair of groups whose union raises the sum of squares least, until k are left."""
    groups = [[i] for i in range(len(rows))]

    def cost(a: list[int], b: list[int]) -> float:
        difference = rows[a].mean(0) - rows[b].mean(0)
        return float(len(a) * len(b) / (len(a) + len(b)) * (difference @ difference))

    while len(groups) > k:
        i, j = min(
            ((i, j) for i in range(len(groups)) for j in range(i + 1, len(groups))),
            key=lambda pair: cost(groups[pair[0]], groups[pair[1]]),
        )
        groups[i] += groups.pop(j)
    labels = np.empty(len(rows), np.int64)
    for label, members in enumerate(groups):
        labels[members] = label
    return order_by_size(labels)


def groups_loop(
    inputs: np.ndarray, scores: FloatArray, threshold: float, k: int, mode: str
) -> tuple[list[int], int | None]:
    """Labels and normal label of so many groups."""
    anomalous = scores > threshold
    if mode == "hard" and not anomalous.all():
        labels = np.zeros(len(inputs), np.int64)
        if anomalous.any() and k > 1:
            labels[anomalous] = 1 + ward_loop(inputs[anomalous], min(k - 1, int(anomalous.sum())))
        return labels.tolist(), 0
    k = k if mode == "none" else min(k, sum(anomalous) + (not all(anomalous)))
    labels = ward_loop(inputs, k)
    lowest = min(set(labels.tolist()), key=lambda label: scores[labels == label].mean())
    if anomalous[labels == lowest].mean() > 0.5:
        return labels.tolist(), None
    ranks = [lowest, *(label for label in range(k) if label != lowest)]
    return [ranks.index(label) for label in labels], 0


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("n_anomalous", "k"), [(0, 3), (1, 2), (9, 4), (9, 1), (20, 3)])
def test_groups_agree_with_the_loop(mode: str, n_anomalous: int, k: int) -> None:
    rng = np.random.default_rng(n_anomalous)
    rows, shapes = rng.normal(size=(20, 6)).astype(np.float32), rng.normal(2, [1, 4, 0.3], (20, 3)).astype(np.float32)
    anomalous = rng.permutation(20) < n_anomalous
    scores = np.where(anomalous, rng.uniform(1.05, 2, 20), rng.uniform(0.5, 0.95, 20)).astype(np.float32)
    settings = Cluster(method="ward", score_weighting=mode, soft_width=0.1)  # type: ignore[arg-type]
    found = group_images(rows, shapes, scores, ScoreModel(1.0), settings, n_clusters=k, shape_weight=0.4)
    inputs = inputs_loop(rows, shapes, scores, 1.0, 0.4, settings)
    np.testing.assert_allclose(found.descriptors, inputs, rtol=1e-3, atol=1e-5)
    assert (found.labels.tolist(), found.normal_label) == groups_loop(inputs, scores, 1.0, k, mode)


def test_descriptors_keep_their_length_if_they_are_not_normalized() -> None:
    rows = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    shapes, scores = np.zeros((12, 3), np.float32), np.arange(12, dtype=np.float32)
    settings = Cluster(score_weighting="none")
    found = group_images(rows, shapes, scores, ScoreModel(5.0), settings, n_clusters=3, shape_weight=0, normalize=False)
    np.testing.assert_array_equal(found.descriptors, rows)


# A given number of groups


@pytest.mark.parametrize(
    ("n_anomalous", "mode", "n_groups"),
    [(0, "soft", 1), (2, "soft", 3), (9, "soft", 6), (30, "soft", 6), (0, "hard", 1), (2, "hard", 3), (0, "none", 6)],
)
def test_there_are_never_more_types_than_anomalous_images(n_anomalous: int, mode: str, n_groups: int) -> None:
    rng = np.random.default_rng(0)
    scores = np.where(np.arange(30) < n_anomalous, 3.0, 1.0).astype(np.float32)
    settings = Cluster(score_weighting=mode)  # type: ignore[arg-type]
    rows, shapes = rng.normal(size=(30, 8)).astype(np.float32), np.zeros((30, 3), np.float32)
    groups = group_images(rows, shapes, scores, ScoreModel(2.0), settings, n_clusters=6)
    assert groups.n_groups == n_groups
    warning = fewer_groups_warning(6, groups.n_groups, scores > 2)
    assert (warning is None) == (n_groups == 6)


def test_the_warning_names_the_numbers_and_the_reason() -> None:
    none, two = np.zeros(30, bool), np.arange(30) < 2
    assert fewer_groups_warning("auto", 1, none) is None
    assert str(fewer_groups_warning(6, 1, none)).startswith(
        "There is 1 group, although n_clusters is 6: no image is anomalous"
    )
    assert "only 2 images are anomalous" in str(fewer_groups_warning(6, 3, two))
    assert "not enough images differ" in str(fewer_groups_warning(3, 1, two))  # such as 30 copies of one image


# Score weighting


def scattered_normal_images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, descriptors and scores of normal images, which point anywhere, and of two types."""
    rng = np.random.default_rng(0)
    classes = np.repeat([0, 1, 2], [40, 12, 9])
    directions = np.eye(8)[[0, 0, 1]][classes] * (classes > 0)[:, None]
    rows = directions * 6 + rng.standard_normal((61, 8)) * 0.4
    scores = np.where(classes > 0, rng.uniform(1.5, 3, 61), rng.uniform(0.8, 0.95, 61))
    return classes, rows, scores


@pytest.mark.parametrize(("mode", "found"), [("soft", True), ("hard", True), ("none", False)])
def test_scores_gather_normal_images_whose_descriptors_mean_nothing(mode: str, found: bool) -> None:
    classes, rows, scores = scattered_normal_images()
    groups = without_shapes(rows, scores, 1.1, 3, score_weighting=mode)
    assert (groups.labels.tolist() == classes.tolist()) == found
    assert groups.normal_label == 0


@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_soft_weighting_shortens_normal_descriptors_to_the_floor_only(floor: float) -> None:
    classes, rows, scores = scattered_normal_images()
    groups = without_shapes(rows, scores, 1.1, 3, score_weighting="soft", soft_floor=floor, soft_width=0.05)
    lengths = np.linalg.norm(groups.descriptors, axis=1)
    least = floor * 21 / 40  # fewer images are anomalous than normal
    assert groups.labels.tolist() == classes.tolist()
    assert least - 1e-6 <= lengths[classes == 0].min()
    assert lengths[classes == 0].max() < least + 0.1
    assert lengths[classes > 0].min() > 0.9


def test_hard_weighting_with_at_most_one_group_calls_all_images_normal() -> None:
    _, rows, scores = scattered_normal_images()
    groups = without_shapes(rows, scores, 1.1, score_weighting="hard", max_clusters=1)
    assert not groups.labels.any()
    assert groups.normal_label == 0


@pytest.mark.parametrize("n_classes", [1, 3])
@pytest.mark.parametrize("n_clusters", [3, "auto"])
def test_descriptors_keep_their_length_if_no_image_is_anomalous(n_classes: int, n_clusters: int | str) -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(n_classes), 45 // n_classes)
    rows = np.eye(8)[classes] * 6 * (n_classes > 1) + rng.standard_normal((45, 8)) * 0.4
    scores = rng.uniform(1.0, 2.0, 45).astype(np.float32)
    groups = without_shapes(rows, scores, float(scores.max()), n_clusters)
    np.testing.assert_allclose(np.linalg.norm(groups.descriptors, axis=1), 1, rtol=1e-5)
    assert groups.normal_label == 0
    if n_clusters == "auto":
        assert not groups.labels.any()  # without a defect there are no types
    elif n_classes == 3:
        assert len(pairs(groups.labels, classes)) == 3


@pytest.mark.parametrize("mode", MODES)
def test_groups_do_not_depend_on_the_units_of_scores_or_descriptors(mode: str) -> None:
    _, rows, scores = scattered_normal_images()
    plain = without_shapes(rows, scores, 1.1, 3, score_weighting=mode)
    scaled = without_shapes(50 * rows, 8 * scores, 8 * 1.1, 3, score_weighting=mode)
    np.testing.assert_array_equal(scaled.labels, plain.labels)
    np.testing.assert_allclose(scaled.descriptors, plain.descriptors, atol=1e-5)


# The normal group


def two_groups(scores: list[float]) -> Grouping:
    """Six images in two clear groups, with a threshold of 2."""
    rows = np.eye(2, 8)[[0, 0, 0, 1, 1, 1]] + np.random.default_rng(0).normal(0, 0.01, (6, 8))
    return without_shapes(rows, np.array(scores), 2.0, 2, score_weighting="none", method="ward")


def test_the_group_with_the_lowest_mean_score_is_the_normal_one() -> None:
    groups = two_groups([9, 9, 9, 1, 1, 1])
    assert groups.labels.tolist() == [1, 1, 1, 0, 0, 0]
    assert groups.normal_label == 0


def test_a_group_of_mostly_anomalous_images_is_not_normal() -> None:
    groups = two_groups([9, 9, 9, 1, 3, 3])
    assert groups.normal_label is None
    assert two_groups([9, 9, 9, 1, 1, 3]).normal_label == 0


@pytest.mark.parametrize("mode", MODES)
def test_an_all_defective_batch_has_no_normal_group(mode: str) -> None:
    rows = np.eye(2, 8)[[0, 0, 0, 1, 1]] + np.random.default_rng(0).normal(0, 0.01, (5, 8))
    groups = without_shapes(rows, np.full(5, 3.0), 2.0, 2, score_weighting=mode)
    assert groups.normal_label is None
    assert groups.labels.tolist() == [0, 0, 0, 1, 1]


# The number of groups


@pytest.mark.parametrize(("scores", "n_groups"), [([1.0, 1.0], 1), ([1.0, 9.0], 2), ([9.0, 9.0], 1)])
def test_two_images_are_two_groups_only_if_one_is_anomalous(scores: list[float], n_groups: int) -> None:
    assert without_shapes(np.eye(2, 8), np.array(scores), 2.0).labels.max() + 1 == n_groups


@pytest.mark.parametrize("mode", ["soft", "hard"])
@pytest.mark.parametrize(
    ("sizes", "n_groups"), [((0, 14, 11, 9), 3), ((60, 1), 2), ((60, 3), 2), ((57, 20), 2), ((40, 12, 10, 9), 4)]
)
def test_there_is_one_group_per_type_and_one_for_the_normal_images(
    sizes: tuple[int, ...], n_groups: int, mode: str
) -> None:
    rng = np.random.default_rng(len(sizes))
    classes = np.repeat(np.arange(len(sizes)), sizes)
    # no two normal images are alike, and their differences are not types
    means = np.vstack([np.zeros(24), 4 * np.eye(24)[: len(sizes) - 1]])[classes]
    rows = means + rng.standard_normal((len(classes), 24)) * np.where(classes > 0, 0.5, 2.0)[:, None]
    groups = without_shapes(rows, np.where(classes > 0, 3.0, 1.0), 2.0, score_weighting=mode)
    assert groups.labels.max() + 1 == n_groups == len(pairs(groups.labels, classes))
    assert groups.normal_label == (0 if sizes[0] else None)


def test_without_score_weighting_the_number_of_groups_ignores_the_scores() -> None:
    classes = np.repeat(np.arange(3), 15)
    rows = 4 * np.eye(8)[classes] + 0.3 * np.random.default_rng(0).standard_normal((45, 8))
    for scores in (np.ones(45), np.full(45, 3.0), np.where(classes, 3.0, 1.0)):
        assert without_shapes(rows, scores, 2.0, score_weighting="none").labels.max() + 1 == 3


def test_the_number_of_groups_comes_from_the_descriptors_without_heads() -> None:
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(4), (20, 12, 12, 12))
    scores, shapes = np.where(classes > 0, 3.0, 1.0).astype(np.float32), np.zeros((56, 3), np.float32)

    def around(means: np.ndarray) -> FloatArray:
        return (means + 0.3 * rng.standard_normal(means.shape)).astype(np.float32)

    def grouped(rows: FloatArray, counted: FloatArray | None = None, n_clusters: int | str = "auto") -> Grouping:
        return group_images(rows, shapes, scores, ScoreModel(2.0), Cluster(), n_clusters=n_clusters, counted=counted)  # type: ignore[arg-type]

    plain = around(4 * np.eye(24)[classes])
    merged = around(4 * np.eye(24)[np.minimum(classes, 2)])  # the last two types are one
    assert grouped(plain).labels.max() + 1 == 4
    assert grouped(merged).labels.max() + 1 == 3
    assert grouped(merged, counted=plain).labels.max() + 1 == 4
    three, known = grouped(plain, counted=merged), grouped(plain, n_clusters=3)
    assert three.labels.max() + 1 == 3
    np.testing.assert_array_equal(three.descriptors, known.descriptors)
    np.testing.assert_array_equal(three.labels, known.labels)


def test_a_given_number_counts_for_images_that_may_be_defects_even_if_none_is_called() -> None:
    rows = np.repeat(np.eye(3, dtype=np.float32), 5, axis=0) + np.random.default_rng(0).normal(0, 0.02, (15, 3)).astype(
        np.float32
    )
    scores, shapes = np.linspace(1, 2, 15).astype(np.float32), np.zeros((15, 3), np.float32)
    options = {"n_clusters": 3, "shape_weight": 0.0}
    none_called = group_images(rows, shapes, scores, ScoreModel(9.0), Cluster(), **options)  # type: ignore[arg-type]
    assert none_called.labels.max() == 0
    possible = group_images(rows, shapes, scores, ScoreModel(9.0, (1.0, 2.0), (0.2, 0.4)), Cluster(), **options)  # type: ignore[arg-type]
    assert len({tuple(possible.labels[i : i + 5]) for i in (0, 5, 10)}) == 3
    assert possible.labels.max() == 2
