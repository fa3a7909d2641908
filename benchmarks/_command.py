"""What all benchmark commands share: the options ``--data`` and ``--write``, and how a table is shown and kept."""

from __future__ import annotations

import argparse
import datetime
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks._results import RESULTS, Cell, Column, Machine, Table, markdown, markdown_row, save

DATA_WORD = "DATA"
"""Stands for the folder of the image sets in a kept command."""

PATH_OPTIONS = ("--data", "--scratch", "--cache-dir")
"""Options whose value is a path of this machine."""


@dataclass(frozen=True)
class Benchmark:
    """One table that a command measures.

    Attributes:
        name: of the JSON file.
        title: heading of the table's section.
        text: one or two sentences: what is measured, how to read the table.
        columns: of the table.
    """

    name: str
    title: str
    text: str
    columns: tuple[Column, ...]


class Report:
    """Prints the rows of a table as they are measured and keeps the table if that was asked for."""

    def __init__(self, benchmark: Benchmark, write: bool, seeds: Sequence[int] = ()) -> None:
        self.benchmark, self.write, self.seeds = benchmark, write, list(seeds)
        self.rows: list[list[Cell]] = []

    def add(self, *cells: Cell) -> None:
        """One more row; what was measured before an interruption is in ``NAME.json.partial``."""
        columns = self.benchmark.columns
        if len(cells) != len(columns):
            raise ValueError(f"{len(cells)} values for {len(columns)} columns")
        if not self.rows:
            print(markdown(columns, ()))
        self.rows.append(list(cells))
        print(markdown_row(columns, cells), flush=True)
        if self.write:
            save(self._table(), self.benchmark.name, complete=False)

    def end(self) -> None:
        """Keep the complete table if that was asked for, and say where it is."""
        if self.write:
            save(self._table(), self.benchmark.name)
            name = (RESULTS / f"{self.benchmark.name}.json").relative_to(RESULTS.parents[1])
            print(f"\nWritten: {name}; python -m benchmarks.render renders the page")

    def _table(self) -> Table:
        from blemish import __version__

        one = self.benchmark
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        columns = list(one.columns)
        return Table(one.title, one.text, columns, self.rows, command_line(), __version__, today, machine(), self.seeds)


def parser(
    doc: str | None, *, data: bool = False, settings: bool = False, cache: bool = False
) -> argparse.ArgumentParser:
    """A parser with ``--write`` and, where the command takes image sets, settings or a cache, ``--data`` and so on."""
    made = argparse.ArgumentParser(
        description=(doc or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    if data:
        made.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="folder of the image sets")
    if settings:
        made.add_argument("--set", action="append", default=[], dest="settings", metavar="SECTION.KEY=VALUE")
    if cache:
        made.add_argument("--cache-dir", type=Path, help="folder of the cache; default: a temporary one")
    made.add_argument("--write", action="store_true", help="keep the table in benchmarks/results")
    return made


def command_line(arguments: Sequence[str] | None = None) -> str:
    """The command of this process as anyone can repeat it: paths of this machine are left out.

    >>> command_line(["benchmarks/accuracy.py", "--data", "/home/me/sets", "--seeds", "5", "--write"])
    'python -m benchmarks.accuracy --data DATA --seeds 5 --write'
    """
    program, *rest = sys.argv if arguments is None else arguments
    kept: list[str] = []
    words = iter(rest)
    for word in words:
        option, _, value = word.partition("=")
        if option in PATH_OPTIONS:
            if not value:
                next(words, None)
            kept += [option, DATA_WORD] if option == "--data" else []
        else:
            kept.append(shlex.quote(word))
    return " ".join(["python", "-m", f"benchmarks.{Path(program).stem}", *kept])


def machine() -> Machine:
    """What this machine is, in general words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return Machine(_processor(), cores, round(memory / 2**30))


def _processor() -> str:
    import platform

    information = Path("/proc/cpuinfo")
    text = information.read_text() if information.exists() else ""
    found = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
