from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage

from blemish.clustering.methods import order_by_size
from blemish.clustering.n_clusters import estimate_clusters
from blemish.clustering.ward import Tree, cut, ward_tree
from blemish.descriptors.vectors import unit_rows
from blemish.errors import ConfigError, InputError


@pytest.fixture(params=["dense", "compiled"])
def method(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both implementations of the tree, for any number of rows."""
    monkeypatch.setattr("blemish.clustering.ward.DENSE_ROWS", 10**6 if request.param == "dense" else 0)
    return str(request.param)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.clustering.ward.DENSE_ROWS", 0)


def gaussian(n: int, d: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def groups(n: int, d: int = 24, seed: int = 0) -> np.ndarray:
    """Eight groups of unequal size, each stretched along axes of its own."""
    rng = np.random.default_rng(seed)
    member = rng.choice(8, n, p=rng.dirichlet(np.ones(8)))
    spread = np.exp(rng.normal(0, 1, (8, d)))
    return (rng.normal(0, 2, (8, d))[member] + spread[member] * rng.normal(size=(n, d))).astype(np.float32)


def unit_groups(n: int, d: int = 24, seed: int = 0) -> np.ndarray:
    return unit_rows(np.abs(groups(n, d, seed)))


def tight_groups(n: int, d: int = 24, seed: int = 0) -> np.ndarray:
    """Groups so tight that inner products of float32 numbers cannot tell their rows apart."""
    rng = np.random.default_rng(seed)
    return (np.eye(5, d)[rng.integers(0, 5, n)] + 1e-5 * rng.normal(size=(n, d))).astype(np.float32)


def hub(n: int, d: int = 24, seed: int = 0) -> np.ndarray:
    """A sphere around one row that is nearest to all others."""
    return np.concatenate([np.zeros((1, d), np.float32), unit_rows(gaussian(n - 1, d, seed))])


DRAWN = [gaussian, groups, unit_groups, tight_groups, hub]


def slow_tree(rows: np.ndarray) -> tuple[list[float], list[np.ndarray]]:
    """Greedy merging by the definition, every sum of squares computed anew: heights and all partitions, finest first."""
    rows = rows.astype(np.float64)
    parts = [np.flatnonzero((rows == row).all(1)) for row in np.unique(rows, axis=0)]

    def squares(part: np.ndarray) -> float:
        return float(((rows[part] - rows[part].mean(0)) ** 2).sum())

    heights, partitions = [], []
    while True:
        labels = np.empty(len(rows), np.int64)
        for label, part in enumerate(parts):
            labels[part] = label
        partitions.append(order_by_size(labels))
        if len(parts) == 1:
            return heights, partitions
        costs = {
            (i, j): squares(np.concatenate([parts[i], parts[j]])) - squares(parts[i]) - squares(parts[j])
            for i in range(len(parts))
            for j in range(i + 1, len(parts))
        }
        i, j = min(costs, key=lambda pair: costs[pair])
        heights.append(float(np.sqrt(2 * costs[i, j])))
        parts[i] = np.concatenate([parts[i], parts.pop(j)])


@pytest.mark.parametrize("repeats", [False, True])
def test_tree_agrees_with_greedy_merging(method: str, repeats: bool) -> None:
    rows = gaussian(22, 3, seed=5)
    if repeats:
        rows = rows[np.random.default_rng(0).integers(0, 12, 26)]
    heights, partitions = slow_tree(rows)
    tree = ward_tree(rows)
    np.testing.assert_allclose(tree.merges[:, 2], heights, rtol=1e-9)
    for k in range(1, len(partitions) + 1):
        np.testing.assert_array_equal(order_by_size(cut(tree, k)), partitions[-k])


@pytest.mark.parametrize("draw", DRAWN)
def test_tree_agrees_with_scipy(draw: Callable[[int], np.ndarray], method: str) -> None:
    rows = draw(600)
    tree, reference = ward_tree(rows), linkage(rows.astype(np.float64), "ward")
    np.testing.assert_allclose(tree.merges[:, 2:], reference[:, 2:], rtol=1e-7)
    for k in (1, 2, 3, 5, 8, 13, 50, 300, 599):
        expected = np.asarray(fcluster(reference, k, "maxclust"), np.int64)
        np.testing.assert_array_equal(order_by_size(cut(tree, k)), order_by_size(expected))


def test_thousands_of_rows_agree_with_scipy() -> None:
    rows = unit_groups(6000, 16)  # beyond the size up to which SciPy computes the tree
    tree, reference = ward_tree(rows), linkage(rows.astype(np.float64), "ward")
    for k in (2, 4, 8, 12, 100):
        expected = np.asarray(fcluster(reference, k, "maxclust"), np.int64)
        np.testing.assert_array_equal(order_by_size(cut(tree, k)), order_by_size(expected))


@pytest.mark.parametrize("candidates", [1, 2, 64])
def test_number_of_candidates_and_size_of_blocks_do_not_change_the_tree(
    candidates: int, compiled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = groups(300)
    expected = ward_tree(rows)
    monkeypatch.setattr("blemish.clustering.ward.CANDIDATES", candidates)
    monkeypatch.setattr("blemish.clustering.ward.BLOCK_CELLS", 1000)
    np.testing.assert_array_equal(ward_tree(rows).merges, expected.merges)


GRID = np.stack(np.meshgrid(np.arange(12), np.arange(12)), -1).reshape(-1, 2).astype(np.float32)


@pytest.mark.parametrize("rows", [groups(150), GRID, np.eye(40, dtype=np.float32)], ids=["groups", "grid", "simplex"])
def test_tree_does_not_depend_on_the_order_of_the_rows_even_with_equal_costs(rows: np.ndarray, method: str) -> None:
    order = np.random.default_rng(1).permutation(len(rows))
    tree, shuffled = ward_tree(rows), ward_tree(rows[order])
    np.testing.assert_array_equal(shuffled.merges, tree.merges)
    np.testing.assert_array_equal(shuffled.leaf_of, tree.leaf_of[order])
    np.testing.assert_array_equal(cut(shuffled, 7), cut(tree, 7)[order])


@pytest.mark.parametrize("rows", [GRID, np.eye(40, dtype=np.float32), np.repeat(GRID[:30], 3, axis=0)])
def test_every_number_of_groups_can_be_cut_and_cuts_are_nested(rows: np.ndarray, method: str) -> None:
    tree = ward_tree(rows)
    distinct = len(np.unique(rows, axis=0))
    coarser = cut(tree, 1)
    for k in range(1, len(rows) + 2):
        labels = cut(tree, k)
        assert sorted(set(labels.tolist())) == list(range(min(k, distinct)))
        assert len(np.unique(np.column_stack([labels, coarser]), axis=0)) == labels.max() + 1
        coarser = labels
    assert np.all(np.diff(tree.merges[:, 2]) >= 0)
    assert tree.merges[-1, 3] == len(rows)


def test_equal_rows_share_a_leaf_that_counts_them(method: str) -> None:
    rows = np.array([[2.0], [0.0], [2.0], [2.0], [-0.0]], np.float32)
    tree = ward_tree(rows)
    assert tree.leaf_of.tolist() == [1, 0, 1, 1, 0]
    assert tree.weights.tolist() == [2, 3]
    np.testing.assert_allclose(tree.merges, [[0, 1, np.sqrt(2 * 2 * 3 / 5) * 2, 5]])
    assert cut(tree, 5).tolist() == [1, 0, 1, 1, 0]


@pytest.mark.parametrize("n", [1, 4])
def test_one_distinct_row_has_no_merges(n: int, method: str) -> None:
    tree = ward_tree(np.ones((n, 3), np.float32))
    assert tree.merges.shape == (0, 4)
    assert cut(tree, 1).tolist() == cut(tree, n).tolist() == [0] * n


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_tree_follows_the_scale_of_the_rows(scale: float, method: str) -> None:
    rows = groups(100)
    expected, scaled = ward_tree(rows), ward_tree(rows * np.float32(scale))
    np.testing.assert_allclose(scaled.merges[:, 2] / scale, expected.merges[:, 2], rtol=1e-5)
    np.testing.assert_array_equal(cut(scaled, 8), cut(expected, 8))


def test_tree_repeats_to_the_bit(method: str) -> None:
    first, second = ward_tree(groups(500)), ward_tree(groups(500))
    assert first.merges.tobytes() == second.merges.tobytes()


@pytest.mark.parametrize("rows", [np.ones(3), np.ones((0, 2)), np.ones((2, 0)), np.array([[0.0], [np.nan]])])
def test_empty_and_infinite_rows_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(InputError, match="finite rows of shape"):
        ward_tree(rows.astype(np.float32))


def test_cutting_into_no_groups_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 1 group, got 0"):
        cut(ward_tree(gaussian(3)), 0)


def test_memory_grows_linearly_with_the_number_of_rows(compiled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.clustering.ward.BLOCK_CELLS", 50_000)

    def peak(n: int) -> int:
        rows = groups(n, 8)
        tracemalloc.start()
        tree: Tree = ward_tree(rows)
        cut(tree, 8)
        estimate_clusters(rows)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100)  # compiles
    small, large = peak(1500), peak(6000)
    assert large < 4.5 * small
    assert large < 6000**2  # a byte per pair
