from __future__ import annotations

import numpy as np
import pytest

from blemish.clustering import Grouping
from blemish.clustering.constraints import Known, follow_corrections, respect
from blemish.clustering.space import DefectSpace
from blemish.types import FloatArray, IntArray


def blobs(counts: tuple[int, ...] = (20, 20, 20), spread: float = 0.3, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Points around the corners of a simplex, and the number of each point's corner."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(counts)), counts)
    rows = 4 * np.eye(len(counts))[truth] + spread * rng.normal(size=(len(truth), len(counts)))
    return rows.astype(np.float32), truth.astype(np.int64)


def grouped(labels: IntArray, normal: int | None, rows: FloatArray) -> Grouping:
    return Grouping(labels, normal, rows, DefectSpace(normalize=False, shapes=None, score_weights=None))


def known(n: int, placed: dict[int, int], groups: IntArray | None = None, **more: object) -> Known:
    numbers = np.full(n, -1, np.int64) if groups is None else groups.copy()
    marks = np.zeros(n, bool)
    for row, number in placed.items():
        numbers[row], marks[row] = number, True
    return Known(numbers, marks, **more)  # type: ignore[arg-type]


def test_confirmed_images_change_nothing() -> None:
    rows, truth = blobs()
    assert follow_corrections(rows, truth, np.array([3, 25]), truth[[3, 25]]) is truth


def test_neighbors_follow_a_moved_image_and_others_stay() -> None:
    rows, truth = blobs((20, 20, 20))
    labels = np.where(truth == 2, 1, truth)  # two types found as one
    for count, least in ((4, 8), (8, 18)):
        moved = np.flatnonzero(truth == 2)[:count]
        found = follow_corrections(rows, labels, moved, np.full(count, 2))
        assert (found[truth == 2] == 2).sum() >= least
        assert found[truth != 2].tolist() == truth[truth != 2].tolist()


def test_a_confirmed_neighbor_holds_images_back() -> None:
    rows, _ = blobs((12,))
    labels = np.zeros(12, np.int64)
    alone = follow_corrections(rows, labels, np.array([0, 1, 2]), np.array([1, 1, 1]))
    held = follow_corrections(rows, labels, np.array([0, 1, 2, 3, 4, 5]), np.array([1, 1, 1, 0, 0, 0]))
    assert held.sum() < alone.sum()
    assert held[3:6].tolist() == [0, 0, 0]


def test_the_order_of_images_and_the_numbers_of_groups_do_not_matter() -> None:
    rows, truth = blobs(spread=1.2, seed=3)
    corrected, targets = np.array([1, 22, 45]), np.array([1, 2, 0])
    expected = follow_corrections(rows, truth, corrected, targets)
    order = np.random.default_rng(0).permutation(len(rows))
    place = np.argsort(order)
    assert follow_corrections(rows[order], truth[order], place[corrected], targets)[place].tolist() == expected.tolist()
    swap = np.array([2, 0, 1])
    assert follow_corrections(rows, swap[truth], corrected, swap[targets]).tolist() == swap[expected].tolist()


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_and_equal_images(n: int) -> None:
    rows = np.ones((n, 2), np.float32)
    found = follow_corrections(rows, np.zeros(n, np.int64), np.array([0]), np.array([1]))
    assert found[0] == 1
    assert len(found) == n


def test_nothing_known_changes_nothing() -> None:
    rows, truth = blobs()
    grouping = grouped(truth, 0, rows)
    assert respect(grouping, known(60, {})) == (grouping, {})
    assert respect(grouping, known(60, {}, truth))[0] is grouping


def test_groups_are_found_again_under_other_numbers() -> None:
    rows, truth = blobs((30, 20, 10))
    grouping = grouped(truth, 0, rows)
    seen = np.array([7, 5, 9])[truth]
    seen[::3] = -1  # new images
    found, label_of = respect(grouping, known(60, {}, seen, normal=7))
    assert found is grouping
    assert label_of == {7: 0, 5: 1, 9: 2}


def test_placed_images_are_together_and_apart_and_a_lost_group_comes_back() -> None:
    rows, truth = blobs((20, 20, 20))
    grouping = grouped(np.where(truth == 2, 1, truth), 0, rows)
    placed = {int(row): int(truth[row]) for row in range(0, 60, 3)}
    found, label_of = respect(grouping, known(60, placed, normal=0))
    assert found.normal_label == 0
    assert found.labels.tolist() == truth.tolist()
    assert all(found.labels[row] == label_of[number] for row, number in placed.items())


def test_merged_groups_are_one() -> None:
    rows, truth = blobs((20, 20, 20))
    grouping = grouped(truth, 0, rows)
    seen = np.where(truth == 2, 1, truth)
    found, label_of = respect(grouping, known(60, {}, seen, normal=0, merged=frozenset({1})))
    assert found.labels.tolist() == seen.tolist()
    assert label_of == {0: 0, 1: 1}
    apart, _ = respect(grouping, known(60, {}, seen, normal=0))
    assert apart is grouping


def test_known_normal_images_make_a_normal_group() -> None:
    rows, truth = blobs((20, 15, 10))
    grouping = grouped(truth, None, rows)
    found, label_of = respect(grouping, known(45, {44: 3, 43: 3, 42: 3}, normal=3))
    assert found.normal_label == 0
    assert set(np.flatnonzero(found.labels == 0)) >= {42, 43, 44}
    assert label_of[3] == 0
