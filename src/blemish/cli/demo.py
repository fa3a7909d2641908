"""``blemish demo``: draw a small set of textures with defects and run the method on it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.cli.options import Quiet, Verbose
from blemish.cli.run import print_summary, run_and_write
from blemish.cli.shared import Guard, read_settings

if TYPE_CHECKING:
    from blemish.results import Result

DemoFolder = Annotated[Path, typer.Option("--out", help="Folder for the images and the results.")]


def add_demo(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command()
    def demo(
        out: DemoFolder = Path("blemish-demo"),
        images: Annotated[int, typer.Option(min=4, help="Number of images.")] = 60,
        seed: Annotated[int, typer.Option(help="Seed of the drawing and of the run.")] = 0,
        quiet: Quiet = False,
        verbose: Verbose = False,
    ) -> None:
        """Draw a small set of textures with defects and run the method on it."""
        with Guard(verbose):
            from blemish.synthetic import make_demo

            config = read_settings(None, None, seed=seed)
            drawn = make_demo(out, seed=seed, n_images=images)
            result, written = run_and_write(drawn.images, out / "results", config, quiet)
            print_summary(result, written)
            _print_agreement(result, drawn.truth / "labels.csv")


def _print_agreement(result: Result, labels: Path) -> None:
    """How well the groups agree with the drawn defects. The run never saw these labels."""
    from blemish.evaluation.metrics import nmi

    with labels.open(encoding="utf-8", newline="") as handle:
        truth = {Path(row["path"]).name: row["label"] for row in csv.DictReader(handle)}
    drawn = [truth[Path(path).name] for path in result.paths]
    agreement = nmi(drawn, result.groups.tolist())
    print(
        f"Compared with the drawn defects (labels not seen by the run): NMI {agreement:.3f}, {len(set(drawn))} groups"
    )
