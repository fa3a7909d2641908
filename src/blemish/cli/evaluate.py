"""``blemish evaluate``: its options, and the walk over sets. Scoring is in :mod:`blemish.evaluation.evaluate`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from blemish.cli.options import Quiet, RunOptions, Verbose, takes_run_options
from blemish.cli.shared import SOME_SKIPPED, Guard
from blemish.runtime.terminal import Bars

if TYPE_CHECKING:
    from blemish import backbones
    from blemish.config.schema import Config
    from blemish.evaluation.datasets import LabeledSet
    from blemish.evaluation.evaluate import Evaluation

    LoadBackbone = Callable[[str, str], backbones.Backbone]

Datasets = Annotated[
    list[Path], typer.Argument(metavar="DATASET...", help="Labeled sets: folders or CSV files.", show_default=False)
]
OutFolder = Annotated[Path | None, typer.Option("--out", help="Folder for evaluation.json, .csv and .md.")]
Groups = Annotated[
    str | None, typer.Option("--clusters", help="Number of groups, or auto for the blind estimate; else: classes.")
]
Seeds = Annotated[int, typer.Option(min=1, help="How many seeds, counted up from --seed.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Images per set at most; every type and its share is kept.")]
LayoutName = Annotated[str, typer.Option(help="auto, csv, mvtec, mtd, leaves or folder.")]


def add_evaluate(app: typer.Typer, load: LoadBackbone | None = None) -> None:
    """Add the command to an app; ``load(name, device)`` may know more backbones than the package."""

    @app.command()
    @takes_run_options
    def evaluate(
        datasets: Datasets,
        *,
        out: OutFolder = None,
        seeds: Seeds = 1,
        limit: Limit = None,
        clusters: Groups = None,
        layout: LayoutName = "auto",
        options: RunOptions,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Run blind on labeled images, then score groups and maps against the labels."""
        with Guard(verbose):
            settings = options.settings(clusters=clusters)
            sets = open_sets(datasets, layout, limit, settings.seed)
            groups = blind_groups(settings, options, clusters)
            found = _evaluate_all(sets, datasets, settings, groups, seeds, out, load, Bars(quiet))
            if any(run.skipped for one in found for run in one.runs):
                raise typer.Exit(SOME_SKIPPED)


def open_sets(datasets: Sequence[Path], layout: str, limit: int | None, seed: int) -> list[LabeledSet]:
    """All sets, checked before the first run; a set given twice is read twice."""
    from blemish.evaluation.datasets import load_dataset

    sets = [load_dataset(path, layout) for path in datasets]  # type: ignore[arg-type]  # checked there
    return sets if limit is None else [one.limited(limit, seed=seed) for one in sets]


def _evaluate_all(
    sets: Sequence[LabeledSet],
    places: Sequence[Path],
    settings: Config,
    groups: Literal["auto"] | None,
    seeds: int,
    out: Path | None,
    load: LoadBackbone | None,
    bars: Bars,
) -> list[Evaluation]:
    from blemish.evaluation.evaluate import evaluate
    from blemish.evaluation.tables import claim_folder, document, markdown, rows, write_files

    if out is not None:
        claim_folder(out, "evaluation", places)
    network = open_backbone(settings, load)
    found: list[Evaluation] = []
    numbers = range(settings.seed, settings.seed + seeds)

    def keep(place: int, so_far: Evaluation) -> None:  # after every run: what is done survives an interruption
        found[place:] = [so_far]
        if out is not None:
            write_files(out, "evaluation", document(found), rows(found), markdown(found))

    try:
        for place, data in enumerate(sets):
            kept = functools.partial(keep, place)
            evaluate(data, settings, clusters=groups, seeds=numbers, backbone=network, progress=bars, after_run=kept)
    finally:
        if found:
            print(markdown(found), end="", flush=True)
    if out is not None:
        print(f"\nResults: {out / 'evaluation.md'}, .csv, .json")
    return found


def blind_groups(settings: Config, options: RunOptions, flag: str | None) -> Literal["auto"] | None:
    """``auto`` if the blind estimate of the number of groups was asked for; None leaves it at the number of classes.

    A settings file does not ask for it: files of ``blemish config`` hold every default, this one too.
    """
    asked = flag is not None or options.sets("clusters")
    return "auto" if asked and settings.clusters == "auto" else None


def open_backbone(settings: Config, load: LoadBackbone | None) -> backbones.Backbone | None:
    """The network that ``load`` makes of the settings' name; None leaves it to the pipeline."""
    from blemish.pipeline import choose_device

    return load(settings.backbone.name, choose_device(settings.device)) if load else None
