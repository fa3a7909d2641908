"""What all studies share: the runner, which makes each run once, and the typed result of a study."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from blemish.evaluation.evaluate import PrefixedProgress, n_clusters_for, run_and_score
from blemish.evaluation.labeled_set import LabeledSet
from blemish.evaluation.scoring import SCORES, RunScores, ScoreSummary, summarize
from blemish.results import Result, Skipped

if TYPE_CHECKING:
    from blemish.backbones import Backbone
    from blemish.config.schema import Config
    from blemish.runtime.progress import Progress

Picture = npt.NDArray[np.uint8]
Cell = str | int | float | bool
Row = dict[str, Cell]
"""One row of a study's table: column name to value."""


@dataclass(frozen=True)
class TitledPicture:
    """A picture of a figure: its title and uint8 pixels, H x W x 3."""

    title: str
    pixels: Picture


@dataclass(frozen=True)
class PictureRow:
    """One row of a grid of pictures, with the title of the row."""

    title: str
    pictures: list[TitledPicture]


@dataclass(frozen=True)
class StudyResult:
    """The tables and the pictures of a study.

    Attributes:
        study: name of the study.
        data: name of the set.
        keys: the columns of ``rows`` that say which setting a row belongs to.
        rows: one row per setting and seed, or one per image; all rows have the same columns.
        scores: the columns that are scores, over which :meth:`summary` takes means; empty if the rows are images.
        notes: sentences that explain the table.
        skipped: files that could not be read; no row includes them.
        left_out: images, or their masks, that no pixel score includes.
        pictures: rows of the grid of a study of pictures.
    """

    study: str
    data: str
    keys: tuple[str, ...]
    rows: list[Row]
    scores: tuple[str, ...] = tuple(SCORES)
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    left_out: tuple[Skipped, ...] = ()
    pictures: list[PictureRow] = field(default_factory=list)

    def summary(self) -> list[tuple[Row, dict[str, ScoreSummary]]]:
        """Each setting once, in the order of the rows, with its scores over the seeds."""
        rows_of = dict[tuple[Cell, ...], list[Row]]()
        for row in self.rows:
            rows_of.setdefault(tuple(row[key] for key in self.keys), []).append(row)
        return [
            (
                dict(zip(self.keys, setting, strict=True)),
                {name: summarize(float(row[name]) for row in rows) for name in self.scores},
            )
            for setting, rows in rows_of.items()
        ]


@dataclass
class StudyRunner:
    """Makes the runs of a study; equal settings on equal images are run once.

    Attributes:
        data: the labeled set.
        config: the settings that the study does not vary.
        n_clusters: number of groups, ``auto``, or None for one per class.
        seeds: seeds of the runs.
        backbone: a network in place of the one that the settings name.
        progress: is told about every stage of every run.
    """

    data: LabeledSet
    config: Config
    n_clusters: int | Literal["auto"] | None
    seeds: Sequence[int]
    backbone: Backbone | None
    progress: Progress | None
    _runs: dict[tuple[str, tuple[str, ...]], tuple[Result, RunScores]] = field(default_factory=dict)
    _numbers: dict[tuple[str, ...], int | Literal["auto"]] = field(default_factory=dict)

    def settings(self, seed: int, changes: Mapping[str, Any], data: LabeledSet | None = None) -> Config:
        """The settings of one run: those of the study with the seed, the number of groups and the given changes."""
        part = data or self.data
        key = tuple(path.as_posix() for path in part.paths)
        if key not in self._numbers:
            self._numbers[key] = n_clusters_for(part, self.config, self.n_clusters)
        return self.config.updated(**{"seed": seed, "n_clusters": self._numbers[key]} | dict(changes))

    def run(
        self, title: str, seed: int, changes: Mapping[str, Any], data: LabeledSet | None = None
    ) -> tuple[Result, RunScores]:
        """The result and the scores of one run, from memory if it was made before.

        Args:
            title: what the progress display calls the run.
            seed: seed of the run.
            changes: settings by dotted name that differ from those of the study.
            data: a part of the set; default: the whole set.
        """
        part = data or self.data
        config = self.settings(seed, changes, part)
        key = (config.digest(), tuple(path.as_posix() for path in part.paths))
        if key not in self._runs:
            show = PrefixedProgress(self.progress, f"{title}, seed {seed}: ") if self.progress else None
            self._runs[key] = run_and_score(part, config, backbone=self.backbone, progress=show)
        return self._runs[key]

    def skipped(self) -> tuple[Skipped, ...]:
        """Files that a run could not read, each once, sorted by path."""
        found = {one.path: one for result, _ in self._runs.values() for one in result.skipped}
        return tuple(found[path] for path in sorted(found))

    def left_out(self) -> tuple[Skipped, ...]:
        """Images, or their masks, that no pixel score includes, each once, sorted by path."""
        found = {one.path: one for _, scores in self._runs.values() for one in scores.left_out}
        return tuple(found[path] for path in sorted(found))

    def short_path(self, path: str) -> str:
        """A path relative to the folder that all images of the set share, so that tables are equal on any machine."""
        parents = {image.parent.as_posix() for image in self.data.paths}
        return Path(os.path.relpath(path, os.path.commonpath(parents))).as_posix()


def localizations(config: Config) -> dict[str, dict[str, Any]]:
    """The localization methods that the paper compares, and the default one, with the settings of each.

    The methods with an autoencoder scale features in each image, as published, unless the settings already leave them
    non-negative: the decoder gives no negative values.
    """
    autoencoder: dict[str, Any] = {}
    if config.features.normalization == "dataset":
        autoencoder["features.normalization"] = "image"
    return {
        "FCA on features": {"localization.method": "fca"},
        "residual L1": {"localization.method": "vae_l1", **autoencoder},
        "residual L2": {"localization.method": "vae_l2", **autoencoder},
        "BAL": {"localization.method": "vae_fca", **autoencoder},
        "nearest neighbors": {"localization.method": "knn"},
    }
