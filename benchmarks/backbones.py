"""The embedded network against others, everything else equal: groups and localization on labeled sets, over seeds.

    python benchmarks/backbones.py DATASET... --out FILE.json [--backbone embedded teacher:resnet50@4-8 ...] [--seeds 5]
        [--limit N] [--scratch FOLDER] [--set section.key=value ...]

Names are those of `benchmarks/teachers.py`. Each run is that of `blemish evaluate`, with as many groups as there are classes;
labels are read afterwards only. A seed changes which images the normality model is sampled from, and nothing in the network:
its maps of a picture are kept in --scratch for the next seed, as float16 (some 8 GB for ResNet-50 on 1 344 tiles), for all
networks alike. Runs that FILE.json has already are not repeated, so that a killed comparison goes on where it was;
the table takes all runs of FILE.json together, so other settings need a file of their own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from blemish.backbones import Backbone
from blemish.config.sources import gather
from blemish.evaluation.datasets import load_dataset
from blemish.evaluation.evaluate import n_clusters_for, run_and_score
from blemish.evaluation.scoring import summarize
from blemish.evaluation.tables import format_summary
from teachers import load

BACKBONES = ("embedded", "teacher:resnet50@4-8", "teacher:resnet18@4-8", "teacher:squeezenet@4-8", "random:0")
COLUMNS = ("nmi", "ari", "f1", "pixel_auroc", "aupro", "image_auroc")
MEANS = ("nmi", "pixel_auroc", "image_auroc")


class Remembered:
    """A Backbone that keeps the maps of each picture in a folder, float16, under a digest of its pixels."""

    def __init__(self, inner: Backbone, folder: Path) -> None:
        self.inner, self.folder = inner, folder
        self.name, self.strides, self.channels, self.digest = inner.name, inner.strides, inner.channels, inner.digest
        self.margin = getattr(inner, "margin", 0)
        folder.mkdir(parents=True, exist_ok=True)

    def limited_to(self, strides: tuple[int, ...]) -> Remembered:
        limit = getattr(self.inner, "limited_to", None)
        return Remembered(limit(strides), self.folder) if limit else self

    def __call__(self, rgb: Tensor) -> dict[int, Tensor]:
        names = [hashlib.sha256(one.contiguous().numpy().tobytes()).hexdigest()[:32] for one in rgb]
        files = [{stride: self.folder / f"{name}-{stride}.npy" for stride in self.strides} for name in names]
        fresh = [k for k, one in enumerate(files) if not all(path.exists() for path in one.values())]
        if fresh:
            maps = self.inner(rgb[fresh])
            for place, k in enumerate(fresh):
                for stride, path in files[k].items():
                    partial = path.with_suffix(".partial.npy")
                    np.save(partial, maps[stride][place].half().numpy())
                    partial.rename(path)
        return {
            stride: torch.stack([torch.from_numpy(np.load(one[stride])).float() for one in files])
            for stride in self.strides
        }


def table(runs: list[dict[str, Any]], backbones: list[str]) -> str:
    """One row per set and network, then the means over the sets that all of a network's seeds were run on."""
    lines = ["| set | network | seeds | " + " | ".join(COLUMNS) + " |", "|" + "---|" * (len(COLUMNS) + 3)]
    sets = list(dict.fromkeys(run["set"] for run in runs))
    means: dict[str, list[dict[str, float]]] = {}
    for name in sets:
        for backbone in backbones:
            mine = [run["scores"] for run in runs if (run["set"], run["backbone"]) == (name, backbone)]
            if mine:
                found = {column: summarize(one[column] for one in mine) for column in COLUMNS}
                means.setdefault(backbone, []).append({column: found[column].mean for column in COLUMNS})
                shown = " | ".join(format_summary(found[column]) for column in COLUMNS)
                lines.append(f"| {name} | {backbone} | {len(mine)} | {shown} |")
    lines += ["", f"| mean of {len(sets)} sets | " + " | ".join(MEANS) + " |", "|" + "---|" * (len(MEANS) + 1)]
    for backbone, found_sets in means.items():
        if len(found_sets) == len(sets):
            shown = " | ".join(f"{np.mean([one[column] for one in found_sets]):.4f}" for column in MEANS)
            lines.append(f"| {backbone} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbone", nargs="+", default=list(BACKBONES), dest="backbones")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--scratch", type=Path, help="where features are kept; default: a folder that vanishes")
    parser.add_argument("--set", action="append", default=[], dest="settings")
    args = parser.parse_args()
    runs: list[dict[str, Any]] = json.loads(args.out.read_text()) if args.out.exists() else []
    with tempfile.TemporaryDirectory() as temporary:
        for path in args.datasets:
            data = load_dataset(path)
            data = data if args.limit is None else data.limited(args.limit)
            for name in args.backbones:
                folder = (args.scratch or Path(temporary)) / name.replace(":", "-")
                for seed in range(args.seeds):
                    config = gather({"cache": False}, args.settings, None, {})
                    config = config.model_copy(update={"seed": seed, "clusters": n_clusters_for(data, config)})
                    what = {
                        "set": data.name,
                        "images": len(data),
                        "backbone": name,
                        "seed": seed,
                        "settings": config.digest(),
                    }
                    if any(what.items() <= run.items() for run in runs):
                        continue
                    _, scored = run_and_score(data, config, backbone=Remembered(load(name), folder))
                    runs.append(what | {"scores": scored.scores})
                    partial = args.out.with_suffix(".partial")
                    partial.write_text(json.dumps(runs, indent=1))
                    partial.rename(args.out)
                    print(data.name, name, seed, {k: round(v, 4) for k, v in scored.scores.items()}, flush=True)
                shutil.rmtree(folder, ignore_errors=True)
    print(table(runs, args.backbones))


if __name__ == "__main__":
    sys.exit(main())
