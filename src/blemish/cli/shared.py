"""What the commands share: settings from all sources, the number of threads, errors as one line, exit codes."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from blemish.errors import BlemishError, shown
from blemish.runtime.terminal import discard, print_error
from blemish.runtime.threads import check_thread_count

if TYPE_CHECKING:
    from blemish.config.schema import Config

OK, UNEXPECTED, USAGE, SOME_SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes."""


def read_settings(
    config_file: Path | None, assignments: list[str] | None, *, threads: int | None = None, **flags: Any
) -> Config:
    """The settings of a command. Flags take precedence over the environment, the environment over the file.

    The number of threads is set first, because libraries read it when they are loaded.
    """
    use_threads(threads)
    from blemish.config.files import parse_value
    from blemish.config.schema import Config
    from blemish.config.sources import gather

    if isinstance(flags.get("n_clusters"), str):
        flags["n_clusters"] = parse_value(flags["n_clusters"])
    return gather(Config, flags, assignments or [], config_file, os.environ)


def use_threads(threads: int | None) -> None:
    """Set the number of threads of torch, of the compiled kernels and of the BLAS of NumPy and SciPy; None = their choice.

    Raises:
        ConfigError: the number cannot be used.
    """
    if threads is not None:
        check_thread_count(threads)
        for name in ("NUMBA", "OMP", "OPENBLAS", "MKL"):  # each library reads its variable once, when it is loaded
            os.environ[f"{name}_NUM_THREADS"] = str(threads)
        import torch

        torch.set_num_threads(threads)


def counted(count: int, noun: str) -> str:
    """A number and its noun, in characters that every terminal has.

    >>> counted(1, "image"), counted(0, "file")
    ('1 image', '0 files')
    """
    return f"{count} {noun}" + ("" if count == 1 else "s")


class Guard:
    """Turns errors into one line on stderr and an exit code."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, typer.Exit):
            return
        if isinstance(error, KeyboardInterrupt):
            print_error("blemish: interrupted")
            raise typer.Exit(INTERRUPTED) from None
        if isinstance(error, BlemishError):
            print_error(f"blemish: {shown(str(error))}")
            raise typer.Exit(USAGE) from None
        if isinstance(error, BrokenPipeError):  # the program that read our output has ended
            discard(sys.stdout)
            raise typer.Exit(OK) from None
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            discard(sys.stdout)
            print_error(
                "blemish: no space is left where a file or the output is written; free some space and run again"
            )
            raise typer.Exit(USAGE) from None
        if isinstance(error, Exception):
            if self.verbose:
                traceback.print_exception(error)
            hint = "" if self.verbose else " (--verbose shows where)"
            print_error(f"blemish: unexpected {type(error).__name__}: {shown(str(error))}{hint}")
            raise typer.Exit(UNEXPECTED) from None


def prepare_output() -> None:
    """Let the standard output escape characters that its encoding does not have, and write at the end or line by line."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace", write_through=False)


def finish_output(code: str | int | None) -> str | int | None:
    """Write what the standard output still holds, and return the exit code of the command."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        return output_failed(error, code)
    return code


def output_failed(error: OSError, code: str | int | None) -> str | int | None:
    """The exit code of a command that ends with ``code``, but whose standard output cannot be written.

    A closed pipe, as in ``blemish config | head -1``, changes nothing. Any other failure, such as a full disk, is one line
    on stderr and exit code 2.
    """
    discard(sys.stdout)
    if isinstance(error, BrokenPipeError):
        return code
    print_error(f"blemish: the standard output cannot be written ({error.strerror}); redirect it elsewhere")
    return code or USAGE
