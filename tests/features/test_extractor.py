from __future__ import annotations

import numpy as np
import pytest
import torch

from blemish.backbones import load_backbone
from blemish.config.sections import Backbone
from blemish.errors import ConfigError
from blemish.features.extractor import Extractor


def extractor(**settings: object) -> Extractor:
    return Extractor(load_backbone("random:0"), Backbone(**settings))  # type: ignore[arg-type]


def test_stride_8_is_the_default_for_descriptors_and_maps() -> None:
    default = extractor()
    assert default.strides == (8,)
    assert default.channels() == [160]
    assert default.map_channels(None) == tuple(range(160))
    assert extractor(strides=(4, 8)).map_channels(None) == tuple(range(64, 224))


def test_with_mirror_images_maps_are_computed_from_their_mean() -> None:
    flipped = extractor(tta_flips=True)
    assert flipped.blocks() == [(8, False, 160), (8, True, 160)]
    assert flipped.channels() == [160, 160]
    assert flipped.map_channels(None) == tuple(range(160, 320))
    assert extractor(tta_flips=True, strides=(4, 8)).map_channels(None) == tuple(range(288, 448))


@pytest.mark.parametrize(
    ("strides", "maps", "expected"),
    [((4, 8, 16), (4, 16), (*range(64), *range(224, 416))), ((4,), None, range(64)), ((4, 16), None, range(256))],
)
def test_maps_are_computed_from_the_strides_asked_for(
    strides: tuple[int, ...], maps: tuple[int, ...] | None, expected: object
) -> None:
    assert extractor(strides=strides).map_channels(maps) == tuple(expected)  # type: ignore[arg-type]


def test_a_stride_that_is_not_in_use_is_named() -> None:
    with pytest.raises(ConfigError, match=r"localization\.strides names 16.*backbone\.strides"):
        extractor().map_channels((8, 16))


def test_network_stages_beyond_the_last_stride_are_skipped_without_changing_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = torch.rand(1, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    limited = extractor(strides=(4, 8))
    full = extractor(strides=(4, 8, 16))
    asked: list[int] = []
    trunk = limited.backbone.trunk  # type: ignore[attr-defined]
    inner = trunk.forward
    monkeypatch.setattr(trunk, "forward", lambda x, last: asked.append(last) or inner(x, last))
    torch.testing.assert_close(limited.raw(images), full.raw(images)[:, :224], rtol=0, atol=0)
    assert asked == [8]


@pytest.mark.parametrize(("asked", "seen"), [(32, 32), (40, 40), (16, 16), (0, 16)])
def test_the_networks_own_margin_counts_as_padding(asked: int, seen: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = extractor(border_padding=asked)
    sides: list[tuple[int, ...]] = []
    trunk = chosen.backbone.trunk  # type: ignore[attr-defined]
    inner = trunk.forward
    monkeypatch.setattr(trunk, "forward", lambda x, last: sides.append(tuple(x.shape[2:])) or inner(x, last))
    assert chosen.raw(torch.rand(1, 3, 64, 80)).shape == (1, 160, 8, 10)
    assert sides == [(64 + 2 * seen, 80 + 2 * seen)]


@pytest.mark.parametrize("strides", [(8,), (4, 16)])
def test_test_time_augmentation_is_the_mean_over_the_mirror_images(strides: tuple[int, ...]) -> None:
    images = torch.rand(2, 3, 45, 70, generator=torch.Generator().manual_seed(2))
    averaged, plain = (extractor(tta_flips=flips, strides=strides, border_padding=0) for flips in (True, False))
    net, sides, cell = load_backbone("random:0"), (45, 70), max(strides)
    # the first cells of mirrored picture beyond the border, up to whole cells
    rows, columns = ([*range(side), *range(side - 2, side - 2 - -side % cell, -1)] for side in sides)
    whole = images[:, :, rows][:, :, :, columns].numpy()
    got, alone = list(averaged._maps(images)), dict(plain._maps(images))
    assert [stride for stride, _ in got] == [stride for stride in strides for _ in range(2)]
    for place, stride in enumerate(strides):
        shape = (2, net.channels[stride], *(-(-side // stride) for side in sides))
        expected = np.zeros(shape)
        for axes in [(), (2,), (3,), (2, 3)]:
            back = np.flip(net(torch.from_numpy(np.flip(whole, axes).copy()))[stride].numpy(), axes)
            expected += back[:, :, : shape[2], : shape[3]] / 4
        assert np.allclose(got[2 * place + 1][1].numpy(), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(alone[stride], net(images)[stride], rtol=0, atol=0)
        as_it_is = net(torch.from_numpy(whole.copy()))[stride][:, :, : shape[2], : shape[3]]
        torch.testing.assert_close(got[2 * place][1], as_it_is, rtol=0, atol=0)


@pytest.mark.parametrize("axis", [2, 3])
def test_the_channels_of_maps_are_mirrored_with_the_image(axis: int) -> None:
    images = torch.rand(1, 3, 48, 80, generator=torch.Generator().manual_seed(3))
    moved = []
    for flips in (True, False):
        chosen = extractor(tta_flips=flips)
        one, other = (chosen.raw(each)[:, list(chosen.map_channels(None))] for each in (images, images.flip(axis)))
        moved.append((other.flip(axis) - one).abs().max())
    assert moved[0] < 1e-5 < 0.1 < moved[1]
