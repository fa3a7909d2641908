from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from blemish import Config, run
from blemish.clustering import (
    GroupedViews,
    ViewChoice,
    choose_view,
    fit_surface_space,
    group_images,
    group_surfaces,
    resolve_view,
    unknown_choice,
)
from blemish.config.sections import Cluster
from blemish.evaluation.metrics import nmi
from blemish.localization import ScoreModel
from blemish.output import write_outputs
from blemish.synthetic import render

SIZE = 128


def slow_energies(means: np.ndarray, maps: list[np.ndarray]) -> tuple[float, float]:
    """The two energies, from their definitions in loops."""
    center = [sum(column) / len(column) for column in means.T.tolist()]
    between = sum(sum((value - c) ** 2 for value, c in zip(row, center, strict=True)) for row in means.tolist())
    excess = []
    for one in maps:
        values = sorted(float(value) for value in one.ravel())

        def quantile(q: float, values: list[float] = values) -> float:
            place = q * (len(values) - 1)
            low = math.floor(place)
            high = min(low + 1, len(values) - 1)
            return values[low] + (place - low) * (values[high] - values[low])

        excess.append((quantile(0.99) - quantile(0.5)) ** 2)
    excess.sort()
    middle = len(excess) // 2
    local = excess[middle] if len(excess) % 2 else (excess[middle - 1] + excess[middle]) / 2
    return between / len(means), local


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_energies_follow_their_definition(count: int) -> None:
    rng = np.random.default_rng(count)
    means = rng.standard_normal((count, 5)).astype(np.float32)
    maps = [rng.random((int(rng.integers(3, 9)), 6)).astype(np.float32) for _ in range(count)]
    between, local = slow_energies(means.astype(np.float64), maps)
    found = choose_view(means, maps)
    assert found.between == pytest.approx(between, rel=1e-5, abs=1e-9)
    assert found.local == pytest.approx(local, rel=1e-5)
    assert found.view == ("image" if between > local else "defect")


def test_order_of_the_images_does_not_matter_for_the_choice() -> None:
    rng = np.random.default_rng(3)
    means, maps = rng.standard_normal((9, 4)).astype(np.float32), [rng.random((5, 5)) for _ in range(9)]
    order = rng.permutation(9)
    one, other = choose_view(means, maps), choose_view(means[order], [maps[i] for i in order])
    assert one.view == other.view
    assert one.between == pytest.approx(other.between)
    assert one.local == pytest.approx(other.local)


def test_a_close_call_is_said_and_a_clear_one_is_not() -> None:
    peak = np.zeros((10, 10), np.float32)
    peak[0] = 1.0  # the 0.99 quantile is 1, the median 0: local energy 1
    means = np.array([[1.1, 0.0], [-1.1, 0.0]], np.float32)
    assert "weak" in choose_view(means, [peak, peak]).reason
    assert "weak" not in choose_view(5 * means, [peak, peak]).reason


def test_identical_images_are_grouped_by_defects() -> None:
    flat = np.zeros((4, 4), np.float32)
    assert choose_view(np.ones((3, 2), np.float32), [flat] * 3).view == "defect"


def test_what_differs_between_known_normal_images_is_no_type() -> None:
    rng = np.random.default_rng(5)
    means, flat = rng.standard_normal((40, 3)).astype(np.float32), np.zeros((10, 10), np.float32)
    flat[0] = 1.0
    normal = range(20)
    assert choose_view(means, [flat] * 40).view == "image"
    assert choose_view(means, [flat] * 40, normal).view == "defect"
    assert choose_view(means, [flat] * 40, range(3)).view == "image"  # too few to tell
    means[:20] = 0.01 * means[:20]
    means[20:] *= 2
    assert choose_view(means, [flat] * 40, normal).view == "image"


def test_surface_rows_have_length_one_and_constant_channels_nothing() -> None:
    means = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    means[:, 1] = 4.0
    rows = fit_surface_space(means).rows(means)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    assert (rows[:, 1] == 0).all()
    assert not fit_surface_space(means[:1]).rows(means[:1]).any()


@pytest.mark.parametrize("group_by", ["auto", "defect", "image"])
def test_the_settings_decide_or_leave_it_to_the_evidence(group_by: str) -> None:
    rng = np.random.default_rng(1)
    means = np.repeat(np.eye(4, dtype=np.float32)[:2], 6, axis=0) + 0.01 * rng.standard_normal((12, 4)).astype("f4")
    scores = rng.random(12).astype(np.float32)
    settings = Cluster(group_by=group_by)
    descriptors = rng.standard_normal((12, 4)).astype(np.float32)
    by_defect = group_images(
        descriptors, np.zeros((12, 3), np.float32), scores, ScoreModel(0.5), settings, n_clusters=2
    )
    flat = np.zeros((4, 4), np.float32)
    for choice in (choose_view(means, [flat] * 12), unknown_choice()):
        by_image = group_surfaces(means, scores, ScoreModel(0.5), settings, n_clusters=2)
        views = GroupedViews(by_defect, by_image, resolve_view(choice, scores, ScoreModel(0.5), settings, 2))
        assert views.view == (choice.view if group_by == "auto" else group_by)
        named = {"defect": "by local defects", "image": "by whole images"}[views.view]
        assert named in views.choice.reason  # the sentence never contradicts the view
        assert nmi([0] * 6 + [1] * 6, views.by_image.labels.tolist()) == pytest.approx(1)
        assert views.counting is (views.by_image if views.view == "image" else by_defect)
        assert views.other is not views.counting


@pytest.mark.parametrize(
    ("threshold", "n_clusters", "view"),
    [(2.0, "auto", "defect"), (-1.0, "auto", "image"), (2.0, 2, "defect"), (0.9, 2, "image"), (0.9, 4, "defect")],
)
def test_differences_between_normal_images_are_no_types_of_defects(
    threshold: float, n_clusters: int, view: str
) -> None:
    rng = np.random.default_rng(1)
    means = np.repeat(np.eye(4, dtype=np.float32)[:2], 6, axis=0) + 0.01 * rng.standard_normal((12, 4)).astype("f4")
    scores = np.linspace(0, 1, 12, dtype=np.float32)  # two of them above 0.9
    choice = choose_view(means, [np.zeros((4, 4), np.float32)] * 12)
    rows, shapes = rng.standard_normal((12, 4)).astype(np.float32), np.zeros((12, 3), np.float32)
    by_defect = group_images(rows, shapes, scores, ScoreModel(threshold), Cluster(), n_clusters=n_clusters)
    by_image = group_surfaces(means, scores, ScoreModel(threshold), Cluster(), n_clusters=n_clusters)
    views = GroupedViews(
        by_defect, by_image, resolve_view(choice, scores, ScoreModel(threshold), Cluster(), n_clusters)
    )
    assert choice.view == "image"
    assert views.view == view
    if view == "defect":
        assert views.counting.n_groups == 1 + (scores > threshold).sum()
        assert "normal" in views.choice.reason


def test_several_surfaces_are_grouped_by_image_and_both_groupings_are_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kinds = ["weave", "metal", "stone"]
    images = [render(kind, None, rng, SIZE)[0] for kind in kinds for _ in range(8)]
    truth = [kind for kind in kinds for _ in range(8)]
    settings = {"image.size": SIZE, "n_clusters": 3, "contrastive.epochs": 1, "cache.enabled": False}
    result = run(images, Config.from_values(settings))
    assert result.group_by == "image"
    assert nmi(truth, result.labels.tolist()) == pytest.approx(1)
    write_outputs(result, tmp_path / "out")
    with (tmp_path / "out" / "groups.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["by_image"]) for row in rows] == result.labels.tolist()
    assert [int(row["by_defect"]) for row in rows] == np.asarray(result.other_labels).tolist()
    forced = run(images, Config.from_values(settings | {"cluster.group_by": "defect"}))
    assert forced.group_by == "defect"
    assert forced.labels.tolist() == np.asarray(result.other_labels).tolist()


def test_one_surface_with_defects_is_grouped_by_defect() -> None:
    rng = np.random.default_rng(2)
    images = [render("weave", "hole" if i % 2 else None, rng, SIZE)[0] for i in range(16)]
    result = run(images, Config.from_values({"image.size": SIZE, "contrastive.epochs": 1, "cache.enabled": False}))
    assert result.group_by == "defect"


@pytest.mark.parametrize(("anomalous", "view"), [(0.3, "defect"), (0.7, "image")])
def test_weak_evidence_needs_most_images_to_be_anomalous(anomalous: float, view: str) -> None:
    scores = (np.arange(20) < 20 * anomalous).astype(np.float32)
    weak, clear = ViewChoice("image", 0.05, 0.04, "weak"), ViewChoice("image", 0.5, 0.04, "clear")
    assert resolve_view(weak, scores, ScoreModel(0.5), Cluster(), 4).view == view
    assert resolve_view(clear, scores, ScoreModel(0.5), Cluster(), 4).view == "image"
