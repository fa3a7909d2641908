"""The number of groups: gaps against clouds, by their definition and their invariances."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from blemish.clustering.n_clusters import Gaps, ward_gaps


def slow_shares(rows: np.ndarray, most: int) -> list[float]:
    """Share of the sum of squares within 1 to ``most`` groups of greedy merging, from squared distances alone."""
    squares = squareform(pdist(rows, "sqeuclidean"))
    groups = [[i] for i in range(len(rows))]

    def inner(members: list[int]) -> float:
        return float(squares[np.ix_(members, members)].sum() / (2 * len(members)))

    shares = []
    while len(groups) > 1:
        pairs = [(i, j) for i in range(len(groups)) for j in range(i + 1, len(groups))]
        i, j = min(pairs, key=lambda p: inner(groups[p[0]] + groups[p[1]]) - inner(groups[p[0]]) - inner(groups[p[1]]))
        groups[i] += groups.pop(j)
        shares.append(sum(map(inner, groups)) / inner(list(range(len(rows)))))
    return shares[::-1][:most]


def turned(draw: np.ndarray) -> np.ndarray:
    """Columns of mean 0, orthogonal and of length 1, by Gram and Schmidt."""
    done: list[np.ndarray] = [np.full(len(draw), len(draw) ** -0.5)]
    for column in draw.T:
        left = column - sum(one * (one @ column) for one in done)
        done.append(left / np.sqrt(left @ left))
    return np.array(done[1:]).T


def test_gaps_by_their_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.clustering.n_clusters.CLOUDS", 5)
    rows = np.random.default_rng(4).normal(size=(13, 3)) * [3.0, 1.0, 0.2] + [50.0, 0.0, 0.0]
    lengths = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    rng = np.random.default_rng(7)
    clouds = np.log([slow_shares(turned(rng.standard_normal((13, 3))) * lengths, 6) for _ in range(5)])
    found = ward_gaps(rows, 6, seed=7)
    falls = clouds[:, :-1] - clouds[:, 1:]
    own = np.log(slow_shares(rows, 6))
    np.testing.assert_allclose(found.step, own[:-1] - own[1:] - falls.mean(0), atol=1e-8)
    np.testing.assert_allclose(found.deviation, falls.std(0, ddof=1), atol=1e-8)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ([0.029, 0.039, 0.039, 0.039], 1),  # nothing stands out
        ([0.031, 0.0, 0.0, 0.0], 2),  # of the first split less is asked than of the best of many
        ([0.0, 0.039, 0.041, 0.0], 4),
        ([0.0, 0.5, 0.19, 0.01, 0.5], 4),  # two at least; one more must stand out of chance
        ([0.5, 0.2, 0.16, 0.3], 3),  # and be worth a third of the best before
        # of those before: groups that are far apart and tight leave all to the last split
        ([-0.1, 0.05, 0.05, 0.9], 5),
        ([0.3, 0.3, 0.3, 0.3], 5),
    ],
)
def test_the_number_stops_where_one_more_tells_little(step: list[float], number: int) -> None:
    assert Gaps(np.array(step), np.full(len(step), 0.01)).number() == number


@pytest.mark.parametrize("groups", [2, 3, 5, 8])
def test_groups_however_tight_are_counted(groups: int) -> None:
    rng = np.random.default_rng(groups)
    rows = rng.normal(size=(groups, 12))[np.arange(90) % groups]
    assert ward_gaps(rows, 12).number() == groups  # copies of as many points
    assert ward_gaps(rows + rng.normal(0, 1e-3, rows.shape), 12).number() == groups
    assert ward_gaps(rows + rng.normal(0, 0.2, rows.shape), 12).number() == groups


def test_gaps_do_not_depend_on_place_direction_or_scale() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(40, 4)) + 6.0 * (np.arange(40) < 15)[:, None]
    moved = 1e-2 * rows @ np.linalg.qr(rng.normal(size=(4, 4)))[0] + 0.5
    np.testing.assert_allclose(ward_gaps(moved, 5).step, ward_gaps(rows, 5).step, atol=1e-6)
    assert ward_gaps(rows, 5).number() == 2


@pytest.mark.parametrize("rows", [np.ones((9, 3)), np.ones((2, 3)), np.zeros((1, 1))])
def test_rows_that_show_nothing_are_one_group(rows: np.ndarray) -> None:
    assert ward_gaps(rows, 5).number() == 1


def test_few_rows_of_many_columns() -> None:
    rows = np.random.default_rng(0).normal(size=(7, 300))
    found = ward_gaps(rows, 12)
    assert len(found.step) == 3  # groups of two, and one more
    assert np.isfinite(found.step).all()
    assert found.number() == 1


def test_a_large_set_is_seen_through_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1, 2], [700, 500, 300])
    rows = 8 * np.eye(3, 6)[truth] + rng.normal(size=(1500, 6))
    found = ward_gaps(rows, 8, seed=1)
    assert found.number() == 3
    np.testing.assert_array_equal(found.step, ward_gaps(rows, 8, seed=1).step)
    assert not np.array_equal(found.step, ward_gaps(rows, 8, seed=2).step)


@pytest.mark.filterwarnings("error")
def test_draws_of_equal_rows_alone_say_one_group_and_no_more() -> None:
    rows = np.zeros((1000, 4))
    rows[:3] = np.eye(4)[:3]
    gaps = ward_gaps(rows, 4)
    assert np.isfinite(gaps.step).all()


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e5])
def test_scale_does_not_change_the_number(scale: float) -> None:
    rng = np.random.default_rng(0)
    rows = 4 * np.eye(3)[np.repeat(np.arange(3), 20)] + rng.normal(0, 0.2, (60, 3))
    assert ward_gaps(rows * scale, 6).number() == ward_gaps(rows, 6).number() == 3
