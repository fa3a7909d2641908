from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from blemish.output.next_to_check import next_to_check, write_next_to_check
from blemish.results import Result
from helpers.results import make_result


def placed(points: list[tuple[float, float]], labels: list[int], normal: int | None = 0) -> Result:
    """A result with these descriptors and groups."""
    rows, groups = np.array(points, np.float32), np.array(labels)
    own = np.stack([rows[groups == label].mean(0) if label >= 0 else np.zeros(2) for label in groups])
    plain = make_result(len(points), ())
    return replace(
        plain,
        descriptors=rows,
        labels=groups,
        normal_label=normal,
        is_anomalous=groups != normal,
        distances=np.linalg.norm(rows - own, axis=1).astype(np.float32),
    )


POINTS = [(0, 0), (0, 1), (9, 0), (9, 1), (9, 2), (5, 1), (4, 9), (5, 30)]
LABELS = [0, 0, 1, 1, 1, 1, 2, -1]


def test_typical_novel_and_doubtful_images_come_in_this_order() -> None:
    found = dict(next_to_check(placed(POINTS, LABELS)))  # type: ignore[arg-type]
    rows = list(found)
    assert found[6] == "typical of its type"  # the only one of its type
    assert found[3] == "typical of its type"
    assert found[7] == "unlike every type"
    assert found[5] == "between two groups"
    assert rows[:4] == [3, 6, 7, 5]
    assert len(rows) == len(set(rows))


def test_an_image_whose_score_and_group_disagree_comes_before_doubtful_ones() -> None:
    result = placed(POINTS, LABELS)  # type: ignore[arg-type]
    anomalous = result.is_anomalous.copy()
    anomalous[0] = True
    found = next_to_check(replace(result, is_anomalous=anomalous))
    assert found[3] == (0, "score and group disagree")


@pytest.mark.parametrize("count", [0, 1, 3, 100])
def test_the_list_has_no_more_images_than_asked_for(count: int) -> None:
    assert len(next_to_check(placed(POINTS, LABELS), count)) <= min(count, 8)  # type: ignore[arg-type]


def test_one_group_and_one_image_have_nothing_doubtful() -> None:
    assert next_to_check(placed([(0, 0), (1, 1)], [0, 0])) == []
    assert next_to_check(placed([(0, 0)], [0], normal=None)) == [(0, "typical of its type")]


def test_the_table_has_a_row_for_each() -> None:
    result, stream = placed(POINTS, LABELS), io.BytesIO()  # type: ignore[arg-type]
    write_next_to_check(result, stream)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue().decode())))
    assert [row["path"] for row in rows] == [result.paths[i] for i, _ in next_to_check(result)]
    assert rows[0]["cluster_name"] == "type 1"
