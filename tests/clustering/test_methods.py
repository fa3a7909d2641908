from __future__ import annotations

import numpy as np
import pytest

from blemish.clustering.methods import center_distances, cluster, order_by_size
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


def test_groups_do_not_depend_on_the_order_of_the_rows() -> None:
    rows, _ = blobs()
    order = np.random.default_rng(1).permutation(len(rows))
    np.testing.assert_array_equal(cluster(rows[order], 3), cluster(rows, 3)[order])


def test_equal_rows_are_one_group() -> None:
    assert cluster(np.ones((5, 3), np.float32), 4).tolist() == [0] * 5
    assert cluster(np.ones((1, 3), np.float32), 1).tolist() == [0]


def test_more_groups_than_rows_are_refused() -> None:
    with pytest.raises(ConfigError, match="choose 1 to 3"):
        cluster(np.eye(3, dtype=np.float32), 4)


def test_spectral_clustering_of_too_many_rows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.clustering.methods.SPECTRAL_ROWS", 30)
    with pytest.raises(ConfigError, match="at most 30 images, got 39; use ward, kmeans or gmm"):
        cluster(blobs()[0], 3, method="spectral")


def test_distances_are_to_the_center_of_the_own_group() -> None:
    points = np.array([[0.0, 0.0], [2.0, 0.0], [9.0, 9.0]], np.float32)
    np.testing.assert_allclose(center_distances(points, np.array([0, 0, 1])), [1, 1, 0])


def test_labels_are_ordered_by_size_and_then_by_first_member() -> None:
    assert order_by_size(np.array([4, 9, 9, 4, 1, 1, 1, 0])).tolist() == [1, 2, 2, 1, 0, 0, 0, 3]
