"""The network of the package against others on labeled sets, everything else equal.

    python -m benchmarks.networks --data FOLDER [--seeds 3] [--networks embedded teacher:resnet50@8] [--sets leather]
        [--limit N] [--write]

Names are those of :mod:`benchmarks._teachers`. A network's features are kept while its seeds are run, up to 8 GB in the
temporary folder.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks._command import Benchmark, Report, parser
from benchmarks._results import Column
from benchmarks._scoring import SCORE_COLUMNS, configuration, score_cells
from benchmarks._sets import LABELED, labeled_sets
from benchmarks._teachers import load

BENCHMARK = Benchmark(
    name="networks",
    title="The embedded network against others",
    text=(
        "Default settings, which were chosen with the embedded network. `random:0` is the embedded network with random "
        "weights."
    ),
    columns=(Column("set"), Column("images", "integer"), Column("network"), *SCORE_COLUMNS),
)

NETWORKS = ("embedded", "teacher:resnet50@8", "teacher:resnet18@8", "teacher:squeezenet@8", "random:0")


def main() -> None:
    """Measure every set with every network."""
    options = parser(__doc__, data=True)
    options.add_argument("--seeds", type=int, default=3)
    options.add_argument("--networks", nargs="+", default=list(NETWORKS))
    options.add_argument("--sets", nargs="+", choices=list(LABELED), default=list(LABELED))
    options.add_argument("--limit", type=int, help="images of each set at most")
    args = options.parse_args()
    seeds = range(args.seeds)
    report = Report(BENCHMARK, args.write, seeds)
    for name, data in zip(args.sets, labeled_sets(args.data, args.sets, args.limit), strict=True):
        for network in args.networks:
            with tempfile.TemporaryDirectory() as cache:
                config = configuration(Path(cache), ["cache.features=true"])
                cells = score_cells(data, config, seeds, load(network))
            report.add(name, len(data), network.removeprefix("teacher:"), *cells)
    report.end()


if __name__ == "__main__":
    main()
