"""Train the embedded backbone: `python -m training.distill`.

The student (`blemish.backbones.network`) learns from the three stages of a ResNet-50 and a ResNet-18 that see the same crops.
There are two losses per stage:

- values: a 1 x 1 head and a rectifier on the student's map must reproduce the channels of all teachers, each divided by its
  deviation and with equal weight for each teacher. The loss is squared error plus one minus cosine. The heads are dropped later.
- relations: the cosines between 768 positions (24 of each of 32 crops) must agree, once for the vectors themselves and once
  after subtraction of their crop's mean (which the descriptors compare later). This ties the geometry of the student's own
  features to that of the teachers, beyond the part that a head can read from them.

With `--types WEIGHT` a third loss on the map of stride 8 separates types of drawn defects (`training.typed`).

Cells next to the border of the crop are left out, because the teachers' zero padding affects them. Muon updates the
convolutions of the trunk, and AdamW everything else. Checkpoints resume exactly. With `--start FILE`, training starts from
the weights in that file instead of random ones: from a trunk in the format of the package, with new heads, or from the
averaged trunk and heads of a checkpoint.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from blemish.backbones.network import WIDTHS, ConvUnit, Trunk
from training import augment, procedural, typed
from training.muon import Muon

ROOT = Path(__file__).resolve().parents[1]
STAGES = {4: ("layer1", 2, 5120), 8: ("layer2", 1, 3584), 16: ("layer3", 1, 1152)}
"""Stride -> stage of the teachers, border cells left out, positions per step for the value loss."""
HELD_OUT = {"photographs": 40, "textures": 20, "procedural": 40}
"""Number of held-out images per source."""
DEVIATION_BATCHES, CHECK_BATCHES = 24, 6
"""Batches of 32 crops for the deviations of the teachers, and held-out batches for the fit."""

DECAY = 0.02
"""Weight decay of kernels and matrices; norms and biases are not decayed."""


class Teachers(nn.Module):
    """Networks of teachers.py whose channels are concatenated; channels last, without gradients.

    Attributes:
        names: names of the networks.
        widths: stride -> channels of each network, in this order.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        super().__init__()
        spec = importlib.util.spec_from_file_location("blemish_teachers", folder / "teachers.py")
        if spec is None or spec.loader is None or not (folder / "teachers.py").is_file():
            sys.exit(f"no teachers.py in {folder}: give the folder of the teachers with --teachers")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.names = tuple(names)
        nets = [module.load(name).to(memory_format=torch.channels_last).requires_grad_(False) for name in names]
        self.nets = nn.ModuleList(nets)
        seen = [net(torch.zeros(1, 3, 64, 64)) for net in nets]
        self.widths = {s: [maps[stage].shape[1] for maps in seen] for s, (stage, *_) in STAGES.items()}

    def forward(self, rgb: Tensor) -> dict[int, Tensor]:
        """B x 3 x H x W in [0, 1] to {stride: B x channels of all networks x h x w}."""
        seen = [net(rgb) for net in self.nets]
        return {s: torch.cat([maps[stage] for maps in seen], 1) for s, (stage, *_) in STAGES.items()}


class Student(nn.Module):
    """The trunk, and the heads that reproduce the stages of the teachers from its maps.

    Args:
        widths: stride -> number of channels of all teachers.
    """

    def __init__(self, widths: Mapping[int, int]) -> None:
        super().__init__()
        self.trunk = Trunk(norm=True)
        self.heads = nn.ModuleDict({str(s): nn.Linear(WIDTHS[s], width) for s, width in widths.items()})


@torch.no_grad()
def start_from(trunk: Trunk, weights: Mapping[str, Tensor], crops: Tensor) -> None:
    """Give the trunk the function of folded weights, with norms that match the output of their convolutions on ``crops``.

    Args:
        trunk: trunk with norms, changed in place.
        weights: state of ``Trunk(norm=False)``.
        crops: B x 3 x H x W in [0, 1], enough for a mean and a deviation of each channel.
    """

    def settle(unit: ConvUnit, bias: Tensor) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, out: Tensor) -> None:
            mean, variance = out.mean((0, 2, 3)), out.var((0, 2, 3), unbiased=False)
            norm = unit.norm
            assert norm is not None
            norm.running_mean, norm.running_var = mean.clone(), variance.clone()
            norm.weight.copy_((variance + norm.eps).sqrt())
            norm.bias.copy_(bias + mean)

        return hook

    hooks = []
    for name, unit in trunk.named_modules():
        if isinstance(unit, ConvUnit):
            unit.conv.weight.copy_(weights[f"{name}.conv.weight"].float())
            hooks.append(unit.conv.register_forward_hook(settle(unit, weights[f"{name}.conv.bias"].float())))
    training = trunk.training
    trunk.eval()(crops)
    trunk.train(training)
    for hook in hooks:
        hook.remove()


def rows(maps: Tensor, border: int) -> Tensor:
    """B x P x C cells of B x C x h x w maps without their border."""
    inner = maps[:, :, border : maps.shape[2] - border, border : maps.shape[3] - border]
    return inner.permute(0, 2, 3, 1).flatten(1, 2)


def cosines(x: Tensor) -> Tensor:
    """N x N cosines of N x C vectors, from a product in bfloat16; zero vectors give 0."""
    x = F.normalize(x, dim=-1, eps=1e-4).bfloat16()
    return (x @ x.T).float()


def relation_loss(student: Tensor, target: Tensor) -> Tensor:
    """Difference between the cosines of two sets of B x K x C vectors.

    It is the mean squared difference over all pairs, for the vectors themselves and for the vectors centered per crop, plus
    half the mean squared difference over the pairs within each crop, centered.
    """
    loss = torch.zeros((), device=student.device)
    for center in (False, True):
        s, t = (x - x.mean(1, keepdim=True) if center else x for x in (student, target))
        loss = loss + (cosines(s.flatten(0, 1)) - cosines(t.flatten(0, 1))).pow(2).mean()
        if center:
            own, wanted = (one @ one.transpose(1, 2) for one in (F.normalize(x, dim=-1, eps=1e-4) for x in (s, t)))
            loss = loss + 0.5 * (own - wanted).pow(2).mean()
    return loss


def stage_loss(
    head: nn.Module, student: Tensor, teacher: Tensor, std: Tensor, border: int, count: int, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared error, one minus cosine, and relation loss of one stage."""
    s, t = rows(student, border), rows(teacher, border)
    batch, positions = s.shape[:2]
    pick = torch.randperm(batch * positions, generator=rng)[:count].to(s.device)
    near = torch.randperm(positions, generator=rng)[:24].to(s.device)
    target = t.flatten(0, 1)[pick].float() / std
    values = torch.relu(head(s.flatten(0, 1)[pick]).float())
    relation = relation_loss(s[:, near].float(), t[:, near].float() / std)
    return F.mse_loss(values, target), (1 - F.cosine_similarity(values, target, dim=1)).mean(), relation


def deviations(teachers: Teachers, crops: augment.Crops, batches: int) -> dict[int, Tensor]:
    """Divisor of each channel of the teachers, per stride.

    It is the channel's deviation over augmented crops, at least a tenth of the median over its network's stage, times a
    factor that gives each network the same sum of squares.
    """
    first: dict[int, Tensor] = {}
    second: dict[int, Tensor] = {}
    for k in range(batches):
        maps = teach(teachers, crops.batch(10_000_000 + k, 32))
        for stride, (_, border, _) in STAGES.items():
            x = rows(maps[stride], border).double()
            first[stride] = first.get(stride, 0) + x.mean((0, 1)) / batches
            second[stride] = second.get(stride, 0) + x.pow(2).mean((0, 1)) / batches
    out = {}
    for stride, widths in teachers.widths.items():
        parts = (second[stride] - first[stride] ** 2).clamp(min=0).sqrt().split(widths)
        least = [std.clamp(min=0.1 * float(std.median())) for std in parts]
        balance = [math.sqrt(width * len(widths) / sum(widths)) for width in widths]
        out[stride] = torch.cat([std * one for std, one in zip(least, balance, strict=True)]).float()
    return out


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's parameters."""
    return next(module.parameters()).device


def to_input(batch: Tensor, device: torch.device) -> Tensor:
    """Pixels from 0 to 255 as floats in [0, 1] on the device, channels last."""
    return batch.to(device).to(memory_format=torch.channels_last).float() / 255


def bfloat16(device: torch.device) -> torch.autocast:
    """A context in which products are computed in bfloat16."""
    return torch.autocast(device.type, dtype=torch.bfloat16)


@torch.no_grad()
def teach(teachers: Teachers, batch: Tensor) -> dict[int, Tensor]:
    """Maps of the teachers for a batch of uint8 crops, per stride."""
    with bfloat16(device_of(teachers)):
        return teachers(to_input(batch, device_of(teachers)))


@torch.no_grad()
def held_out_fit(
    student: Student, teachers: Teachers, std: dict[int, Tensor], batches: list[Tensor]
) -> dict[str, float]:
    """R2 of the heads per stage and teacher, and mean cosine per stage, on held-out images; the student is in eval mode."""
    student.eval()
    device = device_of(student)
    error = {s: torch.zeros(sum(widths), device=device) for s, widths in teachers.widths.items()}
    total = {s: torch.zeros_like(values) for s, values in error.items()}
    cosine = dict.fromkeys(STAGES, 0.0)
    for batch in batches:
        truth = teach(teachers, batch)
        with bfloat16(device):
            maps = student.trunk(to_input(batch, device))
        for stride, (_, border, _) in STAGES.items():
            t = rows(truth[stride], border).flatten(0, 1).float() / std[stride]
            v = torch.relu(student.heads[str(stride)](rows(maps[stride], border).flatten(0, 1).float()))
            error[stride] += (t - v).pow(2).mean(0)
            total[stride] += t.var(0, unbiased=False)
            cosine[stride] += float(F.cosine_similarity(t, v, dim=1).mean()) / len(batches)
    fit = {}
    for s, widths in teachers.widths.items():
        for name, lost, all_of in zip(teachers.names, error[s].split(widths), total[s].split(widths), strict=True):
            fit[f"r2_{s}_{name}"] = round(1 - float(lost.sum() / all_of.sum()), 4)
    return fit | {f"held_cos_{s}": round(cosine[s], 4) for s in STAGES}


def crop_sources(args: argparse.Namespace) -> tuple[augment.Crops, augment.Crops]:
    """Training crops and held-out crops; every n-th photograph and the last procedural images are held out."""
    train: list[Any] = []
    held: list[Any] = []
    for folder, kind in ((args.photos, "photographs"), (args.textures, "textures")):
        images = augment.load_photographs(folder)
        if not images:
            sys.exit(f"no JPEG photographs in {folder}")
        every = max(2, len(images) // HELD_OUT[kind])
        train += [image for k, image in enumerate(images) if k % every]
        held += images[::every]
    cache = args.out / f"bank-{args.bank}-{args.seed}.npy"
    if not cache.exists():
        args.out.mkdir(parents=True, exist_ok=True)
        unfinished = cache.with_suffix(".partial.npy")
        np.save(unfinished, procedural.bank(args.bank, 224, args.seed, args.workers))
        unfinished.rename(cache)
    drawn = np.load(cache)
    kept = args.bank - HELD_OUT["procedural"]
    return augment.Crops(train, drawn[:kept], args.seed), augment.Crops(held, drawn[kept:], args.seed + 1)


def surfaces(folder: Path, drawn: Sequence[Any]) -> tuple[typed.Typed, typed.Typed]:
    """Drawn defects for training and for the check.

    Training uses texture photographs, and procedural images as a third of all. Every thirtieth photograph is held out for
    the check. The photographs of the benchmarks are in neither.
    """
    images = augment.load_photographs(folder, typed.SPARED)
    train = [image for k, image in enumerate(images) if k % 30]
    return typed.Typed([*train, *drawn[: len(train) // 2]], 0), typed.Typed(images[::30], 1)


@torch.no_grad()
def channel_deviations(trunk: Trunk, batches: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Deviation of each channel at the stride of `training.typed`, at least a tenth of their median.

    The trunk is left in eval mode.
    """
    maps = torch.cat(
        [trunk.eval()(to_input(crops, device_of(trunk)), typed.STRIDE)[typed.STRIDE] for crops, _ in batches]
    )
    deviation = maps.std((0, 2, 3))
    return deviation.clamp(min=0.1 * float(deviation.median()))


@torch.no_grad()
def type_hits(trunk: Trunk, batches: Sequence[tuple[Tensor, Tensor]], scale: Tensor) -> float:
    """Share of held-out drawn defects whose nearest neighbor on the surface has their type; the trunk is in eval mode."""
    trunk.eval()
    device, hits = device_of(trunk), 0.0
    for crops, masks in batches:
        maps = trunk(to_input(crops, device), typed.STRIDE)[typed.STRIDE]
        hits += float(typed.type_loss(maps, masks.to(device), scale)[1])
    return round(hits / len(batches), 4)


def rate(step: int, steps: int, peak: float, warm: int = 300) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine down to a hundredth of the peak."""
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def update_average(average: Student, student: Student, step: int) -> None:
    """Update the exponential average of the weights and of the statistics of norms, faster at the start."""
    keep = min(0.999, (1 + step) / (20 + step))
    with torch.no_grad():
        for mean, now in zip(average.state_dict().values(), student.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - keep)


def make_optimizers(student: Student) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the kernels of the trunk after the stem (whose inputs are three raw colors), and AdamW for everything else."""
    kernels = [
        unit.conv.weight
        for unit in student.trunk.modules()
        if isinstance(unit, ConvUnit) and unit is not student.trunk.stem
    ]
    taken = {id(p) for p in kernels}
    rest = [p for p in student.parameters() if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return Muon(kernels, lr=0.0, weight_decay=DECAY), torch.optim.AdamW(groups, fused=True)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint as a whole or not at all."""
    unfinished = path.with_suffix(".partial")
    torch.save(state, unfinished)
    unfinished.rename(path)


def parse(argv: list[str] | None) -> argparse.Namespace:
    shared = ROOT.parent / "shared"
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--teachers", type=Path, default=shared / "weights", help="folder with teachers.py and its weights"
    )
    parser.add_argument("--names", nargs="+", default=["resnet50", "resnet18"], help="which of the teachers")
    parser.add_argument(
        "--start", type=Path, default=None, help="weights (.safetensors) or checkpoint (.pt) to start from"
    )
    parser.add_argument("--photos", type=Path, default=shared / "data/photos")
    parser.add_argument("--textures", type=Path, default=shared / "data/textures")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "training/checkpoints", help="checkpoints, log and cached images"
    )
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where the networks run; a GPU if there is one",
    )
    parser.add_argument(
        "--workers", type=int, default=1, help="number of processes that make crops, and of those that draw types"
    )
    parser.add_argument("--bank", type=int, default=3000, help="procedural images drawn once at the start")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--types", type=float, default=0.0, help="weight of the loss on drawn types")
    parser.add_argument(
        "--surfaces", type=int, default=4, help="surfaces per step that types are drawn on, with 8 crops each"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--deadline",
        type=float,
        default=None,
        help="time in seconds since the epoch at which the schedule ends; the number of steps is reduced accordingly",
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Train, or go on with the training of the last checkpoint."""
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    crops, held = crop_sources(args)
    checkpoint = args.out / "last.pt"
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True, map_location="cpu") if checkpoint.exists() else {}
    device, done = torch.device(args.device), state.get("step", 0)
    batches = augment.stream(crops, done, args.steps, args.batch, args.workers)
    first = next(batches)  # forks the workers before this process starts its threads
    drawn, unseen = surfaces(args.textures, [pair[0] for pair in crops.drawn]) if args.types else (None, None)
    draw = partial(drawn.batch, surfaces=args.surfaces) if drawn else None
    kinds = augment.ahead(draw, done, args.steps, args.workers) if draw else None
    pairs = next(kinds) if kinds else None
    torch.manual_seed(args.seed)
    teachers = Teachers(args.teachers, args.names).to(device)
    student = Student({s: sum(widths) for s, widths in teachers.widths.items()}).to(memory_format=torch.channels_last)
    if args.start and not state and args.start.suffix == ".pt":
        student.load_state_dict(torch.load(args.start, weights_only=True, map_location="cpu")["average"])
    elif args.start and not state:
        start_from(
            student.trunk, load_file(args.start), torch.cat([crops.batch(20_000_000 + k, 32) for k in range(8)]) / 255
        )
    student.to(device)
    average = copy.deepcopy(student)
    optimizers = make_optimizers(student)
    std = state["std"] if state else deviations(teachers, crops, DEVIATION_BATCHES)
    std = {s: values.to(device) for s, values in std.items()}
    if state:
        student.load_state_dict(state["student"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    checks = [held.batch(k, 32) for k in range(CHECK_BATCHES)]
    told = [unseen.batch(k) for k in range(CHECK_BATCHES)] if unseen else []
    scale = None
    if told:
        scale = state["scale"].to(device) if "scale" in state else channel_deviations(student.trunk, told)
    rng, since = torch.Generator(), time.time()
    sums: dict[str, Tensor] = {}
    step = done
    # A finished run that is given more steps goes on: the rate rises to its value in the longer schedule (a warm restart).
    steps = args.steps if step >= state.get("steps", args.steps) else state["steps"] if state else args.steps
    counted = 0
    batch: Tensor | None = first
    while batch is not None and step < steps:
        rng.manual_seed(args.seed * 1_000_003 + step)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = rate(step, steps, args.lr)
        truth = teach(teachers, batch)
        student.train()
        with bfloat16(device):
            maps = student.trunk(to_input(torch.cat([batch, pairs[0]]) if pairs else batch, device))
            parts = {
                s: stage_loss(student.heads[str(s)], maps[s][: len(batch)], truth[s], std[s], border, count, rng)
                for s, (_, border, count) in STAGES.items()
            }
        loss = sum(mse + cos + 4 * relation for mse, cos, relation in parts.values())
        seen: dict[str, Tensor] = {}
        if pairs and scale is not None:
            seen["type"], seen["type_hits"] = typed.type_loss(
                maps[typed.STRIDE][len(batch) :], pairs[1].to(device), scale
            )
            loss = loss + args.types * seen["type"]
        student.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        for optimizer in optimizers:
            optimizer.step()
        update_average(average, student, step)
        for s, values in parts.items():
            seen |= {f"{label}_{s}": value for label, value in zip(("mse", "cos", "rel"), values, strict=True)}
        seen["norm"] = norm
        sums = {label: sums.get(label, 0.0) + value.detach() for label, value in seen.items()}
        step, counted = step + 1, counted + 1
        if step % 100 == 0 or step == steps:
            seconds = (time.time() - since) / counted
            line = {"step": step, "seconds": round(seconds, 4)} | {
                k: round(float(v) / counted, 4) for k, v in sums.items()
            }
            if args.deadline and counted >= 50 and step < steps:
                steps = min(args.steps, max(step + 100, step + int((args.deadline - time.time()) / seconds)))
                line["steps"] = steps
            if step % 500 == 0 or step == steps:
                line |= held_out_fit(average, teachers, std, checks)
                if scale is not None:
                    line["held_type_hits"] = type_hits(average.trunk, told, scale)
                state = {"step": step, "steps": steps, "std": std, "student": student.state_dict()}
                state |= {"average": average.state_dict(), "optimizers": [each.state_dict() for each in optimizers]}
                save(checkpoint, state if scale is None else state | {"scale": scale})
            with (args.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            sums, since, counted = {}, time.time(), 0
        batch = next(batches, None)
        pairs = next(kinds, None) if kinds else None


if __name__ == "__main__":
    main()
