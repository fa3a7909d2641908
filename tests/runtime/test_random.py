from __future__ import annotations

import pytest
import torch

from blemish.errors import ConfigError
from blemish.runtime.random import draw_places, seeded_generator, seeded_linear


@pytest.mark.parametrize(("n", "expected"), [(5, 5), (12, 12), (99, 12)])
def test_each_place_is_drawn_at_most_once(n: int, expected: int) -> None:
    found = draw_places(12, n, torch.Generator().manual_seed(0)).tolist()
    assert len(found) == len(set(found)) == expected
    assert set(found) <= set(range(12))


def test_every_place_is_drawn_equally_often() -> None:
    counts, generator = torch.zeros(10), torch.Generator().manual_seed(0)
    for _ in range(2000):
        counts[draw_places(10, 3, generator)] += 1
    # 600 expected each, with a standard deviation of about 20.5
    assert (counts - 600).abs().max() < 4 * 20.5


def test_drawing_refuses_numbers_below_one() -> None:
    with pytest.raises(ConfigError, match="vectors per image"):
        draw_places(4, 0, torch.Generator())


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_out_of_range_are_refused(seed: int) -> None:
    with pytest.raises(ConfigError, match="seed must be from 0"):
        seeded_generator(seed)


def test_layers_follow_the_seed_within_torchs_bounds_and_leave_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (seeded_linear(16, 200, seeded_generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.weight, again.weight)
    assert torch.equal(first.bias, again.bias)
    assert not torch.equal(first.weight, other.weight)
    for values in (first.weight, first.bias):
        assert 0.24 < float(values.detach().abs().max()) <= 0.25  # 1 / sqrt(16)
