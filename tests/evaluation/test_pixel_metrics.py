from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blemish.errors import InputError
from blemish.evaluation.metrics import average_precision, image_auroc
from blemish.evaluation.pixel_metrics import PixelScores, pixel_auroc
from blemish.images import resize
from helpers.reference_metrics import slow_aupro, slow_auroc, slow_average_precision, slow_regions


def score_pixels(
    maps: list[np.ndarray],
    masks: list[np.ndarray | None],
    *,
    sizes: list[tuple[int, int]] | None = None,
    ignored: list[np.ndarray | None] | None = None,
    max_fpr: float = 0.3,
) -> PixelScores:
    result = PixelScores(max_fpr)
    none = [None] * len(maps)
    for values, mask, size, left_out in zip(maps, masks, sizes or none, ignored or none, strict=True):
        result.update(values, mask, size, ignored=left_out)
    return result


def scene(seed: int, shapes: list[tuple[int, int]], levels: int | None = None) -> tuple[list, list]:
    """Maps that are slightly higher in defects; with ``levels`` their values are multiples of 1/64 and tie often."""
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
def test_pixel_scores_are_exact_if_distinct_values_have_bins_of_their_own(seed, levels, max_fpr):
    maps, masks = scene(seed, SHAPES, levels)
    flat, truth = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    assert pixel_auroc(maps, masks) == pytest.approx(slow_auroc(flat, truth), abs=1e-12)
    assert score_pixels(maps, masks).average_precision() == pytest.approx(
        slow_average_precision(flat, truth), abs=1e-12
    )
    assert score_pixels(maps, masks, max_fpr=max_fpr).aupro() == pytest.approx(
        slow_aupro(maps, masks, max_fpr), abs=1e-12
    )


@pytest.mark.parametrize("seed", range(3))
def test_pixel_scores_stay_within_their_error_bounds(seed):
    maps, masks = scene(seed, [(40, 30), (25, 50), (31, 31)])
    # squeezed into a narrow range, so that bins are shared by many pixels
    maps = [1 + m / 200 for m in maps]
    result = score_pixels(maps, masks, max_fpr=0.3)
    bounds = result.error_bounds()
    flat, truth = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    exact = {"pixel_auroc": image_auroc(flat, truth), "pixel_ap": average_precision(flat, truth)}
    exact |= {"aupro": slow_aupro(maps, masks, 0.3)}
    for name, value in exact.items():
        assert 0 < bounds[name] < 0.2
        assert abs(result.scores()[name] - value) <= bounds[name]


def test_error_bounds_are_tiny_for_ordinary_maps():
    maps, masks = scene(5, [(200, 150)] * 3)
    result = score_pixels(maps, masks)
    assert all(bound < 5e-4 for bound in result.error_bounds().values())
    flat, truth = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    assert result.auroc() == pytest.approx(image_auroc(flat, truth), abs=1e-6)
    assert result.average_precision() == pytest.approx(average_precision(flat, truth), abs=1e-4)


def test_aupro_of_one_image_worked_out_by_hand():
    # two regions (1 and 3 pixels) among 6 normal pixels; diagonal neighbors belong together
    mask = np.array([[1, 0, 0, 0, 0], [0, 0, 1, 0, 0]])
    mask[0, 3] = mask[0, 4] = 1
    assert len(slow_regions(mask)) == 2
    values = np.array([[9, 1, 1, 7, 5], [8, 1, 3, 1, 1]]) / 10
    # falling: .9 -> (0, 1/2), .8 -> (1/6, 1/2), .7 -> (1/6, 2/3), .5 -> (1/6, 5/6), .3 -> (1/6, 1), .1 -> (1, 1)
    assert score_pixels([values], [mask], max_fpr=1.0).aupro() == pytest.approx(1 / 6 * 1 / 2 + 5 / 6)
    assert score_pixels([values], [mask], max_fpr=0.5).aupro() == pytest.approx((1 / 6 * 1 / 2 + (0.5 - 1 / 6)) / 0.5)
    assert score_pixels([values], [mask], max_fpr=1 / 12).aupro() == pytest.approx(0.5)
    # small and large regions count alike: missing the small one costs half
    assert score_pixels(
        [np.where(mask, [[0, 0, 0, 1, 1], [0, 0, 1, 0, 0]], 0.5)], [mask], max_fpr=0.3
    ).aupro() == pytest.approx(0.5)


def test_aupro_weighs_regions_equally_and_counts_false_positives_over_all_images():
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
    assert score_pixels([first, second, good], masks, max_fpr=0.3).aupro() == pytest.approx(area / 36 / 12)
    assert score_pixels([first, second, good], masks, max_fpr=0.1).aupro() == pytest.approx(
        15 / 36
    )  # a step at the limit does not count
    assert score_pixels([first, second, good], masks, max_fpr=0.3).aupro() == pytest.approx(
        slow_aupro([first, second, good], [masks[0], masks[1], good > 99], 0.3)
    )


def test_pixel_scores_do_not_depend_on_image_order_batching_or_monotone_changes():
    maps, masks = scene(1, SHAPES, 20)
    expected = score_pixels(maps, masks).scores()
    assert score_pixels(maps[::-1], masks[::-1]).scores() == pytest.approx(expected, abs=1e-12)
    assert score_pixels([m * 8 - 1 for m in maps], masks).scores() == pytest.approx(expected, abs=1e-12)
    one_by_one = PixelScores()
    for m, mask in zip(maps, masks, strict=True):
        one_by_one.update(m.astype(np.float64), (mask * 255).astype(np.uint8))
        one_by_one.scores()  # reading the scores in between changes nothing
    assert one_by_one.scores() == expected


def test_pixel_scores_of_perfect_inverted_and_constant_maps():
    _, masks = scene(2, SHAPES)
    perfect = [m.astype(np.float32) for m in masks]
    assert score_pixels(perfect, masks).scores() == {"pixel_auroc": 1, "pixel_ap": 1, "aupro": 1}
    inverted = score_pixels([-m for m in perfect], masks)
    assert inverted.auroc() == 0
    assert inverted.aupro() == 0
    constant = score_pixels([np.zeros(s, np.float32) for s in SHAPES], masks)
    assert constant.auroc() == 0.5
    assert constant.aupro() == pytest.approx(0.15)  # the diagonal up to 0.3
    zeros = [np.where(np.arange(s[1]) % 2, 0.0, -0.0) * np.ones(s) for s in SHAPES]
    assert pixel_auroc(zeros, masks) == 0.5  # both zeros tie


def test_maps_are_resized_to_the_mask_and_normal_images_count_at_their_own_size():
    rng = np.random.default_rng(0)
    small = rng.random((5, 8), dtype=np.float32)
    mask = np.zeros((20, 30), bool)
    mask[4:11, 9:20] = True
    large = resize(small[..., None], 20, 30)[..., 0]
    assert score_pixels([small], [mask]).scores() == score_pixels([large], [mask]).scores()
    # a defect-free image weighs as many pixels as it has
    clean = np.full((5, 8), 0.99, np.float32)
    weighed = score_pixels([small, clean], [mask, None], sizes=[(20, 30), (20, 30)])
    assert weighed.scores() == score_pixels([large, np.full((20, 30), 0.99)], [mask, np.zeros((20, 30))]).scores()
    assert weighed.auroc() < score_pixels([small, clean], [mask, None]).auroc()


def test_scores_without_defect_or_normal_pixels_are_nan():
    values = np.ones((3, 4))
    empty = PixelScores()
    assert all(math.isnan(v) for v in empty.scores().values())
    normal = score_pixels([values], [None])
    assert all(math.isnan(v) for v in normal.scores().values())
    assert all(math.isnan(v) for v in normal.error_bounds().values())
    full = score_pixels([values], [np.ones((3, 4))])
    assert math.isnan(full.auroc())
    assert math.isnan(full.aupro())
    assert full.average_precision() == 1


def test_maps_with_nan_or_wrong_shape_are_refused():
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


def test_pixel_scores_do_not_depend_on_the_batch_size(monkeypatch):
    maps, masks = scene(3, SHAPES, 20)
    expected = score_pixels(maps, masks).scores()
    monkeypatch.setattr("blemish.evaluation.pixel_metrics._BATCH", 50)
    batched = score_pixels(maps, masks)
    assert batched.scores() == expected


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_ignored_pixels_do_not_count(seed):
    rng = np.random.default_rng(seed)
    shapes = [tuple(rng.integers(1, 9, 2)) for _ in range(4)]
    maps = [(rng.integers(0, 12, shape) / 16).astype(np.float32) for shape in shapes]
    masks = [rng.random(shape) < 0.3 for shape in shapes]
    ignored = [(rng.random(shape) < 0.3) & ~mask for shape, mask in zip(shapes, masks, strict=True)]
    found = score_pixels(maps, masks, ignored=ignored)
    values = np.concatenate([m[~left_out] for m, left_out in zip(maps, ignored, strict=True)])
    truth = np.concatenate([m[~left_out] for m, left_out in zip(masks, ignored, strict=True)])
    if 0 < truth.sum() < len(truth):
        assert found.auroc() == pytest.approx(slow_auroc(values, truth))
        assert found.average_precision() == pytest.approx(slow_average_precision(values, truth))
    changed = [np.where(left_out, rng.random(m.shape), m) for m, left_out in zip(maps, ignored, strict=True)]
    assert score_pixels(changed, masks, ignored=ignored).scores() == pytest.approx(found.scores(), nan_ok=True)
