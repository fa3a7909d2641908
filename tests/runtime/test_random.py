from __future__ import annotations

import pytest
import torch

from blemish.errors import ConfigError, InputError
from blemish.runtime.random import sample_vectors, seeded_generator, seeded_linear


@pytest.mark.parametrize(("n", "expected"), [(5, 5), (12, 12), (99, 12)])
def test_each_pixel_is_sampled_at_most_once_with_all_its_channels(n: int, expected: int) -> None:
    image = torch.arange(24.0).reshape(2, 3, 4)
    found = sample_vectors(image, n, torch.Generator().manual_seed(0))
    assert found.shape == (expected, 2)
    assert len(set(found[:, 0].tolist())) == expected
    assert torch.equal(found[:, 1] - found[:, 0], torch.full((expected,), 12.0))


def test_every_pixel_is_sampled_equally_often() -> None:
    image, counts = torch.arange(10.0).reshape(1, 2, 5), torch.zeros(10)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2000):
        counts[sample_vectors(image, 3, generator).flatten().long()] += 1
    # 600 expected each, with a standard deviation of about 20.5
    assert (counts - 600).abs().max() < 4 * 20.5


def test_sampling_refuses_other_shapes_and_numbers_below_one() -> None:
    with pytest.raises(InputError, match="sample_vectors"):
        sample_vectors(torch.rand(2, 2), 3, torch.Generator())
    with pytest.raises(InputError, match="none 0"):
        sample_vectors(torch.rand(2, 0, 2), 3, torch.Generator())
    with pytest.raises(ConfigError, match="vectors per image"):
        sample_vectors(torch.rand(2, 2, 2), 0, torch.Generator())


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
