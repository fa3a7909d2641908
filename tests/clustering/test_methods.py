from __future__ import annotations

import numpy as np
import pytest

from blemish.clustering.methods import center_distances, cluster, order_by_size
from blemish.clustering.n_clusters import Gaps, estimate_clusters
from blemish.descriptors.vectors import unit_rows
from blemish.errors import ConfigError


def blobs(sizes: tuple[int, ...] = (20, 12, 7), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    rows = 8 * np.eye(len(sizes), 6)[truth] + rng.normal(0, 0.3, (len(truth), 6))
    return rows.astype(np.float32), truth


@pytest.mark.parametrize("method", ["ward", "kmeans", "spectral", "gmm"])
def test_every_method_finds_clear_groups_largest_first(method: str) -> None:
    rows, truth = blobs()
    np.testing.assert_array_equal(cluster(rows, 3, method=method), truth)  # type: ignore[arg-type]


def slow_ward(rows: np.ndarray, k: int) -> np.ndarray:
    """Merge the two groups whose union raises the sum of squares least, until k are left."""
    groups = [[i] for i in range(len(rows))]

    def cost(members: list[int]) -> float:
        return float(((rows[members] - rows[members].mean(0)) ** 2).sum())

    while len(groups) > k:
        pairs = [(i, j) for i in range(len(groups)) for j in range(i + 1, len(groups))]
        i, j = min(pairs, key=lambda p: cost(groups[p[0]] + groups[p[1]]) - cost(groups[p[0]]) - cost(groups[p[1]]))
        groups[i] += groups.pop(j)
    labels = np.empty(len(rows), np.int64)
    for label, members in enumerate(groups):
        labels[members] = label
    return order_by_size(labels)


@pytest.mark.parametrize("k", [2, 4, 7])
def test_ward_agrees_with_greedy_merging(k: int) -> None:
    rows = np.random.default_rng(k).normal(size=(18, 3)).astype(np.float32)
    np.testing.assert_array_equal(cluster(rows, k), slow_ward(rows.astype(np.float64), k))


def test_order_of_the_images_does_not_matter() -> None:
    rows, _ = blobs()
    order = np.random.default_rng(1).permutation(len(rows))
    np.testing.assert_array_equal(cluster(rows[order], 3), cluster(rows, 3)[order])


def test_identical_rows_are_one_group_and_too_many_groups_are_refused() -> None:
    assert cluster(np.ones((5, 3), np.float32), 4).tolist() == [0] * 5
    assert cluster(np.ones((1, 3), np.float32), 1).tolist() == [0]
    with pytest.raises(ConfigError, match="choose 1 to 3"):
        cluster(np.eye(3, dtype=np.float32), 4)


def test_number_of_groups() -> None:
    assert estimate_clusters(blobs()[0]) == 3
    assert estimate_clusters(np.ones((9, 2), np.float32)) == 1
    assert estimate_clusters(np.ones((1, 2), np.float32)) == 1
    assert estimate_clusters(blobs()[0], max_clusters=2) == 2


@pytest.mark.parametrize("sizes", [(30, 30), (60, 15, 15, 15), (40, 25, 20, 15, 12, 10)])
def test_number_of_groups_of_unequal_size_in_many_dimensions(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    rows = (1.5 * rng.normal(size=(len(sizes), 50))[truth] + rng.normal(size=(len(truth), 50))).astype(np.float32)
    assert estimate_clusters(rows) == len(sizes)


@pytest.mark.parametrize("columns", [2, 10, 120])
@pytest.mark.parametrize("n", [5, 12, 60, 700])
def test_one_cloud_is_one_group_however_long_it_is(n: int, columns: int) -> None:
    rng = np.random.default_rng(n + columns)
    rows = rng.normal(size=(n, columns)) * np.linspace(0.1, 4.0, columns)
    assert estimate_clusters(rows.astype(np.float32)) == 1


def test_the_estimate_hears_of_one_number_of_groups_more_than_it_may_give(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(rows: np.ndarray, most: int, *, seed: int) -> Gaps:
        asked.append(most)
        return Gaps(np.full(most - 1, 9.0), np.full(most - 1, 0.1))

    monkeypatch.setattr("blemish.clustering.n_clusters.ward_gaps", counted)
    assert estimate_clusters(blobs()[0], max_clusters=5) == 5
    assert estimate_clusters(np.eye(4, dtype=np.float32), max_clusters=5) == 4
    assert asked == [6, 4]


def test_spectral_clustering_of_too_many_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.clustering.methods.SPECTRAL_ROWS", 30)
    with pytest.raises(ConfigError, match="at most 30 images, got 39; use ward, kmeans or gmm"):
        cluster(blobs()[0], 3, method="spectral")


def test_lengths_and_distances() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
    np.testing.assert_allclose(unit_rows(rows), [[0.6, 0.8], [0, 0]])
    points = np.array([[0.0, 0.0], [2.0, 0.0], [9.0, 9.0]], np.float32)
    np.testing.assert_allclose(center_distances(points, np.array([0, 0, 1])), [1, 1, 0])


@pytest.mark.parametrize(("images", "groups"), [(1, 1), (2, 1)])
def test_one_or_two_rows_are_one_group(images: int, groups: int) -> None:
    assert estimate_clusters(np.eye(4, dtype=np.float32)[:images]) == groups
