from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import InputError
from blemish.evaluation.metrics import (
    PixelScores,
    ari,
    aupro,
    average_precision,
    clustering_scores,
    confusion_table,
    image_auroc,
    matched_f1,
    nmi,
    pixel_auroc,
    pixel_average_precision,
    pixel_scores,
    purity,
)
from blemish.images import resize
from helpers.reference_metrics import (
    slow_ari,
    slow_aupro,
    slow_auroc,
    slow_average_precision,
    slow_f1,
    slow_nmi,
    slow_regions,
)

PARTITIONS = st.integers(1, 24).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 4), min_size=n, max_size=n), st.lists(st.integers(0, 3), min_size=n, max_size=n)
    )
)


# ---- partitions


@settings(max_examples=60, deadline=None)
@given(PARTITIONS)
def test_partition_scores_agree_with_slow_twins(pair):
    truth, predicted = pair
    assert nmi(truth, predicted) == pytest.approx(slow_nmi(truth, predicted), abs=1e-9)
    assert ari(truth, predicted) == pytest.approx(slow_ari(truth, predicted), abs=1e-9)
    assert matched_f1(truth, predicted) == pytest.approx(slow_f1(truth, predicted), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(PARTITIONS, st.permutations(range(5)), st.randoms(use_true_random=False))
def test_partition_scores_depend_neither_on_names_nor_on_order(pair, names, random):
    truth, predicted = pair
    order = list(range(len(truth)))
    random.shuffle(order)
    renamed = [f"class {names[truth[i]]}" for i in order], [1000 - names[predicted[i]] for i in order]
    expected = clustering_scores(truth, predicted)
    assert clustering_scores(*renamed) == pytest.approx(expected, abs=1e-9)
    assert clustering_scores(np.array(renamed[0]), np.array(renamed[1])) == pytest.approx(expected, abs=1e-9)


def test_partition_scores_by_hand():
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
    # NMI of a 2 x 2 table (3, 1; 1, 3), worked out on paper
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / math.log(2)
    assert nmi(truth, [0, 0, 0, 1, 1, 1, 1, 0]) == pytest.approx(expected)


def test_confusion_table_counts_and_matches():
    table = confusion_table(["b", "a", "b", "c", "b"], [10, 2, 10, 2, 2])
    assert (table.classes, table.clusters) == (["a", "b", "c"], [2, 10])
    assert table.counts.tolist() == [[1, 0], [1, 2], [1, 0]]
    assert table.matching[1] == 1
    assert sorted(table.matching) == [-1, 0, 1]
    assert confusion_table([1, "x", None], [0, 0, 1]).counts.sum() == 3


def test_partition_scores_on_the_edge():
    assert all(math.isnan(v) for v in clustering_scores([], []).values())
    assert clustering_scores(["x"], [3]) == {"nmi": 1, "ari": 1, "f1": 1, "purity": 1}
    for score in (nmi, ari, matched_f1, purity):
        with pytest.raises(InputError, match="3 true labels against 2"):
            score([1, 2, 3], [1, 2])


def test_rand_index_survives_many_labels():
    """Counts of pairs exceed 32 bits here, their products 64 bits."""
    truth = np.repeat([0, 1], 100_000)
    predicted = np.tile([0, 1], 100_000)
    assert ari(truth, predicted) == pytest.approx(0, abs=1e-4)
    assert ari(truth, 1 - truth) == 1


# ---- ranking of images


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30))
def test_image_scores_agree_with_slow_twins(rows):
    scores, positive = [s / 7 for s, _ in rows], [p for _, p in rows]
    if 0 < sum(positive) < len(positive):
        assert image_auroc(scores, positive) == pytest.approx(slow_auroc(scores, positive))
    else:
        assert math.isnan(image_auroc(scores, positive))
    if any(positive):
        assert average_precision(scores, positive) == pytest.approx(slow_average_precision(scores, positive))
    else:
        assert math.isnan(average_precision(scores, positive))


def test_image_scores_refuse_what_is_not_a_number():
    with pytest.raises(InputError, match="finite"):
        image_auroc([0.1, math.nan], [0, 1])
    with pytest.raises(InputError, match="2 scores against 1"):
        average_precision([0.1, 0.2], [1])


# ---- pixels


def scene(seed: int, shapes: list[tuple[int, int]], levels: int | None = None) -> tuple[list, list]:
    """Maps that see the defects dimly; with ``levels`` their values tie often and are multiples of 1/64."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for i, shape in enumerate(shapes):
        mask = rng.random(shape) < (0.15 if i % 3 else 0.0)
        values = rng.random(shape) + 0.3 * mask
        maps.append((np.floor(values * levels) / 64 if levels else values).astype(np.float32))
        masks.append(mask)
    return maps, masks


SHAPES = [(7, 9), (12, 5), (1, 8), (9, 9), (6, 11)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("levels", [3, 20])
@pytest.mark.parametrize("max_fpr", [0.05, 0.3, 1.0])
def test_pixel_scores_are_exact_where_values_fall_into_bins_of_their_own(seed, levels, max_fpr):
    maps, masks = scene(seed, SHAPES, levels)
    flat, truth = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    assert pixel_auroc(maps, masks) == pytest.approx(slow_auroc(flat, truth), abs=1e-12)
    assert pixel_average_precision(maps, masks) == pytest.approx(slow_average_precision(flat, truth), abs=1e-12)
    assert aupro(maps, masks, max_fpr) == pytest.approx(slow_aupro(maps, masks, max_fpr), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_pixel_scores_stay_within_their_stated_error(seed):
    maps, masks = scene(seed, [(40, 30), (25, 50), (31, 31)])
    # squeezed into a narrow range, so that bins are shared by many pixels
    maps = [1 + m / 200 for m in maps]
    result = pixel_scores(maps, masks, max_fpr=0.3)
    bounds = result.error_bounds()
    flat, truth = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    exact = {"pixel_auroc": image_auroc(flat, truth), "pixel_ap": average_precision(flat, truth)}
    exact |= {"aupro": slow_aupro(maps, masks, 0.3)}
    for name, value in exact.items():
        assert 0 < bounds[name] < 0.2
        assert abs(result.scores()[name] - value) <= bounds[name]


def test_pixel_scores_of_usual_maps_have_a_tiny_error():
    maps, masks = scene(5, [(200, 150)] * 3)
    result = pixel_scores(maps, masks)
    assert all(bound < 5e-4 for bound in result.error_bounds().values())
    flat, truth = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    assert result.auroc() == pytest.approx(image_auroc(flat, truth), abs=1e-6)
    assert result.average_precision() == pytest.approx(average_precision(flat, truth), abs=1e-4)


def test_aupro_by_hand():
    # two regions (1 and 3 pixels) among 6 normal pixels; diagonal neighbors belong together
    mask = np.array([[1, 0, 0, 0, 0], [0, 0, 1, 0, 0]])
    mask[0, 3] = mask[0, 4] = 1
    assert len(slow_regions(mask)) == 2
    values = np.array([[9, 1, 1, 7, 5], [8, 1, 3, 1, 1]]) / 10
    # falling: .9 -> (0, 1/2), .8 -> (1/6, 1/2), .7 -> (1/6, 2/3), .5 -> (1/6, 5/6), .3 -> (1/6, 1), .1 -> (1, 1)
    assert aupro([values], [mask], 1.0) == pytest.approx(1 / 6 * 1 / 2 + 5 / 6)
    assert aupro([values], [mask], 0.5) == pytest.approx((1 / 6 * 1 / 2 + (0.5 - 1 / 6)) / 0.5)
    assert aupro([values], [mask], 1 / 12) == pytest.approx(0.5)
    # small and large regions count alike: missing the small one costs half
    assert aupro([np.where(mask, [[0, 0, 0, 1, 1], [0, 0, 1, 0, 0]], 0.5)], [mask], 0.3) == pytest.approx(0.5)


def test_aupro_of_a_set_by_the_published_protocol():
    """Regions of all images weigh alike, false positives are counted over all normal pixels, good images included."""
    # image 1: one region of 4 pixels, 12 normal; image 2: regions of 1 and 2, 9 normal; image 3: good, 19 normal
    first, second, good = np.zeros((4, 4)), np.zeros((3, 4)), np.zeros((1, 19))
    masks = [first == 1, second == 1, None]
    masks[0][1:3, 1:3] = True
    masks[1][0, 0] = masks[1][2, 2] = masks[1][2, 3] = True
    first[1:3, 1:3] = [[9, 9], [9, 3]]
    second[0, 0], second[2, 2], second[2, 3] = 7, 9, 1
    good[0, :4] = 8
    second[1, 0:2] = 5
    first[0, :4] = 2
    # (false positives of 40, overlap x 12): 9 -> (0, 9 + 0 + 6), 8 -> (4, 15), 7 -> (4, 15 + 12), 5 -> (6, 27),
    # 3 -> (6, 30), 2 -> (10, 30), 1 -> (10, 36), 0 -> (40, 36); divided by 3 regions
    area = 4 * 15 + 2 * 27 + 4 * 30 + 2 * 36  # up to 12 of 40
    assert aupro([first, second, good], masks, 0.3) == pytest.approx(area / 36 / 12)
    assert aupro([first, second, good], masks, 0.1) == pytest.approx(15 / 36)  # a step at the limit does not count
    assert aupro([first, second, good], masks, 0.3) == pytest.approx(
        slow_aupro([first, second, good], [masks[0], masks[1], good > 99], 0.3)
    )


def test_matched_f1_by_hand_with_more_and_fewer_groups():
    # 3 classes of 5, 4, 3 in 4 groups; the best matching is worth 4 + 3 + 2, greedy by column 4 + 2 + 3 as well
    truth = ["a"] * 5 + ["b"] * 4 + ["c"] * 3
    groups = [0, 0, 0, 0, 3, 1, 1, 1, 2, 2, 2, 0]
    assert matched_f1(truth, groups) == pytest.approx(9 / 12)
    # the same with group 2 and 3 joined: nothing is lost, as only one class can have either
    assert matched_f1(truth, [2 if g == 3 else g for g in groups]) == pytest.approx(9 / 12)
    assert matched_f1(truth, [0] * 12) == pytest.approx(5 / 12)
    assert matched_f1(truth, range(12)) == pytest.approx(3 / 12)


def test_pixel_scores_ignore_order_batching_and_monotone_changes():
    maps, masks = scene(1, SHAPES, 20)
    expected = pixel_scores(maps, masks).scores()
    assert pixel_scores(maps[::-1], masks[::-1]).scores() == pytest.approx(expected, abs=1e-12)
    assert pixel_scores([m * 8 - 1 for m in maps], masks).scores() == pytest.approx(expected, abs=1e-12)
    one_by_one = PixelScores()
    for m, mask in zip(maps, masks, strict=True):
        one_by_one.update(m.astype(np.float64), (mask * 255).astype(np.uint8))
        one_by_one.scores()  # looking in between changes nothing
    assert one_by_one.scores() == expected


def test_perfect_inverted_and_constant_maps():
    _, masks = scene(2, SHAPES)
    perfect = [m.astype(np.float32) for m in masks]
    assert pixel_scores(perfect, masks).scores() == {"pixel_auroc": 1, "pixel_ap": 1, "aupro": 1}
    inverted = pixel_scores([-m for m in perfect], masks)
    assert inverted.auroc() == 0
    assert inverted.aupro() == 0
    constant = pixel_scores([np.zeros(s, np.float32) for s in SHAPES], masks)
    assert constant.auroc() == 0.5
    assert constant.aupro() == pytest.approx(0.15)  # the diagonal up to 0.3
    zeros = [np.where(np.arange(s[1]) % 2, 0.0, -0.0) * np.ones(s) for s in SHAPES]
    assert pixel_auroc(zeros, masks) == 0.5  # both zeros tie


def test_maps_are_compared_at_the_size_of_the_mask():
    rng = np.random.default_rng(0)
    small = rng.random((5, 8), dtype=np.float32)
    mask = np.zeros((20, 30), bool)
    mask[4:11, 9:20] = True
    large = resize(small[..., None], 20, 30)[..., 0]
    assert pixel_scores([small], [mask]).scores() == pixel_scores([large], [mask]).scores()
    # a defect-free image weighs as many pixels as it has
    clean = np.full((5, 8), 0.99, np.float32)
    weighed = pixel_scores([small, clean], [mask, None], sizes=[(20, 30), (20, 30)])
    assert weighed.scores() == pixel_scores([large, np.full((20, 30), 0.99)], [mask, np.zeros((20, 30))]).scores()
    assert weighed.auroc() < pixel_scores([small, clean], [mask, None]).auroc()


def test_what_is_not_defined_is_nan():
    values = np.ones((3, 4))
    empty = PixelScores()
    assert all(math.isnan(v) for v in empty.scores().values())
    normal = pixel_scores([values], [None])
    assert all(math.isnan(v) for v in normal.scores().values())
    assert all(math.isnan(v) for v in normal.error_bounds().values())
    full = pixel_scores([values], [np.ones((3, 4))])
    assert math.isnan(full.auroc())
    assert math.isnan(full.aupro())
    assert full.average_precision() == 1


def test_bad_maps_are_refused():
    with pytest.raises(InputError, match="NaN"):
        pixel_auroc([np.array([[0.0, math.nan]])], [None])
    with pytest.raises(InputError, match="two-dimensional"):
        pixel_auroc([np.zeros((2, 2, 1))], [None])
    with pytest.raises(InputError, match="two-dimensional"):
        pixel_auroc([np.zeros((2, 2))], [np.zeros((0, 2))])
    for limit in (0, -1, 1.01, math.nan):
        with pytest.raises(InputError, match="max_fpr"):
            PixelScores(limit)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        pixel_auroc([np.zeros((2, 2))], [])


def test_many_pixels_are_counted_in_batches(monkeypatch):
    maps, masks = scene(3, SHAPES, 20)
    expected = pixel_scores(maps, masks).scores()
    monkeypatch.setattr("blemish.evaluation.metrics._BATCH", 50)
    batched = pixel_scores(maps, masks)
    assert batched._n_waiting < 50 + max(h * w for h, w in SHAPES)
    assert batched.scores() == expected
