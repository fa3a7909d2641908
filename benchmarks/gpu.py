"""The same computation on the processor and on the GPU: whether results are equal, and images a second against two floors.

    python -m benchmarks.gpu [--images 64] [--side 512] [--rounds 3] [--device auto] [--write]

Images are drawn. Without a GPU the same code runs on the processor and the table says so. A part that differs by more
than its limit ends the command with an error.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import timed
from benchmarks._results import Column
from blemish import Config, FittedModel, run
from blemish.backbones import load_backbone
from blemish.features import Extractor
from blemish.localization import MemoryBank
from blemish.localization.fca import fca_map
from blemish.runtime.device import choose_device
from blemish.synthetic import make_demo

BENCHMARK = Benchmark(
    name="gpu",
    title="GPU and processor",
    text=(
        "Each part on the processor and on the device, on drawn images. The difference is the largest one, divided by the "
        "largest value; for half precision it is 1 minus the rank correlation of the image scores. The floors are the rates "
        "that the operations and the bytes of a part would allow at the rates of a large matrix product and of a large copy "
        "on the same device."
    ),
    columns=(
        Column("part"),
        Column("device"),
        Column("difference", "scientific"),
        Column("limit", "scientific"),
        Column("rate", "number", "images/s", 1),
        Column("arithmetic floor", "number", "images/s", 0),
        Column("bytes floor", "number", "images/s", 0),
    ),
)


@dataclass(frozen=True)
class Part:
    """One part of an inspection.

    Attributes:
        compute: from the part's input on a device to its output there, for all images.
        operations: floating-point operations for one image.
        bytes: bytes that are read and written for one image, each of them once.
        limit: largest difference between processor and device.
        compare: the difference of two outputs.
    """

    compute: Callable[[str], Tensor]
    operations: float
    bytes: float
    limit: float
    compare: Callable[[Tensor, Tensor], float]


class HalfBank(MemoryBank):
    """A memory bank whose products take factors in half precision and add up in float32."""

    def _products(self, cells: Tensor, columns: Tensor, squares: Tensor, out: Tensor) -> Tensor:
        if cells.is_cuda:
            products = torch.mm(cells.half(), columns.half(), out_dtype=torch.float32)
        else:  # the same numbers: products of halves are exact in float32
            products = cells.half().float() @ columns.half().float()
        return torch.add(squares, products, alpha=-2, out=out)


def main() -> None:
    """Compare and time every part."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=64)
    options.add_argument("--side", type=int, default=512, help="of the images, in pixels")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--device", default="auto")
    args = options.parse_args()
    device, report = choose_device(args.device), Report(BENCHMARK, args.write)
    name = torch.cuda.get_device_name() if device == "cuda" else "processor"
    print(f"{name}, load {os.getloadavg()[0]:.1f}" + ("" if device == "cuda" else "; no GPU is used"))
    with tempfile.TemporaryDirectory() as place:
        make_demo(Path(place) / "demo", n_images=args.images, size=args.side, seed=1)
        images = Path(place) / "demo" / "images"
        model = run(images, Config.from_values({"cache.enabled": False, "device": "cpu"})).model
        assert isinstance(model, FittedModel)
        pixels = _pixels(model, images)
    arithmetic, bandwidth = _arithmetic(device), _bandwidth(device)
    print(f"matrix product {arithmetic / 1e9:.0f} GFLOP/s, copy {bandwidth / 1e9:.1f} GB/s")
    wrong = list[str]()
    for title, part in _parts(model, pixels).items():
        difference = part.compare(part.compute("cpu"), part.compute(device).cpu())
        seconds = min(_seconds(part, device) for _ in range(args.rounds)) / len(pixels)
        floors = arithmetic / part.operations, bandwidth / part.bytes
        report.add(title, name, difference, part.limit, 1 / seconds, *floors)
        if not difference <= part.limit:
            wrong.append(f"{title} differs by {difference:.1e}, more than {part.limit:.0e}")
    if wrong:
        sys.exit("error: " + "; ".join(wrong))
    report.end()


def _pixels(model: FittedModel, images: Path) -> Tensor:
    """All images at their target size, N x 3 x H x W."""
    source = model.source(images)
    return torch.stack([torch.from_numpy(source.small(i)) for i in range(len(source))])


def _parts(model: FittedModel, pixels: Tensor) -> dict[str, Part]:
    """Every part of an inspection that has a device; the input of each is the processor's output of the part before."""
    settings, map_model, heads = model.config.backbone, model.localization.map_model, model.heads
    bank = map_model.memory_bank
    assert bank is not None
    half = HalfBank(**{one.name: getattr(bank, one.name) for one in fields(bank)})
    extractor_on = functools.cache(lambda device: Extractor(load_backbone(settings.name, device), settings))
    bank_on = functools.cache(_on_device)

    def features(device: str) -> Tensor:
        batches = pixels.split(settings.batch_size)
        return torch.cat([extractor_on(device).raw(batch.to(device)) for batch in batches])

    raw = features("cpu")
    normalized = torch.stack([model.localization.normalizer.apply(one) for one in raw])
    chosen = normalized[:, list(map_model.channels or range(normalized.shape[1]))]

    def distances(which: MemoryBank, device: str) -> Tensor:
        return torch.stack([bank_on(device, which).distance(one) for one in chosen.to(device)])

    def headed(device: str) -> Tensor:
        moved = [type(head).from_state(head.state_dict()).to(device) for head in heads]
        return torch.cat([head(one[None]) for one in normalized.to(device) for head in moved])

    exact, channels, cells = _scores(distances(bank, "cpu")), chosen.shape[1], raw[0, 0].numel()
    image_bytes, bank_operations = 4.0 * channels * cells, 2.0 * cells * bank.patches.numel()
    bank_bytes = image_bytes + 4.0 * (bank.patches.numel() + cells)
    with FlopCounterMode(display=False) as counter:
        extractor_on("cpu").raw(pixels[:1])
    network = Part(
        features, float(counter.get_total_flops()), 4.0 * (pixels[0].numel() + raw[0].numel()), 1e-4, _largest
    )
    sort = channels * cells * 49 * math.log2(49)  # comparisons of patches of 7 x 7 cells
    weights = float(sum(one.numel() for head in heads for one in head.parameters()))
    head_bytes = 4.0 * cells * (normalized.shape[1] + sum(head.second.out_features for head in heads))
    parts = {
        "network": network,
        "memory bank, float32": Part(functools.partial(distances, bank), bank_operations, bank_bytes, 1e-4, _largest),
        "memory bank, half": Part(
            functools.partial(distances, half),
            bank_operations,
            bank_bytes,
            1e-3,
            lambda _, b: _rank_difference(exact, b),
        ),
        "FCA": Part(lambda device: fca_map(chosen.to(device)), sort, image_bytes + 4.0 * cells, 1e-4, _largest),
    }
    return parts | ({"heads": Part(headed, 2 * weights * cells, head_bytes, 1e-4, _largest)} if heads else {})


def _on_device(device: str, bank: MemoryBank) -> MemoryBank:
    values: dict[str, Any] = {one.name: getattr(bank, one.name) for one in fields(bank)}
    moved: dict[str, Any] = {key: one.to(device) for key, one in values.items() if isinstance(one, Tensor)}
    return replace(bank, **moved)


def _scores(maps: Tensor) -> Sequence[float]:
    """A high quantile of each map, as image scores are."""
    return [float(torch.quantile(one.flatten(), 0.99)) for one in maps]


def _rank_difference(exact: Sequence[float], maps: Tensor) -> float:
    return float(1 - spearmanr(exact, _scores(maps)).statistic)


def _largest(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max() / one.abs().max().clamp_min(1e-30))


def _seconds(part: Part, device: str) -> float:
    """Seconds of one call, until the device has finished."""

    def call() -> None:
        part.compute(device)
        if device == "cuda":
            torch.cuda.synchronize()

    return timed(call)[0]


def _arithmetic(device: str) -> float:
    """Floating-point operations per second of a large matrix product in float32."""
    n = 8192 if device == "cuda" else 2048
    left, right = torch.randn(2, n, n, device=device)
    return 2 * n**3 / min(_seconds(Part(lambda _: left @ right, 0, 0, 0, _largest), device) for _ in range(4))


def _bandwidth(device: str) -> float:
    """Bytes per second that a large copy reads and writes."""
    source = torch.zeros(2**28 if device == "cuda" else 2**26, device=device)
    target = torch.empty_like(source)
    return (
        2
        * 4
        * len(source)
        / min(_seconds(Part(lambda _: target.copy_(source), 0, 0, 0, _largest), device) for _ in range(4))
    )


if __name__ == "__main__":
    main()
