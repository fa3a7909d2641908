"""``blemish figures``: figures of a result for papers and slides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from blemish.cli.options import Verbose
from blemish.cli.shared import Guard
from blemish.errors import shown

Results = Annotated[Path, typer.Argument(help="Folder that blemish run wrote.", show_default=False)]
Out = Annotated[Path, typer.Option("--out", help="Folder for the figures.", show_default=False)]


def add_figures(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command()
    def figures(results: Results, out: Out, verbose: Verbose = False) -> None:
        """Draw figures of a result for papers and slides, as PNG and SVG."""
        with Guard(verbose):
            from blemish.output.figures import require_matplotlib, write_figures

            require_matplotlib()
            from blemish.review import load_corrected

            written = write_figures(load_corrected(results), results, out)
            print(f"{len(written)} files: {shown(out)}")
