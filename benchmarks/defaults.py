"""What each default contributes: the defaults, and the defaults with one setting changed, on labeled sets.

    python benchmarks/defaults.py DATASET... [--seeds 2] [--limit N] [--row normality.trim=0] [--row A=x,B=y] [--out FILE.json]

Without --row, all of ROWS. A whole set can mislead: on a hundred images, a change of 0.05 NMI comes and goes with a few of
them. So NMI and F1 are also measured with the clustering done again on random parts of the set (half of them 90 %, half 80 %
of the images, the same parts in every row); the columns "parts" hold their mean and, after ±, the deviation over the seeds
of the mean over the parts. K is the number of classes; labels are read after the run only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from blemish.clustering.methods import cluster
from blemish.config.schema import Config
from blemish.evaluation.datasets import LabeledSet, load_dataset
from blemish.evaluation.evaluate import run_and_score
from blemish.evaluation.metrics import clustering_scores
from blemish.evaluation.scoring import summarize
from blemish.evaluation.tables import format_summary
from blemish.results import Result

ROWS = (
    "",
    "image.size=512",
    "image.enlarge=true",
    "image.mode=squash",
    "backbone.border_padding=0",
    "backbone.flips=true",
    "backbone.strides=4;8",
    "backbone.strides=4;8,localize.strides=4;8",
    "features.scaling=image",
    "features.pool=1",
    "normality.trim=0",
    "normality.evening=0",
    "localize.method=bal,normality.model=vae,features.scaling=image",
    "localize.calibrate_border=false",
    "localize.calibrate_border=false,localize.border=5",
    "localize.fill=none",
    "localize.score_quantile=1",
    "descriptor.weighting=softmax",
    "descriptor.geometry=0",
    "descriptor.whiten=none",
    "descriptor.normalize=false",
    "contrast.enabled=false",
    "contrast.heads=1",
    "contrast.beside=none",
    "contrast.beside=0.5",
    "contrast.heads=1,contrast.beside=none,contrast.threshold=kmeans,contrast.steps=none,contrast.memory=1024",
    "contrast.threshold=kmeans",
    "contrast.steps=none",
    "contrast.memory=1024",
    "cluster.normal=together",
    "cluster.method=ward",
    "cluster.gate_floor=0",
)
"""Every default that the preset does not have, back at the preset's value, and some that it has no say in."""

PARTS = 8
COLUMNS = ("nmi", "ari", "f1", "parts nmi", "parts f1", "pixel_auroc", "aupro", "image_auroc")


def changed(row: str) -> dict[str, Any]:
    """``a.b=1,c.d=4;8`` as a mapping; a semicolon stands for the comma of a list."""
    pairs = (part.partition("=") for part in row.split(",") if part)
    return {name: value.replace(";", ",") for name, _, value in pairs}


def parts_scores(result: Result, data: LabeledSet, config: Config) -> dict[str, float]:
    """Mean scores over the random parts, of clustering the rows that the run clustered."""
    labels, scores = np.array(data.matching(result.paths).labels), []
    for part in range(PARTS):
        rng, share = np.random.default_rng(part), (0.9, 0.8)[part % 2]
        chosen = np.sort(rng.choice(len(labels), int(share * len(labels)), replace=False))
        found = cluster(
            result.descriptors[chosen], int(config.clusters), method=config.cluster.method, seed=config.seed
        )
        scores.append(clustering_scores(list(labels[chosen]), found))
    return {f"parts {name}": float(np.mean([one[name] for one in scores])) for name in ("nmi", "f1")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="+")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--row", action="append", dest="rows")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found: list[dict[str, Any]] = []
    print("| set | row | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (len(COLUMNS) + 2), flush=True)
    with tempfile.TemporaryDirectory() as cache:
        for path in args.datasets:
            data = load_dataset(path)
            data = data if args.limit is None else data.limited(args.limit)
            for row in args.rows or ROWS:
                runs = []
                for seed in range(args.seeds):
                    values = {"seed": seed, "clusters": len(data.classes), "cache.folder": cache} | changed(row)
                    config = Config.from_values(values)
                    result, scored = run_and_score(data, config)
                    runs.append(scored.scores | parts_scores(result, data, config))
                found.append({"set": data.name, "row": row, "runs": runs})
                shown = [format_summary(summarize(one[name] for one in runs)) for name in COLUMNS]
                print(
                    f"| {data.name} | {row or 'defaults'} | {' | '.join(shown)} |",
                    flush=True,
                )
                if args.out:
                    args.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    sys.exit(main())
