"""A million images: what each stage costs on one core, what the driver needs, and where the bottleneck is on more machines.

    python -m benchmarks.scale [--images 64] [--side 1024] [--driver 1000 10000 100000] [--write]

Images are drawn. Workers are processes with one thread each. The driver gets the results of one batch again and again
under new names, because its cost does not depend on what is in the images. Needs ``/proc``.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import torch

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from blemish import Config, FittedModel, run
from blemish.backbones import load_backbone
from blemish.distributed.merging import merge_results
from blemish.distributed.ray import BATCH, Gathered
from blemish.features import Extractor
from blemish.images import find_images
from blemish.output import write_outputs
from blemish.results import Result
from blemish.synthetic import make_demo

BENCHMARK = Benchmark(
    name="scale",
    title="More images than one machine",
    text=(
        "Rates per stage of inspecting drawn images of 1 MP by workers with one thread each; the efficiency is the rate of "
        "two workers divided by twice the rate of one. Then time and memory of the driver, which collects, merges and "
        "writes, and a projection for a million images from the rates above it. What is assumed and not measured says so."
    ),
    columns=(
        Column("part"),
        Column("what"),
        Column("value", "number", digits=2),
        Column("unit"),
        Column("origin"),
    ),
)

STAGES = ("decode", "network", "map", "all of predict")
MILLION = 10**6
GPUS, CORES = 8, 64
GPU_TFLOPS = 30.0
"""Arithmetic rate of one GPU in float32 that the projection assumes: about half of what data sheets of large GPUs state."""

GPU_HOST_CORES = 16
"""Cores of the host for each GPU that the projection assumes, which decode and do what follows the map."""


def main() -> None:
    """Measure workers and driver, then project."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=64)
    options.add_argument("--side", type=int, default=1024, help="of the images, in pixels")
    options.add_argument("--driver", type=int, nargs="+", default=[1000, 10_000, 100_000], help="numbers of images")
    args = options.parse_args()
    report = Report(BENCHMARK, args.write)
    report.add("machine", "load before the measurement", os.getloadavg()[0], "processes", "measured")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_demo(place / "demo", n_images=args.images, size=args.side, seed=1)
        images = place / "demo" / "images"
        result = run(images, Config.from_values({"cache.enabled": False}))
        assert isinstance(result.model, FittedModel)
        result.model.save(place / "model")
        megabytes = sum(one.stat().st_size for one in find_images(images)) / args.images / 1e6
        report.add("image", "size of a file", megabytes, "MB", "measured")
        seconds = _workers(place, report)
        flops = _operations(result.model, images)
        part = result.model.predict(find_images(images)[:BATCH])
        driver = _driver(part, place, args.driver, report)
    _project(seconds, flops, driver, megabytes, report)
    report.end()


def _workers(place: Path, report: Report) -> dict[str, float]:
    """Seconds per image of each stage of one worker; the report gets the rates of one and of two."""
    alone, both = _timed(place, 1)[0], _timed(place, 2)
    for stage in STAGES:
        rates = [1 / alone[stage], sum(1 / one[stage] for one in both)]
        report.add("1 worker", stage, rates[0], "images/s", "measured")
        report.add("2 workers", stage, rates[1], "images/s", "measured")
        report.add("2 workers", f"{stage}, efficiency", rates[1] / (2 * rates[0]), "", "measured")
    return alone


def _timed(place: Path, workers: int) -> list[dict[str, float]]:
    """What `_worker` returns in each of some processes that are in the same stage at the same time."""
    context = multiprocessing.get_context("spawn")
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    barrier = context.Barrier(workers, timeout=900)
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_meet_at, initargs=(barrier,)) as pool:
        return list(pool.map(_worker, [place] * workers))


_barrier: Barrier
"""Where the worker processes meet before each stage."""


def _meet_at(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _worker(place: Path) -> dict[str, float]:
    """Seconds per image of each stage with one thread."""
    torch.set_num_threads(1)
    model = FittedModel.load(place / "model")
    source = model.source(place / "demo" / "images")
    config, fitted = model.config, model.localization
    network = load_backbone(config.backbone.name, "cpu")
    extractor = Extractor(network, config.backbone)
    n, step = len(source), config.backbone.batch_size
    small = [torch.from_numpy(source.small(i)) for i in range(n)]
    batches = [torch.stack(small[at : at + step]) for at in range(0, n, step)]
    raw = [one for batch in batches for one in extractor.raw(batch)]
    stages: dict[str, Callable[[], Any]] = {
        "decode": lambda: [source.small(i) for i in range(n)],
        "network": lambda: [extractor.raw(batch) for batch in batches],
        "map": lambda: [fitted.map_model.anomaly_map(fitted.normalizer.apply(one)) for one in raw],
        "all of predict": lambda: model.predict(place / "demo" / "images", device="cpu", backbone=network),
    }
    found = {}
    for stage in STAGES:
        _barrier.wait()
        start = time.perf_counter()
        stages[stage]()
        found[stage] = (time.perf_counter() - start) / n
    return found


def _operations(model: FittedModel, images: Path) -> float:
    """Floating-point operations of network and map for one image."""
    from torch.utils.flop_counter import FlopCounterMode

    source, bank = model.source([find_images(images)[0]]), model.localization.map_model.memory_bank
    extractor = Extractor(load_backbone(model.config.backbone.name, "cpu"), model.config.backbone)
    with FlopCounterMode(display=False) as counter:
        raw = extractor.raw(torch.from_numpy(source.small(0))[None])
    assert bank is not None
    return float(counter.get_total_flops()) + 2.0 * raw.shape[2] * raw.shape[3] * bank.patches.numel()


def _driver(result: Result, place: Path, counts: Sequence[int], report: Report) -> dict[str, float]:
    """Seconds per image of collecting and of writing, from the largest count; the report gets memory and rates."""
    content = pickle.dumps(replace(result, maps=list(result.maps), model=None))
    context, peaks, found = multiprocessing.get_context("spawn"), list[float](), dict[str, float]()
    for count in counts:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            collect, write, base, peak = pool.submit(_drive, content, count, place).result()
        peaks.append(peak)
        found = {"collect": collect / count, "write": write / count}
        what = f"{count} images"
        report.add("driver", f"{what}, memory at its peak", peak, "MB", "measured")
        report.add("driver", f"{what}, memory per image", 1000 * (peak - base) / count, "kB", "measured")
        report.add("driver", f"{what}, collecting and merging", count / collect, "images/s", "measured")
        report.add("driver", f"{what}, tables and masks", count / write, "images/s", "measured")
    if len(counts) > 1:
        slope = 1000 * (peaks[-1] - peaks[0]) / (counts[-1] - counts[0])
        found["kilobytes"] = slope
        report.add("driver", "memory per further image", slope, "kB", "measured")
    return found


def _drive(content: bytes, count: int, place: Path) -> tuple[float, float, float, float]:
    """Seconds of collecting and writing the answers of workers, and memory in MB before it and at its peak."""
    model = FittedModel.load(place / "model")
    base, gathered = _peak_mb(), Gathered()
    start = time.perf_counter()
    for batch in range(-(-count // len(pickle.loads(content).paths))):
        part = pickle.loads(content)
        gathered.add(replace(part, paths=[f"{batch:06d}/{row}.png" for row in range(len(part.paths))]))
    merged = merge_results(gathered.results, model)
    collect = time.perf_counter() - start
    with tempfile.TemporaryDirectory(dir=place) as out:
        start = time.perf_counter()
        write_outputs(replace(merged, source=None), Path(out) / "out", maps="none", overlays=False, report=False)
        write = time.perf_counter() - start
    return collect, write, base, _peak_mb()


def _peak_mb() -> float:
    """Most resident memory of this process in MB; the system's count for a child begins with the memory of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _project(
    seconds: dict[str, float], flops: float, driver: dict[str, float], megabytes: float, report: Report
) -> None:
    """Hours for a million images where every part works at the same time, and the part that takes longest."""
    whole = seconds["all of predict"]
    others = whole - seconds["network"] - seconds["map"]
    report.add("image", "operations of network and map", flops / 1e9, "GFLOP", "counted")
    report.add("GPU", "arithmetic rate", GPU_TFLOPS, "TFLOP/s", "assumed")
    report.add("GPU", "cores of the host", float(GPU_HOST_CORES), "", "assumed")
    shared = {"driver collects": driver["collect"], "driver writes": driver["write"]}
    plans = {
        f"{CORES} CPU cores": {"workers": whole / CORES} | shared,
        f"{GPUS} GPUs": {
            "network and map": flops / (GPU_TFLOPS * 1e12) / GPUS,
            "decoding and the rest": others / (GPU_HOST_CORES * GPUS),
        }
        | shared,
    }
    for plan, parts in plans.items():
        for part, each in parts.items():
            report.add(plan, f"{part}, 1 M images", each * MILLION / 3600, "h", "projected")
        slowest = max(parts, key=parts.__getitem__)
        report.add(plan, f"bottleneck: {slowest}", parts[slowest] * MILLION / 3600, "h", "projected")
        report.add(plan, "the store must deliver", megabytes / max(parts.values()), "MB/s", "projected")
    if "kilobytes" in driver:
        report.add("driver", "memory for 1 M images", driver["kilobytes"] * MILLION / 1e6, "GB", "projected")


if __name__ == "__main__":
    main()
