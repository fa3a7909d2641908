"""Which images are called anomalous, in clean batches, in bins of rejects and between: shares of the defective and of the normal ones.

    python benchmarks/called.py [DATASET...] [--photographs FILE...] [--most 80] [--few] [--draws 1] [--seed 0] [--set key=value]

For each labeled set, and for each drawn material, or each photograph of a texture in their place (as in `drawn.py`), parts are drawn:
normal images alone, these and three others, half and half, and so on; with --few, parts of 8, 12 and 20 images. Shares are means over
the draws. Labels choose the parts and score them; no run sees one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from blemish.config.sources import gather
from blemish.evaluation.datasets import is_normal
from blemish.pipeline import run
from blemish.synthetic.demo import defects
from drawn import add_photographs, sets

PARTS = ((None, 0), (None, 3), (None, 12), (30, 30), (4, None), (0, None))
"""Normal and defective images of each part; None: as many as there are, up to --most."""

FEW = tuple((count - bad, bad) for count in (8, 12, 20) for bad in (0, 1, 3, count // 2))
"""The same for small sets."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("datasets", type=Path, nargs="*")
    parser.add_argument("--photographs", type=Path, nargs="+", default=[])
    parser.add_argument("--most", type=int, default=80)
    parser.add_argument("--few", action="store_true")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], dest="settings")
    args = parser.parse_args()
    photographs = add_photographs(args.photographs)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        config = gather({"cache_dir": str(folder / "cache")}, args.settings, None, {})
        config = config.model_copy(update={"seed": args.seed, "clusters": "auto"})
        print(
            "| set | normal | defective | called anomalous: of the normal | of the defective | groups |\n|"
            + "---|" * 6,
            flush=True,
        )
        for name, data in sets(args.datasets, folder, 150, args.seed, defects(), photographs):
            bad = np.array([not is_normal(label) for label in data.labels])
            orders = [np.random.default_rng(args.seed + draw).permutation(len(data)) for draw in range(args.draws)]
            for sound, other in FEW if args.few else PARTS:
                shares, groups = [], []
                for order in orders:
                    parts = [order[~bad[order]][: args.most][:sound], order[bad[order]][: args.most][:other]]
                    counts = [len(part) for part in parts]
                    result = run([data.paths[i] for part in parts for i in part], config)
                    shares.append(
                        [part.mean() if len(part) else np.nan for part in np.split(result.is_anomalous, counts[:1])]
                    )
                    groups.append(str(result.labels.max() + 1))
                shown = ("-" if np.isnan(one) else f"{one:.2f}" for one in np.mean(shares, 0))
                print(
                    f"| {name} | {' | '.join(map(str, counts))} | {' | '.join(shown)} | {', '.join(groups)} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
