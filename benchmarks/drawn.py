"""Every drawn material with every drawn defect: maps, groups with their number given, and with it estimated.

    python benchmarks/drawn.py [DATASET...] [--photographs FILE...] [--types NAME...] [--images 100] [--seeds 2] [--preset paper]
        [--set section.key=value]

Drawn materials are not photographs: they show whether a setting that helps one set of photographs hurts elsewhere. A seed is that of the
drawing and of the run. Labeled sets, if given, are measured the same way, with the seed of the run alone. With photographs of textures
the defects are drawn on random crops of these instead, each photograph a set: real surfaces, though an image's parts occur in others.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from blemish.config.schema import PresetName
from blemish.config.sources import gather
from blemish.evaluation.datasets import LabeledSet, load_dataset
from blemish.evaluation.evaluate import run_and_score
from blemish.synthetic.demo import defects, make_demo, materials
from blemish.synthetic.drawing import MATERIALS

HEAD = ("set", "groups", "NMI", "F1", "estimated", "NMI", "F1", "pixel AUROC", "AUPRO")


CROP = 176
"""Side of a crop of a photograph, in pixels."""


def crops(path: Path) -> Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]:
    """A material for :func:`blemish.synthetic.demo.make_demo`: crops of one photograph, rescaled a little, half mirrored."""
    with Image.open(path) as file:
        photograph = file.convert("RGB")

    def material(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
        side = min(size * rng.uniform(0.9, 1.1), *photograph.size)
        x, y = (rng.uniform(0, length - side) for length in photograph.size)
        part = photograph.resize((size, size), Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
        pixels = np.asarray(part, np.float64) / 255
        return pixels[:, :: rng.choice([-1, 1])].copy(), np.zeros((size, size))

    return material


def add_photographs(paths: Sequence[Path]) -> list[str]:
    """Make photographs of textures materials as well; their names."""
    MATERIALS.update({path.stem: crops(path) for path in paths})
    return [path.stem for path in paths]


def sets(
    paths: list[Path], folder: Path, images: int, seed: int, types: Sequence[str], photographs: Sequence[str]
) -> Iterator[tuple[str, LabeledSet]]:
    """Labeled sets under their names; drawn ones are made in the folder."""
    for path in paths:
        yield (data := load_dataset(path)).name, data
    size = CROP if photographs else 256
    for material in photographs or materials():
        place = folder / f"{material}-{seed}"
        demo = make_demo(place, seed=seed, n_images=images, material=material, types=types, size=size)
        yield f"drawn {material}", load_dataset(demo.truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="*")
    parser.add_argument("--photographs", type=Path, nargs="+", default=[])
    parser.add_argument("--types", nargs="+", default=list(defects()))
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--preset", choices=get_args(PresetName), default="default")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    args = parser.parse_args()
    photographs = add_photographs(args.photographs)
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD), flush=True)
    rows: dict[str, list[tuple[float, ...]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        # the second run of a set, with the number of groups estimated, takes its maps from here
        config = gather({"cache_dir": str(folder / "cache"), "preset": args.preset}, args.settings, None, {})
        for seed in range(args.seeds):
            for name, data in sets(args.datasets, folder, args.images, seed, args.types, photographs):
                row: list[float] = []
                for clusters in (len(data.classes), "auto"):
                    result, scored = run_and_score(data, config.model_copy(update={"seed": seed, "clusters": clusters}))
                    row += [result.labels.max() + 1, scored.scores["nmi"], scored.scores["f1"]]
                row += [scored.scores["pixel_auroc"], scored.scores["aupro"]]
                rows.setdefault(name, []).append(tuple(row))
    for name, found in rows.items():
        each, mean = np.array(found), np.mean(found, axis=0)
        estimates = ", ".join(f"{int(one)}" for one in each[:, 3])
        cells = [f"{mean[0]:.0f}", f"{mean[1]:.3f}", f"{mean[2]:.3f}", estimates, *(f"{one:.3f}" for one in mean[4:])]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
