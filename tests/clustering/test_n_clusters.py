"""The number of groups: gaps to null samples by their definition and invariances, and the estimate on drawn sets."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from blemish.clustering.n_clusters import Gaps, estimate_clusters, ward_gaps


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


def random_basis(draw: np.ndarray) -> np.ndarray:
    """Columns of mean 0, orthogonal and of length 1, by the Gram-Schmidt process."""
    done: list[np.ndarray] = [np.full(len(draw), len(draw) ** -0.5)]
    for column in draw.T:
        left = column - sum(one * (one @ column) for one in done)
        done.append(left / np.sqrt(left @ left))
    return np.array(done[1:]).T


def test_gaps_agree_with_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.clustering.n_clusters.NULL_SAMPLES", 5)
    rows = np.random.default_rng(4).normal(size=(13, 3)) * [3.0, 1.0, 0.2] + [50.0, 0.0, 0.0]
    lengths = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
    rng = np.random.default_rng(7)
    null_samples = np.log([slow_shares(random_basis(rng.standard_normal((13, 3))) * lengths, 6) for _ in range(5)])
    found = ward_gaps(rows, 6, seed=7)
    falls = null_samples[:, :-1] - null_samples[:, 1:]
    own = np.log(slow_shares(rows, 6))
    np.testing.assert_allclose(found.step, own[:-1] - own[1:] - falls.mean(0), atol=1e-8)
    np.testing.assert_allclose(found.deviation, falls.std(0, ddof=1), atol=1e-8)


@pytest.mark.parametrize(
    ("step", "number"),
    [
        ([0.029, 0.039, 0.039, 0.039], 1),  # nothing stands out
        ([0.031, 0.0, 0.0, 0.0], 2),  # less is asked of the first split than of the best of many
        ([0.0, 0.039, 0.041, 0.0], 4),
        ([0.0, 0.5, 0.29, 0.01, 0.1], 4),  # at least two; one more must exceed chance
        ([0.5, 0.3, 0.2, 0.1], 3),  # and have half of the best advantage before it
        ([0.5, 0.3, 0.2, 0.35], 5),  # two more groups together have it
        # only advantages before it count: for tight groups that are far apart the last split has the largest
        ([-0.1, 0.05, 0.05, 0.9], 5),
        ([0.3, 0.3, 0.3, 0.3], 5),
    ],
)
def test_the_number_is_the_last_one_before_a_split_with_little_advantage(step: list[float], number: int) -> None:
    assert Gaps(np.array(step), np.full(len(step), 0.01)).number() == number


@pytest.mark.parametrize("groups", [2, 3, 5, 8])
def test_clear_groups_are_counted_at_any_tightness(groups: int) -> None:
    rng = np.random.default_rng(groups)
    rows = rng.normal(size=(groups, 12))[np.arange(90) % groups]
    assert ward_gaps(rows, 12).number() == groups  # copies of one point per group
    assert ward_gaps(rows + rng.normal(0, 1e-3, rows.shape), 12).number() == groups
    assert ward_gaps(rows + rng.normal(0, 0.2, rows.shape), 12).number() == groups


def test_gaps_do_not_depend_on_shift_rotation_or_scale() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(40, 4)) + 6.0 * (np.arange(40) < 15)[:, None]
    moved = 1e-2 * rows @ np.linalg.qr(rng.normal(size=(4, 4)))[0] + 0.5
    np.testing.assert_allclose(ward_gaps(moved, 5).step, ward_gaps(rows, 5).step, atol=1e-6)
    assert ward_gaps(rows, 5).number() == 2


@pytest.mark.parametrize("rows", [np.ones((9, 3)), np.ones((2, 3)), np.zeros((1, 1))])
def test_constant_or_too_few_rows_are_one_group(rows: np.ndarray) -> None:
    assert ward_gaps(rows, 5).number() == 1


def test_few_rows_of_many_columns_have_finite_gaps() -> None:
    rows = np.random.default_rng(0).normal(size=(7, 300))
    found = ward_gaps(rows, 12)
    assert len(found.step) == 3  # at most one more than half as many groups as rows
    assert np.isfinite(found.step).all()
    assert found.number() == 1


def test_a_large_set_is_estimated_from_subsamples_that_follow_the_seed() -> None:
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1, 2], [700, 500, 300])
    rows = 8 * np.eye(3, 6)[truth] + rng.normal(size=(1500, 6))
    found = ward_gaps(rows, 8, seed=1)
    assert found.number() == 3
    np.testing.assert_array_equal(found.step, ward_gaps(rows, 8, seed=1).step)
    assert not np.array_equal(found.step, ward_gaps(rows, 8, seed=2).step)


def test_subsamples_of_equal_rows_give_finite_gaps() -> None:
    rows = np.zeros((1000, 4))
    rows[:3] = np.eye(4)[:3]
    gaps = ward_gaps(rows, 4)
    assert np.isfinite(gaps.step).all()


@pytest.mark.parametrize("scale", [1e-8, 1e-3, 1e5])
def test_scale_does_not_change_the_number(scale: float) -> None:
    rng = np.random.default_rng(0)
    rows = 4 * np.eye(3)[np.repeat(np.arange(3), 20)] + rng.normal(0, 0.2, (60, 3))
    assert ward_gaps(rows * scale, 6).number() == ward_gaps(rows, 6).number() == 3


def blobs(sizes: tuple[int, ...] = (20, 12, 7)) -> np.ndarray:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    return (8 * np.eye(len(sizes), 6)[truth] + rng.normal(0, 0.3, (len(truth), 6))).astype(np.float32)


def test_estimate_of_clear_groups_and_its_limits() -> None:
    assert estimate_clusters(blobs()) == 3
    assert estimate_clusters(np.ones((9, 2), np.float32)) == 1
    assert estimate_clusters(np.ones((1, 2), np.float32)) == 1
    assert estimate_clusters(blobs(), max_clusters=2) == 2


@pytest.mark.parametrize("sizes", [(30, 30), (60, 15, 15, 15), (40, 25, 20, 15, 12, 10)])
def test_estimate_of_groups_of_unequal_size_in_many_dimensions(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(2)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    rows = (1.5 * rng.normal(size=(len(sizes), 50))[truth] + rng.normal(size=(len(truth), 50))).astype(np.float32)
    assert estimate_clusters(rows) == len(sizes)


@pytest.mark.parametrize("columns", [2, 10, 120])
@pytest.mark.parametrize("n", [5, 12, 60, 700])
def test_a_normal_distribution_is_one_group_at_any_elongation(n: int, columns: int) -> None:
    rng = np.random.default_rng(n + columns)
    rows = rng.normal(size=(n, columns)) * np.linspace(0.1, 4.0, columns)
    assert estimate_clusters(rows.astype(np.float32)) == 1


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 6])
def test_the_largest_number_considered_does_not_change_smaller_estimates(most: int) -> None:
    assert estimate_clusters(blobs((12, 10, 9, 8)), max_clusters=most) == min(most, 4)


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_rows_are_one_group(count: int) -> None:
    assert estimate_clusters(np.eye(4, dtype=np.float32)[:count]) == 1


def test_two_distinct_rows_among_many_are_two_groups() -> None:
    assert estimate_clusters(np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 1]]) == 2
