from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from blemish.regions import Region
from blemish.results import Result
from blemish.review import corrected
from blemish.review.operations import Operation
from helpers.results import make_result
from helpers.reviews import operation


def region(image: int, label: int, score: float = 1.0) -> Region:
    ring = (np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 2.0]]),)
    return Region(image, 0, 0, 2, 2, ring, (), 4, 1.0, 0.0, None, score, label, 0.5)


@pytest.fixture
def result() -> Result:
    """Images n0 n1 are normal, a0 a1 a2 of type 1, b0 b1 of type 2; a0 has two regions, the second of type 2."""
    found = make_result(2, (3, 2), paths=["n0", "n1", "a0", "a1", "a2", "b0", "b1"])
    regions = [region(2, 1, 3.0), region(2, 2), region(3, 1), region(4, 1), region(5, 2), region(6, 2)]
    probability = np.full(7, 0.6, np.float32)
    return dataclasses.replace(found, regions=regions, type_probability=probability, anomaly_probability=probability)


def groups(result: Result) -> dict[str, set[str]]:
    """Name of each group and its images."""
    found: dict[str, set[str]] = {}
    for path, label in zip(result.paths, result.labels.tolist(), strict=True):
        found.setdefault(result.cluster_name(label), set()).add(path)
    return found


def after(result: Result, *steps: tuple[str, dict[str, Any]]) -> Result:
    return corrected(result, [operation(op, number=i + 1, **fields) for i, (op, fields) in enumerate(steps)])


def undo(number: int) -> tuple[str, dict[str, Any]]:
    return "undo", {"target": f"00000000-0000-0000-0000-{number:012x}"}


def redo(number: int) -> tuple[str, dict[str, Any]]:
    return "redo", undo(number)[1]


def test_without_operations_it_is_the_same_result(result: Result) -> None:
    assert corrected(result, []) is result


def test_a_name_stays_with_its_type(result: Result) -> None:
    found = after(result, ("rename", {"type": 2, "name": "hole"}), ("merge", {"types": [1, 2], "into": 2}))
    assert groups(found) == {"normal": {"n0", "n1"}, "hole": {"a0", "a1", "a2", "b0", "b1"}}
    assert found.labels.tolist() == [0, 0, 1, 1, 1, 1, 1]
    assert found.info["review"]["labels"] == {"0": 0, "2": 1}
    assert {one.label for one in found.regions} == {1}


def test_types_behind_a_type_that_is_gone_keep_the_name_of_the_page(result: Result) -> None:
    found = after(result, ("move", {"images": ["a0", "a1", "a2"], "to": 0}))
    assert groups(found) == {"normal": {"n0", "n1", "a0", "a1", "a2"}, "type 2": {"b0", "b1"}}
    assert found.n_clusters == 2
    assert found.is_anomalous.tolist() == [False] * 5 + [True] * 2
    assert {found.paths[one.image] for one in found.regions} == {"b0", "b1"}


def test_a_split_keeps_the_number_for_the_first_part(result: Result) -> None:
    found = after(result, ("split", {"type": 1, "parts": [["a0"], ["a1", "a2"]]}), ("rename", {"type": 3, "name": "x"}))
    assert groups(found) == {"normal": {"n0", "n1"}, "type 1": {"a0"}, "type 2": {"b0", "b1"}, "x": {"a1", "a2"}}
    assert [one.label for one in found.regions] == [1, 2, 3, 3, 2, 2]


def test_a_new_type_without_images_is_left_out(result: Result) -> None:
    new = ("new_type", {"name": "dent", "label": 7})
    assert groups(after(result, new)) == groups(result)
    found = after(result, new, ("move", {"images": ["b0", "n0"], "to": 7}))
    assert groups(found)["dent"] == {"b0", "n0"}
    assert found.info["review"]["labels"] == {"0": 0, "1": 1, "2": 2, "7": 3}
    assert found.is_anomalous[0]


def test_images_that_are_normal_lose_their_regions(result: Result) -> None:
    found = after(result, ("normal", {"images": ["a0"]}))
    assert not found.is_anomalous[2]
    assert found.labels[2] == found.normal_label == 0
    assert 2 not in {one.image for one in found.regions}
    assert found.anomaly_probability is not None
    assert found.anomaly_probability[2] == 0


def test_a_normal_group_is_made_where_there_is_none() -> None:
    result = make_result(0, (3, 2))
    assert result.normal_label is None
    found = after(result, ("normal", {"images": [result.paths[0]]}))
    assert found.normal_label == 0
    assert found.cluster_name(0) == "normal"
    assert [found.cluster_name(label) for label in (1, 2)] == ["type 1", "type 2"]
    assert found.labels.tolist() == [0, 1, 1, 2, 2]


def test_a_type_that_is_merged_with_normal_images_is_normal(result: Result) -> None:
    found = after(result, ("merge", {"types": [0, 2], "into": 2}))
    assert groups(found) == {"normal": {"n0", "n1", "b0", "b1"}, "type 1": {"a0", "a1", "a2"}}
    assert found.is_anomalous.tolist() == [False, False, True, True, True, False, False]


def test_single_regions_move_and_an_image_follows_its_only_one(result: Result) -> None:
    moves = [{"image": "a0", "region": 1}, {"image": "a1", "region": 0}]
    found = after(result, ("new_type", {"name": "dent", "label": 3}), ("move", {"regions": moves, "to": 3}))
    assert [one.label for one in found.regions] == [1, 3, 3, 1, 2, 2]
    assert found.labels.tolist() == [0, 0, 1, 3, 1, 2, 2]
    assert found.regions[1].confidence == 1.0


def test_a_type_of_regions_alone_has_a_number_and_a_name(result: Result) -> None:
    steps = ("new_type", {"name": "dent", "label": 5}), ("move", {"regions": [{"image": "a0", "region": 1}], "to": 5})
    found = after(result, *steps)
    assert found.n_clusters == 3
    assert found.regions[1].label == 3
    assert found.cluster_name(3) == "dent"


def test_wrong_outlines_are_left_out_and_listed(result: Result) -> None:
    found = after(result, ("wrong_outline", {"images": ["a0"]}))
    assert len(found.regions) == 4
    assert found.info["review"]["wrong_outlines"] == ["a0"]
    assert found.labels.tolist() == result.labels.tolist()


def test_undo_and_redo_keep_the_order_and_the_numbers(result: Result) -> None:
    split = ("split", {"type": 1, "parts": [["a0"], ["a1", "a2"]]})
    other = ("split", {"type": 2, "parts": [["b0"], ["b1"]]})
    name = ("rename", {"type": 4, "name": "half"})
    assert groups(after(result, split, other, name, undo(1)))["half"] == {"b1"}
    assert groups(after(result, split, undo(1), redo(1), other, name))["half"] == {"b1"}
    found = after(result, split, ("move", {"images": ["b0"], "to": 3}), undo(1))
    assert groups(found) == groups(result)
    assert found.info["review"]["notes"] == ["move: there is no type 3 any more"]


def test_the_same_id_counts_once(result: Result) -> None:
    once = operation("split", number=1, type=1, parts=[["a0"], ["a1"]])
    assert groups(corrected(result, [once])) == groups(corrected(result, [once, once]))


def test_vanished_images_are_named(result: Result) -> None:
    found = after(result, ("normal", {"images": ["gone\n.png", "also", "a0"]}))
    assert found.info["review"]["notes"] == ["normal: no such image in the results: gone\\n.png and 1 more"]
    assert not found.is_anomalous[2]


def test_distances_and_probabilities_follow(result: Result) -> None:
    found = after(result, ("move", {"images": ["a0"], "to": 2}))
    assert found.type_probability is not None
    assert found.type_probability.tolist() == [pytest.approx(0.6)] * 2 + [1.0] + [pytest.approx(0.6)] * 4
    members = found.labels == 2
    center = found.descriptors[members].mean(0)
    assert found.distances[2] == pytest.approx(np.linalg.norm(found.descriptors[2] - center), rel=1e-5)


def test_images_that_are_unlike_every_type_stay_so_until_somebody_places_them(result: Result) -> None:
    """Predictions have such images, under the label -1."""
    labels = np.array([0, 0, -1, -1, 1, 2, 2])
    found = after(dataclasses.replace(result, labels=labels, regions=[]), ("move", {"images": ["a0"], "to": 2}))
    assert found.labels.tolist() == [0, 0, 2, -1, 1, 2, 2]
    assert found.cluster_name(-1) == "unlike anything seen"
    assert found.n_clusters == 3


def test_any_order_of_random_operations_keeps_a_valid_result(result: Result) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        steps: list[Operation] = []
        for number in range(1, 12):
            kind = rng.choice(["merge", "move", "split", "normal", "undo", "rename", "new_type"])
            picked = [str(path) for path in rng.choice(result.paths, 2, replace=False)]
            one, two = (int(x) for x in rng.choice(8, 2, replace=False))
            fields = {
                "merge": {"types": [one, two], "into": one},
                "move": {"images": picked, "to": one},
                "split": {"type": one, "parts": [[path] for path in picked]},
                "normal": {"images": picked},
                "undo": undo(int(rng.integers(1, number + 1)))[1],
                "rename": {"type": one, "name": f"name {number}"},
                "new_type": {"name": f"new {number}", "label": 20 + number},
            }[str(kind)]
            steps.append(operation(str(kind), number=number, **fields))
        found = corrected(result, steps)
        assert np.array_equal(np.unique(found.labels), np.arange(found.n_clusters))
        assert found.normal_label in (None, 0)
        in_normal = found.labels == found.normal_label if found.normal_label is not None else np.zeros(7, bool)
        assert not (found.is_anomalous & in_normal).any()
        assert found.is_anomalous[~in_normal].all()
