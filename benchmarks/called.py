"""Which images are called anomalous, in clean batches, in bins of rejects and between: shares of the defective and of the normal ones.

    python benchmarks/called.py [DATASET...] [--most 80] [--seed 0] [--set section.key=value ...]

For each labelled set, and for each drawn material, parts are drawn: normal images alone, these and three others, half and half, and so
on. Labels choose the parts and score them; no run sees one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from blemish._config_sources import gather
from blemish.datasets import is_normal
from blemish.pipeline import run
from blemish.synth import defects
from drawn import sets

PARTS = ((None, 0), (None, 3), (None, 12), (30, 30), (4, None), (0, None))
"""Normal and defective images of each part; None: as many as there are, up to --most."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="*")
    parser.add_argument("--most", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = gather({"cache_dir": str(folder / "cache")}, args.settings, None, {})
        config = config.model_copy(update={"seed": args.seed, "clusters": "auto"})
        print(
            "| set | normal | defective | called anomalous: of the normal | of the defective | groups |\n|"
            + "---|" * 6,
            flush=True,
        )
        for name, data in sets(args.datasets, folder, 150, args.seed, defects(), ()):
            rng = np.random.default_rng(args.seed)
            order = rng.permutation(len(data))
            normal = [data.paths[i] for i in order if is_normal(data.labels[i])][: args.most]
            defective = [data.paths[i] for i in order if not is_normal(data.labels[i])][: args.most]
            for sound, other in PARTS:
                first, second = normal[:sound], defective[:other]
                result = run([*first, *second], config)
                called = result.is_anomalous
                shares = (
                    f"{part.mean():.2f}" if len(part) else "-" for part in (called[: len(first)], called[len(first) :])
                )
                print(
                    f"| {name} | {len(first)} | {len(second)} | {' | '.join(shares)} | {result.labels.max() + 1} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
