"""Seconds of a first run and of runs that change one thing, through the command line with a cache of their own.

    python -m benchmarks.reruns --data FOLDER [--sets leather] [--threads 2] [--write]

Every run is a process of its own, so that starting Python and PyTorch counts.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import blemish, blemish_run
from benchmarks._results import Column
from benchmarks._sets import LABELED

BENCHMARK = Benchmark(
    name="reruns",
    title="Repeated runs",
    text="The same images again, with one option changed. The last column names the stages that were read from the cache.",
    columns=(
        Column("run"),
        Column("time", "number", "s", 1),
        Column("share of the first", "number", "%", 0),
        Column("from the cache"),
    ),
)

RUNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("first run", ()),
    ("the same again", ()),
    ("`--n-clusters 6`", ("--n-clusters", "6")),
    ("`--set descriptor.relative_tau=0.3`", ("--set", "descriptor.relative_tau=0.3")),
    ("`--set localization.threshold=0.5`", ("--set", "localization.threshold=0.5")),
    ("`--set localization.smoothing_sigma=2`", ("--set", "localization.smoothing_sigma=2")),
    ("`--no-cache`", ("--no-cache",)),
)
"""Name and options of each run."""

CACHED = "from the cache: "
"""Begins the line of the summary that names the stages."""


def main() -> None:
    """Run everything, one after the other."""
    options = parser(__doc__, data=True)
    options.add_argument("--sets", choices=list(LABELED), default="leather", dest="name", help="the set")
    options.add_argument("--threads", type=int, default=2)
    args = options.parse_args()
    report = Report(BENCHMARK, args.write)
    help_seconds = min(blemish("--help").seconds for _ in range(5))
    images, first = args.data / LABELED[args.name] / "test", None
    with tempfile.TemporaryDirectory() as place:
        for number, (name, flags) in enumerate(RUNS):
            cache = ("--cache-dir", f"{place}/cache")
            done = blemish_run(images, Path(place) / f"out{number}", *cache, *flags, threads=args.threads)
            first = first or done.seconds
            lines = [line.strip() for line in done.said.splitlines()]
            cached = [line.removeprefix(CACHED) for line in lines if line.startswith(CACHED)]
            report.add(name, round(done.seconds, 2), round(100 * done.seconds / first, 1), ", ".join(cached))
    report.add("`blemish --help`, best of five", round(help_seconds, 2), None, "")
    report.end()


if __name__ == "__main__":
    main()
