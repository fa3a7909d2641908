"""``blemish evaluate``: its options and the loop over the labeled sets. :mod:`blemish.evaluation` does the scoring."""

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
    from blemish.backbones import Backbone
    from blemish.config.schema import Config
    from blemish.evaluation import Evaluation, LabeledSet

    LoadBackbone = Callable[[str, str], Backbone]

Datasets = Annotated[
    list[Path], typer.Argument(metavar="DATASET...", help="Labeled sets: folders or CSV files.", show_default=False)
]
OutFolder = Annotated[Path | None, typer.Option("--out", help="Folder for evaluation.json, .csv and .md.")]
NClusters = Annotated[
    str | None,
    typer.Option(
        "--n-clusters", help="Number of groups, or auto to estimate it without labels. Default: one per class."
    ),
]
Seeds = Annotated[int, typer.Option(min=1, help="Number of runs per set, with seeds counted up from --seed.")]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Largest number of images per set; the share of each class is kept.")
]
LayoutName = Annotated[str, typer.Option(help="Layout of the sets: auto, csv, mvtec, mtd, leaves or folder.")]


def add_evaluate(app: typer.Typer, load: LoadBackbone | None = None) -> None:
    """Add the command to an app.

    Args:
        app: the app.
        load: returns the network for a name and a device, for apps that know more networks than the package.
    """

    @app.command()
    @takes_run_options
    def evaluate(
        datasets: Datasets,
        *,
        out: OutFolder = None,
        seeds: Seeds = 1,
        limit: Limit = None,
        n_clusters: NClusters = None,
        layout: LayoutName = "auto",
        options: RunOptions,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Run without labels on labeled images, then score groups and maps against the labels."""
        with Guard(verbose):
            settings = options.settings(n_clusters=n_clusters)
            sets = open_sets(datasets, layout, limit, settings.seed)
            groups = estimated_n_clusters(settings, options, n_clusters)
            found = _evaluate_all(sets, datasets, settings, groups, seeds, out, load, Bars(quiet))
            if any(run.skipped or run.left_out for one in found for run in one.runs):
                raise typer.Exit(SOME_SKIPPED)


def open_sets(datasets: Sequence[Path], layout: str, limit: int | None, seed: int) -> list[LabeledSet]:
    """All sets, opened before the first run so that mistakes are reported at once."""
    from blemish.evaluation import load_dataset

    sets = [load_dataset(path, layout) for path in datasets]  # type: ignore[arg-type]  # load_dataset checks it
    return sets if limit is None else [one.limited(limit, seed=seed) for one in sets]


def _evaluate_all(
    sets: Sequence[LabeledSet],
    places: Sequence[Path],
    settings: Config,
    n_clusters: Literal["auto"] | None,
    seeds: int,
    out: Path | None,
    load: LoadBackbone | None,
    bars: Bars,
) -> list[Evaluation]:
    from blemish.evaluation import evaluate
    from blemish.evaluation.tables import document, markdown, rows
    from blemish.evaluation.write import claim_folder, write_files

    if out is not None:
        claim_folder(out, "evaluation", places)
    backbone = open_backbone(settings, load)
    found: list[Evaluation] = []
    numbers = range(settings.seed, settings.seed + seeds)

    def keep(place: int, so_far: Evaluation) -> None:  # after every run, so that an interruption loses no finished run
        found[place:] = [so_far]
        if out is not None:
            write_files(out, "evaluation", document(found), rows(found), markdown(found))

    try:
        for place, data in enumerate(sets):
            after = functools.partial(keep, place)
            evaluate(
                data, settings, n_clusters=n_clusters, seeds=numbers, backbone=backbone, progress=bars, after_run=after
            )
    finally:
        if found:
            print_table(markdown(found))
    if out is not None:
        print(f"\nResults: {out / 'evaluation.md'}, .csv, .json")
    return found


def print_table(text: str) -> None:
    """Print a table; characters that the terminal cannot show are escaped."""
    import sys

    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end="", flush=True)


def estimated_n_clusters(settings: Config, options: RunOptions, flag: str | None) -> Literal["auto"] | None:
    """``auto`` if the command line or the environment asks for an estimated number of groups, else None.

    A settings file does not ask for it: files from ``blemish config`` hold every default, including this one.
    """
    asked = flag is not None or options.sets("n_clusters")
    return "auto" if asked and settings.n_clusters == "auto" else None


def open_backbone(settings: Config, load: LoadBackbone | None) -> Backbone | None:
    """The network that ``load`` returns for the name in the settings; None leaves the choice to the pipeline."""
    from blemish.runtime.device import choose_device

    return load(settings.backbone.name, choose_device(settings.device)) if load else None
