from __future__ import annotations

import numpy as np
import pytest

from blemish.results import UNSORTED
from helpers.results import divided_result, make_result


def test_an_anomalous_image_is_in_a_type_or_unsorted() -> None:
    result = divided_result()
    assert result.groups.tolist() == [UNSORTED, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert result.group_numbers == [0, 1, 2, UNSORTED]
    assert [result.cluster_name(number) for number in result.group_numbers] == [
        "normal",
        "type 1",
        "type 2",
        "unsorted",
    ]
    assert np.flatnonzero(result.needs_check).tolist() == [0, 7]
    assert result.labels[0] == 0  # the clustering itself is left alone


def test_without_disagreement_groups_are_the_labels() -> None:
    for result in (make_result(5, (4, 3)), make_result(0, (4, 3)), make_result(3, ())):
        np.testing.assert_array_equal(result.groups, result.labels)
        assert result.group_numbers == list(range(result.n_clusters))
        assert not result.needs_check.any()


def test_whole_surfaces_may_have_any_score_but_are_not_normal_if_anomalous() -> None:
    result = divided_result(group_by="image")
    assert np.flatnonzero(result.needs_check).tolist() == [0]
    assert result.groups[0] == UNSORTED


def test_without_a_normal_group_low_scores_are_to_be_checked() -> None:
    result = make_result(0, (4, 3), is_anomalous=np.arange(7) > 0)
    assert np.flatnonzero(result.needs_check).tolist() == [0]
    assert UNSORTED not in result.groups


@pytest.mark.parametrize(
    ("probability", "check"), [(0.0, False), (0.1, False), (0.4, True), (0.6, True), (0.95, False)]
)
def test_an_uncertain_probability_is_to_be_checked(probability: float, check: bool) -> None:
    probabilities = np.full(12, probability, np.float32)
    assert (make_result(5, (4, 3), anomaly_probability=probabilities).needs_check == check).all()
