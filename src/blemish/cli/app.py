"""The command line, one module per group of commands. Heavy imports happen in the commands."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from blemish import __version__
from blemish.cli.config import add_config
from blemish.cli.demo import add_demo
from blemish.cli.doctor import add_doctor
from blemish.cli.evaluate import add_evaluate
from blemish.cli.export import add_export
from blemish.cli.figures import add_figures
from blemish.cli.merge import add_merge
from blemish.cli.model import add_model
from blemish.cli.review import add_review
from blemish.cli.run import add_run
from blemish.cli.shared import OK, finish_output, output_failed, prepare_output
from blemish.cli.study import add_study
from blemish.runtime.terminal import LogLines

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find defects in images of one texture and sort them into types, without labels.",
)

COMMANDS = (
    *(add_run, add_model, add_merge, add_demo, add_evaluate, add_study),
    *(add_review, add_export, add_figures, add_config, add_doctor),
)

for add in COMMANDS:
    add(app)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"blemish {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line on the arguments of the process; ends in ``SystemExit``."""
    prepare_output()
    logging.getLogger("blemish").addHandler(LogLines())
    code: str | int | None = OK
    try:
        app()
    except SystemExit as end:
        code = end.code
    except OSError as error:  # commands explain their own errors: this is help or the version that cannot be written
        code = output_failed(error, OK)
    raise SystemExit(finish_output(code))
