"""Train the embedded backbone from scratch: `python -m training.distill`.

The student (`blemish.backbones.network`) learns from the three stages of a ResNet-50 that sees the same crops. Per
stage: values    a 1 x 1 head and a rectifier on the student's map must give the teacher's channels, each divided by its
deviation: squared error plus one minus cosine. The heads are thrown away.
relations the cosines between 768 positions (24 of each of 32 crops) must agree, once for the vectors as they are and
once with the mean of their crop taken off (what the descriptors downstream compare). This ties the student's own
          geometry to the teacher's, not only what a head can read from it.
Cells next to the crop's border are left out: there the teacher's zero padding speaks. Convolutions of the trunk step
by Muon, everything else by AdamW. Checkpoints resume exactly.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from blemish.backbones.network import WIDTHS, ConvUnit, Trunk
from training import augment, procedural
from training.muon import Muon

ROOT = Path(__file__).resolve().parents[1]
STAGES = {4: ("layer1", 256, 2, 5120), 8: ("layer2", 512, 1, 3584), 16: ("layer3", 1024, 1, 1152)}
"""Stride -> teacher's stage, its channels, border cells left out, positions per step for the value loss."""
HELD_OUT = {"photographs": 40, "textures": 20, "procedural": 40}
DEVIATION_BATCHES, CHECK_BATCHES = 24, 6
"""Batches of 32 crops over which the teacher's deviations are taken, and held-out ones over which the fit is."""

DECAY = 0.02
"""Weight decay of kernels and matrices; norms and biases have none."""


def load_teacher(folder: Path, name: str = "resnet50") -> nn.Module:
    """One of the networks of teachers.py, channels last, no gradients."""
    spec = importlib.util.spec_from_file_location("blemish_teachers", folder / "teachers.py")
    if spec is None or spec.loader is None or not (folder / "teachers.py").is_file():
        sys.exit(f"no teachers.py in {folder}: give the folder of the teachers with --teachers")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(name).to(memory_format=torch.channels_last).requires_grad_(False)


class Student(nn.Module):
    """Trunk and the heads that read the teacher's stages from it."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = Trunk(norm=True)
        self.heads = nn.ModuleDict({str(s): nn.Linear(WIDTHS[s], STAGES[s][1]) for s in STAGES})


def rows(maps: Tensor, border: int) -> Tensor:
    """B x C x h x w without its border as B x P x C; a view for channels-last maps up to the crop."""
    inner = maps[:, :, border : maps.shape[2] - border, border : maps.shape[3] - border]
    return inner.permute(0, 2, 3, 1).flatten(1, 2)


def cosines(x: Tensor) -> Tensor:
    """N x C -> N x N cosines; zero vectors give 0. The product runs in bfloat16."""
    x = F.normalize(x, dim=-1, eps=1e-4).bfloat16()
    return (x @ x.T).float()


def relation_loss(student: Tensor, target: Tensor) -> Tensor:
    """Squared difference of all cosines, raw and centred per crop, and half of that within crops, centred; inputs B x K x C."""
    loss = torch.zeros(())
    for centre in (False, True):
        s, t = (x - x.mean(1, keepdim=True) if centre else x for x in (student, target))
        loss = loss + (cosines(s.flatten(0, 1)) - cosines(t.flatten(0, 1))).pow(2).mean()
        if centre:
            own, wanted = (one @ one.transpose(1, 2) for one in (F.normalize(x, dim=-1, eps=1e-4) for x in (s, t)))
            loss = loss + 0.5 * (own - wanted).pow(2).mean()
    return loss


def stage_loss(
    head: nn.Module, student: Tensor, teacher: Tensor, std: Tensor, border: int, count: int, rng: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Squared error, one minus cosine and relation loss of one stage."""
    s, t = rows(student, border), rows(teacher, border)
    batch, positions = s.shape[:2]
    pick = torch.randperm(batch * positions, generator=rng)[:count]
    near = torch.randperm(positions, generator=rng)[:24]
    target = t.flatten(0, 1)[pick].float() / std
    values = torch.relu(head(s.flatten(0, 1)[pick]).float())
    relation = relation_loss(s[:, near].float(), t[:, near].float() / std)
    return F.mse_loss(values, target), (1 - F.cosine_similarity(values, target, dim=1)).mean(), relation


def deviations(teacher: nn.Module, crops: augment.Crops, batches: int) -> dict[int, Tensor]:
    """Deviation of every teacher channel over augmented crops, at least a tenth of the stage's median."""
    first: dict[int, Tensor] = {}
    second: dict[int, Tensor] = {}
    for k in range(batches):
        maps = teach(teacher, crops.batch(10_000_000 + k, 32))
        for stride, (name, _, border, _) in STAGES.items():
            x = rows(maps[name], border).double()
            first[stride] = first.get(stride, 0) + x.mean((0, 1)) / batches
            second[stride] = second.get(stride, 0) + x.pow(2).mean((0, 1)) / batches
    out = {}
    for stride in STAGES:
        std = (second[stride] - first[stride] ** 2).clamp(min=0).sqrt()
        out[stride] = std.clamp(min=0.1 * float(std.median())).float()
    return out


@torch.no_grad()
def teach(teacher: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return teacher(batch.to(memory_format=torch.channels_last).float() / 255)


@torch.no_grad()
def held_out_fit(
    student: Student, teacher: nn.Module, std: dict[int, Tensor], batches: list[Tensor]
) -> dict[str, float]:
    """R2 of the heads and mean cosine per stage, on pictures that training never saw; student in eval mode."""
    student.eval()
    error = dict.fromkeys(STAGES, 0.0)
    total, cosine = dict(error), dict(error)
    for batch in batches:
        truth = teach(teacher, batch)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            maps = student.trunk(batch.to(memory_format=torch.channels_last).float() / 255)
        for stride, (name, _, border, _) in STAGES.items():
            t = rows(truth[name], border).flatten(0, 1).float() / std[stride]
            v = torch.relu(student.heads[str(stride)](rows(maps[stride], border).flatten(0, 1).float()))
            error[stride] += float((t - v).pow(2).mean())
            total[stride] += float(t.var(0, unbiased=False).mean())
            cosine[stride] += float(F.cosine_similarity(t, v, dim=1).mean()) / len(batches)
    fit = {f"r2_{s}": round(1 - error[s] / total[s], 4) for s in STAGES}
    return fit | {f"held_cos_{s}": round(cosine[s], 4) for s in STAGES}


def material(args: argparse.Namespace) -> tuple[augment.Crops, augment.Crops]:
    """Training crops and held-out crops. Every n-th photograph is held out, and the last procedural images."""
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
        partial = cache.with_suffix(".partial.npy")
        np.save(partial, procedural.bank(args.bank, 224, args.seed))
        partial.rename(cache)
    drawn = np.load(cache)
    kept = args.bank - HELD_OUT["procedural"]
    return augment.Crops(train, drawn[:kept], args.seed), augment.Crops(held, drawn[kept:], args.seed + 1)


def rate(step: int, steps: int, peak: float, warm: int = 300) -> float:
    """Linear warm-up, then half a cosine to a hundredth of the peak."""
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))))


def averaged(average: Student, student: Student, step: int) -> None:
    """Exponential average of weights and of norms' statistics, faster at the start."""
    keep = min(0.999, (1 + step) / (20 + step))
    with torch.no_grad():
        for mean, now in zip(average.state_dict().values(), student.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - keep)


def make_optimisers(student: Student) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the trunk's kernels behind the stem (whose inputs are three raw colours), AdamW for all else."""
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
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.rename(path)


def parse(argv: list[str] | None) -> argparse.Namespace:
    shared = ROOT.parent / "shared"
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--teachers", type=Path, default=shared / "weights", help="folder with teachers.py and its weights"
    )
    parser.add_argument("--photos", type=Path, default=shared / "data/photos")
    parser.add_argument("--textures", type=Path, default=shared / "data/textures")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "training/checkpoints", help="checkpoints, log and cached images"
    )
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--bank", type=int, default=3000, help="procedural images drawn once at the start")
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--deadline", type=float, default=None, help="epoch seconds; `steps` shrinks so that the schedule ends there"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    crops, held = material(args)
    checkpoint = args.out / "last.pt"
    state: dict[str, Any] = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else {}
    batches = augment.stream(crops, state.get("step", 0), args.steps, args.batch)
    first = next(batches)  # forks the worker before this process starts its threads
    torch.manual_seed(args.seed)
    teacher, student = load_teacher(args.teachers), Student().to(memory_format=torch.channels_last)
    average = copy.deepcopy(student)
    optimisers = make_optimisers(student)
    std = state["std"] if state else deviations(teacher, crops, DEVIATION_BATCHES)
    if state:
        student.load_state_dict(state["student"])
        average.load_state_dict(state["average"])
        for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
    checks = [held.batch(k, 32) for k in range(CHECK_BATCHES)]
    rng, since = torch.Generator(), time.time()
    sums: dict[str, float] = {}
    step = state.get("step", 0)
    # A finished run given more steps goes on: the rate rises to where the longer schedule has it (a warm restart).
    steps = args.steps if step >= state.get("steps", args.steps) else state["steps"] if state else args.steps
    counted = 0
    batch: Tensor | None = first
    while batch is not None and step < steps:
        rng.manual_seed(args.seed * 1_000_003 + step)
        for group in (group for optimiser in optimisers for group in optimiser.param_groups):
            group["lr"] = rate(step, steps, args.lr)
        truth = teach(teacher, batch)
        student.train()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            maps = student.trunk(batch.to(memory_format=torch.channels_last).float() / 255)
            parts = {
                s: stage_loss(student.heads[str(s)], maps[s], truth[name], std[s], border, count, rng)
                for s, (name, _, border, count) in STAGES.items()
            }
        loss = sum(mse + cos + 4 * relation for mse, cos, relation in parts.values())
        student.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(student.parameters(), 5.0)
        for optimiser in optimisers:
            optimiser.step()
        averaged(average, student, step)
        for s, values in parts.items():
            for label, value in zip(("mse", "cos", "rel"), values, strict=True):
                sums[f"{label}_{s}"] = sums.get(f"{label}_{s}", 0.0) + float(value.detach())
        sums["norm"] = sums.get("norm", 0.0) + float(norm)
        step, counted = step + 1, counted + 1
        if step % 100 == 0 or step == steps:
            seconds = (time.time() - since) / counted
            line = {"step": step, "seconds": round(seconds, 4)} | {k: round(v / counted, 4) for k, v in sums.items()}
            if args.deadline and counted >= 50 and step < steps:
                steps = min(args.steps, max(step + 100, step + int((args.deadline - time.time()) / seconds)))
                line["steps"] = steps
            if step % 500 == 0 or step == steps:
                line |= held_out_fit(average, teacher, std, checks)
                save(
                    checkpoint,
                    {
                        "step": step,
                        "steps": steps,
                        "std": std,
                        "student": student.state_dict(),
                        "average": average.state_dict(),
                        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
                    },
                )
            with (args.out / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
            sums, since, counted = {}, time.time(), 0
        batch = next(batches, None)


if __name__ == "__main__":
    main()
