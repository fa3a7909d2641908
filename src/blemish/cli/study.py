"""``blemish study``: one study on one labeled set. :mod:`blemish.evaluation.studies` makes the runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blemish.cli.evaluate import (
    LayoutName,
    Limit,
    NClusters,
    Seeds,
    estimated_n_clusters,
    open_backbone,
    open_sets,
    print_table,
)
from blemish.cli.options import Quiet, RunOptions, Verbose, takes_run_options
from blemish.cli.shared import SOME_SKIPPED, Guard
from blemish.runtime.terminal import Bars

if TYPE_CHECKING:
    from blemish.cli.evaluate import LoadBackbone
    from blemish.evaluation.studies import StudyResult

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="ablation, weighting, tau, contamination, normals, size, tsne, maps or contours.",
        show_default=False,
    ),
]
Dataset = Annotated[Path, typer.Argument(help="Labeled set: folder or CSV file.", show_default=False)]
OutFolder = Annotated[
    Path, typer.Option("--out", help="Folder for study-NAME.json, .csv, .md and figures.", show_default=False)
]


def add_study(app: typer.Typer, load: LoadBackbone | None = None) -> None:
    """Add the command to an app.

    Args:
        app: the app.
        load: returns the network for a name and a device, for apps that know more networks than the package.
    """

    @app.command()
    @takes_run_options
    def study(
        name: Name,
        dataset: Dataset,
        out: OutFolder,
        *,
        seeds: Seeds = 1,
        limit: Limit = None,
        n_clusters: NClusters = None,
        layout: LayoutName = "auto",
        options: RunOptions,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Vary one part of the method or of the data on a labeled set and tabulate the scores."""
        with Guard(verbose):
            from blemish.evaluation.studies import run_study

            settings = options.settings(n_clusters=n_clusters)
            suffixes = _claim(name, dataset, out)
            data = open_sets([dataset], layout, limit, settings.seed)[0]
            found = run_study(
                name,
                data,
                settings,
                n_clusters=estimated_n_clusters(settings, options, n_clusters),
                seeds=range(settings.seed, settings.seed + seeds),
                backbone=open_backbone(settings, load),
                progress=Bars(quiet),
            )
            _write(found, out, settings.model_dump(mode="json"))
            stem = out / f"study-{name}"
            print(f"\nResults: {stem}.md, " + ", ".join(suffix for suffix in suffixes if suffix != ".md"))
            if found.skipped or found.left_out:
                raise typer.Exit(SOME_SKIPPED)


def _claim(name: str, dataset: Path, out: Path) -> list[str]:
    """Suffixes of the files to come. A wrong name, a missing library or a file in the way is an error here."""
    from blemish.evaluation.studies import find_study
    from blemish.evaluation.write import SUFFIXES, claim_folder
    from blemish.output.figures import FIGURE_SUFFIXES, require_matplotlib

    suffixes = [*SUFFIXES]
    if find_study(name).figure is not None:
        require_matplotlib()
        suffixes += FIGURE_SUFFIXES
    claim_folder(out, f"study-{name}", [dataset], suffixes)
    return suffixes


def _write(found: StudyResult, out: Path, settings: dict[str, Any]) -> None:
    """Print the table first, so that it is not lost if a file cannot be written; then write the figures and tables."""
    from blemish.evaluation.studies import draw_figure, study_document, study_markdown
    from blemish.evaluation.write import write_files
    from blemish.output import explain_os_errors
    from blemish.output.figures import FIGURE_SUFFIXES, save_figure
    from blemish.runtime.atomic import write_atomically

    text = study_markdown(found)
    print_table(text)
    stem, figure = f"study-{found.study}", draw_figure(found)
    if figure is not None:
        for suffix in FIGURE_SUFFIXES:
            with explain_os_errors(out / (stem + suffix)):
                write_atomically(out / (stem + suffix), partial(save_figure, figure, suffix))
    write_files(out, stem, study_document(found) | {"settings": settings}, found.rows, text)
