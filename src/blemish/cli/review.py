"""``blemish review``: correct the types of a result in the browser, or take corrections from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blemish.cli.options import Verbose
from blemish.cli.shared import Guard
from blemish.errors import InputError, shown

if TYPE_CHECKING:
    from blemish.review import Session

Results = Annotated[Path, typer.Argument(help="Folder that blemish run wrote.", show_default=False)]
Apply = Annotated[
    Path | None, typer.Option("--apply", help="Take the operations of a file that the report saved, and end.")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the local server; 0 = one that is free.")]
NoBrowser = Annotated[bool, typer.Option("--no-browser", help="Print the address, but open no browser.")]


def add_review(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command()
    def review(
        results: Results,
        apply: Apply = None,
        port: Port = 0,
        no_browser: NoBrowser = False,
        verbose: Verbose = False,
    ) -> None:
        """Correct the types of a result in the browser, or take corrections from a file."""
        with Guard(verbose):
            from blemish.review import open_session

            if apply is not None:
                from blemish.review.apply import apply_file

                for line in apply_file(open_session(results), apply):
                    print(shown(line))
                return
            from blemish.review.serve import require_server

            require_server()
            _serve(open_session(results), port, browser=not no_browser)


def _serve(session: Session, port: int, *, browser: bool) -> None:
    """Serve the page until the command is interrupted."""
    from blemish.output.claims import REPORT_FILE
    from blemish.review.serve import serve

    page = session.folder / REPORT_FILE
    if not page.is_file():
        raise InputError(f"{shown(page)}: is missing; run again with output.report = true")

    def opened(address: str) -> None:
        print(f"Review: {address}\n  every change is saved at once; end with Ctrl+C", flush=True)
        if browser:
            import webbrowser

            webbrowser.open(address)

    serve(session, port, opened)
