"""Consensus clustering against a slow twin, and what its result must not depend on."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from blemish.clustering import consensus as module
from blemish.clustering.consensus import consensus, rounds
from blemish.clustering.methods import cluster


def blobs(count: int, groups: int, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    member = np.arange(count) % groups
    rows = rng.normal(size=(groups, 6))[member] + spread * rng.normal(size=(count, 6))
    return rows.astype(np.float32), member


def slow_consensus(rows: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Votes of Ward's groups of 70 % of the rows on each pair, then greedy merging by the least mean dissimilarity."""
    order = np.lexsort(rows.T[::-1])
    rows, n, rng = rows[order], len(rows), np.random.default_rng(seed)
    pairs: dict[tuple[int, int], list[bool]] = {}
    for _ in range(200):
        part = np.sort(rng.choice(n, round(0.7 * n), replace=False))
        found = fcluster(linkage(rows[part].astype(np.float64), "ward"), k, "maxclust")
        for a in range(len(part)):
            for b in range(a):
                pairs.setdefault((int(part[b]), int(part[a])), []).append(found[a] == found[b])
    apart = np.zeros((n, n))
    for (a, b), votes in pairs.items():
        apart[a, b] = apart[b, a] = 1 - np.mean(votes)
    groups = [[i] for i in range(n)]
    while len(groups) > k:
        means = {(x, y): apart[np.ix_(groups[x], groups[y])].mean() for y in range(len(groups)) for x in range(y)}
        x, y = min(means, key=lambda pair: means[pair])
        groups[x] += groups.pop(y)
    labels = np.empty(n, np.int64)
    for label, members in enumerate(groups):
        labels[order[members]] = label
    return labels


@pytest.mark.parametrize("k", [2, 3, 4])
def test_consensus_agrees_with_the_loop(k: int) -> None:
    rows, _ = blobs(40, 4, 0.45)
    assert adjusted_rand_score(slow_consensus(rows, k, 5), consensus(rows, k, seed=5)) == 1


def test_clear_groups_are_found_with_any_seed() -> None:
    rows, member = blobs(60, 5, 0.05)
    for seed in range(3):
        assert adjusted_rand_score(member, consensus(rows, 5, seed=seed)) == 1


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows, _ = blobs(70, 4, 0.8)
    order = np.random.default_rng(1).permutation(70)
    assert adjusted_rand_score(consensus(rows, 4)[order], consensus(rows[order], 4)) == 1


def test_the_same_seed_gives_the_same_labels_and_the_rows_stay_as_they_are() -> None:
    rows, _ = blobs(50, 3, 0.9)
    before = rows.copy()
    np.testing.assert_array_equal(consensus(rows, 3, seed=2), consensus(rows, 3, seed=2))
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize("count", [2, 3, 5, 9, 30])
def test_there_are_exactly_k_groups(count: int) -> None:
    rows, _ = blobs(count, 2, 1.0)
    for k in range(1, count + 1):
        assert len(np.unique(cluster(rows, k, method="consensus"))) == k


def test_equal_rows_are_never_separated() -> None:
    rows, _ = blobs(12, 3, 0.5)
    rows = np.repeat(rows, [1, 5, 1, 9, 1, 1, 2, 1, 1, 1, 30, 1], axis=0)
    for k in range(1, 13):
        labels = cluster(rows, k, method="consensus")
        assert len(np.unique(labels)) == k
        assert len(np.unique(np.column_stack([rows, labels]), axis=0)) == 12
    np.testing.assert_array_equal(cluster(np.ones((7, 3), np.float32), 3, method="consensus"), np.zeros(7))


def test_consensus_of_a_set_and_of_its_parts_agree_better_than_ward() -> None:
    rows, _ = blobs(150, 5, 1.1, seed=3)

    def agreement(method: str) -> float:
        whole, found = cluster(rows, 5, method=method), []
        for seed in range(8):
            part = np.random.default_rng(seed).choice(150, 135, replace=False)
            found.append(adjusted_rand_score(whole[part], cluster(rows[part], 5, method=method)))
        return float(np.mean(found))

    assert agreement("consensus") > agreement("ward") + 0.05


def test_large_sets_are_cut_from_one_tree_without_a_table_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    from blemish.clustering import methods as clustering

    rows, _ = blobs(60, 4, 0.9)
    monkeypatch.setattr(clustering, "CONSENSUS_ROWS", 59)
    monkeypatch.setattr(clustering, "consensus", lambda *_, **__: pytest.fail("a table of all pairs"))
    np.testing.assert_array_equal(cluster(rows, 4, method="consensus"), cluster(rows, 4, method="ward"))


def test_more_subsamples_make_seeds_agree_better(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = blobs(90, 5, 1.1, seed=3)

    def agreement(number: int) -> float:
        monkeypatch.setattr(module, "ROUNDS", (number, number))
        found = [consensus(rows, 5, seed=seed) for seed in range(6)]
        return float(np.mean([adjusted_rand_score(a, b) for k, a in enumerate(found) for b in found[:k]]))

    assert agreement(200) > agreement(10) + 0.05


def test_smaller_sets_have_more_subsamples() -> None:
    numbers = [rounds(count) for count in (2, 100, 500, 800, 1000, 3000)]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > numbers[-1] >= 20
