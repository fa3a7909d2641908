"""What every study works with: a set and its settings, runs that are not done twice, and what comes out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from blemish.evaluation.datasets import LabeledSet
from blemish.evaluation.evaluate import SCORES, Prefixed, RunScores, Spread, groups_for, run_and_score, spread
from blemish.results import Result, Skipped

if TYPE_CHECKING:
    from blemish.backbones import Backbone
    from blemish.config.schema import Config
    from blemish.pipeline import Progress

Picture = npt.NDArray[np.uint8]
Row = dict[str, Any]


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Attributes:
        study: its name. data: name of the set.
        keys: the columns of ``rows`` that say what was varied.
        rows: one per setting and seed (or per image), with equal keys, ready for a CSV.
        scores: the columns that are scores, of which :meth:`summary` takes means; empty where rows are images.
        notes: sentences that a reader of the table needs.
        skipped: files that could not be read; they are in no row.
        pictures: for studies of pictures, rows of a grid: title and cells, each a title and uint8 H x W x 3.
    """

    study: str
    data: str
    keys: tuple[str, ...]
    rows: list[Row]
    scores: tuple[str, ...] = tuple(SCORES)
    notes: tuple[str, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    pictures: list[tuple[str, list[tuple[str, Picture]]]] = field(default_factory=list)

    def summary(self) -> list[tuple[Row, dict[str, Spread]]]:
        """Each setting once, in order, with its scores over the seeds."""
        settings = {tuple(row[key] for key in self.keys): None for row in self.rows}
        return [
            (
                dict(zip(self.keys, setting, strict=True)),
                {
                    name: spread(row[name] for row in self.rows if tuple(row[key] for key in self.keys) == setting)
                    for name in self.scores
                },
            )
            for setting in settings
        ]


@dataclass
class Bench:
    """A set, its settings and what runs share; equal settings are run once."""

    data: LabeledSet
    config: Config
    clusters: int | Literal["auto"] | None
    seeds: Sequence[int]
    backbone: Backbone | None
    progress: Progress | None
    _done: dict[tuple[str, tuple[str, ...]], tuple[Result, RunScores]] = field(default_factory=dict)

    def settings(self, seed: int, changes: Mapping[str, Any], data: LabeledSet | None = None) -> Config:
        """The study's settings with some changed, and the number of groups."""
        k = groups_for(data or self.data, self.config, self.clusters)
        return self.config.updated(**{"seed": seed, "clusters": k} | dict(changes))

    def run(
        self, title: str, seed: int, changes: Mapping[str, Any], data: LabeledSet | None = None
    ) -> tuple[Result, RunScores]:
        """One run, from memory if it has been done."""
        part = data or self.data
        config = self.settings(seed, changes, part)
        key = (config.digest(), tuple(path.as_posix() for path in part.paths))
        if key not in self._done:
            show = Prefixed(self.progress, f"{title}, seed {seed}: ") if self.progress else None
            self._done[key] = run_and_score(part, config, backbone=self.backbone, progress=show)
        return self._done[key]

    def skipped(self) -> tuple[Skipped, ...]:
        """Files that some run could not read, each once."""
        found = {one.path: one for result, _ in self._done.values() for one in result.skipped}
        return tuple(found[path] for path in sorted(found))

    def short(self, path: str) -> str:
        """A path of the set below the folder that all its images share: what tables show on any machine alike."""
        parents = {image.parent.as_posix() for image in self.data.paths}
        return Path(os.path.relpath(path, os.path.commonpath(parents))).as_posix()


def localizations(config: Config) -> dict[str, dict[str, Any]]:
    """The ways to a map that the paper compares, and ours; residuals are those of the model in use, else of a VAE."""
    model = config.normality.model if config.normality.model in ("vae", "pca") else "vae"
    residual: dict[str, Any] = {"normality.model": model}
    if model == "vae" and config.features.scaling == "set":
        residual["features.scaling"] = "image"  # as published: its decoder gives nothing below 0
    return {
        "FCA on features": {"localize.method": "fca"},
        "residual L1": {"localize.method": "l1", **residual},
        "residual L2": {"localize.method": "l2", **residual},
        "BAL": {"localize.method": "bal", **residual},
        "neighbors": {"localize.method": "neighbors", "normality.model": "neighbors"},
    }
