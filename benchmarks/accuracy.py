"""Groups and anomaly maps on labeled sets: the default settings and the paper's preset.

    python -m benchmarks.accuracy --data FOLDER [--seeds 3] [--sets leather leaves] [--limit N] [--write]

The paper's preset is also measured on ResNet-50, the network that it was published with. For that row, the weights of
:mod:`benchmarks._teachers` have to be there; ``--package-only`` leaves it out.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._scoring import ESTIMATE_COLUMNS, SCORE_COLUMNS, configuration, estimate_cells, score_cells
from benchmarks._sets import LABELED, labeled_sets
from benchmarks._teachers import load

BENCHMARK = Benchmark(
    name="accuracy",
    title="Accuracy on labeled sets",
    text=(
        "Default settings and the preset `paper`, as many groups as there are classes. The last two columns have the "
        "number of groups estimated from the images alone."
    ),
    columns=(
        Column("set"),
        Column("images", "integer"),
        Column("classes", "integer"),
        Column("settings"),
        *SCORE_COLUMNS,
        *ESTIMATE_COLUMNS,
    ),
)

VARIANTS = {
    "defaults": ("default", "embedded"),
    "`--preset paper`": ("paper", "embedded"),
    "`--preset paper`, ResNet-50": ("paper", "teacher:resnet50@8"),
}
"""Name in the table -> preset and network."""


def main() -> None:
    """Measure every set with every variant."""
    options = parser(__doc__, data=True)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--sets", nargs="+", choices=list(LABELED), default=list(LABELED))
    options.add_argument("--limit", type=int, help="images of each set at most")
    options.add_argument("--package-only", action="store_true", help="leave out networks that are not in the package")
    args = options.parse_args()
    seeds = range(args.seeds)
    report = Report(BENCHMARK, args.write, seeds)
    for name, data in zip(args.sets, labeled_sets(args.data, args.sets, args.limit), strict=True):
        for variant, (preset, network) in VARIANTS.items():
            if args.package_only and network.startswith("teacher:"):
                continue
            with tempfile.TemporaryDirectory() as cache:
                config, backbone = configuration(Path(cache), preset=preset), load(network)
                cells = score_cells(data, config, seeds, backbone) + estimate_cells(data, config, seeds, backbone)
            report.add(name, len(data), len(data.classes), variant, *cells)
    report.end()


if __name__ == "__main__":
    main()
