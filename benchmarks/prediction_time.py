"""Time of one image with a fitted model that is loaded already, against the network and the map alone.

    python -m benchmarks.prediction_time --data FOLDER [--sets leather leaves] [--cache-dir DIR] [--write]

A model is fitted to one half of a set. Images of the other half are then predicted one by one, as `blemish predict
--watch` does. Run it while nothing else runs on the machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._scoring import configuration
from benchmarks._sets import named_set
from benchmarks.fitted_model import halves
from blemish.backbones import load_backbone
from blemish.features import Extractor
from blemish.model import FittedModel
from blemish.pipeline import run

BENCHMARK = Benchmark(
    name="prediction_time",
    title="Time of one image with a fitted model",
    text=(
        "Median over images that are predicted one by one: from the path to types and regions, and the network and the map "
        "alone on pixels that are read already. Each of several regions is described by itself, so the mean is higher. "
        "Side: longest side at which the network sees the images, in pixels; the second row of a set has images enlarged to "
        "`image.size`."
    ),
    columns=(
        Column("set"),
        Column("side", "integer"),
        Column("per image", "number", "ms", digits=1),
        Column("mean", "number", "ms", digits=1),
        Column("network and map alone", "number", "ms", digits=1),
        Column("ratio of the medians", "number", digits=2),
        Column("several regions", "number", digits=2),
    ),
)

IMAGES = 60
"""Images that are timed."""


def main() -> None:
    """Measure every set."""
    options = parser(__doc__, data=True, cache=True)
    options.add_argument("--sets", nargs="+", default=["drawn weave", "leather"])
    args = options.parse_args()
    report = Report(BENCHMARK, args.write)
    with tempfile.TemporaryDirectory() as folder:
        for name in args.sets:
            data = named_set(args.data, Path(folder), name)
            config = configuration(args.cache_dir or Path(folder) / "cache").updated(n_clusters=len(data.classes))
            fit, rest = halves(list(data.labels), 0)
            for upscale in (False, True):
                model = run([data.paths[i] for i in fit], config.updated(**{"image.upscale": upscale})).model
                assert isinstance(model, FittedModel)
                report.add(name, *_times(model, [data.paths[i] for i in rest][:IMAGES]))
    report.end()


def _times(model: FittedModel, paths: Sequence[Path]) -> tuple[int, float, float, float, float, float]:
    """The cells of one row after the name."""
    network = load_backbone(model.config.backbone.name)
    extractor = Extractor(network, model.config.backbone)
    whole, alone, several, side = list[float](), list[float](), list[bool](), 0
    for path in [paths[0], *paths]:  # the first one warms up
        start = time.perf_counter()
        result = model.predict([path], backbone=network, device="cpu")
        whole.append(1000 * (time.perf_counter() - start))
        several.append(len(result.regions) > 1)
        pixels = torch.from_numpy(model.source([path]).small(0))[None]
        side = max(side, *pixels.shape[-2:])
        start = time.perf_counter()
        features = model.localization.normalizer.apply(extractor.raw(pixels)[0])
        model.localization.map_model.anomaly_map(features)
        alone.append(1000 * (time.perf_counter() - start))
    each, network_and_map = float(np.median(whole[1:])), float(np.median(alone[1:]))
    mean = float(np.mean(whole[1:]))
    return side, each, mean, network_and_map, each / network_and_map, float(np.mean(several[1:]))


if __name__ == "__main__":
    main()
