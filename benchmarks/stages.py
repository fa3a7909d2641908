"""Seconds of each stage of a whole job and its peak memory, through the command line.

python -m benchmarks.stages --data FOLDER [--sets "magnetic tiles"] [--threads 2] [--set section.key=value] [--write]
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import blemish_run
from benchmarks._results import Column
from benchmarks._sets import LABELED

BENCHMARK = Benchmark(
    name="stages",
    title="Time and memory of a whole job",
    text=(
        "`blemish run` from the image files to the report, default settings, without a cache. The last rows of a set "
        "are what is left, starting Python and PyTorch and writing the files, and the whole process."
    ),
    columns=(
        Column("set"),
        Column("images", "integer"),
        Column("stage"),
        Column("time", "number", "s", 1),
        Column("share", "number", "%", 0),
        Column("peak memory", "integer", "MB"),
    ),
)


def main() -> None:
    """Run every set once."""
    options = parser(__doc__, data=True, settings=True)
    options.add_argument("--sets", nargs="+", choices=list(LABELED), default=["leather", "magnetic tiles"])
    options.add_argument("--threads", type=int, default=2)
    args = options.parse_args()
    report = Report(BENCHMARK, args.write)
    for name in args.sets:
        with tempfile.TemporaryDirectory() as out:
            images = args.data / LABELED[name] / "test"
            done = blemish_run(images, Path(out) / "out", "--no-cache", threads=args.threads, settings=args.settings)
        count, timings = done.document["counts"]["images"], dict(done.document["timings"])
        timings["starting, writing the files"] = done.seconds - sum(timings.values())
        for stage, seconds in timings.items():
            report.add(name, count, stage, round(seconds, 2), round(100 * seconds / done.seconds, 1), None)
        report.add(name, count, "**all**", round(done.seconds, 2), 100.0, round(done.peak_mb))
    report.end()


if __name__ == "__main__":
    main()
