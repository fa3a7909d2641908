"""Run the pipeline on a labeled set without its labels, then score the groups and the maps against them.

The pipeline gets image paths and settings only. The labels are read after the run, with one exception that the
published protocol shares: the number of groups is the number of classes, unless it is given or ``auto`` is asked for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from blemish.errors import ConfigError, InputError
from blemish.evaluation.labeled_set import LabeledSet
from blemish.evaluation.scoring import SCORES, RunScores, ScoreSummary, score, summarize
from blemish.images import decode
from blemish.results import Result

if TYPE_CHECKING:
    from blemish.backbones import Backbone
    from blemish.config.schema import Config
    from blemish.runtime.progress import Progress, Stage, StageDisplay


@dataclass(frozen=True)
class Evaluation:
    """The runs on one set.

    Attributes:
        name: name of the set.
        class_counts: number of images of each class, normal classes first.
        n_clusters: number of groups asked for, or ``auto``.
        n_clusters_from_labels: whether that number was taken from the labels.
        unannotated: number of images of defect types without any mask; no pixel score includes them.
        runs: one entry per seed.
        unreadable_classes: classes without a single readable image; they are not counted as groups.
    """

    name: str
    class_counts: dict[str, int]
    n_clusters: int | Literal["auto"]
    n_clusters_from_labels: bool
    unannotated: int
    runs: list[RunScores]
    unreadable_classes: list[str] = field(default_factory=list)

    @property
    def images(self) -> int:
        """Number of images in the set."""
        return sum(self.class_counts.values())

    def summary(self) -> dict[str, ScoreSummary]:
        """Each score over the seeds."""
        return {name: summarize(run.scores[name] for run in self.runs) for name in SCORES}


def mean_over_sets(evaluations: Sequence[Evaluation]) -> dict[str, ScoreSummary]:
    """Each score over the sets; the value of a set is the mean over its seeds, and ``count`` is the number of sets."""
    means = [one.summary() for one in evaluations]
    return {name: summarize(summary[name].mean for summary in means) for name in SCORES}


def evaluate(
    data: LabeledSet,
    config: Config | None = None,
    *,
    n_clusters: int | Literal["auto"] | None = None,
    seeds: Sequence[int] | None = None,
    backbone: Backbone | None = None,
    progress: Progress | None = None,
    after_run: Callable[[Evaluation], None] | None = None,
) -> Evaluation:
    """Run the pipeline on the images of a labeled set, once per seed, and score each run.

    Args:
        data: a set from :func:`blemish.evaluation.load_dataset`, or a part of it.
        config: settings; default ``Config()``.
        n_clusters: number of groups, or ``auto`` to estimate it without labels. None: the number in ``config`` if it
            has one, else the number of readable classes in ``data``; nothing else is read from the labels before a run.
        seeds: seeds of the runs; default: the one in ``config``.
        backbone: a network in place of the one that the settings name.
        progress: is told about every stage of every run.
        after_run: is called with the evaluation so far after every run.

    Returns:
        The scores of every run.

    Raises:
        InputError: the set is empty or no image is readable.
        ConfigError: no seed, or settings that do not fit the images.

    Cost: the runs, one decoded image per class, and about 30 ns per image pixel for the pixel scores.
    """
    settings, all_seeds = resolve_settings(data, config, seeds)
    k = n_clusters_for(data, settings, n_clusters)
    counts, unreadable = Counter(data.labels), sorted({*data.classes} - {*readable_classes(data)})
    from_labels = n_clusters is None and settings.n_clusters == "auto"
    found = Evaluation(
        data.name, {c: counts[c] for c in data.classes}, k, from_labels, _count_unannotated(data), [], unreadable
    )
    for number, seed in enumerate(all_seeds):
        show = PrefixedProgress(progress, f"{data.name} {number + 1}/{len(all_seeds)}: ") if progress else None
        # the cache is off because the duration of the run is part of the answer
        run_settings = settings.updated(n_clusters=k, seed=seed, **{"cache.enabled": False})
        scores = run_and_score(data, run_settings, backbone=backbone, progress=show)[1]
        found = replace(found, runs=[*found.runs, scores])
        if after_run is not None:
            after_run(found)
    return found


def resolve_settings(data: LabeledSet, config: Config | None, seeds: Sequence[int] | None) -> tuple[Config, list[int]]:
    """The settings and the seeds, with defaults where None is given.

    Raises:
        InputError: the set is empty.
        ConfigError: no seed.
    """
    from blemish.config.schema import Config

    settings = config or Config()
    all_seeds = [settings.seed] if seeds is None else list(seeds)
    if not all_seeds or not len(data):
        raise (InputError if all_seeds else ConfigError)(f"{data.name}: give at least one image and one seed")
    return settings, all_seeds


def n_clusters_for(
    data: LabeledSet, config: Config, n_clusters: int | Literal["auto"] | None = None
) -> int | Literal["auto"]:
    """The number of groups to ask for: the given one, else that of the settings, else one per readable class."""
    if n_clusters is not None:
        return n_clusters
    return max(1, len(readable_classes(data))) if config.n_clusters == "auto" else config.n_clusters


def readable_classes(data: LabeledSet) -> list[str]:
    """The classes with at least one image that can be decoded, in the order of ``data.classes``.

    Cost: one decoded image per class, and more only for classes whose first images are damaged.
    """
    files = {
        label: [p for p, own in zip(data.paths, data.labels, strict=True) if own == label] for label in data.classes
    }
    return [label for label, paths in files.items() if any(_is_readable(path) for path in paths)]


def run_and_score(
    data: LabeledSet, config: Config, *, backbone: Backbone | None = None, progress: Progress | None = None
) -> tuple[Result, RunScores]:
    """One run with exactly these settings, including the number of groups, and its scores."""
    from blemish.pipeline import run

    start = time.perf_counter()
    found = run(list(data.paths), config, progress=progress, backbone=backbone)
    seconds = time.perf_counter() - start
    return found, score(found, data, seed=config.seed, seconds=seconds, progress=progress)


class PrefixedProgress:
    """A progress display whose stage names start with the set and the seed that they belong to."""

    def __init__(self, inner: Progress, prefix: str) -> None:
        self.inner, self.prefix = inner, prefix

    def stage(self, stage: Stage, total: int, note: str = "") -> AbstractContextManager[StageDisplay]:
        """A stage of the inner display, with the prefix before its name."""
        return self.inner.stage(stage, total, self.prefix + note)


def _count_unannotated(data: LabeledSet) -> int:
    """Images of defect types without any mask; 0 if the set has no masks at all."""
    if not data.has_masks:
        return 0
    annotated = {label for label, known in zip(data.labels, data.is_annotated, strict=True) if known}
    return sum(label not in annotated for label in data.labels)


def _is_readable(path: Path) -> bool:
    try:
        decode(path, white=1.0)  # a fixed white level: the set's own level changes values, not whether they can be read
    except InputError:
        return False
    return True
