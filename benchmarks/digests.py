"""Digests of everything that a run writes, to show that a change of the code changes no result.

    python benchmarks/digests.py --data FOLDER --write before.json
    ... change the code ...
    python benchmarks/digests.py --data FOLDER --check before.json

The sets are the drawn demo and, where ``--data`` has them, the leather images, 60 leaves and 100 magnetic tiles. Each
is run through the command line with the default settings and with ``--preset paper``, with one thread and with two,
without a cache, with an empty cache and once more from that cache. The preset takes minutes per run: without ``--full``
it is run on a third of the images, without a cache in one thread, and with an empty cache and from the cache in two.
A digest is equal only if every byte is. Results are equal byte for byte on one machine only, so both runs need the same
one.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}

PAPER_EVERY = 3
"""The preset is run on every third image of a set, because it takes minutes per run (``--full``: on all)."""

SETS: dict[str, tuple[str, int | None]] = {
    "leather": ("mvtec-leather/leather/test", None),
    "leaves-60": ("bracol-leaf/leaf/test", 60),
    "tiles-100": ("mtd/magnetic/test", 100),
}
"""Name -> folder below ``--data``, and how many of its images are taken (every n-th); None: all."""

PARTS: dict[str, tuple[str, ...]] = {
    "maps": ("maps/**/*.tiff",),
    "masks": ("masks/**/*.png",),
    "descriptors": ("descriptors.npy",),
    "csv": ("images.csv",),
}
"""What is digested; the table holds the scores and the labels."""


def evenly(folder: Path, count: int | None, place: Path) -> Path:
    """Links to ``count`` of the pictures below a folder, evenly spaced in the order of their names."""
    pictures = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)
    wanted = len(pictures) if count is None else min(count, len(pictures))
    for index in range(wanted):
        path = pictures[index * len(pictures) // wanted]
        link = place / path.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    return place


def digests(results: Path) -> dict[str, str]:
    """Part -> SHA-256 over names and contents of its files, in the order of their names."""
    found = {}
    for part, patterns in PARTS.items():
        total = hashlib.sha256()
        paths = sorted(path for pattern in patterns for path in results.glob(pattern))
        if not paths:
            raise SystemExit(f"{results} has no {part}")
        for path in paths:
            total.update(str(path.relative_to(results)).encode() + b"\0" + path.read_bytes() + b"\0")
        found[part] = total.hexdigest()
    return found


def blemish(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "blemish", *arguments, "--quiet"], check=True, stdout=subprocess.DEVNULL)


def runs(images: Path, place: Path, full: bool) -> Iterator[tuple[str, Path]]:
    """The name and the results of every run on one set."""
    for preset, threads, cached in itertools.product(("default", "paper"), ("1", "2"), (False, True)):
        reduced = preset == "paper" and not full
        if reduced and cached == (threads == "1"):
            continue
        folder = images
        if reduced:
            count = sum(path.suffix.lower() in PICTURES for path in images.rglob("*"))
            folder = place.with_name(f"{images.name}-every-{PAPER_EVERY}")
            if not folder.exists():
                evenly(images, -(-count // PAPER_EVERY), folder)
        cache = ("--cache-dir", str(place / f"cache-{preset}-{threads}"))
        steps = (("empty cache", cache), ("from the cache", cache)) if cached else (("no cache", ("--no-cache",)),)
        for name, options in steps:
            out = place / f"{preset}-{threads}-{name}".replace(" ", "-")
            blemish("run", str(folder), "--out", str(out), "--preset", preset, "--threads", threads, *options)
            yield f"{preset}, threads {threads}, {name}", out


def sets(data: Path | None, place: Path) -> Iterator[tuple[str, Path]]:
    blemish("demo", "--out", str(place / "demo"))
    yield "demo", place / "demo" / "images"
    for name, (folder, count) in SETS.items():
        if data is not None and (data / folder).is_dir():
            yield name, evenly(data / folder, count, place / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with the image sets; without it: the demo only")
    parser.add_argument("--only", nargs="*", help="names of the sets to run; default: all")
    parser.add_argument("--full", action="store_true", help="the preset in all combinations too")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", type=Path, metavar="FILE", help="write the digests")
    action.add_argument("--check", type=Path, metavar="FILE", help="compare with digests written before")
    args = parser.parse_args()
    known: dict[str, dict[str, str]] = json.loads(args.check.read_text()) if args.check else {}
    found: dict[str, dict[str, str]] = {}
    differences = 0
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for set_name, images in sets(args.data, place):
            if args.only and set_name not in args.only:
                continue
            for run_name, out in runs(images, place / f"{set_name}-results", args.full):
                key = f"{set_name}, {run_name}"
                found[key] = digests(out)
                other = [
                    part for part, value in found[key].items() if args.check and known.get(key, {}).get(part) != value
                ]
                differences += bool(other)
                print(
                    f"{key}: {'differs in ' + ', '.join(other) if other else 'equal' if args.check else 'done'}",
                    flush=True,
                )
                if args.write:
                    args.write.write_text(json.dumps(found, indent=1) + "\n")
    if args.check:
        print(f"{len(found)} runs, {differences} differ")
        raise SystemExit(1 if differences else 0)


if __name__ == "__main__":
    main()
