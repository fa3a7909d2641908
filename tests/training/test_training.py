"""How the embedded weights are made: crops, losses, schedule, and one short training from start to packaged weights."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image

from blemish.backbones.embedded import read_weights
from blemish.backbones.network import Trunk
from training import augment, distill, export, muon, procedural, typed

TEACHERS = '''
"""A teacher with the channels of ResNet-50's stages and random weights."""
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = torch.nn.ModuleDict()
        for name, before, after, stride in (("layer1", 3, 256, 4), ("layer2", 256, 512, 2), ("layer3", 512, 1024, 2)):
            self.layers[name] = torch.nn.Conv2d(before, after, stride, stride)

    def forward(self, x):
        maps = {}
        for name, layer in self.layers.items():
            x = maps[name] = torch.relu(layer(x))
        return maps


def load(name):
    torch.manual_seed(5)
    return Net()
'''


@pytest.fixture(scope="module")
def drawn() -> list[np.ndarray]:
    return list(procedural.bank(6, 224, 3))


def test_procedural_images_follow_the_seed_and_are_not_flat(drawn: list[np.ndarray]) -> None:
    again, other = procedural.bank(6, 224, 3), procedural.bank(6, 224, 4)
    assert np.array_equal(np.stack(drawn), again)
    assert not np.array_equal(again, other)
    assert again.dtype == np.uint8
    assert again.shape == (6, 224, 224, 3)
    assert (again.reshape(6, -1).std(1) > 1).all()


def test_a_batch_depends_only_on_seed_and_step(drawn: list[np.ndarray]) -> None:
    crops = augment.Crops(drawn, drawn, seed=1)
    first, other = crops.batch(0, 5), crops.batch(9, 5)
    assert first.shape == (5, 3, augment.CROP, augment.CROP)
    assert first.dtype == torch.uint8
    assert torch.equal(augment.Crops(drawn, drawn, seed=1).batch(9, 5), other)
    assert not torch.equal(first, other)
    assert not torch.equal(augment.Crops(drawn, drawn, seed=2).batch(0, 5), first)


def test_the_stream_continues_with_the_batches_after_a_stopped_run(drawn: list[np.ndarray]) -> None:
    crops = augment.Crops(drawn, drawn, seed=1)
    found = list(augment.stream(crops, 2, 5, 3))
    assert len(found) == 3
    assert all(torch.equal(batch, crops.batch(step, 3)) for batch, step in zip(found, (2, 3, 4), strict=True))


def test_a_crop_without_rotation_and_scale_is_a_part_of_the_image() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    out = np.empty((8, 8, 3), np.float32)
    augment.sample(image, 13.5, 20.5, 0.0, 1.0, 1.0, out)
    assert np.allclose(out, image[10:18, 17:25], atol=1e-3)
    augment.sample(image, 13.5, 20.5, 0.0, 1.0, -1.0, out)
    assert np.allclose(out, image[10:18, 17:25][:, ::-1], atol=1e-3)
    augment.sample(image, 13.5, 20.5, 1.0, 0.0, 1.0, out)  # a step to the right in the crop is a step down in the image
    assert np.allclose(out, np.rot90(image[10:18, 17:25], 1), atol=1e-3)


def test_the_relation_loss_agrees_with_the_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    s, t = torch.rand((3, 4, 5), generator=generator), torch.rand((3, 4, 7), generator=generator)

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))

    expected = 0.0
    for centered in (False, True):
        a, b = ([one - one.mean(0) if centered else one for one in x] for x in (s, t))
        pairs = [(i, p, j, q) for i in range(3) for p in range(4) for j in range(3) for q in range(4)]
        squares = [(cosine(a[i][p], a[j][q]) - cosine(b[i][p], b[j][q])) ** 2 for i, p, j, q in pairs]
        expected += sum(squares) / len(squares)
    within = [
        (cosine(a[i][p], a[i][q]) - cosine(b[i][p], b[i][q])) ** 2 for i in range(3) for p in range(4) for q in range(4)
    ]
    expected += 0.5 * sum(within) / len(within)
    assert float(distill.relation_loss(s, t)) == pytest.approx(
        expected, rel=0.05
    )  # most of its products are in bfloat16
    assert float(distill.relation_loss(3 * t, t)) == pytest.approx(0, abs=1e-4)


def test_the_rate_rises_then_falls_to_a_hundredth() -> None:
    rates = [distill.rate(step, 1000, 2.0, warm=100) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert max(rates) == rates[99] == rates[100] == 2.0
    assert rates[-1] == pytest.approx(0.02, rel=0.01)
    assert all(a > b for a, b in itertools.pairwise(rates[100:]))


def test_the_average_moves_slowly_and_faster_at_the_start() -> None:
    mean, now = distill.Student({4: 8, 8: 8, 16: 8}), distill.Student({4: 8, 8: 8, 16: 8})
    before = {name: value.clone() for name, value in mean.state_dict().items()}
    distill.update_average(mean, now, step=0)
    name = "trunk.stem.conv.weight"
    expected = 0.05 * before[name] + 0.95 * now.state_dict()[name]
    assert torch.allclose(mean.state_dict()[name], expected, atol=1e-7)
    distill.update_average(mean, now, step=10**6)
    assert torch.allclose(mean.state_dict()[name], 0.999 * expected + 0.001 * now.state_dict()[name], atol=1e-7)


def test_leveling_changes_only_the_scale_of_each_map() -> None:
    torch.manual_seed(0)
    trunk, crops = Trunk(norm=False).eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        before = trunk(crops)
        export.level(trunk, crops)
        after = trunk(crops)
    for stride, maps in after.items():
        assert float(maps.pow(2).mean()) == pytest.approx(1, rel=1e-3)
        factor = float(before[stride].pow(2).mean()) ** -0.5
        assert torch.allclose(maps, factor * before[stride], rtol=1e-3, atol=1e-4)


def test_a_short_training_resumes_and_gives_weights_that_the_package_can_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distill, "DEVIATION_BATCHES", 1)
    monkeypatch.setattr(distill, "CHECK_BATCHES", 1)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/teachers.py").write_text(TEACHERS)
    for kind in ("photos", "textures"):
        (tmp_path / kind).mkdir()
        for k, image in enumerate(procedural.bank(4, 160, 11)):
            Image.fromarray(image).save(tmp_path / kind / f"{k}.jpg")
    out = tmp_path / "checkpoints"
    flags = {"teachers": "weights", "photos": "photos", "textures": "textures"}
    command = [part for flag, folder in flags.items() for part in (f"--{flag}", str(tmp_path / folder))]
    command += ["--out", str(out), "--batch", "4", "--bank", "44"]
    distill.main([*command, "--steps", "3"])
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 3
    assert {"mse_4", "cos_8", "rel_16", "r2_4_resnet50", "r2_8_resnet18", "r2_16_resnet50"} <= set(lines[-1])
    distill.main([*command, "--steps", "5"])  # goes on from the checkpoint
    assert json.loads((out / "log.jsonl").read_text().splitlines()[-1])["step"] == 5

    # another training starts with its trunk and heads, and learns types of drawn defects as well
    more = [*command, "--out", str(tmp_path / "more"), "--start", str(out / "last.pt"), "--types", "0.1"]
    more += ["--workers", "2", "--surfaces", "2", "--device", "cpu"]
    distill.main([*more, "--steps", "2"])
    line = json.loads((tmp_path / "more/log.jsonl").read_text().splitlines()[-1])
    assert line["step"] == 2
    assert 0 < line["type"] < 20
    assert 0 <= line["held_type_hits"] <= 1
    first, second = (torch.load(one / "last.pt", weights_only=True) for one in (out, tmp_path / "more"))
    moved = [
        float((first["average"][k] - second["average"][k]).abs().max()) for k in ("heads.8.weight", "heads.4.weight")
    ]
    assert all(0 < one < 0.05 for one in moved)
    # either kind of training goes on from the other's checkpoint
    distill.main([*(flag for flag in more if flag not in ("--types", "0.1")), "--steps", "3"])
    line = json.loads((tmp_path / "more/log.jsonl").read_text().splitlines()[-1])
    assert line["step"] == 3
    assert "type" not in line
    distill.main([*more, "--steps", "4"])
    assert json.loads((tmp_path / "more/log.jsonl").read_text().splitlines()[-1])["type"] > 0

    export.main([str(out / "last.pt"), "--out", str(tmp_path)])
    path = tmp_path / "embedded.safetensors"
    spec = importlib.util.spec_from_file_location("digest", tmp_path / "weights_digest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    trunk = Trunk(norm=False)
    trunk.load_state_dict(read_weights(path, module.SHA256))
    assert all(maps.isfinite().all() for maps in trunk(torch.rand(1, 3, 48, 64)).values())
    assert path.stat().st_size < 6_000_000


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (12, 12)])
def test_muon_keeps_the_singular_vectors_of_a_matrix_and_brings_its_singular_values_near_one(
    shape: tuple[int, int],
) -> None:
    generator = torch.Generator().manual_seed(3)
    u, _, v = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    strengths = torch.linspace(1.0, 0.1, len(v))
    got = u.T @ muon.orthogonal((u * strengths) @ v) @ v.T
    assert 0.6 < got.diagonal().min() < got.diagonal().max() < 1.3
    assert (got - got.diagonal().diag()).abs().max() < 0.1
    assert not muon.orthogonal(torch.zeros(shape)).any()


def test_muon_agrees_with_its_definition_and_resumes_exactly() -> None:
    generator = torch.Generator().manual_seed(4)
    start = torch.randn((6, 4, 3, 3), generator=generator)
    grads = [torch.randn(start.shape, generator=generator) for _ in range(3)]
    whole, resumed = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    first = muon.Muon([whole], lr=0.1, weight_decay=0.5)
    other = muon.Muon([resumed], lr=0.1, weight_decay=0.5)
    want, mean = start.clone(), torch.zeros_like(start)
    for index, grad in enumerate(grads):
        if index == 2:
            kept, other = other.state_dict(), muon.Muon([resumed], lr=0.1, weight_decay=0.5)
            other.load_state_dict(kept)
        whole.grad, resumed.grad = grad.clone(), grad.clone()
        first.step()
        other.step()
        mean = 0.95 * mean + 0.05 * grad
        ahead = (0.05 * grad + 0.95 * mean).reshape(6, 36)
        want = want * (1 - 0.1 * 0.5) - 0.1 * 0.2 * 6 * muon.orthogonal(ahead).reshape(start.shape)
    torch.testing.assert_close(whole.detach(), want, rtol=1e-2, atol=5e-3)
    assert torch.equal(whole, resumed)


def test_a_training_can_start_from_the_weights_of_the_package() -> None:
    torch.manual_seed(0)
    folded, student = Trunk(norm=False).eval(), Trunk(norm=True)
    for value in folded.parameters():
        value.data += 0.05 * torch.randn_like(value)
    crops = torch.rand(4, 3, 64, 64)
    distill.start_from(student, folded.state_dict(), crops)
    with torch.no_grad():
        wanted, found, trained = folded(crops), student.eval()(crops), student.train()(crops)
    for stride, maps in wanted.items():
        assert torch.allclose(found[stride], maps, rtol=1e-3, atol=1e-3)
        assert torch.allclose(trained[stride], maps, rtol=1e-2, atol=1e-2)  # batch statistics are those of these crops
    assert student.training


@pytest.fixture(scope="module")
def kinds(drawn: list[np.ndarray]) -> typed.Typed:
    return typed.Typed(drawn, seed=1)


def test_drawn_types_depend_only_on_seed_and_step(kinds: typed.Typed, drawn: list[np.ndarray]) -> None:
    crops, masks = kinds.batch(3, surfaces=2, types=3, each=2)
    assert crops.shape == (12, 3, 128, 128)
    assert crops.dtype == torch.uint8
    assert masks.shape == (12, 128, 128)
    assert 0 <= masks.min() < masks.max() <= 1
    assert all(one.max() > 0.1 for one in masks)
    again, other = kinds.batch(3, 2, 3, 2), typed.Typed(drawn, seed=2).batch(3, 2, 3, 2)
    assert torch.equal(crops, again[0])
    assert torch.equal(masks, again[1])
    assert not torch.equal(crops, other[0])
    found = list(augment.ahead(kinds.batch, 3, 8, workers=3))
    assert len(found) == 5
    for step, made in enumerate(found, 3):  # in order, though three processes make them
        assert all(torch.equal(a, b) for a, b in zip(made, kinds.batch(step), strict=True))


@pytest.mark.parametrize("kind", typed.KINDS)
def test_a_defect_changes_the_image_at_its_place(kind: str) -> None:
    rng = np.random.default_rng(0)
    surface = np.random.default_rng(1).uniform(0.3, 0.7, (128, 128, 3)).astype(np.float32)
    other = 1 - surface
    for operation in typed.OPERATIONS:
        one = dataclasses.replace(
            typed.any_type(rng), kind=kind, operation=operation, strength=1.0, size=20.0, width=4.0
        )
        image, mask = typed.paint(one, rng, surface, other)
        change = np.abs(image - surface).max(-1)
        assert image.shape == surface.shape
        assert image.dtype == mask.dtype == np.float32
        assert change.max() > 0.02
        # shading and warping reach a few pixels beyond the mask
        far = scipy.ndimage.maximum_filter(mask, 41) < 1e-6
        assert far.any()
        assert change[far].max() < 1e-5
        assert kind in ("warp", "dent") or change[mask > 0.5].mean() > 2 * change.mean()


def test_the_type_loss_agrees_with_the_loop(kinds: typed.Typed) -> None:
    _, masks = kinds.batch(0, surfaces=2, types=3, each=2)
    maps, scale = torch.rand(12, 5, 16, 16), torch.rand(5) + 0.5
    loss, hits = typed.type_loss(maps, masks, scale, types=3, each=2)
    seen = []
    for one, mask in zip(maps.double().numpy() / scale.double().numpy()[:, None, None], masks.numpy(), strict=True):
        cell = np.zeros((18, 18))
        for i, j in itertools.product(range(16), range(16)):
            cell[i + 1, j + 1] = mask[max(0, 8 * i - 4) : 8 * i + 4, max(0, 8 * j - 4) : 8 * j + 4].sum() / 64
        near = {(i, j): cell[i : i + 3, j : j + 3].mean() for i, j in itertools.product(range(1, 15), range(1, 15))}
        total = sum(near.values())
        row = sum(share / total * one[:, i, j] for (i, j), share in near.items()) - one[:, 1:15, 1:15].mean((1, 2))
        seen.append(row / np.linalg.norm(row))
    terms, right = [], []
    for i in range(12):
        rest = [j for j in range(12) if j // 6 == i // 6 and j != i]
        alike = {j: math.exp(float(seen[i] @ seen[j]) / typed.TEMPERATURE) for j in rest}
        partner = i ^ 1
        terms.append(-math.log(alike[partner] / sum(alike.values())))
        right.append(max(alike, key=lambda j: alike[j]) == partner)
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-4)
    assert float(hits) == pytest.approx(np.mean(right))


def test_the_type_loss_is_low_if_defects_of_one_type_agree() -> None:
    masks = torch.zeros(8, 128, 128)
    masks[:, 40:80, 40:80] = 1
    maps = torch.zeros(8, 4, 16, 16)
    for crop in range(8):
        maps[crop, crop // 2, 5:10, 5:10] = 1
    told, hits = typed.type_loss(maps, masks, torch.ones(4))
    mixed, misses = typed.type_loss(maps[[0, 2, 4, 6, 1, 3, 5, 7]], masks, torch.ones(4))
    assert float(hits) == 1
    assert float(misses) == 0
    assert float(told) < 0.05 < 1 < float(mixed)
