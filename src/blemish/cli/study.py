"""``blemish study``: one study on one labeled set. What the studies do is in :mod:`blemish.evaluation.studies.run`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blemish.cli.evaluate import Groups, LayoutName, Limit, Seeds, blind_groups, open_backbone, open_sets
from blemish.cli.options import Quiet, RunOptions, Verbose, takes_run_options
from blemish.cli.shared import SOME_SKIPPED, Guard
from blemish.runtime.terminal import Bars

if TYPE_CHECKING:
    from blemish.cli.evaluate import LoadBackbone
    from blemish.evaluation.studies.run import Findings

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
        """Vary one part of the method or of the data on a labeled set and tabulate the scores."""
        with Guard(verbose):
            from blemish.evaluation.studies.run import run_study

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
    from blemish.evaluation.studies import figures as _study_figures
    from blemish.evaluation.studies.run import find_study
    from blemish.evaluation.tables import SUFFIXES, claim_folder

    suffixes = [*SUFFIXES]
    if find_study(name).figure is not None:
        _study_figures.require_matplotlib()
        suffixes += _study_figures.SUFFIXES
    claim_folder(out, f"study-{name}", [dataset], suffixes)
    return suffixes


def _write(found: Findings, out: Path, settings: dict[str, Any]) -> None:
    """The table to the terminal, which nothing can refuse; then figures and tables as files, JSON last."""
    from blemish.evaluation.studies.figures import SUFFIXES, draw, save
    from blemish.evaluation.tables import study_document, study_markdown, write_files
    from blemish.output import explain_os_errors
    from blemish.runtime.atomic import write_atomically

    text = study_markdown(found)
    print(text, end="", flush=True)
    stem, figure = f"study-{found.study}", draw(found)
    if figure is not None:
        for suffix in SUFFIXES:
            with explain_os_errors(out / (stem + suffix)):
                write_atomically(out / (stem + suffix), partial(save, figure, suffix))
    write_files(out, stem, study_document(found) | {"settings": settings}, found.rows, text)
