"""Seconds, peak memory and stages of runs through the command line, and seconds of single calls."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

UNITS_PER_MB = 2**20 if sys.platform == "darwin" else 2**10
"""What the system counts resident memory in."""


@dataclass(frozen=True)
class Run:
    """One ``blemish`` process.

    Attributes:
        seconds: from its start to its end.
        cpu: seconds of processor time, of all threads.
        peak_mb: most resident memory in MB.
        said: what it printed.
        document: run.json, empty where the command is not ``run``.
    """

    seconds: float
    cpu: float
    peak_mb: float
    said: str
    document: dict[str, Any] = field(default_factory=dict)


def blemish(*arguments: str | Path) -> Run:
    """Run the command line in a process of its own; an error ends the benchmark."""
    command = [sys.executable, "-m", "blemish", *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as said:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=said)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        said.seek(0)
        return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / UNITS_PER_MB, said.read())


def blemish_run(images: Path, out: Path, *options: str, threads: int, settings: Sequence[str] = ()) -> Run:
    """``blemish run`` without a progress display, with run.json."""
    flags = [part for one in settings for part in ("--set", one)]
    done = blemish("run", images, "--out", out, "--threads", str(threads), "--quiet", *flags, *options)
    return replace(done, document=json.loads((out / "run.json").read_text()))


def peak_mb() -> float:
    """Most resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / UNITS_PER_MB


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call, and what it returns."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def interleaved(functions: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Least seconds of each function over some rounds, turn by turn, so that other work disturbs all of them alike."""
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, function in functions.items():
            best[name] = min(best[name], timed(function)[0])
    return best
