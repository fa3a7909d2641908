"""What each default contributes: the defaults, and the defaults with one setting changed, on labeled sets.

    python -m benchmarks.defaults --data FOLDER [--seeds 1] [--row image.upscale=true] [--row A=x,B=y] [--sets leather]
        [--limit N] [--write]

Without ``--row`` all of ROWS are measured. A whole set can mislead: on a hundred images, 0.05 NMI comes and goes with a
few of them. So NMI and F1 are also measured with the clustering done again on random subsets of the images, the same
ones in every row.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Cell, Column
from benchmarks._scoring import SCORE_COLUMNS, SCORES, configuration, known
from benchmarks._sets import LABELED, labeled_sets
from blemish.clustering.methods import cluster
from blemish.config.schema import Config
from blemish.evaluation.datasets import LabeledSet
from blemish.evaluation.evaluate import run_and_score
from blemish.evaluation.metrics import clustering_scores
from blemish.results import Result

BENCHMARK = Benchmark(
    name="defaults",
    title="What each default contributes",
    text=(
        'The default settings, and the same with one setting changed. "Subsets" is the mean over eight clusterings of '
        "random 80 and 90 % of the images."
    ),
    columns=(
        Column("set"),
        Column("changed setting"),
        *SCORE_COLUMNS,
        Column("NMI, subsets", "spread"),
        Column("F1, subsets", "spread"),
    ),
)

ROWS = (
    "",
    "image.size=512",
    "image.upscale=true",
    "image.resize=stretch",
    "backbone.border_padding=0",
    "backbone.tta_flips=true",
    "backbone.strides=4;8",
    "backbone.strides=4;8,localization.strides=4;8",
    "features.normalization=image",
    "features.pool_size=1",
    "localization.memory_bank.outlier_fraction=0",
    "localization.memory_bank.density_exponent=0",
    "localization.method=vae_fca,features.normalization=image",
    "localization.border_correction=false",
    "localization.border_correction=false,localization.zero_border=5",
    "localization.median_windows=none",
    "localization.score_quantile=1",
    "descriptor.weighting=softmax",
    "descriptor.shape_weight=0",
    "descriptor.whitening_shrinkage=none",
    "descriptor.normalize=false",
    "contrastive.enabled=false",
    "contrastive.n_heads=1",
    "contrastive.head_weight=none",
    "contrastive.head_weight=0.5",
    "contrastive.n_heads=1,contrastive.head_weight=none,contrastive.threshold=kmeans,contrastive.max_steps=none,"
    "contrastive.pixel_budget_mb=1024",
    "contrastive.threshold=kmeans",
    "contrastive.max_steps=none",
    "contrastive.pixel_budget_mb=1024",
    "cluster.score_weighting=none",
    "cluster.method=ward",
    "cluster.soft_floor=0",
)
"""Every default that the preset ``paper`` does not share, at the preset's value, and some that it leaves alone."""

SUBSETS = 8


def assignments(row: str) -> list[str]:
    """``a.b=1,c.d=4;8`` as a list of assignments; a semicolon stands for the comma of a list."""
    return [part.replace(";", ",") for part in row.split(",") if part]


def subset_scores(result: Result, data: LabeledSet, config: Config) -> dict[str, float]:
    """Mean NMI and F1 of clustering random subsets of the rows that the run clustered."""
    labels, scores = np.array(data.matching(result.paths).labels), []
    for number in range(SUBSETS):
        rng, share = np.random.default_rng(number), (0.9, 0.8)[number % 2]
        chosen = np.sort(rng.choice(len(labels), int(share * len(labels)), replace=False))
        rows = result.descriptors[chosen]
        found = cluster(rows, len(data.classes), method=config.cluster.method, seed=config.seed)
        scores.append(clustering_scores(list(labels[chosen]), found))
    return {name: float(np.mean([one[name] for one in scores])) for name in ("nmi", "f1")}


def measure(data: LabeledSet, row: str, seeds: range, cache: Path) -> list[Cell]:
    """The scores of the set and of its subsets, one value per seed."""
    whole, subsets = [], []
    for seed in seeds:
        config = configuration(cache, assignments(row)).updated(seed=seed, n_clusters=len(data.classes))
        result, scored = run_and_score(data, config)
        whole.append(scored.scores)
        subsets.append(subset_scores(result, data, config))
    cells = [known([one[name] for one in whole]) for name in SCORES]
    return cells + [known([one[name] for one in subsets]) for name in ("nmi", "f1")]


def main() -> None:
    """Measure every row on every set."""
    options = parser(__doc__, data=True)
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--sets", nargs="+", choices=list(LABELED), default=list(LABELED))
    options.add_argument("--limit", type=int, help="images of each set at most")
    options.add_argument("--row", action="append", dest="rows", help="changed settings, with commas; default: ROWS")
    args = options.parse_args()
    report = Report(BENCHMARK, args.write, range(args.seeds))
    with tempfile.TemporaryDirectory() as cache:
        for name, data in zip(args.sets, labeled_sets(args.data, args.sets, args.limit), strict=True):
            for row in ROWS if args.rows is None else args.rows:
                shown = ", ".join(f"`{one}`" for one in assignments(row)) or "none"
                report.add(name, shown, *measure(data, row, range(args.seeds), Path(cache)))
    report.end()


if __name__ == "__main__":
    main()
