"""Hostile inputs by kind, and what comes of each: an error of one line, a skipped file with its name, or a sound value.

    python -m benchmarks.hostile [--write]

A traceback, a number that is not finite, more than 10 s, or too much memory fails the command. ``--write`` also keeps the
list of all cases, in ``benchmarks/results/hostile_cases.csv``.
"""

from __future__ import annotations

import csv
import logging
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import _hostile_files as files
from benchmarks import _hostile_results as results
from benchmarks._command import Benchmark, Report, parser
from benchmarks._hostile import CACHED, READ, SKIPPED, Case, array_cases, image_cases, name_cases
from benchmarks._measure import UNITS_PER_MB
from benchmarks._results import RESULTS, Column
from blemish.errors import BlemishError, shown

SECONDS, MEMORY_MB = 10, 1500
"""Most that one case may take, and most that the process may need at any time."""

ERROR = "error of one line"

BENCHMARK = Benchmark(
    name="hostile",
    title="Hostile inputs",
    text=(
        f"Generated inputs by kind. Each ends within {SECONDS} s in one of four ways: an error of one line that names the "
        "input, a file that is skipped and named, a cache entry that is computed again, or a sound value. There is no "
        f"traceback and no number that is not finite, and the process stays below {MEMORY_MB} MB. "
        "`benchmarks/results/hostile_cases.csv` lists the cases."
    ),
    columns=(
        Column("kind"),
        Column("cases", "integer"),
        Column(ERROR, "integer"),
        Column(SKIPPED, "integer"),
        Column(CACHED, "integer"),
        Column(READ, "integer"),
        Column("slowest", "number", "s", 2),
    ),
)


@dataclass(frozen=True)
class Outcome:
    """What came of one case.

    Attributes:
        case: the case.
        outcome: one of the four columns, or what went wrong.
        detail: the message of the error.
        seconds: how long it took.
    """

    case: Case
    outcome: str
    detail: str
    seconds: float

    @property
    def sound(self) -> bool:
        """Whether the case ended as it should."""
        return self.outcome in (ERROR, SKIPPED, CACHED, READ)


def all_cases() -> Iterator[Case]:
    """Every case, kind by kind."""
    for cases in (
        image_cases,
        name_cases,
        array_cases,
        files.settings_cases,
        files.run_file_cases,
        files.cache_cases,
        files.table_cases,
        files.mask_cases,
        results.result_cases,
    ):
        yield from cases()


def run_case(case: Case, place: Path) -> Outcome:
    """Run one case in a folder of its own."""

    def too_slow(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, too_slow)
    start, detail = time.perf_counter(), ""
    with tempfile.TemporaryDirectory(dir=place) as folder:
        signal.alarm(SECONDS)
        try:
            outcome = case.run(Path(folder))
        except BlemishError as error:
            detail = str(error)
            outcome = ERROR if len(shown(detail).splitlines()) == 1 and len(detail) < 2000 else "error too long"
        except Exception as error:  # whatever it is, it belongs into the table
            outcome, detail = type(error).__name__, str(error)
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
    return Outcome(case, outcome, shown(detail)[:200], time.perf_counter() - start)


def main() -> None:
    """Run every case, show a row for each kind, and fail if one ends in another way."""
    args = parser(__doc__).parse_args()
    logging.getLogger("blemish").setLevel(logging.ERROR)
    resource.setrlimit(resource.RLIMIT_DATA, (2 * MEMORY_MB << 20, resource.RLIM_INFINITY))  # an endless file ends here
    report = Report(BENCHMARK, args.write)
    with tempfile.TemporaryDirectory() as place:
        try:
            outcomes = [run_case(case, Path(place)) for case in all_cases()]
        finally:
            results.remove_written()
    for kind in dict.fromkeys(one.case.kind for one in outcomes):
        ones = [one for one in outcomes if one.case.kind == kind]
        counts = [sum(one.outcome == name for one in ones) for name in (ERROR, SKIPPED, CACHED, READ)]
        report.add(kind, len(ones), *counts, round(max(one.seconds for one in ones), 2))
    report.end()
    if args.write:
        with (RESULTS / "hostile_cases.csv").open("w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(("kind", "case", "outcome"))
            rows.writerows((one.case.kind, one.case.name, one.outcome) for one in outcomes)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNITS_PER_MB
    print(f"{len(outcomes)} cases, at most {peak:.0f} MB", file=sys.stderr)
    wrong = [f"{one.case.kind}: {one.case.name}: {one.outcome} ({one.detail})" for one in outcomes if not one.sound]
    if wrong or peak > MEMORY_MB:
        raise SystemExit("\n".join([*wrong, f"{len(wrong)} cases end in another way; {peak:.0f} MB"]))


if __name__ == "__main__":
    main()
