"""Run blind on a labelled set and score afterwards: python benchmarks/accuracy.py FOLDER [--set section.key=value ...].

FOLDER is a category folder in the layout of MVTec AD (`test/<type>/*`, `ground_truth/<type>/*`). The pipeline sees image
paths only; folder names are read after it has ended. Prints one line of JSON per seed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from blemish import metrics
from blemish._config_sources import parse_value
from blemish.config import Config
from blemish.datasets import load_dataset
from blemish.pipeline import run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    data = load_dataset(args.folder)
    values = {key: parse_value(value) for key, value in (text.split("=", 1) for text in args.settings)}
    for seed in range(args.seeds):
        start = time.perf_counter()
        config = Config.from_values({"clusters": len(data.classes), "seed": seed} | values)
        result = run(list(data.paths), config)
        row = {
            "set": args.folder.name,
            "seed": seed,
            "settings": args.settings,
            **metrics.clustering_scores(data.labels, result.labels),
            "image_auroc": metrics.image_auroc(result.scores, data.is_anomalous),
            "share_anomalous": float(result.is_anomalous.mean()),
            "groups": result.n_clusters,
            "seconds": time.perf_counter() - start,
            "timings": result.timings,
        }
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), flush=True)


if __name__ == "__main__":
    main()
