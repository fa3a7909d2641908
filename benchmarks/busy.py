"""What waiting threads cost: runs on a quiet and on a busy machine, with spinning and with passive waiting, in pairs.

    python -m benchmarks.busy [--images 27] [--side 128] [--pairs 3] [--threads 2] [--write]

``blemish`` makes threads of OpenMP sleep while they wait (``OMP_WAIT_POLICY=PASSIVE``), unless the user has set how they
wait. The runs with spinning set ``GOMP_SPINCOUNT`` to the default of GNU OpenMP. On the busy machine, a second process
multiplies matrices all the time, with as many threads as the run, which spin while they wait.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import Run, blemish_run
from benchmarks._results import Column
from benchmarks.memory import draw

BENCHMARK = Benchmark(
    name="busy",
    title="Busy machines",
    text=(
        "`blemish run` on drawn images, without a cache and without a report: threads that spin while they wait, as GNU "
        "OpenMP does by default, against threads that sleep, as `blemish` sets. Each pair of runs is measured in turn; a "
        "ratio is the median over the pairs of spinning / sleeping. Busy: a second process computes with as many threads."
    ),
    columns=(
        Column("other work"),
        Column("spinning: time", "spread", "s", 1),
        Column("sleeping: time", "spread", "s", 1),
        Column("ratio of times", "number", "", 2),
        Column("spinning: processor time", "spread", "s", 1),
        Column("sleeping: processor time", "spread", "s", 1),
        Column("ratio of processor times", "number", "", 2),
    ),
)

SPINNING = {"GOMP_SPINCOUNT": "300000"}
SLEEPING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}

LOAD = """
import sys, torch
torch.set_num_threads(int(sys.argv[1]))
factor = torch.rand(300, 300)
factor @ factor
print("ready", flush=True)
while True:
    factor @ factor
"""


@contextmanager
def variables(values: dict[str, str]) -> Iterator[None]:
    """Set these variables for child processes, and none of the others that decide how threads wait."""
    before = dict(os.environ)
    for name in SLEEPING:
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def other_work(threads: int) -> Iterator[None]:
    """A second process that computes with so many spinning threads; none if 0."""
    if not threads:
        yield
        return
    with variables({"OMP_WAIT_POLICY": "ACTIVE"}):
        load = subprocess.Popen([sys.executable, "-c", LOAD, str(threads)], stdout=subprocess.PIPE, text=True)
    try:
        assert load.stdout is not None
        load.stdout.readline()
        yield
    finally:
        load.kill()
        load.communicate()


def measure(images: Path, waiting: dict[str, str], side: int, threads: int) -> Run:
    """One run."""
    settings = [f"image.size={side}", "output.report=false", "output.overlays=false"]
    with variables(waiting), tempfile.TemporaryDirectory() as place:
        return blemish_run(images, Path(place) / "out", "--no-cache", threads=threads, settings=settings)


def main() -> None:
    """Measure pairs of runs, first without other work, then with it."""
    options = parser(__doc__)
    options.add_argument("--images", type=int, default=27)
    options.add_argument("--side", type=int, default=128, help="of the images, in pixels")
    options.add_argument("--pairs", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    args = options.parse_args()
    report = Report(BENCHMARK, args.write)
    with tempfile.TemporaryDirectory() as place:
        images = Path(place)
        draw(images, args.images, args.side)
        measure(images, SLEEPING, args.side, args.threads)  # compiles the kernels
        for name, load in (("none", 0), (f"{args.threads} threads", args.threads)):
            pairs: list[tuple[Run, Run]] = []
            with other_work(load):
                for number in range(args.pairs):
                    order = (SPINNING, SLEEPING) if number % 2 == 0 else (SLEEPING, SPINNING)
                    first, second = (measure(images, waiting, args.side, args.threads) for waiting in order)
                    pairs.append((first, second) if number % 2 == 0 else (second, first))
            cells: list[list[float] | float] = []
            for seconds in ([(a.seconds, b.seconds) for a, b in pairs], [(a.cpu, b.cpu) for a, b in pairs]):
                spinning, sleeping = (list(column) for column in zip(*seconds, strict=True))
                ratio = statistics.median(a / b for a, b in seconds)
                cells += [[round(one, 2) for one in spinning], [round(one, 2) for one in sleeping], round(ratio, 3)]
            report.add(name, *cells)
    report.end()


if __name__ == "__main__":
    main()
