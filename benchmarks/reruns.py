"""Seconds of a first run and of runs that change one thing, through the command line with a cache of its own.

    python benchmarks/reruns.py FOLDER [--threads 2]

Also the seconds of `blemish --help`. Every run is a process of its own, so that starting Python and PyTorch counts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("first run", ()),
    ("the same again", ()),
    ("`--clusters 6`", ("--clusters", "6")),
    ("`--set descriptor.tau_fraction=0.3`", ("--set", "descriptor.tau_fraction=0.3")),
    ("`--set localize.threshold=0.5`", ("--set", "localize.threshold=0.5")),
    ("`--set localize.post_sigma=2`", ("--set", "localize.post_sigma=2")),
    ("`--no-cache`", ("--no-cache",)),
)


def timed(*command: str) -> tuple[float, str]:
    """Seconds, and what was printed; an error ends the benchmark."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "blemish", *command], check=True, capture_output=True, text=True)
    return time.perf_counter() - start, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", default="2")
    args = parser.parse_args()
    print(f"`blemish --help`: {min(timed('--help')[0] for _ in range(5)):.2f} s, best of five\n")
    print("| run | seconds | share of the first | from the cache |\n|---|---:|---:|---|")
    first = 0.0
    with tempfile.TemporaryDirectory() as place:
        for number, (name, options) in enumerate(RUNS):
            out = Path(place) / f"out{number}"
            common = ("--out", str(out), "--threads", args.threads, "--quiet", "--cache-dir", f"{place}/cache")
            seconds, said = timed("run", str(args.folder), *common, *options)
            first = first or seconds
            lines = [line.strip() for line in said.splitlines()]
            kept = [line.removeprefix("from the cache: ") for line in lines if line.startswith("from the cache: ")]
            print(
                f"| {name} | {seconds:.1f} | {100 * seconds / first:.0f} % | {''.join(kept)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
