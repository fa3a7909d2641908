from __future__ import annotations

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from blemish.backbones import Backbone, embedded, load_backbone, timm_backend
from blemish.backbones.network import BLOCKS, WIDTHS, Trunk, fold
from blemish.backbones.weights_digest import SHA256
from blemish.errors import ConfigError, InputError, MissingDependencyError, WeightsError


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("embedded")


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def close(one, other, tolerance=1e-4):
    """Equal up to float32 noise of the map's own size."""
    return float((one - other).abs().max()) <= tolerance * float(other.abs().max())


def test_embedded_backbone_fits_the_protocol(backbone):
    assert isinstance(backbone, Backbone)
    assert (backbone.name, backbone.strides, backbone.channels) == ("embedded", (4, 8, 16), WIDTHS)
    assert backbone.digest == SHA256


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (64, 64), (100, 333), (512, 40), (16, 4000)])
def test_maps_have_ceil_of_side_by_stride_cells_for_gray_and_color(backbone, size):
    gray = image(1, 1, *size)
    maps = backbone(gray)
    for stride, values in maps.items():
        assert values.shape == (1, WIDTHS[stride], -(-size[0] // stride), -(-size[1] // stride))
        assert values.dtype == torch.float32
        assert torch.isfinite(values).all()
        assert values.min() >= 0
    assert all(torch.equal(maps[s], twin) for s, twin in backbone(gray.repeat(1, 3, 1, 1)).items())


@pytest.mark.parametrize("name", ["embedded", "random:1"])
@pytest.mark.parametrize("axis", [2, 3])
def test_a_shift_of_the_image_by_one_stride_shifts_the_map_by_one_cell(name, axis):
    net = load_backbone(name)
    wide = image(1, 3, 304, 304)
    for stride, border in ((4, 16), (8, 9), (16, 7)):
        here = net(wide.narrow(axis, 0, 288))[stride]
        there = net(wide.narrow(axis, stride, 288))[stride]
        cells = here.shape[axis]
        one = here.narrow(axis, border + 1, cells - 2 * border - 1)
        two = there.narrow(axis, border, cells - 2 * border - 1)
        other = 5 - axis
        one, two = (x.narrow(other, border, x.shape[other] - 2 * border) for x in (one, two))
        assert one.numel() > 0
        assert close(two, one)


def test_cells_are_centered_on_stride_times_index(backbone):
    rgb = torch.full((1, 3, 256, 256), 0.5)
    dot = rgb.clone()
    dot[:, :, 126:131, 126:131] = 1.0  # centered on pixel 128, the center of cell 32, 16 and 8
    for stride, values in backbone(dot).items():
        change = (values - backbone(rgb)[stride]).abs().sum((0, 1))
        index = torch.arange(change.shape[0], dtype=torch.float32)
        middle = (change.sum(1) * index).sum() / change.sum()
        assert abs(float(middle) * stride - 128) < 0.75 * stride


def test_a_batch_equals_its_images_and_repeats(backbone):
    batch = image(3, 3, 72, 56)
    together = backbone(batch)
    again = backbone(batch)
    for stride in backbone.strides:
        assert torch.equal(together[stride], again[stride])
        assert close(torch.cat([backbone(one[None])[stride] for one in batch]), together[stride])


def test_a_constant_image_gives_constant_maps(backbone):
    """A mirrored margin surrounds the image: only cells within reach of its outer end may differ."""
    for stride, values in backbone(torch.full((1, 3, 256, 256), 0.3)).items():
        inner = values[..., 96 // stride : -96 // stride, 96 // stride : -96 // stride]
        assert close(inner, inner[..., :1, :1].expand_as(inner))


def test_mirroring_agrees_with_numpy():
    import numpy as np

    x = image(2, 3, 5, 9)
    for margin in (0, 3, 8, 16):
        twin = np.pad(x.numpy(), ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="symmetric")
        assert np.array_equal(embedded.mirrored(x, margin).numpy(), twin)


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(3, 64, 64),
        torch.zeros(1, 2, 64, 64),
        torch.zeros(1, 3, 15, 64),
        torch.zeros(1, 3, 16, 8001),
        torch.zeros(0, 3, 64, 64),
        torch.zeros(1, 3, 64, 64, dtype=torch.uint8),
    ],
)
def test_other_shapes_sizes_and_types_are_refused_in_one_line(backbone, bad):
    with pytest.raises(InputError, match="a backbone takes") as caught:
        backbone(bad)
    assert "\n" not in str(caught.value)


def test_weights_in_the_package_are_small_half_precision_and_finite():
    from safetensors.torch import load_file

    path = embedded.weights_path()
    assert path.stat().st_size <= 6_000_000
    stored = load_file(path)
    assert {value.dtype for value in stored.values()} == {torch.float16}
    assert all(torch.isfinite(value).all() for value in stored.values())


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "empty"])
def test_damaged_weights_are_refused_with_a_remedy(tmp_path, monkeypatch, damage):
    content = bytearray(embedded.weights_path().read_bytes())
    path = tmp_path / "embedded.safetensors"
    if damage == "truncated":
        path.write_bytes(content[:-7])
    elif damage == "altered":
        content[-1] ^= 1
        path.write_bytes(content)
    elif damage == "empty":
        path.write_bytes(b"")
    monkeypatch.setattr(embedded, "weights_path", lambda: path)
    with pytest.raises(WeightsError) as caught:
        load_backbone("embedded")
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert "install blemish again" in message


def test_random_weights_follow_the_seed(backbone):
    rgb = image(1, 3, 64, 64)
    one, same, other = (load_backbone(f"random:{seed}") for seed in (3, 3, 4))
    assert one.digest == same.digest
    assert len({one.digest, other.digest, backbone.digest}) == 3
    for stride in one.strides:
        assert torch.equal(one(rgb)[stride], same(rgb)[stride])
        assert not torch.allclose(one(rgb)[stride], other(rgb)[stride])
        assert not torch.allclose(one(rgb)[stride], backbone(rgb)[stride])
        assert 0.1 < float(one(rgb)[stride].pow(2).mean()) < 30


@pytest.mark.parametrize(
    "name", ["", "resnet50", "random:", "random:-1", "random:x", "timm:", "timm:resnet18@x", "timm:@4"]
)
def test_unknown_names_are_refused(name):
    with pytest.raises(ConfigError):
        load_backbone(name)


def trained_like(seed: int) -> Trunk:
    """A trunk whose norms have statistics and affine parts other than the initial ones."""
    trunk, rng = Trunk(norm=True), torch.Generator().manual_seed(seed)
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value, low, high in (
                (module.weight.data, 0.3, 1.5),
                (module.bias.data, -0.5, 0.5),
                (module.running_mean, -1, 1),
                (module.running_var, 0.2, 3),
            ):
                value.copy_(low + (high - low) * torch.rand(value.shape, generator=rng))
    return trunk.eval()


def test_folding_keeps_the_function():
    trunk, rgb = trained_like(0), image(2, 3, 48, 80)
    with torch.no_grad():
        for stride, values in fold(trunk)(rgb).items():
            assert close(values, trunk(rgb)[stride])


def test_network_agrees_with_its_layers_written_out():
    trunk, rgb = fold(trained_like(1)), image(1, 3, 33, 47)
    w = trunk.state_dict()
    x = (rgb - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    x = F.conv2d(x, w["stem.conv.weight"], w["stem.conv.bias"], 2, 2).clamp(min=0)
    for stride in WIDTHS:
        for b in range(BLOCKS):
            key, step = f"stages.stride{stride}.{b}", 2 if b == 0 else 1
            y = F.conv2d(x, w[f"{key}.first.conv.weight"], w[f"{key}.first.conv.bias"], step, 1).clamp(min=0)
            y = F.conv2d(y, w[f"{key}.second.conv.weight"], w[f"{key}.second.conv.bias"], 1, 1)
            if b == 0:
                x = F.conv2d(x, w[f"{key}.shortcut.conv.weight"], w[f"{key}.shortcut.conv.bias"], 2)
            x = (x + y).clamp(min=0)
        with torch.no_grad():
            assert close(trunk(rgb)[stride], x)


def test_half_precision_weights_give_nearly_the_same_maps():
    trunk, rgb = fold(trained_like(2)), image(1, 3, 96, 96)
    stored = Trunk(norm=False)
    stored.load_state_dict({key: value.half().float() for key, value in trunk.state_dict().items()})
    with torch.no_grad():
        for stride, values in stored(rgb).items():
            assert not torch.equal(values, trunk(rgb)[stride])
            assert close(values, trunk(rgb)[stride], 5e-3)


class FakeModel(nn.Module):
    """Three pooled maps in the form of timm's features_only."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.feature_info = SimpleNamespace(reduction=lambda: [2, 4, 8], channels=lambda: [3, 3, 3])
        self.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}

    def forward(self, x):
        assert not any(side % 8 for side in x.shape[2:])
        return [self.scale * F.avg_pool2d(x, stride) for stride in (2, 4, 8)]


@pytest.fixture
def fake_timm(monkeypatch):
    timm = ModuleType("timm")
    timm.is_model = lambda name: name.startswith("fake")
    timm.calls = []

    def create_model(name, **options):
        timm.calls.append((name, options))
        if name == "fake_absent":
            raise OSError("cannot reach\nthe hub")
        return FakeModel()

    timm.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return timm


def test_a_timm_model_gives_normalized_maps_of_its_strides(fake_timm):
    net = load_backbone("timm:fake.v1")
    assert fake_timm.calls == [("fake.v1", {"pretrained": True, "features_only": True})]
    assert isinstance(net, Backbone)
    assert net.strides == (4, 8)
    assert net.channels == {4: 3, 8: 3}
    rgb = image(2, 3, 33, 50)
    maps = net(rgb)
    assert [tuple(maps[s].shape) for s in (4, 8)] == [(2, 3, 9, 13), (2, 3, 5, 7)]
    expected = (rgb[:, :, :8, :8].mean((2, 3)) - 0.5) / 0.25
    assert torch.allclose(maps[8][:, :, 0, 0], expected, atol=1e-5)
    assert torch.allclose(maps[8][:, :, 4, 0], (rgb[:, :, 32, :8].mean(2) - 0.5) / 0.25, atol=1e-5)
    assert load_backbone("timm:fake@2-8").strides == (2, 8)
    with pytest.raises(ConfigError, match="strides"):
        load_backbone("timm:fake@4-16")


def test_missing_models_weights_and_packages_are_named(fake_timm, monkeypatch):
    with pytest.raises(ConfigError, match="no model"):
        load_backbone("timm:other")
    with pytest.raises(WeightsError, match="cannot reach the hub"):
        load_backbone("timm:fake_absent")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE"):
        load_backbone("timm:fake_absent")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingDependencyError, match=r"pip install blemish\[timm\]"):
        load_backbone("timm:fake")


def test_digest_follows_the_weights_but_not_their_order():
    one, other = {"a": torch.zeros(2), "b": torch.ones(1)}, {"b": torch.ones(1), "a": torch.zeros(2)}
    assert embedded.digest_of(one) == embedded.digest_of(other)
    assert embedded.digest_of(one) != embedded.digest_of({"a": torch.zeros(2), "b": torch.zeros(1)})


def test_strides_in_a_name_are_sorted_without_duplicates():
    assert timm_backend.parse_name("timm:x@16-4-4") == ("x", (4, 16))


def test_the_embedded_backbone_imports_neither_torchvision_nor_timm():
    code = (
        "import sys, torch; from blemish.backbones import load_backbone;"
        "load_backbone('embedded')(torch.zeros(1, 3, 16, 16));"
        "print(sorted({'torchvision', 'timm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
