"""Studies that vary the images: the share of anomalous images, the share of normal images, the size of the set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from blemish.errors import InputError
from blemish.evaluation.labeled_set import LabeledSet
from blemish.evaluation.scoring import RunScores
from blemish.evaluation.studies.runner import Row, StudyResult, StudyRunner

ANOMALOUS_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
NORMAL_SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
SMALLEST_SET = 20


@dataclass(frozen=True)
class Subset:
    """A part of a set, with the share of its images that the study varies."""

    data: LabeledSet
    share: float


def contamination(runner: StudyRunner) -> StudyResult:
    """Shares of anomalous images from 1 % to 60 %, with the same number of images for every share.

    The draws of one seed are nested: the anomalous images of a small share are among those of a larger share.
    """
    note = "The number of images is the largest with which every share can be drawn."
    return _by_share(runner, "contamination", draw_contaminated, "anomalous", (note,))


def draw_contaminated(data: LabeledSet, seed: int) -> list[Subset]:
    """One subset per share in :data:`ANOMALOUS_SHARES`, with at least one anomalous image, and the share reached.

    Raises:
        InputError: the set has no normal or no anomalous image.
    """
    anomalous = data.is_anomalous
    bad, good = np.flatnonzero(anomalous), np.flatnonzero(~anomalous)
    if not len(bad) or not len(good):
        raise InputError(f"{data.name}: a study of contamination needs normal and anomalous images")
    total = max(2, min(int(len(bad) / ANOMALOUS_SHARES[-1]), int(len(good) / (1 - ANOMALOUS_SHARES[0]))))
    rng = np.random.default_rng([seed, 1])
    bad, good = rng.permutation(bad), rng.permutation(good)
    counts = dict.fromkeys(min(max(1, round(share * total)), len(bad)) for share in ANOMALOUS_SHARES)
    parts = [(count, sorted([*bad[:count].tolist(), *good[: total - count].tolist()])) for count in counts]
    return [Subset(data.take(chosen), count / len(chosen)) for count, chosen in parts]


def normals(runner: StudyRunner) -> StudyResult:
    """Shares of normal images from none (an all-defective batch) to 80 % or all; every anomalous image is kept.

    The draws of one seed are nested, as in :func:`contamination`. The number of groups is the number of classes in the
    subset.
    """
    return _by_share(runner, "normals", draw_with_normals, "normal")


def draw_with_normals(data: LabeledSet, seed: int) -> list[Subset]:
    """All anomalous images with normal ones up to each share in :data:`NORMAL_SHARES`, and the share reached.

    Raises:
        InputError: the set has fewer than two anomalous images.
    """
    bad, good = np.flatnonzero(data.is_anomalous), np.flatnonzero(~data.is_anomalous)
    if len(bad) < 2:
        raise InputError(f"{data.name}: a study of normal images among anomalous ones needs two anomalous images")
    good = np.random.default_rng([seed, 2]).permutation(good)
    counts = dict.fromkeys(min(round(len(bad) * share / (1 - share)), len(good)) for share in NORMAL_SHARES)
    parts = [sorted([*bad.tolist(), *good[:count].tolist()]) for count in counts]
    return [Subset(data.take(chosen), 1 - len(bad) / len(chosen)) for chosen in parts]


def size(runner: StudyRunner) -> StudyResult:
    """Subsets of 20, 40, 80, ... images and the whole set; every subset keeps the share of each class."""
    count, counts = max(SMALLEST_SET, len(runner.data.classes)), list[int]()
    while count < len(runner.data):
        counts.append(count)
        count *= 2
    rows = []
    for seed in runner.seeds:
        for number in [*counts, len(runner.data)]:
            part = runner.data.limited(number, seed=seed)
            _, found = runner.run(f"{number} images", seed, {}, part)
            rows.append(_subset_row({}, part, seed, found))
    return StudyResult("size", runner.data.name, ("images",), rows)


def _by_share(
    runner: StudyRunner,
    study: str,
    draw: Callable[[LabeledSet, int], list[Subset]],
    kind: str,
    notes: tuple[str, ...] = (),
) -> StudyResult:
    rows = []
    for seed in runner.seeds:
        for part in draw(runner.data, seed):
            _, found = runner.run(f"{100 * part.share:.0f} % {kind}", seed, {}, part.data)
            rows.append(_subset_row({"share": round(part.share, 4)}, part.data, seed, found))
    return StudyResult(study, runner.data.name, ("share", "images"), rows, notes=notes)


def _subset_row(first: Row, part: LabeledSet, seed: int, found: RunScores) -> Row:
    return {**first, "images": len(part), "classes": len(part.classes), "seed": seed, **found.scores}
