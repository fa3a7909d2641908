"""The command line in the process of the tests: to start Python and import PyTorch would take seconds each time."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from unittest import mock

from typer.testing import CliRunner

from blemish.cli.app import app
from blemish.runtime.terminal import LogLines


@dataclass(frozen=True)
class Done:
    """What a command returned and said."""

    returncode: int
    stdout: str
    stderr: str


def blemish(*arguments: object, **environ: str) -> Done:
    """Run a command with further environment variables. An exception that no user would see as a line is raised."""
    lines, logger = LogLines(), logging.getLogger("blemish")
    logger.addHandler(lines)
    try:
        with mock.patch.dict(os.environ, environ):
            done = CliRunner().invoke(app, [str(one) for one in arguments])
    finally:
        logger.removeHandler(lines)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Done(done.exit_code, done.stdout, done.stderr)
