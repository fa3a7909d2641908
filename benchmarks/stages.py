"""Seconds of each stage of a run, its share, and the least it could take on this machine; and the peak of memory.

    python benchmarks/stages.py FOLDER [--threads 2] [--set section.key=value ...]

Runs in the main thread count once, for the innermost stage. Decoding goes on beside them in threads of its own; only
`waiting for images` holds the run up. The floor of a stage is its multiply-adds (counted while it runs) at the rate that
this machine reaches in a large matrix product with the same threads; there is none where copying or sorting prevails.
"""

from __future__ import annotations

import argparse
import functools
import resource
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from blemish import pipeline, stages
from blemish.backbones import load_backbone
from blemish.cli.app import write_results
from blemish.cli.shared import use_threads
from blemish.config.sources import gather
from blemish.features.extractor import Extractor
from blemish.images.source import ImageSource
from blemish.localization.model import Normality
from blemish.localization.neighbors import NeighborModel
from blemish.output import prepare_output


class Meter:
    """Exclusive seconds per stage, by thread, and multiply-adds."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.products: defaultdict[str, int] = defaultdict(int)
        self._local, self._lock = threading.local(), threading.Lock()

    def call(self, stage: str, function: Any, *args: Any, **named: Any) -> Any:
        inner = self._local.__dict__.setdefault("inner", [])
        inner.append(0.0)
        start = time.perf_counter()
        try:
            return function(*args, **named)
        finally:
            spent = time.perf_counter() - start
            with self._lock:
                self.seconds[stage] += spent - inner.pop()
            if inner:
                inner[-1] += spent

    def watch(self, owner: Any, name: str, stage: str) -> None:
        function = getattr(owner, name)

        @functools.wraps(function)
        def watched(*args: Any, **named: Any) -> Any:
            return self.call(stage, function, *args, **named)

        setattr(owner, name, watched)

    def watch_stream(self) -> None:
        stream = ImageSource.stream

        def watched(source: ImageSource, *args: Any, **named: Any) -> Iterator[Any]:
            images = stream(source, *args, **named)
            while (item := self.call("waiting for images", next, images, None)) is not None:
                yield item

        ImageSource.stream = watched  # type: ignore[assignment,method-assign]

    def count_products(self, network: torch.nn.Module) -> None:
        def count(layer: Any, _: Any, out: torch.Tensor) -> None:
            self.products["backbone"] += out.numel() * layer.weight[0].numel()

        for layer in network.modules():
            if isinstance(layer, torch.nn.Conv2d):
                layer.register_forward_hook(count)
        distance = NeighborModel.distance

        def counted(model: NeighborModel, features: torch.Tensor, *args: Any) -> torch.Tensor:
            self.products["maps"] += features.numel() * model.vectors.shape[0] * model.vectors.shape[1]
            return distance(model, features, *args)

        NeighborModel.distance = counted  # type: ignore[assignment,method-assign]


def product_rate(side: int = 1536, rounds: int = 5) -> float:
    """Multiply-adds a second in a float32 matrix product, best of some rounds."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    best = float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return side**3 / best


def peak_megabytes() -> float:
    """Most resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--set", action="append", default=[], dest="settings")
    args = parser.parse_args()
    use_threads(args.threads)
    config = gather({"cache": False}, args.settings, None, {})
    rate, meter = product_rate(), Meter()
    for owner, name, stage in (
        (pipeline, "group", "clustering"),
        (stages, "fit_maps", "normality model"),
        (stages.Stages, "sharpen", "heads"),
        (stages, "sample_pixels", "pixels for the heads"),
        (ImageSource, "small", "decode (beside)"),
        (Extractor, "raw", "backbone"),
        (Normality, "anomaly_map", "maps"),
        (Normality, "pixel_weights", "descriptors"),
        (Normality, "descriptor", "descriptors"),
    ):
        meter.watch(owner, name, stage)
    meter.watch_stream()
    backbone = load_backbone(config.backbone.name, pipeline.choose_device(config.device))
    meter.count_products(getattr(backbone, "trunk", torch.nn.Identity()))
    source = meter.call("opening", ImageSource, args.folder, config.image)
    start = time.perf_counter()
    result = meter.call("everything else", pipeline.run_source, lambda _: source, config, None, backbone)
    peak = peak_megabytes()
    with tempfile.TemporaryDirectory() as out, prepare_output(Path(out)) as folder:
        meter.call("output", write_results, result, source, folder, config)
    total = time.perf_counter() - start + meter.seconds["opening"]
    print(
        f"{len(result.paths)} images, {args.threads} threads, {total:.2f} s, {rate / 1e9:.1f} G multiply-adds a second"
    )
    print(f"peak memory: {peak:.0f} MB before the output, {peak_megabytes():.0f} MB after\n")
    print("| stage | seconds | share | floor |\n|---|---:|---:|---:|")
    for stage, spent in sorted(meter.seconds.items(), key=lambda item: -item[1]):
        share = "" if stage == "decode (beside)" else f"{100 * spent / total:.1f} %"
        floor = f"{meter.products[stage] / rate:.2f}" if meter.products[stage] else ""
        print(f"| {stage} | {spent:.2f} | {share} | {floor} |")


if __name__ == "__main__":
    main()
