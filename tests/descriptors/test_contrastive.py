from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.descriptors.contrastive import Head, margin_loss, order_by_distance, train_head
from blemish.errors import InputError
from helpers.pixels import same_weights, two_types
from helpers.reference_method import head_loop, margin_loss_loop, nearest_loop


@pytest.mark.parametrize("sizes", [(3, 4, 5, 2, 6), (0, 4, 5, 2, 0), (0, 0, 0, 0, 0)])
def test_margin_loss_agrees_with_the_loop(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(n, 3)) * 0.4 for n in sizes]
    value = margin_loss(*(torch.from_numpy(part) for part in parts), margin=0.5)
    assert float(value) == pytest.approx(margin_loss_loop(*parts, 0.5), rel=1e-9)


def test_head_treats_maps_as_vectors_of_each_pixel_and_gives_length_one() -> None:
    head, maps = Head(5, 8, 4), torch.randn(2, 5, 3, 7, generator=torch.Generator().manual_seed(0))
    out = head(maps)
    assert out.shape == (2, 4, 3, 7)
    torch.testing.assert_close(out[1, :, 2, 6], head(maps[1, :, 2, 6][None])[0])
    torch.testing.assert_close(out.norm(dim=1), torch.ones(2, 3, 7))


def test_head_agrees_with_the_loop() -> None:
    head, x = Head(5, 8, 4, seed=2), torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    weights = {name: value.detach().double().numpy() for name, value in head.named_parameters()}
    expected = np.stack([head_loop(weights, row.double().numpy()) for row in x])
    np.testing.assert_allclose(head(x).detach().numpy(), expected, atol=1e-6)


def test_head_leaves_a_zero_vector_at_zero() -> None:
    head = Head(5, 8, 4)
    with torch.no_grad():
        head.second.weight.zero_()
        head.second.bias.zero_()
    assert head(torch.ones(2, 5)).eq(0).all()


def test_head_comes_back_from_its_state() -> None:
    head, x = Head(5, 8, 4, seed=3), torch.ones(2, 5)
    again = Head.from_state(head.state_dict())
    assert torch.equal(again(x), head(x))
    assert not any(one.requires_grad for one in again.parameters())


def test_head_refuses_other_shapes() -> None:
    with pytest.raises(InputError, match="N x C or B x C x h x w"):
        Head(5, 8, 4)(torch.ones(5, 3, 3))


def test_order_by_distance_agrees_with_the_loop() -> None:
    descriptors = np.random.default_rng(2).integers(0, 4, (11, 2)).astype(np.float32)  # integers: many ties
    assert [order_by_distance(descriptors, i).tolist() for i in range(11)] == nearest_loop(descriptors, 10)


def test_images_at_equal_distance_are_ordered_by_index() -> None:
    descriptors = np.array([[0.0], [1.0], [1.0], [5.0]])
    assert [order_by_distance(descriptors, i).tolist() for i in range(4)] == [
        [1, 2, 3],
        [2, 0, 3],
        [1, 0, 3],
        [1, 2, 0],
    ]


def test_training_draws_types_apart() -> None:
    features, values, rows = two_types()

    @torch.no_grad()
    def separation(head: Head) -> float:
        means = torch.stack([head(torch.from_numpy(one[:15])).mean(0) for one in features])
        within = (means[0::2].std(0) + means[1::2].std(0)).norm()
        return float((means[0::2].mean(0) - means[1::2].mean(0)).norm() / within)

    trained = train_head(features, values, rows, 0.5, hidden=16, dim=4, epochs=15, learning_rate=5e-3)
    assert separation(trained) > 1.2 * separation(Head(6, 16, 4, seed=0))


def test_one_seed_gives_the_same_head_to_the_bit() -> None:
    features, values, rows = two_types()
    first, again, other = (train_head(features, values, rows, 0.5, hidden=8, epochs=2, seed=s) for s in (0, 0, 1))
    assert same_weights(first, again)
    assert not same_weights(first, other)


@pytest.mark.parametrize(("max_steps", "expected"), [(None, 16), (11, 11), (16, 16), (99, 16)])
def test_training_stops_at_the_largest_number_of_steps(max_steps: int | None, expected: int) -> None:
    features, values, rows = two_types()
    done: list[int] = []
    head = train_head(features, values, rows, 0.5, hidden=4, dim=2, epochs=2, max_steps=max_steps, progress=done.append)
    assert done == [1] * expected
    fewer = train_head(features, values, rows, 0.5, hidden=4, dim=2, epochs=2, max_steps=expected - 1)
    assert not same_weights(head, fewer)


@pytest.mark.parametrize("images", [1, 2, 3])
def test_few_images_and_images_without_anomalous_pixels_give_finite_weights(images: int) -> None:
    features, values, rows = two_types(images)
    for threshold in (0.5, 2.0, -1.0):
        head = train_head(features, values, rows, threshold, hidden=4, dim=2, epochs=1)
        assert all(torch.isfinite(p).all() for p in head.parameters())
