"""Milliseconds of every kernel and of a small run.

    python -m benchmarks.kernels [--rounds 5] [--threads 2] [--only Ward] [--compare] [--write]

With ``--compare`` the command fails if a case takes more than 1.3 times as long as in the kept table, which has to be
from this machine. Every case checks the shape of its result, so that a kernel that returns early does not look fast.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import timed
from benchmarks._results import Column, load
from blemish.backbones import load_backbone
from blemish.clustering.n_clusters import ward_gaps
from blemish.clustering.ward import cut, ward_tree
from blemish.config.localization import Localization
from blemish.config.schema import Config
from blemish.descriptors.geometry import region_geometry
from blemish.features.statistics import within_image_covariance
from blemish.localization.border import fit_border_correction
from blemish.localization.fca import fca_map
from blemish.localization.median_fill import median_filled
from blemish.localization.neighbors import MemoryBank
from blemish.localization.reconstruction import train_vae
from blemish.localization.threshold import fit_score_model
from blemish.pipeline import run
from blemish.types import FloatArray

BENCHMARK = Benchmark(
    name="kernels",
    title="Kernels",
    text="Least milliseconds of one call on random input.",
    columns=(Column("kernel"), Column("input"), Column("time", "number", "ms", 2)),
)

SLOWER = 1.3
"""Ratio to the kept time from which ``--compare`` fails."""

Case = tuple[str, str, Callable[[], bool]]
"""Name, input, and the call; it says whether the result has the right shape."""


def tensor(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    """Random float32 values in [0, 1)."""
    return torch.from_numpy(rng.random(shape, dtype=np.float32))


def cases() -> Iterator[Case]:
    """Every case, with input of its own."""
    yield from localization_cases(np.random.default_rng(0))
    yield from descriptor_cases(np.random.default_rng(1))
    yield from clustering_cases(np.random.default_rng(2))
    yield from whole_cases(np.random.default_rng(3))


def localization_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Anomaly maps and the threshold."""
    for channels, patch in ((512, 7), (128, 7), (128, 15)):
        features = tensor(rng, channels, 64, 64)

        def correspondence(features: torch.Tensor = features, patch: int = patch) -> bool:
            return fca_map(features, patch_size=patch).shape == (1, 64, 64)

        yield "feature correspondence analysis", f"{channels} x 64 x 64, patch size {patch}", correspondence
    bank = MemoryBank(tensor(rng, 144, 64, 128), tuple(range(144)), 0.0)
    normalized, cells = bank.with_density_normalization(0.25), tensor(rng, 128, 48, 48)
    shape = "144 images x 64 patches x 128"
    yield "distance to the memory bank", shape, lambda: normalized.distance(cells, 3).shape == (48, 48)
    yield "local density normalization", shape, lambda: weights_shape(bank) == (144, 64)
    maps = list(rng.random((144, 48, 48), np.float32))
    yield "border correction", "144 maps of 48 x 48", lambda: len(fit_border_correction(maps).median) == 5
    yield "median filling", "48 x 48", lambda: median_filled(maps[0], (7, 13, 25)).shape == (48, 48)
    scores = rng.lognormal(size=1344).astype(np.float32)
    yield "threshold", "1344 scores", lambda: fit_score_model(maps, scores, Localization()).threshold > 0
    vectors = tensor(rng, 8192, 128)
    yield "autoencoder, 20 training steps", "8192 x 128", lambda: train_vae(vectors, steps=20, seed=0) is not None


def weights_shape(bank: MemoryBank) -> tuple[int, ...]:
    """Shape of the weights that the local density normalization gives the patches."""
    weights = bank.with_density_normalization(0.25).density_weights
    return () if weights is None else tuple(weights.shape)


def descriptor_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Features to descriptors."""
    network, images = load_backbone("embedded"), tensor(rng, 2, 3, 384, 384)
    for last in (8, 16):
        limited = network.limited_to((4, last))  # type: ignore[attr-defined]

        def features(limited: Any = limited, last: int = last) -> bool:
            return limited(images)[last].shape[2:] == (384 // last, 384 // last)

        yield f"embedded network to stride {last}", "2 images of 384 x 384", features
    region = rng.random((48, 48), np.float32)
    yield "shape of the regions", "48 x 48", lambda: len(region_geometry(region, 0.9)) == 3
    eight = [tensor(rng, 192, 48, 48) for _ in range(8)]
    yield (
        "covariance within images",
        "8 x 192 x 48 x 48",
        lambda: within_image_covariance(eight).shape == (192, 192),
    )


def _has_six_groups(rows: FloatArray) -> bool:
    return len(np.unique(cut(ward_tree(rows), 6))) == 6


def clustering_cases(rng: np.random.Generator) -> Iterator[Case]:
    """Descriptors to groups."""
    for count in (1500, 6000):
        rows = rng.random((count, 64), np.float32)
        yield "Ward tree", f"{count} x 64", partial(_has_six_groups, rows)
    wide = rng.random((1500, 192), np.float32)
    yield "number of groups", "1500 x 192", lambda: ward_gaps(wide, 13).number() >= 1


def whole_cases(rng: np.random.Generator) -> Iterator[Case]:
    """A whole run."""
    images = [rng.integers(0, 255, (192, 256), dtype=np.uint8) for _ in range(32)]
    config = Config.from_values({"cache.enabled": False, "n_clusters": 3})
    yield "a whole run", "32 images of 192 x 256", lambda: len(run(images, config).labels) == 32


def least_milliseconds(call: Callable[[], bool], rounds: int) -> float:
    """Least time of some calls after a first one, in which code is compiled."""
    if not call():
        raise RuntimeError("the result has the wrong shape")
    return round(1000 * min(timed(call)[0] for _ in range(rounds)), 3)


def main() -> None:
    """Time every case."""
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--only", default="", help="only cases with this text in their name")
    options.add_argument("--compare", action="store_true", help="fail where a case is slower than in the kept table")
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    before = {(row[0], row[1]): row[2] for row in load(BENCHMARK.name).rows} if args.compare else {}
    report, slower = Report(BENCHMARK, args.write), []
    for name, given, call in cases():
        if args.only in name:
            time = least_milliseconds(call, args.rounds)
            report.add(name, given, time)
            kept = before.get((name, given))
            if isinstance(kept, float | int) and time > SLOWER * kept:
                slower.append(f"{name}, {given}: {time:.2f} ms, kept {kept:.2f} ms")
    report.end()
    if slower:
        sys.exit("slower than the kept table:\n" + "\n".join(slower))


if __name__ == "__main__":
    main()
