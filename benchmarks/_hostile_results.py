"""Hostile cases for what a run has written: results, models and reviews that are damaged or made by someone else."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks._hostile import READ, Case, damaged, rng_of
from benchmarks._hostile_files import SPECIAL, TEXTS
from blemish.config.schema import Config
from blemish.model import FittedModel
from blemish.output import load_result, write_outputs
from blemish.pipeline import run
from blemish.review.load import load_corrected
from blemish.review.log import REVIEW_FILE, read_log
from blemish.synthetic import render

DRAWS = 3
"""Damaged copies of each file."""

REVIEW = b'{"op":"undo","id":"2f0d2e9a-6a53-4c39-8a0b-5d9d0c8f6a11","time":"2031-01-01T00:00:00Z"}\n'


@functools.cache
def _written() -> Path:
    """Results of a small run, with its model; one folder for the whole process."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    rng = np.random.default_rng(0)
    images = [render("leather", "hole" if i < 4 else None, rng, 64)[0] for i in range(12)]
    result = run(images, Config.from_values({"image.size": 64, "contrastive.max_steps": 5, "cache.enabled": False}))
    write_outputs(result, folder / "results")
    assert isinstance(result.model, FittedModel)
    result.model.save(folder / "model")
    return folder


def remove_written() -> None:
    """Remove the folder of the small run."""
    if _written.cache_info().currsize:
        shutil.rmtree(_written())
        _written.cache_clear()


def result_cases() -> Iterator[Case]:
    """Results and models of which one file is damaged, and reviews."""
    for what, read in (("results", _read_results), ("model", FittedModel.load)):
        names = sorted(path.relative_to(_written() / what).as_posix() for path in _top_files(what))
        for name in names:
            for draw in range(DRAWS):
                yield Case(f"{what} read back", f"{name}, draw {draw}", partial(_read_damaged, what, name, draw, read))
            yield Case(f"{what} read back", f"{name} is missing", partial(_read_damaged, what, name, None, read))
        for special, make in SPECIAL.items():
            yield Case(
                f"{what} read back", f"{special} for {names[0]}", partial(_read_special, what, names[0], make, read)
            )
    for name, content in (TEXTS | {"an operation without its groups": REVIEW, "many lines": REVIEW * 2000}).items():
        yield Case("reviews", name, partial(_read_review, content))
    for draw in range(6):
        yield Case(
            "reviews", f"damaged, draw {draw}", partial(_read_review, damaged(REVIEW * 3, rng_of("review", draw)))
        )
    for special, make in SPECIAL.items():
        yield Case("reviews", f"{special} for the file", partial(_read_special_review, make))


def _top_files(what: str) -> list[Path]:
    """The files of the small run that are read back, and one map."""
    root = _written() / what
    maps = sorted(root.glob("maps/*"))[:1]
    return [path for path in root.iterdir() if path.is_file() and not path.name.startswith(".")] + maps


def _read_results(folder: Path) -> None:
    result = load_result(folder)
    numbers = [result.scores, result.descriptors, result.distances, *(result.maps[i] for i in range(len(result.maps)))]
    if not all(np.isfinite(values).all() for values in numbers):
        raise AssertionError("a result has numbers that are not finite")


def _read_damaged(what: str, name: str, draw: int | None, read: Callable[[Path], object], folder: Path) -> str:
    copy = folder / what
    shutil.copytree(_written() / what, copy)
    if draw is None:
        (copy / name).unlink()
    else:
        (copy / name).write_bytes(damaged((copy / name).read_bytes(), rng_of(what, name, draw)))
    read(copy)
    return READ


def _read_special(
    what: str, name: str, make: Callable[[Path], object], read: Callable[[Path], object], folder: Path
) -> str:
    copy = folder / what
    shutil.copytree(_written() / what, copy)
    (copy / name).unlink()
    make(copy / name)
    read(copy)
    return READ


def _read_review(content: bytes, folder: Path) -> str:
    copy = folder / "results"
    shutil.copytree(_written() / "results", copy)
    (copy / REVIEW_FILE).write_bytes(content)
    load_corrected(copy)
    return READ


def _read_special_review(make: Callable[[Path], object], folder: Path) -> str:
    make(folder / REVIEW_FILE)
    read_log(folder / REVIEW_FILE)
    return READ
