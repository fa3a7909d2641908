"""``blemish study``: one study on one labelled set. What the studies do is in :mod:`blemish.studies`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blemish._cli_options import Quiet, RunOptions, Verbose, takes_run_options
from blemish._cli_shared import SOME_SKIPPED, Bars, Guard
from blemish._evaluate_cli import Groups, LayoutName, Limit, Seeds, blind_groups, open_backbone, open_sets

if TYPE_CHECKING:
    from blemish._evaluate_cli import LoadBackbone
    from blemish.studies import Findings

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="ablation, weighting, tau, contamination, normals, size, tsne, maps or contours.",
        show_default=False,
    ),
]
Dataset = Annotated[Path, typer.Argument(help="Labelled set: folder or CSV file.", show_default=False)]
OutFolder = Annotated[
    Path, typer.Option("--out", help="Folder for study-NAME.json, .csv, .md and figures.", show_default=False)
]


def add_study(app: typer.Typer, load: LoadBackbone | None = None) -> None:
    """Add the command to an app; ``load(name, device)`` may know more backbones than the package."""

    @app.command()
    @takes_run_options
    def study(
        name: Name,
        dataset: Dataset,
        out: OutFolder,
        *,
        seeds: Seeds = 1,
        limit: Limit = None,
        clusters: Groups = None,
        layout: LayoutName = "auto",
        options: RunOptions,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Vary one part of the method or of the data on a labelled set and tabulate the scores."""
        with Guard(verbose):
            from blemish.studies import run_study

            settings = options.settings(clusters=clusters)
            suffixes = _claim(name, dataset, out)
            data = open_sets([dataset], layout, limit, settings.seed)[0]
            found = run_study(
                name,
                data,
                settings,
                clusters=blind_groups(settings, options, clusters),
                seeds=range(settings.seed, settings.seed + seeds),
                backbone=open_backbone(settings, load),
                progress=Bars(quiet),
            )
            _write(found, out, settings.model_dump(mode="json"))
            stem = out / f"study-{name}"
            print(f"\nResults: {stem}.md, " + ", ".join(suffix for suffix in suffixes if suffix != ".md"))
            if found.skipped:
                raise typer.Exit(SOME_SKIPPED)


def _claim(name: str, dataset: Path, out: Path) -> list[str]:
    """Suffixes of the files to come; whatever stands in their way is said before the first run."""
    from blemish import _study_figures
    from blemish._evaluation_files import SUFFIXES, claim_folder
    from blemish.studies import find_study

    suffixes = [*SUFFIXES]
    if find_study(name).figure is not None:
        _study_figures.require_matplotlib()
        suffixes += _study_figures.SUFFIXES
    claim_folder(out, f"study-{name}", [dataset], suffixes)
    return suffixes


def _write(found: Findings, out: Path, settings: dict[str, Any]) -> None:
    """The table to the terminal, which nothing can refuse; then figures and tables as files, JSON last."""
    from blemish._evaluation_files import study_document, study_markdown, write_files
    from blemish._outdir import write_whole
    from blemish._study_figures import SUFFIXES, draw, save

    text = study_markdown(found)
    print(text, end="", flush=True)
    stem, figure = f"study-{found.study}", draw(found)
    if figure is not None:
        for suffix in SUFFIXES:
            write_whole(out / (stem + suffix), partial(save, figure, suffix))
    write_files(out, stem, study_document(found) | {"settings": settings}, found.rows, text)
