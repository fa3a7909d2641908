"""Every drawn material with every drawn defect: groups with their number given, and with it estimated.

    python benchmarks/drawn.py [DATASET...] [--images 100] [--seeds 2] [--set section.key=value ...]

Drawn materials are not photographs: they show whether a setting that helps one set of photographs hurts elsewhere. A seed is that of the
drawing and of the run. Labelled sets, if given, are measured the same way, with the seed of the run alone.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from blemish._config_sources import gather
from blemish.datasets import LabelledSet, load_dataset
from blemish.evaluation import run_and_score
from blemish.synth import defects, make_demo, materials

HEAD = ("set", "groups", "NMI", "F1", "estimated", "NMI", "F1")


def sets(paths: list[Path], folder: Path, images: int, seed: int) -> Iterator[tuple[str, LabelledSet]]:
    """Labelled sets under their names; drawn ones are made in the folder."""
    for path in paths:
        yield (data := load_dataset(path)).name, data
    for material in materials():
        demo = make_demo(folder / f"{material}-{seed}", seed=seed, n_images=images, material=material, types=defects())
        yield f"drawn {material}", load_dataset(demo.truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="*")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    args = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD), flush=True)
    rows: dict[str, list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # the second run of a set, with the number of groups estimated, takes its maps from here
        config = gather({"cache_dir": str(folder / "cache")}, args.settings, None, {})
        for seed in range(args.seeds):
            for name, data in sets(args.datasets, folder, args.images, seed):
                row: list[float] = []
                for clusters in (len(data.classes), "auto"):
                    result, scored = run_and_score(data, config.model_copy(update={"seed": seed, "clusters": clusters}))
                    row += [result.labels.max() + 1, scored.scores["nmi"], scored.scores["f1"]]
                rows.setdefault(name, []).append(tuple(row))
    for name, found in rows.items():
        each, mean = np.array(found), np.mean(found, axis=0)
        estimates = ", ".join(f"{int(one)}" for one in each[:, 3])
        cells = [f"{mean[0]:.0f}", f"{mean[1]:.3f}", f"{mean[2]:.3f}", estimates, f"{mean[4]:.3f}", f"{mean[5]:.3f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
