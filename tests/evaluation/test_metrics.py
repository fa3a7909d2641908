from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import InputError
from blemish.evaluation.metrics import (
    ari,
    average_precision,
    clustering_scores,
    confusion_table,
    image_auroc,
    matched_f1,
    nmi,
    purity,
)
from helpers.reference_metrics import slow_ari, slow_auroc, slow_average_precision, slow_f1, slow_nmi

PARTITIONS = st.integers(1, 24).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 4), min_size=n, max_size=n), st.lists(st.integers(0, 3), min_size=n, max_size=n)
    )
)


@settings(max_examples=60, deadline=None)
@given(PARTITIONS)
def test_clustering_scores_agree_with_slow_twins(pair):
    truth, predicted = pair
    assert nmi(truth, predicted) == pytest.approx(slow_nmi(truth, predicted), abs=1e-9)
    assert ari(truth, predicted) == pytest.approx(slow_ari(truth, predicted), abs=1e-9)
    assert matched_f1(truth, predicted) == pytest.approx(slow_f1(truth, predicted), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(PARTITIONS, st.permutations(range(5)), st.randoms(use_true_random=False))
def test_clustering_scores_do_not_depend_on_label_names_or_image_order(pair, names, random):
    truth, predicted = pair
    order = list(range(len(truth)))
    random.shuffle(order)
    renamed = [f"class {names[truth[i]]}" for i in order], [1000 - names[predicted[i]] for i in order]
    expected = clustering_scores(truth, predicted)
    assert clustering_scores(*renamed) == pytest.approx(expected, abs=1e-9)
    assert clustering_scores(np.array(renamed[0]), np.array(renamed[1])) == pytest.approx(expected, abs=1e-9)


def test_clustering_scores_of_small_tables_worked_out_by_hand():
    truth = ["a"] * 4 + ["b"] * 4
    # a perfect match under other ids
    assert clustering_scores(truth, [9] * 4 + [2] * 4) == {"nmi": 1, "ari": 1, "f1": 1, "purity": 1}
    # one group: no information, half the images right
    one = clustering_scores(truth, [0] * 8)
    assert one == {"nmi": 0, "ari": 0, "f1": 0.5, "purity": 0.5}
    # more clusters than classes: a split class loses its smaller part in F1, nothing in purity
    split = [0, 0, 0, 1, 2, 2, 2, 2]
    assert matched_f1(truth, split) == 7 / 8
    assert purity(truth, split) == 1
    # fewer clusters than classes: 3 classes of 2 images in 2 clusters
    assert matched_f1([0, 0, 1, 1, 2, 2], [5, 5, 6, 6, 6, 6]) == 4 / 6
    # greedy matching would take (b, 0) first and end at 5; the best is 3 + 3
    greedy = ["a"] * 3 + ["b"] * 7, [0, 0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert matched_f1(*greedy) == 6 / 10
    # NMI of the 2 x 2 table (3, 1; 1, 3)
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / math.log(2)
    assert nmi(truth, [0, 0, 0, 1, 1, 1, 1, 0]) == pytest.approx(expected)


def test_confusion_table_counts_images_and_matches_classes_with_clusters():
    table = confusion_table(["b", "a", "b", "c", "b"], [10, 2, 10, 2, 2])
    assert (table.classes, table.clusters) == (["a", "b", "c"], [2, 10])
    assert table.counts.tolist() == [[1, 0], [1, 2], [1, 0]]
    assert table.matching[1] == 1
    assert sorted(table.matching) == [-1, 0, 1]
    assert confusion_table([1, "x", None], [0, 0, 1]).counts.sum() == 3


def test_clustering_scores_of_empty_single_and_unequally_long_input():
    assert all(math.isnan(v) for v in clustering_scores([], []).values())
    assert clustering_scores(["x"], [3]) == {"nmi": 1, "ari": 1, "f1": 1, "purity": 1}
    for score in (nmi, ari, matched_f1, purity):
        with pytest.raises(InputError, match="3 true labels against 2"):
            score([1, 2, 3], [1, 2])


def test_rand_index_of_many_images_does_not_overflow():
    """Counts of pairs exceed 32 bits here, their products 64 bits."""
    truth = np.repeat([0, 1], 100_000)
    predicted = np.tile([0, 1], 100_000)
    assert ari(truth, predicted) == pytest.approx(0, abs=1e-4)
    assert ari(truth, 1 - truth) == 1


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30))
def test_image_auroc_and_average_precision_agree_with_slow_twins(rows):
    scores, positive = [s / 7 for s, _ in rows], [p for _, p in rows]
    if 0 < sum(positive) < len(positive):
        assert image_auroc(scores, positive) == pytest.approx(slow_auroc(scores, positive))
    else:
        assert math.isnan(image_auroc(scores, positive))
    if any(positive):
        assert average_precision(scores, positive) == pytest.approx(slow_average_precision(scores, positive))
    else:
        assert math.isnan(average_precision(scores, positive))


def test_image_scores_that_are_nan_or_unequally_long_are_refused():
    with pytest.raises(InputError, match="finite"):
        image_auroc([0.1, math.nan], [0, 1])
    with pytest.raises(InputError, match="2 scores against 1"):
        average_precision([0.1, 0.2], [1])


def test_matched_f1_with_more_and_with_fewer_groups_than_classes():
    # 3 classes of 5, 4, 3 in 4 groups; the best matching is worth 4 + 3 + 2, greedy by column 4 + 2 + 3 as well
    truth = ["a"] * 5 + ["b"] * 4 + ["c"] * 3
    groups = [0, 0, 0, 0, 3, 1, 1, 1, 2, 2, 2, 0]
    assert matched_f1(truth, groups) == pytest.approx(9 / 12)
    # the same with group 2 and 3 joined: nothing is lost, as only one class can have either
    assert matched_f1(truth, [2 if g == 3 else g for g in groups]) == pytest.approx(9 / 12)
    assert matched_f1(truth, [0] * 12) == pytest.approx(5 / 12)
    assert matched_f1(truth, range(12)) == pytest.approx(3 / 12)
