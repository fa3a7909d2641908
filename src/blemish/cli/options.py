"""Options of the commands. The options that every run of the method takes reach a command as one argument."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from blemish.cli.shared import read_settings

if TYPE_CHECKING:
    from blemish.config.schema import Config

Preset = Annotated[str | None, typer.Option(help="default, or paper for the published method.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML or YAML file with settings.")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="Any setting: section.key=value. Repeatable.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show the traceback of an unexpected error.")]


def _setting(text: str) -> Any:
    """A value of a flag as ``--set`` would read it. The settings check it, so that each mistake has one message."""
    from blemish.config.files import parse_value

    return parse_value(text)


RUN_OPTIONS: dict[str, Any] = {
    "backbone": Annotated[str | None, typer.Option(help="embedded, or timm:MODEL.")],
    "size": Annotated[
        str | None,
        typer.Option(
            parser=_setting,
            metavar="PIXELS",
            help="Side of the square with the area of a scaled image, or native: the stored size.",
        ),
    ],
    "roi": Annotated[str | None, typer.Option(help="Mask of the region of interest, or a folder of masks.")],
    "false_alarms": Annotated[
        float | None,
        typer.Option(parser=_setting, metavar="SHARE", help="Share of normal images that may be called anomalous."),
    ],
    "smallest_defect": Annotated[
        float | None,
        typer.Option(
            parser=_setting, metavar="PIXELS", help="Side of the smallest defect that makes its image anomalous."
        ),
    ],
    "rejects": Annotated[bool | None, typer.Option("--rejects", help="Every image has a defect: a reject bin.")],
    "preset": Preset,
    "seed": Annotated[int | None, typer.Option(parser=_setting, metavar="INTEGER", help="Seed of all random draws.")],
    "device": Annotated[str | None, typer.Option(help="auto, cpu or cuda.")],
    "config": ConfigFile,
    "assignments": Settings,
    "threads": Annotated[int | None, typer.Option(help="Number of threads.")],
}
"""The options of every command that runs the method, in the order of its help; None = not given."""


@dataclass(frozen=True)
class RunOptions:
    """The values of :data:`RUN_OPTIONS` that a command was given."""

    given: dict[str, Any]

    def sets(self, key: str) -> bool:
        """Whether ``--set`` or the environment gives a setting, by its name without a section."""
        from blemish.config.sources import PREFIX

        names = [text.partition("=")[0].strip() for text in self.given["assignments"] or []]
        return key in names or bool(os.environ.get(f"{PREFIX}{key.upper()}", "").strip())

    def settings(self, **flags: Any) -> Config:
        """The settings that result from these options and from further flags of the command."""
        given = dict(self.given)
        file, assignments, threads = given.pop("config"), given.pop("assignments"), given.pop("threads")
        return read_settings(file, assignments, threads=threads, **given, **flags)


def takes_run_options(function: Callable[..., None]) -> Callable[..., None]:
    """The function with all of :data:`RUN_OPTIONS` in place of its argument ``options``, as typer is to see it."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    run_options = [
        inspect.Parameter(name, keyword, default=None, annotation=kind) for name, kind in RUN_OPTIONS.items()
    ]
    shown: list[inspect.Parameter] = []
    for name, one in inspect.signature(function, eval_str=True).parameters.items():
        shown += run_options if name == "options" else [one.replace(kind=keyword)]

    @functools.wraps(function)
    def command(**given: Any) -> None:
        function(options=RunOptions({name: given.pop(name) for name in RUN_OPTIONS}), **given)

    command.__annotations__ = {one.name: one.annotation for one in shown}
    command.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    return command
