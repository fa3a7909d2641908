"""Kill runs at random moments and run them again: whether the end is the same, and what is computed twice.

    python -m benchmarks.kills [--kills 50] [--images 200] [--write]

The set is drawn. A moment is a share of the processor time of an undisturbed run, from its first stage on, so that the
load of the machine does not move it. Killing is SIGKILL, which no program can catch. Needs ``/proc``.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks._command import Benchmark, Report, parser
from benchmarks._measure import blemish_run
from benchmarks._results import Column
from blemish.runtime.progress import Stage
from blemish.runtime.terminal import STAGE_TEXT
from blemish.synthetic import make_demo

BENCHMARK = Benchmark(
    name="kills",
    title="Killed runs",
    text=(
        "Runs on 200 drawn images are killed at random moments and started again. Each second run must end with the same "
        "bytes as an undisturbed one (tables, maps, masks, descriptors), and must reuse every entry of the cache that the "
        "killed run had stored. A batch counts as torn if only some of its entries were stored; it alone is computed again."
    ),
    columns=(
        Column("killed while"),
        Column("kills", "integer"),
        Column("equal bytes", "integer"),
        Column("entries stored", "integer"),
        Column("entries reused", "integer"),
        Column("most torn batches", "integer"),
    ),
)

SIDE = 64
OPTIONS = ("--size", str(SIDE))
SETTINGS = (
    *("output.report=false", "output.overlays=false", "localization.sample_images=32"),
    *("contrastive.max_steps=50", "cluster.method=ward"),
)
"""Settings that keep a run short, and leave every stage in it."""

PER_BATCH = ("maps", "surfaces", "descriptors", "pixels")
"""Kinds of entries that every batch has, in the order in which they are stored."""

STARTING = "Starting"


@dataclass(frozen=True)
class Killed:
    """What one killed run left, and what the next one made of it.

    Attributes:
        stage: what it was doing.
        stored: number of entries in its cache.
        reused: how many of these the next run read.
        torn: batches of which only some entries were stored.
        equal: whether the next run ended with the bytes of an undisturbed one.
    """

    stage: str
    stored: int
    reused: int
    torn: int
    equal: bool


def killed_run(images: Path, folder: Path, is_time: Callable[[float, str], bool]) -> tuple[float, str] | None:
    """Start a run and kill it; None if it ended before.

    Args:
        images: the input.
        folder: gets the folders ``out`` and ``cache``, and what the run says.
        is_time: is given the processor time of the run, in seconds, and what it has said so far.

    Returns:
        Both at the end.
    """
    flags = [part for one in SETTINGS for part in ("--set", one)]
    places = ["--out", str(folder / "out"), "--cache-dir", str(folder / "cache")]
    command = [sys.executable, "-m", "blemish", "run", str(images), *places, *OPTIONS, *flags, "--threads", "1"]
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        seconds = _processor_seconds(process.pid)
        while process.poll() is None and not is_time(seconds, (folder / "said").read_text()):
            time.sleep(0.01)
            seconds = _processor_seconds(process.pid)
        process.send_signal(signal.SIGKILL)
        ended = process.wait() != -signal.SIGKILL
    return None if ended else (seconds, (folder / "said").read_text())


def kill_and_rerun(images: Path, folder: Path, moment: float, wanted: dict[str, str]) -> Killed | None:
    """Kill a run after so much processor time, and run it again; None if it ended before."""
    cache, out = folder / "cache", folder / "out"
    done = killed_run(images, folder, lambda seconds, _: seconds >= moment)
    if done is None:
        return None
    stage = _stage(done[1])
    stored = Counter(path.name.partition("-")[0] for path in cache.glob("*") if "partial" not in path.name)
    again = blemish_run(images, out, *OPTIONS, "--cache-dir", str(cache), threads=1, settings=SETTINGS)
    reused = sum(found for found, _ in again.document["cache"].values())
    counts = [stored[kind] for kind in PER_BATCH]
    return Killed(stage, stored.total(), reused, max(counts) - min(counts), digests(out) == wanted)


def _processor_seconds(pid: int) -> float:
    """Processor time of a process and its threads so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return float("inf")
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _stage(said: str) -> str:
    """The last stage that a run has announced."""
    known = [text for line in said.splitlines() for text in STAGE_TEXT.values() if line.startswith(text)]
    return known[-1] if known else STARTING


def digests(folder: Path) -> dict[str, str]:
    """Path -> digest of every file of a run but run.json, which holds dates."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "run.json")
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    """Kill as often as asked for; the rows are grouped by stage."""
    options = parser(__doc__)
    options.add_argument("--kills", type=int, default=50)
    options.add_argument("--images", type=int, default=200)
    args = options.parse_args()
    report, rng = Report(BENCHMARK, args.write, [0]), np.random.default_rng(0)
    killed: dict[str, list[Killed]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        images = make_demo(root / "set", seed=0, n_images=args.images, size=SIDE).images
        cache = ("--cache-dir", str(root / "cache"))
        whole = blemish_run(images, root / "whole", *OPTIONS, *cache, threads=1, settings=SETTINGS)
        wanted = digests(root / "whole")
        (root / "first").mkdir()
        begun = killed_run(images, root / "first", lambda _, said: bool(said))
        while sum(map(len, killed.values())) < args.kills:
            with tempfile.TemporaryDirectory(dir=root) as folder:
                moment = rng.uniform(begun[0] if begun else 0, whole.cpu)
                one = kill_and_rerun(images, Path(folder), moment, wanted)
            if one is not None:
                killed[one.stage].append(one)
                print(json.dumps(vars(one)), file=sys.stderr, flush=True)
    for stage in (STARTING, *(STAGE_TEXT[one] for one in Stage)):
        ones = killed.get(stage, [])
        if ones:
            equal, stored, reused = (sum(getattr(one, name) for one in ones) for name in ("equal", "stored", "reused"))
            report.add(stage, len(ones), int(equal), stored, reused, max(one.torn for one in ones))
    report.end()
    everything = [one for ones in killed.values() for one in ones]
    if not all(one.equal and one.stored == one.reused and one.torn <= 1 for one in everything):
        raise SystemExit("a run after a kill differs from an undisturbed one, or computes again what was stored")


if __name__ == "__main__":
    main()
